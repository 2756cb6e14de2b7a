"""`popsicle split`: what is written, what is tied, and what is refused."""

import csv
import inspect
import json
import shutil

import numpy as np
import pytest
from conftest import SHAPE, SPACING, TASK, make_project

from copick_tools.cli import split as command
from copick_tools.data.groups import Groups, known_of_runs, read_groups, tie, write_groups
from copick_tools.data.project import open_project
from copick_tools.data.provenance import add_source, write_record
from copick_tools.data.splits import read_splits, runs, write_splits
from copick_tools.data.uris import PicksUri, SegmentationUri
from copick_tools.data.write import write_picks, write_segmentation
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.recipes.data_results import SplitResult
from copick_tools.recipes.provenance import RunRecord, Source, SourceDataset
from copick_tools.types import Points
from copick_tools.workflows.split import FRACTIONS, SplitRequest, split

RIBOSOMES = [5, 0, 3, 4, 5, 0, 6, 2, 0, 4, 5, 3]
FERRITINS = [0, 0, 9, 0, 8, 0, 0, 9, 0, 0, 7, 0]


def picks_only(folder, order=range(12)):
    """Twelve runs with picks and nothing else, made in some order."""
    project = make_project(folder, runs=0)
    (folder / ".popsicle" / "splits.json").unlink()
    for number in order:
        for name, counts in (("ribosome", RIBOSOMES), ("apo-ferritin", FERRITINS)):
            points = Points.at(np.full((counts[number], 3), 50.0))
            write_picks(project, f"r{number:02d}", PicksUri(name, "truth", "0"), points)
    return open_project(folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return picks_only(tmp_path_factory.mktemp("template") / "twelve").folder


@pytest.fixture
def twelve(template, tmp_path):
    shutil.copytree(template, tmp_path / "twelve")
    return open_project(tmp_path / "twelve")


@pytest.fixture
def metadata(tmp_path):
    """Four grids of three runs, two species."""
    path = tmp_path / "runs.csv"
    rows = [f"r{n:02d},g{n // 3},{'yeast' if n < 6 else 'human'}" for n in range(12)]
    path.write_text("\n".join(["run,grid,species", *rows]) + "\n")
    return path


def fetched(project, dataset_of, task=None, organisms=("yeast", "human", None)):
    for run, dataset in dataset_of.items():
        write_record(project.folder, RunRecord(run=run, dataset_id=dataset, portal_run_id=1000 + int(run[1:])))
    datasets = tuple(
        SourceDataset(id=number, organism=organism, license="CC0-1.0")
        for number, organism in zip(sorted(set(dataset_of.values())), organisms)
    )
    add_source(project.folder, Source(kind="portal", task=task, datasets=datasets))


def everyone(splits):
    return sorted(run for members in splits.values() for run in members)


def test_default(popsicle, twelve):
    result = SplitResult.model_validate(popsicle.json("split", "-c", twelve.config))
    assert (result.status, result.way, result.seed, result.group_by) == ("written", "fractions", 0, [])
    assert (result.reference, result.unit) == (["*:truth/0"], "picks")
    assert [len(part.runs) for part in result.splits.values()] == [9, 1, 2]
    assert read_splits(twelve) == {name: part.runs for name, part in result.splits.items()}
    assert everyone(read_splits(twelve)) == twelve.run_names
    assert read_groups(twelve) == Groups(by=(), groups={run: run for run in twelve.run_names})
    assert sum(part.objects["ribosome"].amount for part in result.splits.values()) == sum(RIBOSOMES)
    assert result.splits["test"].objects["apo-ferritin"].runs == 1  # of 4: 2.8, 0.4, 0.8
    assert [part.empty for part in result.splits.values()] == [2, 0, 1]


def test_the_table_and_the_words(popsicle, twelve):
    result = popsicle("split", "-c", twelve.config, "--dry-run")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["split", "runs", "groups", "empty", "apo-ferritin", "ribosome"]
    assert [row[:3] for row in rows[1:]] == [["train", "9", "9"], ["val", "1", "1"], ["test", "2", "2"]]
    assert sum(int(row[5]) for row in rows[1:]) == sum(RIBOSOMES)
    assert "runs not tied" in result.stderr
    assert "the only picks there are" in result.stderr
    assert "nothing is written" in result.stderr
    assert read_splits(twelve) == {}
    assert read_groups(twelve) is None


def test_the_help_states_the_default():
    said = ",".join(f"{name}={part:g}" for name, part in FRACTIONS.items())
    assert f"[default: {said}]" in inspect.getsource(command)


def test_what_is_there_is_kept(popsicle, twelve):
    write_splits(twelve, {"train": ["r00"], "test": ["r01", "gone"]})
    result = popsicle("split", "-c", twelve.config)
    assert "are kept; --overwrite" in result.stderr
    assert "in no split: 10 runs: r02" in result.stderr
    assert "lacks: 1 run: gone" in result.stderr
    assert result.stdout.splitlines()[1].split()[:3] == ["train", "1", "?"]
    document = SplitResult.model_validate(popsicle.json("split", "-c", twelve.config, "--folds", "3"))
    assert (document.status, document.way, document.seed, document.group_by) == ("kept", None, None, None)
    assert read_splits(twelve) == {"train": ["r00"], "test": ["r01", "gone"]}
    popsicle("split", "-c", twelve.config, "--folds", "3", "--overwrite")
    assert list(read_splits(twelve)) == ["fold-1", "fold-2", "fold-3"]
    assert everyone(read_splits(twelve)) == twelve.run_names
    again = popsicle("split", "-c", twelve.config)
    assert "Warning" not in again.stderr


def test_same_seed_same_splits_whatever_the_order_on_disk(twelve, tmp_path):
    other = picks_only(tmp_path / "other", reversed(range(12)))
    split(twelve, SplitRequest(seed=4))
    split(other, SplitRequest(seed=4), workers=2)
    assert read_splits(twelve) == read_splits(other)
    drawn = set()
    for seed in range(4):
        split(other, SplitRequest(seed=seed), overwrite=True)
        drawn.add(json.dumps(read_splits(other)))
    assert len(drawn) > 1


def test_groups_of_the_metadata_stay_together(twelve, metadata):
    result = split(twelve, SplitRequest(folds=2, metadata=metadata))
    assert result.group_by == ["grid"]
    assert [part.groups for part in result.splits.values()] == [2, 2]
    assert [part.species for part in result.splits.values()] == [{"human": 3, "yeast": 3}] * 2
    groups = read_groups(twelve)
    assert groups is not None
    for members in read_splits(twelve).values():
        others = set(twelve.run_names) - set(members)
        assert not {groups.groups[run] for run in members} & {groups.groups[run] for run in others}
    result = split(twelve, SplitRequest(folds=2, metadata=metadata, group_by=("species",)), overwrite=True)
    assert [part.species for part in result.splits.values()] in (
        [{"human": 6}, {"yeast": 6}],
        [{"yeast": 6}, {"human": 6}],
    )


def test_exact_counts_or_the_nearest(twelve, metadata):
    result = split(twelve, SplitRequest(counts={"train": 9, "test": 3}, metadata=metadata))
    assert {name: len(part.runs) for name, part in result.splits.items()} == {"train": 9, "test": 3}
    with pytest.raises(PopsicleError, match="12 runs in 4 groups by grid can't make train=8,test=4") as caught:
        split(twelve, SplitRequest(counts={"train": 8, "test": 4}, metadata=metadata), overwrite=True)
    assert "--counts train=9,test=3" in caught.value.hint
    assert len(read_splits(twelve)["train"]) == 9
    free = SplitRequest(counts={"train": 8, "test": 4}, metadata=metadata, group_by=("none",))
    assert len(split(twelve, free, overwrite=True).splits["test"].runs) == 4
    with pytest.raises(PopsicleError, match="11 in all, but the project has 12 runs") as caught:
        split(twelve, SplitRequest(counts={"train": 8, "test": 3}), overwrite=True)
    assert "--fractions train=0.7273,test=0.2727" in caught.value.hint


def test_several_keys_tie_along_the_chain(twelve, metadata):
    request = SplitRequest(folds=2, metadata=metadata, group_by=("grid", "regex:^r(0[0-5]|.)"))
    with pytest.raises(PopsicleError, match="1 group by grid, regex"):
        split(twelve, SplitRequest(folds=2, metadata=metadata, group_by=("grid", "regex:^(r)")))
    assert set(split(twelve, request).groups.values()) == {"g0", "g1", "g2"}  # r06 to r09 share 0, and so g2 and g3
    with pytest.raises(NotFoundError, match="doesn't match 10 runs: r00, r01, r03, r04, r06 …"):
        split(twelve, SplitRequest(group_by=("regex:^(r0[25])",)), overwrite=True)
    tied = tie(
        {"grid": {"a": "1", "b": "2", "c": "2", "d": "3"}, "day": {"a": "x", "b": "x", "c": "y", "d": "z"}}, "dcba"
    )
    assert tied == Groups(by=("grid", "day"), groups={"a": "1", "b": "1", "c": "1", "d": "3"})


def test_datasets_tie_fetched_runs_if_they_can(twelve):
    fetched(twelve, {run: 10 + int(run[1:]) // 4 for run in twelve.run_names})
    result = split(twelve, SplitRequest(), dry_run=True)
    assert result.group_by == ["dataset"]
    assert [part.groups for part in result.splits.values()] == [1, 1, 1]
    assert result.splits["train"].species in ({}, {"yeast": 4}, {"human": 4})
    result = split(twelve, SplitRequest(folds=5), dry_run=True)
    assert result.group_by == []
    assert "3 datasets can't fill 5 splits" in result.notes[0]
    result = split(twelve, SplitRequest(counts={"train": 4, "val": 4, "test": 4}), dry_run=True)
    assert (result.group_by, result.warnings) == (["dataset"], [])
    # nobody asked for datasets: they give way to exact numbers
    result = split(twelve, SplitRequest(counts={"train": 7, "val": 2, "test": 3}), dry_run=True)
    assert result.group_by == []
    assert [len(part.runs) for part in result.splits.values()] == [7, 2, 3]
    assert "12 runs in 3 groups by dataset can't make" in result.warnings[0]
    with pytest.raises(PopsicleError, match="by dataset can't make"):
        split(twelve, SplitRequest(counts={"train": 7, "val": 2, "test": 3}, group_by=("dataset",)))


def test_the_counts_of_a_task(popsicle, twelve, tmp_path):
    task = tmp_path / "toy.yaml"
    task.write_text(TASK.replace("runs: 1, role: training", "runs: 10, role: training"))
    result = popsicle("split", "-c", twelve.config, "--task", task)
    assert {name: len(members) for name, members in read_splits(twelve).items()} == {"train": 10, "val": 1, "test": 1}
    assert "not the paper's lists" in result.stderr
    assert "the reference of task toy" in result.stderr
    popsicle("split", "-c", twelve.config, "--task", "yeast", "--overwrite", code=1)
    task.write_text(TASK.replace("{runs: 1, role: training}", "{role: training}"))
    assert "doesn't say" in popsicle("split", "-c", twelve.config, "--task", task, "--overwrite", code=1).stderr


def test_the_reference_of_a_fetched_task(twelve):
    fetched(twelve, dict.fromkeys(twelve.run_names, 1), task="phantom")
    write_picks(twelve, "r01", PicksUri("ribosome", "data-portal", "0"), Points.at([[1.0, 2, 3]]))
    result = split(twelve, SplitRequest(), dry_run=True)
    assert result.reference == ["*:data-portal/0"]
    assert sum(part.objects["ribosome"].amount for part in result.splits.values()) == 1
    assert sum(part.empty for part in result.splits.values()) == 11


def test_without_a_reference_it_says_so(twelve):
    write_picks(twelve, "r01", PicksUri("ribosome", "unet", "1"), Points.at([[1.0, 2, 3]]))
    result = split(twelve, SplitRequest(), dry_run=True)
    assert (result.reference, result.unit) == ([], None)
    assert any("not balanced by objects" in note for note in result.notes)
    assert [part.empty for part in result.splits.values()] == [None] * 3
    assert [len(part.runs) for part in result.splits.values()] == [9, 1, 2]


def test_segmentations_count_voxels_block_by_block(popsicle, twelve):
    uri = SegmentationUri("cells", "truth", "0", SPACING, "multilabel")
    labels = np.zeros(SHAPE, np.uint8)
    labels[:4], labels[4], labels[5] = 1, 2, 255
    for run in twelve.run_names[:6]:
        write_segmentation(twelve, run, uri, labels)
    document = popsicle.json("split", "-c", twelve.config, "--reference", "cells:truth/0?multilabel=true", "-w", "2")
    result = SplitResult.model_validate(document)
    assert result.unit == "voxels"
    plane = SHAPE[1] * SHAPE[2]
    for part in result.splits.values():
        assert part.objects["ribosome"].amount == 4 * plane * part.objects["ribosome"].runs
        assert part.objects["apo-ferritin"].amount == plane * part.objects["apo-ferritin"].runs
        assert part.empty == len(part.runs) - part.objects["ribosome"].runs
    assert sum(part.objects["ribosome"].share for part in result.splits.values()) == pytest.approx(1)
    shown = popsicle("split", "-c", twelve.config, "--reference", "cells:truth/0?multilabel=true").stdout
    assert "4 (67%)" in shown
    binary = SegmentationUri("ribosome", "mask", "0", SPACING, "binary")
    write_segmentation(twelve, "r03", binary, (labels == 1).astype(np.uint8))
    result = split(twelve, SplitRequest(reference=("ribosome:mask/0@10",)), overwrite=True)
    assert sum(part.objects["ribosome"].amount for part in result.splits.values()) == 4 * plane


DOCUMENT = {"@context": {}, "name": "toy", "distribution": [{"@type": "cr:FileObject", "contentUrl": "runs.csv"}]}


def published(folder, name, rows):
    """A published list of (run, split) in one of its forms."""
    if name == "list.json":
        splits = {}
        for run, part in rows:
            splits.setdefault(part, []).append(run)
        (folder / name).write_text(json.dumps(splits))
    elif name == "metadata.json":
        (folder / name).write_text(json.dumps(DOCUMENT))
        with (folder / "runs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("name", "portal_run_id", "split"), *((run, "", part) for run, part in rows)])
    else:
        mark = "," if name == "list.csv" else "\t"
        (folder / name).write_text("\n".join([mark.join(("run", "split")), *(mark.join(row) for row in rows)]))
    return folder / name


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.json", "metadata.json"])
def test_published_lists(twelve, tmp_path, name):
    rows = [(run, "test" if run < "r03" else "train") for run in twelve.run_names]
    result = split(twelve, SplitRequest(source=published(tmp_path, name, rows)))
    assert (result.way, result.seed) == ("list", None)
    assert read_splits(twelve) == {part: [r for r, p in rows if p == part] for part in ("train", "test")}
    assert list(read_splits(twelve)) == ["train", "test"]
    typo = [("r0O", part) if run == "r00" else (run, part) for run, part in rows]
    with pytest.raises(NotFoundError, match="lists run r0O, which") as caught:
        split(twelve, SplitRequest(source=published(tmp_path, name, typo)), overwrite=True)
    assert "r00" in caught.value.hint
    with pytest.raises(NotFoundError, match="lacks 2 runs: r00, r01"):
        split(twelve, SplitRequest(source=published(tmp_path, name, rows[2:])), overwrite=True)
    mixed = SplitRequest(source=published(tmp_path, name, [*rows[2:], ("elsewhere", "val")]), partial=True)
    result = split(twelve, mixed, overwrite=True)
    assert result.unassigned == ["r00", "r01"]
    assert read_splits(twelve)["val"] == []
    nothing = published(tmp_path, name, [("elsewhere", "val")])
    with pytest.raises(NotFoundError, match="lists run elsewhere"):
        split(twelve, SplitRequest(source=nothing, partial=True), overwrite=True)


def test_runs_are_found_by_portal_id(twelve, tmp_path):
    fetched(twelve, dict.fromkeys(twelve.run_names, 1))
    (tmp_path / "metadata.json").write_text(json.dumps(DOCUMENT))
    rows = "".join(f"{1000 + n},{1000 + n},{'train' if n else 'test'}\n" for n in range(12))
    (tmp_path / "runs.csv").write_text("name,portal_run_id,split\n" + rows)
    split(twelve, SplitRequest(source=tmp_path / "metadata.json"))
    assert read_splits(twelve)["test"] == ["r00"]


def test_a_croissant_whose_table_is_another(twelve, tmp_path):
    source = published(tmp_path, "metadata.json", [(run, "train") for run in twelve.run_names])
    entry = {**DOCUMENT["distribution"][0], "sha256": "0" * 64}
    source.write_text(json.dumps({**DOCUMENT, "distribution": [entry]}))
    with pytest.raises(FormatError, match="sha256 differs"):
        split(twelve, SplitRequest(source=source))
    source.write_text(json.dumps({**DOCUMENT, "distribution": []}))
    with pytest.raises(NotFoundError, match="no table runs.csv"):
        split(twelve, SplitRequest(source=source))


def test_leaks_of_published_lists(twelve, metadata, tmp_path):
    source = published(tmp_path, "list.csv", [(run, "test" if run < "r02" else "train") for run in twelve.run_names])
    with pytest.raises(PopsicleError, match=r"leaks: group 'g0' \(by grid\) is in train \(r02\), test \(r00, r01\)"):
        split(twelve, SplitRequest(source=source, metadata=metadata, group_by=("grid",)))
    assert read_splits(twelve) == {}
    result = split(twelve, SplitRequest(source=source, metadata=metadata))
    assert "g0" in result.warnings[0]
    assert result.group_by == []
    sound = published(tmp_path, "list.csv", [(run, "test" if run < "r03" else "train") for run in twelve.run_names])
    result = split(twelve, SplitRequest(source=sound, metadata=metadata), overwrite=True)
    assert (result.group_by, result.warnings) == (["grid"], [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column run"),
        ("run;part\nr00;train\n", "no column split"),
        ("run,split\nr00,train\nr00,test\n", "lists run r00 twice"),
        ("run,split\nr00,train,oops\n", "row 1"),
        ("run,split\nr00\n", "row 1"),
        ("run,split\nr00,\n", "puts no run"),
        ("run,split,run\nr00,train,r00\n", "same name"),
    ],
)
def test_broken_lists(twelve, tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(FormatError, match=words):
        split(twelve, SplitRequest(source=tmp_path / "list.csv"))


@pytest.mark.parametrize("text", ["{", "[]", '{"train": "r00"}', '{"train": [1]}', '{"train": ["r00", "r00"]}'])
def test_broken_json_lists(twelve, tmp_path, text):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(FormatError):
        split(twelve, SplitRequest(source=tmp_path / "list.json"))


def test_broken_metadata(twelve, tmp_path, caplog):
    path = tmp_path / "runs.csv"
    for text, words in (
        ("name,grid\nr00,1\n", "no column run"),
        ("run,grid\nr00,1\nr00,2\n", "twice"),
        ("run,grid\nx,1\n", "names no run"),
    ):
        path.write_text(text)
        with pytest.raises(PopsicleError, match=words):
            split(twelve, SplitRequest(metadata=path))
    path.write_bytes(b"run,grid\n\xff\xfe,1\n")
    with pytest.raises(FormatError, match="UTF-8"):
        split(twelve, SplitRequest(metadata=path))
    path.write_text("run,grid\n" + "".join(f"{run},{'' if run == 'r05' else 1}\n" for run in twelve.run_names))
    with pytest.raises(NotFoundError, match="no grid is known of 1 run: r05"):
        split(twelve, SplitRequest(metadata=path))
    path.write_text("run,day\nr00,1\nstranger,2\n")
    assert known_of_runs(twelve, path) == {"day": {"r00": "1"}}
    with pytest.raises(NotFoundError, match="no 'dya'") as caught:
        split(twelve, SplitRequest(metadata=path, group_by=("dya",)))
    assert caught.value.hint == "did you mean day?"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--folds", 3, "--counts", "a=12"),
        ("--task", "yeast", "--fractions", "a=1"),
        ("--fractions", "train=0.5,test=0.6"),
        ("--fractions", "train=0.5,train=0.5"),
        ("--fractions", "train=half"),
        ("--fractions", "tr ain=1"),
        ("--counts", "train=1.5,test=3"),
        ("--counts", "train=-1,test=13"),
        ("--folds", 1),
        ("--partial",),
        ("--group-by", "none", "--group-by", "dataset"),
        ("--group-by", "regex:r"),
        ("--group-by", "regex:("),
        ("--seed", -1),
        ("--reference", "a:b/c?multilabel=true", "--reference", "d:e/f?multilabel=true"),
        ("--reference", "a:b/c?instance=true"),
    ],
)
def test_wrong_usage(popsicle, twelve, arguments):
    assert "Error" in popsicle("split", "-c", twelve.config, *arguments, code=2).stderr
    assert read_splits(twelve) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--folds", 13), "12 runs can't fill 13 splits"),
        (("--counts", "train=3,test=4"), "7 in all"),
        (("--group-by", "grid"), "no 'grid' is known"),
        (("--reference", "*:trut/0"), "no reference picks match"),
        (("--reference", "cells:a/b?multilabel=true"), "no segmentation matches"),
        (("--task", "yeats"), "no task 'yeats'"),
    ],
)
def test_what_cannot_be(popsicle, twelve, arguments, words):
    assert words in popsicle("split", "-c", twelve.config, *arguments, code=1).stderr


def test_too_few_groups(twelve, metadata):
    with pytest.raises(PopsicleError, match="4 groups by grid can't fill 5 splits"):
        split(twelve, SplitRequest(folds=5, metadata=metadata))


def test_two_ways_at_once_in_python(twelve):
    with pytest.raises(UsageError, match="counts or folds"):
        split(twelve, SplitRequest(folds=3, counts={"a": 12}))


def test_a_run_that_cannot_be_read(twelve):
    path = next((twelve.folder / "ExperimentRuns" / "r03" / "Picks").glob("*.json"))
    path.write_text("{")
    with pytest.raises(PopsicleError, match="run r03 can't be counted"):
        split(open_project(twelve.config), SplitRequest())


def test_thirds_are_fractions(twelve):
    result = split(twelve, SplitRequest(fractions={"a": 0.333, "b": 0.333, "c": 0.333}))
    assert [len(part.runs) for part in result.splits.values()] == [4, 4, 4]
    result = split(twelve, SplitRequest(fractions={"a": 1, "b": 0}), overwrite=True)
    assert [len(part.runs) for part in result.splits.values()] == [12, 0]


def test_groups_come_back_and_broken_ones_are_named(twelve):
    groups = Groups(by=("grid",), groups={"r01": "b", "r00": "a"})
    write_groups(twelve, groups)
    assert read_groups(twelve) == groups
    (twelve.sidecar / "groups.json").write_text('{"by": "grid"}')
    with pytest.raises(FormatError, match="groups.json can't be read"):
        read_groups(twelve)


def test_several_splits_with_commas(twelve):
    write_splits(twelve, {"fold-1": ["r00", "r01"], "fold-2": ["r02"], "fold-3": ["r01", "r03"]})
    assert runs(twelve, "fold-1,fold-3") == ["r00", "r01", "r03"]
    assert runs(twelve, "fold-1,fold-2", ["r02"]) == ["r02"]
    with pytest.raises(NotFoundError, match="no split 'fold-4'"):
        runs(twelve, "fold-1,fold-4")
