"""The command lines can be pasted, whatever the paths are."""

import shlex
from pathlib import Path

import pytest
from reports.samples import full_result, points_result, semantic_result
from reports.studies import search_result

from copick_tools.reports import commands


def words(line):
    return shlex.split(line.replace("\\\n", " "))


def test_viewers_quote():
    lines = dict(commands.viewers("/data/my project's/copick.json"))
    chimerax, napari = (shlex.split(line) for line in lines.values())
    assert chimerax == ["chimerax", "--cmd", 'copick start "/data/my project\'s/copick.json"']
    assert napari == ["napari-copick", "run", "--config", "/data/my project's/copick.json"]


def test_again_by_split_or_by_runs():
    split = words(commands.again(full_result(config="c.json")))
    assert split[split.index("--split") + 1] == "test"
    assert "-r" not in split
    named = words(commands.again(points_result(config="c.json")))
    assert [named[i + 1] for i, word in enumerate(named) if word == "-r"] == ["TS_1", "TS_2", "TS_3"]
    assert "-r" not in words(commands.again(points_result(config="c.json"), ["TS_3", "TS_2", "TS_1"]))


def test_again_repeats_the_options():
    options = ["--rule", "one-to-one", "--distance-multiplier", "0.8", "--missing", "empty"]
    result = points_result(task="phantom", config="c.json", split="test", options=options)
    assert words(commands.again(result))[-10:] == ["--task", "phantom", *options, "--split", "test"]


def test_score_from_files():
    result = points_result(task="phantom", rule="kaggle", input=["a b.csv"], reference=["r.csv"])
    assert words(commands.again(result)) == ["popsicle", "score", "a b.csv", "r.csv", "--task", "phantom"]
    more = result.model_copy(update={"split": "test", "options": ["--lenient"]})
    assert words(commands.again(more))[6:] == ["--split", "test", "--lenient"]
    assert commands.again(points_result()) is None


def test_segmentations():
    line = commands.again(semantic_result(options=["--absent", "one", "--resample"]))
    place = words(line).index("--absent")
    assert words(line)[place : place + 3] == ["--absent", "one", "--resample"]


def test_long_lines_wrap_between_options():
    line = commands.again(points_result(50, config="c.json"))
    assert all(len(part) < 110 for part in line.splitlines())
    assert not any(part.rstrip(" \\").endswith(" -r") for part in line.splitlines())


@pytest.mark.parametrize("name", ["x;rm -rf ~", "$(boom)", "`boom`"])
def test_nothing_runs_by_itself(name):
    assert name in words(commands.again(points_result(config=name)))
    for _, line in commands.viewers(name):
        assert any(name in word for word in shlex.split(line))


def test_search_lines_quote():
    folder = Path("my searches/$(boom)")
    typed = ["tiny.yaml", "-c", "a b.json", "--out", str(folder)]
    result = search_result(3).model_copy(update={"command": typed})
    lines = dict(commands.search(result, folder / "best.yaml", "a b.json"))
    train, on = (words(line) for line in lines.values())
    assert train == ["popsicle", "train", "my searches/$(boom)/best.yaml", "-c", "a b.json"]
    assert on == ["popsicle", "search", *typed, "--trials", "23"]
    assert len(commands.search(result, None, None)) == 1
