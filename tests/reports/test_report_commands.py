"""The command lines can be pasted, whatever the paths are."""

import shlex

import pytest
from reports.samples import full_result, points_result, semantic_result

from copick_tools.recipes.load import load_task
from copick_tools.reports import commands


def words(line):
    return shlex.split(line.replace("\\\n", " "))


def test_viewers_quote():
    lines = dict(commands.viewers("/data/my project's/copick.json"))
    chimerax, napari = (shlex.split(line) for line in lines.values())
    assert chimerax == ["chimerax", "--cmd", 'copick start "/data/my project\'s/copick.json"']
    assert napari == ["napari-copick", "run", "--config", "/data/my project's/copick.json"]


def test_again_by_split_or_by_runs():
    split = words(commands.again(full_result(config="c.json"), None))
    assert split[split.index("--split") + 1] == "test"
    assert "-r" not in split
    named = words(commands.again(points_result(config="c.json"), None))
    assert [named[i + 1] for i, word in enumerate(named) if word == "-r"] == ["TS_1", "TS_2", "TS_3"]
    assert "-r" not in words(commands.again(points_result(config="c.json"), None, ["TS_3", "TS_2", "TS_1"]))
    assert named[named.index("--beta") + 1] == "4"
    assert named[named.index("--distance") + 1] == "60"
    assert "--rule" not in named


def test_again_says_only_what_the_task_does_not():
    task = load_task("phantom")
    entry = points_result().objects["ribosome"]
    objects = {o.name: entry.model_copy(update={"distance": task.distance(o.name)}) for o in task.targets}
    result = points_result(task="phantom", rule="kaggle", config="c.json", split="test", objects=objects)
    assert words(commands.again(result, task))[-4:] == ["--task", "phantom", "--split", "test"]
    other = result.model_copy(update={"rule": "one-to-one"})
    assert words(commands.again(other, task))[-4:] == ["--rule", "one-to-one", "--split", "test"]


def test_score_from_files():
    result = points_result(task="phantom", rule="kaggle", input=["a b.csv"], reference=["r.csv"])
    line = commands.again(result.model_copy(update={"objects": {}}), load_task("phantom"))
    assert words(line) == ["popsicle", "score", "a b.csv", "r.csv", "--task", "phantom"]
    assert commands.again(points_result(), None) is None


def test_segmentations():
    line = commands.again(semantic_result(absent="one", resampled=True, tolerance=20.0), None)
    assert {"--absent", "one", "--resample", "--tolerance", "20"} <= set(words(line))


def test_long_lines_wrap_between_options():
    line = commands.again(points_result(50, config="c.json"), None)
    assert all(len(part) < 110 for part in line.splitlines())
    assert not any(part.rstrip(" \\").endswith(" -r") for part in line.splitlines())


@pytest.mark.parametrize("name", ["x;rm -rf ~", "$(boom)", "`boom`"])
def test_nothing_runs_by_itself(name):
    assert name in words(commands.again(points_result(config=name), None))
    for _, line in commands.viewers(name):
        assert any(name in word for word in shlex.split(line))
