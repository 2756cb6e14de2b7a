import functools
import json
from pathlib import Path

import numpy as np
import pytest
from metrics.instance_oracle import numbers as oracle
from skimage.metrics import adapted_rand_error, variation_of_information

from copick_tools.data import read
from copick_tools.data.project import Project, ProjectObject, create_project
from copick_tools.data.uris import segmentation_uri
from copick_tools.data.write import write_segmentation
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.metrics.centerline import centerline_dice
from copick_tools.metrics.dice import dice, iou, overlap_counts
from copick_tools.recipes.instance_results import InstancesResult
from copick_tools.recipes.load import load_task
from copick_tools.volumes.blocks import blocks
from copick_tools.workflows import instance_overlap
from copick_tools.workflows.evaluate_instances import InstanceQuestion, evaluate_instances

VECTORS = Path(__file__).parents[1] / "data" / "instances"
EXPECTED = json.loads((VECTORS / "expected.json").read_text())["vectors"]
KEYS = {
    "n_true": "n_reference",
    "n_pred": "n_prediction",
    "tp": "tp",
    "mSA": "mean_segmentation_accuracy",
    "AP50": "ap50",
    "error_rate": "error_rate",
    "mean_matched_iou": "mean_matched_iou",
    "panoptic_quality": "panoptic_quality",
}
OBJECTS = [
    ProjectObject(name, label, None, False, (0, 0, 0, 255)) for label, name in enumerate(("mito", "er", "vesicle"), 1)
]
TASK = """
name: cells
title: organelles
kind: segmentation
description: for tests
source: made here
voxel_spacing: 10.0
tomo_types: [wbp]
reference: "cells:truth/0@10.0?multilabel=true"
splits: {test: {role: scores}}
objects:
  - {name: mito, label: 1, color: [0, 0, 0, 255], is_particle: false}
  - {name: er, label: 2, color: [0, 0, 0, 255], is_particle: false, shape: network}
  - {name: vesicle, label: 3, color: [0, 0, 0, 255], is_particle: false, target: false}
metric: {name: dice}
"""
SHAPE = (6, 20, 24)


@pytest.fixture
def project(tmp_path) -> Project:
    return create_project(tmp_path / "project", "cells", OBJECTS, "for tests")


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "cells.yaml"
    path.write_text(TASK)
    return load_task(str(path))


def store(project, run, uri, volume):
    volume = np.asarray(volume)
    write_segmentation(project, run, segmentation_uri(uri, output=True), volume[None] if volume.ndim == 2 else volume)


def boxes(seed, count=9, shape=SHAPE, top=70_000):
    """Boxes with random ids."""
    rng = np.random.default_rng(seed)
    volume = np.zeros(shape, np.uint32)
    for number in rng.permutation(top)[:count] + 1:
        low = [int(rng.integers(0, max(1, n - 2))) for n in shape]
        volume[tuple(slice(a, a + int(rng.integers(2, 8))) for a in low)] = number
    return volume


def moved(volume, by=1):
    return np.roll(volume, by, axis=-1)


def ask(project, prediction="mito:unet/1@10?instance=true", reference="mito:truth/0@10?instance=true", **more):
    runs = more.pop("runs", project.run_names)
    more |= {"baseline": segmentation_uri(more["baseline"])} if "baseline" in more else {}
    question = InstanceQuestion(segmentation_uri(prediction), segmentation_uri(reference), **more)
    result = evaluate_instances(project, runs, question)
    text = result.model_dump_json()
    assert InstancesResult.model_validate_json(text) == result
    assert "NaN" not in text
    return result


def pair(project, run, reference, prediction, name="mito"):
    store(project, run, f"{name}:truth/0@10?instance=true", reference)
    store(project, run, f"{name}:unet/1@10?instance=true", prediction)


def panoptic(project, run, reference, prediction, name="cells"):
    """Each side: labels, ids."""
    for user, side in (("truth/0", reference), ("unet/1", prediction)):
        store(project, run, f"{name}:{user}@10?panoptic=true", np.stack(side))


def agrees(entry, expected):
    for key, name in KEYS.items():
        found = getattr(entry, name) if hasattr(entry, name) else entry[name]
        assert found == (None if expected[key] is None else pytest.approx(expected[key], abs=1e-12)), name


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> Project:
    """A run for each vector."""
    project = create_project(tmp_path_factory.mktemp("vectors"), "vectors", OBJECTS, "for tests")
    for name in EXPECTED:
        with np.load(VECTORS / f"{name}.npz") as arrays:
            pair(project, name.replace("_", "-"), arrays["y_true"], arrays["y_pred"])
    return project


SIDES = ("-i", "mito:unet/1?instance=true", "--reference", "mito:truth/0@10?instance=true")


class TestVectors:
    @pytest.mark.parametrize("name", EXPECTED)
    def test_alone(self, vectors, popsicle, name):
        run = name.replace("_", "-")
        document = popsicle.json("evaluate", "-c", vectors.config, *SIDES, "-r", run)
        assert document["kind"] == "instances"
        agrees(document["objects"]["mito"], EXPECTED[name])
        agrees(document["by_run"][run]["objects"]["mito"], EXPECTED[name])
        agrees({**document["objects"]["mito"], **document["objects"]["mito"]["pooled"]}, EXPECTED[name])
        assert document["score"] == document["objects"]["mito"]["mean_segmentation_accuracy"]

    def test_together(self, vectors):
        result = ask(vectors)
        entry = result.objects["mito"]
        for name, expected in EXPECTED.items():
            agrees(result.by_run[name.replace("_", "-")].objects["mito"], expected)
        for key, name in KEYS.items():
            values = [expected[key] for expected in EXPECTED.values()]
            whole = np.sum(values, axis=0).tolist() if key in ("n_true", "n_pred", "tp") else np.mean(values)
            assert getattr(entry, name) == pytest.approx(whole, abs=1e-12)
        assert entry.ci95["error_rate"][0] < entry.error_rate < entry.ci95["error_rate"][1]
        assert result.ci95 == entry.ci95["mean_segmentation_accuracy"]
        assert (result.error_rate, result.error_rate_ci95) == (entry.error_rate, entry.ci95["error_rate"])
        assert np.mean(entry.accuracy) == pytest.approx(entry.mean_segmentation_accuracy)

    def test_pooled_numbers_are_those_of_all_objects_together(self, vectors):
        entry = ask(vectors).objects["mito"]
        shared, (n, m) = np.array(entry.tp), (entry.n_reference, entry.n_prediction)
        assert entry.pooled.mean_segmentation_accuracy == pytest.approx((shared / (n + m - shared)).mean())
        assert entry.pooled.error_rate == pytest.approx((n + m - 2 * shared[0]) / n)
        assert (entry.fp, entry.fn) == ((m - shared).tolist(), (n - shared).tolist())
        low, high = entry.pooled.ci95["panoptic_quality"]
        assert low <= entry.pooled.panoptic_quality <= high

    def test_blocks_change_nothing(self, vectors, monkeypatch):
        asked = {"network": ("mito",), "runs": ["17-random-edits-3d"]}
        whole = ask(vectors, **asked)
        monkeypatch.setattr(instance_overlap, "blocks", functools.partial(blocks, size=21))
        assert ask(vectors, **asked) == whole

    def test_tables(self, vectors, popsicle, tmp_path):
        shown = popsicle("evaluate", "-c", vectors.config, *SIDES, "--out", tmp_path / "out", "--network", "mito")
        lines = shown.stdout.splitlines()
        assert lines[0].split()[:4] == ["object", "runs", "objects", "predicted"]
        assert lines[1].split()[:4] == ["mito", "7", "79", "57"]
        assert lines[3].startswith("network  VOI split  VOI merge  Rand error  centre-line Dice")
        assert "mean segmentation accuracy, 7 runs" in shown.stdout
        written = InstancesResult.model_validate_json((tmp_path / "out" / "scores.json").read_text())
        assert written.options == ["--network", "mito"]


class TestEdges:
    def test_both_empty(self, project):
        pair(project, "TS_1", np.zeros(SHAPE, int), np.zeros(SHAPE, int))
        result = ask(project)
        entry = result.objects["mito"]
        assert (result.score, result.error_rate, entry.mean_segmentation_accuracy, entry.dice) == (None,) * 4
        assert entry.panoptic_quality is entry.pooled.ap50 is result.by_run["TS_1"].score is None
        assert (entry.runs, entry.absent_runs, entry.unreferenced_runs) == (0, 1, 0)
        assert entry.accuracy == [None] * 10
        assert any("mito has no object in the reference" in warning for warning in result.warnings)

    def test_such_runs_are_left_out_and_counted(self, project):
        volume = boxes(0)
        pair(project, "TS_1", volume, moved(volume))
        pair(project, "TS_2", 0 * volume, 0 * volume)
        pair(project, "TS_3", 0 * volume, volume)
        result = ask(project)
        entry, first = result.objects["mito"], result.by_run["TS_1"].objects["mito"]
        assert (entry.runs, entry.absent_runs, entry.unreferenced_runs) == (2, 1, 1)
        assert entry.mean_segmentation_accuracy == pytest.approx(first.mean_segmentation_accuracy / 2)
        assert entry.error_rate == pytest.approx(first.error_rate)
        assert result.error_rate == pytest.approx(first.error_rate)
        assert result.by_run["TS_3"].error_rate is None
        assert result.by_run["TS_3"].score == 0

    @pytest.mark.parametrize(
        "volume",
        [
            np.arange(1, 121).reshape(1, 10, 12) + 70_000,  # no background, objects of one voxel, ids of 32 bits
            np.ones((1, 1, 1), int),
            boxes(1, shape=(1, 30, 31)),
            boxes(2, shape=(40, 3, 3)),
            np.arange(70_000).reshape(7, 100, 100) + 1,
        ],
        ids=["no background", "one voxel", "slab", "column", "70,000 objects"],
    )
    def test_odd_volumes(self, project, volume):
        pair(project, "TS_1", volume, volume)
        entry = ask(project).objects["mito"]
        count = len(np.unique(volume[volume > 0]))
        assert (entry.n_reference, entry.n_prediction) == (count, count)
        assert (entry.mean_segmentation_accuracy, entry.error_rate, entry.panoptic_quality) == (1, 0, 1)

    @pytest.mark.parametrize("seed", range(4))
    def test_as_the_oracle(self, project, seed):
        reference, prediction = boxes(seed), np.where(boxes(seed + 9) > 0, boxes(seed + 9), moved(boxes(seed)))
        pair(project, "TS_1", reference, prediction)
        entry = ask(project).objects["mito"]
        agrees(entry, oracle(reference, prediction))
        counts = overlap_counts((reference > 0).astype(int), (prediction > 0).astype(int), np.array([1]))
        assert (entry.dice, entry.iou) == pytest.approx((dice(counts)[0], iou(counts)[0]))

    def test_a_missing_prediction(self, project):
        pair(project, "TS_1", boxes(0), boxes(0))
        store(project, "TS_2", "mito:truth/0@10?instance=true", boxes(1))
        with pytest.raises(PopsicleError, match="1 of 2 runs have no prediction mito:unet/1@10"):
            ask(project)
        result = ask(project, missing="empty")
        assert result.by_run["TS_2"].objects["mito"].error_rate == 1
        assert (result.empty_runs, result.options) == (1, ["--missing", "empty"])
        assert result.score == 0.5

    def test_a_missing_reference_is_no_empty_one(self, project):
        pair(project, "TS_1", boxes(0), boxes(0))
        store(project, "TS_2", "mito:unet/1@10?instance=true", boxes(1))
        with pytest.raises(NotFoundError, match="1 of 2 runs have no reference"):
            ask(project, missing="empty")

    def test_no_runs(self, project):
        with pytest.raises(UsageError, match="no runs to score"):
            ask(project, runs=[])

    def test_probabilities_are_no_ids(self, project):
        pair(project, "TS_1", boxes(0), boxes(0))
        stored = read.read_segmentation(project, "TS_1", segmentation_uri("mito:unet/1@10?instance=true"))
        stored.entry.from_numpy(np.full(SHAPE, 0.5, np.float32), dtype=np.dtype(np.float32))
        with pytest.raises(FormatError, match=r"mito:unet/1@10\?instance=true holds 0.5, which is no label"):
            ask(project)

    def test_negative_ids(self, project):
        pair(project, "TS_1", boxes(0), boxes(0))
        stored = read.read_segmentation(project, "TS_1", segmentation_uri("mito:unet/1@10?instance=true"))
        stored.entry.from_numpy(np.full(SHAPE, -1, np.int32), dtype=np.dtype(np.int32))
        with pytest.raises(FormatError, match="run TS_1: Expected ids from 0 up, but got -1"):
            ask(project)


@pytest.fixture(scope="module")
def six(tmp_path_factory) -> Project:
    """Six runs, and a prediction that is worse."""
    project = create_project(tmp_path_factory.mktemp("six"), "six", OBJECTS, "for tests")
    for number in range(6):
        pair(project, f"TS_{number}", boxes(number), moved(boxes(number), number % 3))
        store(project, f"TS_{number}", "mito:old/1@10?instance=true", moved(boxes(number), 2))
    return project


class TestManyRuns:
    def test_baseline(self, six):
        result = ask(six, baseline="mito:old/1?instance=true")
        other = ask(six, "mito:old/1?instance=true")
        ours = [row.score for row in result.by_run.values()]
        theirs = [row.score for row in other.by_run.values()]
        found = result.baseline
        assert found.score == other.score
        assert found.difference.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
        assert found.difference.ci95[0] <= found.difference.difference <= found.difference.ci95[1]
        assert 0 < found.difference.p <= 1
        assert found.objects["mito"] == found.difference
        assert result.options == ["--baseline", "mito:old/1?instance=true"]

    def test_intervals(self, six):
        entry = ask(six).objects["mito"]
        for key, (low, high) in entry.ci95.items():
            assert low <= getattr(entry, key) <= high, key
        assert {"mean_segmentation_accuracy", "ap50", "error_rate", "mean_matched_iou", "dice"} <= set(entry.ci95)
        assert ask(six) == ask(six, runs=six.run_names[::-1])

    def test_none_for_few_runs(self, six):
        result = ask(six, runs=["TS_0", "TS_1"])
        assert result.ci95 is result.error_rate_ci95 is None
        assert result.objects["mito"].ci95 == result.objects["mito"].pooled.ci95 == {}


def classes(seed):
    """Labels and ids of three objects, ids shared by them."""
    ids = boxes(seed, count=12, top=6)
    return np.where(ids > 0, 1 + (boxes(seed, count=12) % 3), 0), ids


def whole(labels, ids):
    """Ids where there is a label, and labels where there is an id."""
    return labels * (ids > 0), ids * (labels > 0)


class TestPanoptic:
    @pytest.fixture
    def runs(self, project):
        self.volumes = {}
        for number in range(3):
            reference, prediction = whole(*classes(number)), tuple(moved(side) for side in whole(*classes(number)))
            if number == 2:  # no er in the reference, no mito in the prediction
                reference = tuple(np.where(reference[0] == 2, 0, side) for side in reference)
                prediction = tuple(np.where(prediction[0] == 1, 0, side) for side in prediction)
            panoptic(project, f"TS_{number}", reference, prediction)
            self.volumes[f"TS_{number}"] = reference, prediction
        return project

    def ask(self, project, **more):
        return ask(project, "cells:unet/1?panoptic=true", "cells:truth/0?panoptic=true", **more)

    def test_objects_match_within_their_class(self, runs):
        result = self.ask(runs)
        for run, (reference, prediction) in self.volumes.items():
            for label, name in ((1, "mito"), (2, "er"), (3, "vesicle")):
                one, other = (np.where(side[0] == label, side[1], 0) for side in (reference, prediction))
                agrees(result.by_run[run].objects[name], oracle(one, other))
        for name, entry in result.objects.items():
            values = [row.objects[name].mean_segmentation_accuracy for row in result.by_run.values()]
            assert entry.mean_segmentation_accuracy == pytest.approx(np.mean([v for v in values if v is not None]))
        assert result.score == pytest.approx(
            np.mean([entry.mean_segmentation_accuracy for entry in result.objects.values()])
        )

    def test_the_error_rate_is_the_mean_over_the_classes_that_an_image_has(self, runs):
        result = self.ask(runs)
        rates = []
        for row in result.by_run.values():
            there = [entry.error_rate for entry in row.objects.values() if entry.n_reference]
            rates.append(np.mean(there))
            assert row.error_rate == pytest.approx(rates[-1])
        assert result.by_run["TS_2"].objects["er"].error_rate is None
        assert result.error_rate == pytest.approx(np.mean(rates))

    def test_another_class_is_no_match(self, project):
        ids = np.zeros(SHAPE, int)
        ids[:, 2:6, 2:6] = 4
        panoptic(project, "TS_1", (np.sign(ids), ids), (2 * np.sign(ids), ids))
        result = self.ask(project)
        found = {name: (e.tp[0], e.fp[0], e.fn[0]) for name, e in result.objects.items()}
        assert found == {"mito": (0, 0, 1), "er": (0, 1, 0)}

    def test_voxels_without_an_id_are_no_object(self, project):
        ids = np.zeros(SHAPE, int)
        ids[:, 2:6, 2:6] = 4
        labels = np.zeros(SHAPE, int)
        labels[:, 2:6, 2:10] = 1
        panoptic(project, "TS_1", (labels, ids), (labels, ids))
        result = self.ask(project)
        entry = result.by_run["TS_1"].objects["mito"]
        assert (entry.n_reference, entry.n_prediction, entry.both) == (1, 1, int(labels.sum()))
        assert (entry.mean_segmentation_accuracy, entry.dice) == (1, 1)
        assert any("50.0% of mito's voxels in the reference have no id" in warning for warning in result.warnings)

    def test_ids_without_a_label_are_told(self, project):
        ids = np.zeros(SHAPE, int)
        ids[:, 2:6, 2:6], ids[:, 10:14, 2:6] = 4, 5
        panoptic(project, "TS_1", (np.sign(ids), ids), (np.sign(ids), ids))
        stored = read.read_segmentation(project, "TS_1", segmentation_uri("cells:unet/1?panoptic=true"))
        import zarr

        zarr.open(stored.entry.zarr())["0"][:] = np.stack([ids == 4, ids]).astype(int)
        result = self.ask(project)
        assert (result.objects["mito"].n_prediction, result.objects["mito"].tp[0]) == (1, 1)
        told = "labels of the prediction that name no object: 0 (ids without a label); in 1 runs: TS_1"
        assert told in result.warnings

    def test_objects_that_share_a_label(self, tmp_path):
        twins = [ProjectObject(name, 1, None, False, (0, 0, 0, 255)) for name in ("mito", "er")]
        project = create_project(tmp_path / "twins", "cells", twins, "for tests")
        panoptic(project, "TS_1", *[(np.ones(SHAPE, int), np.ones(SHAPE, int))] * 2)
        with pytest.raises(FormatError, match="mito and er of .* both have label 1"):
            self.ask(project)

    def test_what_nobody_annotated_is_left_out(self, project):
        labels, ids = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
        labels[:, 2:6, 2:6] = ids[:, 2:6, 2:6] = 1
        worse = labels.copy(), ids.copy()
        for side in worse:
            side[:, 10:14, 2:6] = 2
        panoptic(project, "TS_1", (labels, ids), worse)
        assert self.ask(project).objects["er"].n_prediction == 1
        stored = read.read_segmentation(project, "TS_1", segmentation_uri("cells:truth/0?panoptic=true"))
        whole = stored.numpy()
        whole[0, :, 10:14] = 255
        import zarr

        zarr.open(stored.entry.zarr())["0"][:] = whole
        result = self.ask(project)
        assert list(result.objects) == ["mito"]
        assert "20.0% of the voxels aren't annotated (label 255) and left out" in result.warnings

    def test_a_task_names_the_objects_and_networks(self, runs, task):
        result = self.ask(runs, task=task)
        assert list(result.objects) == ["mito", "er"]
        assert result.objects["mito"].voi_split is result.objects["mito"].centerline_dice is None
        reference, prediction = self.volumes["TS_0"]
        one, other = (np.where(side[0] == 2, side[1], 0) for side in (reference, prediction))
        found = result.by_run["TS_0"].objects["er"]
        split, merge = variation_of_information(one, other, ignore_labels=(0,))
        expected = split, merge, adapted_rand_error(one, other)[0], centerline_dice(one > 0, other > 0)
        measured = found.voi_split, found.voi_merge, found.adapted_rand_error, found.centerline_dice
        assert measured == pytest.approx(expected)
        assert result.by_run["TS_2"].objects["er"].voi_split is None
        assert any("scored otherwise" in warning for warning in result.warnings)
        assert not any("name no object" in warning for warning in result.warnings)

    def test_networks_by_option(self, runs):
        result = self.ask(runs, network=("vesicle",))
        assert result.objects["er"].voi_merge is None
        assert result.objects["vesicle"].voi_merge is not None
        with pytest.raises(NotFoundError, match="no object 'vesicl' is scored"):
            self.ask(runs, network=("vesicl",))

    def test_beside_an_instance_segmentation(self, runs):
        for run, (_, prediction) in self.volumes.items():
            store(runs, run, "er:alone/1@10?instance=true", np.where(prediction[0] == 2, prediction[1], 0))
        both = self.ask(runs)
        for sides in (
            ("er:alone/1?instance=true", "cells:truth/0?panoptic=true"),
            ("*:alone/1?instance=true", "cells:truth/0?panoptic=true"),
        ):
            assert ask(runs, *sides).objects == {"er": both.objects["er"]}
        turned = ask(runs, "cells:truth/0?panoptic=true", "er:alone/1?instance=true").objects["er"]
        assert (turned.tp, turned.dice) == (both.objects["er"].tp, both.objects["er"].dice)

    def test_nothing_anywhere(self, project):
        nothing = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
        panoptic(project, "TS_1", nothing, nothing)
        result = self.ask(project)
        assert result.score is None
        assert {name: entry.absent_runs for name, entry in result.objects.items()} == {"mito": 1, "er": 1, "vesicle": 1}

    def test_labels_that_differ_from_the_tasks(self, runs, task, tmp_path):
        (tmp_path / "cells.yaml").write_text(TASK.replace("label: 2", "label: 7"))
        with pytest.raises(UsageError, match="object er has label 2"):
            self.ask(runs, task=load_task(str(tmp_path / "cells.yaml")))


class TestUris:
    def test_wildcards_name_an_object_each(self, project):
        for number, name in enumerate(("mito", "er")):
            pair(project, "TS_1", boxes(number), moved(boxes(number)), name)
        store(project, "TS_1", "vesicle:unet/1@10?instance=true", boxes(5))
        result = ask(project, "*:unet/1?instance=true", "*:truth/0?instance=true")
        assert result.objects == {
            name: ask(project, f"{name}:unet/1?instance=true", f"{name}:truth/0?instance=true").objects[name]
            for name in ("er", "mito")
        }
        assert any("vesicle of *:unet/1?instance=true isn't scored" in warning for warning in result.warnings)
        one = ask(project, "er:unet/1?instance=true", "*:truth/0?instance=true")
        assert list(one.objects) == ["er"]

    def test_objects_that_one_side_lacks(self, project, task):
        for name in ("mito", "er"):
            store(project, "TS_1", f"{name}:truth/0@10?instance=true", boxes(0))
        store(project, "TS_1", "mito:unet/1@10?instance=true", boxes(0))
        sides = "*:unet/1?instance=true", "*:truth/0?instance=true"
        result = ask(project, *sides)
        assert list(result.objects) == ["mito"]
        assert any("er of *:truth/0?instance=true isn't scored" in warning for warning in result.warnings)
        with pytest.raises(NotFoundError, match="no segmentation er:unet/1"):
            ask(project, *sides, task=task)
        result = ask(project, *sides, task=task, missing="empty")
        assert {name: entry.error_rate for name, entry in result.objects.items()} == {"er": 1, "mito": 0}
        store(project, "TS_1", "vesicle:odd/1@10?instance=true", boxes(0))
        with pytest.raises(NotFoundError, match="have no object in common"):
            ask(project, "*:odd/1?instance=true", sides[1])

    def test_wildcards_with_a_task(self, project, task):
        for number, name in enumerate(("mito", "vesicle")):
            pair(project, "TS_1", boxes(number), moved(boxes(number)), name)
        result = ask(project, "*:unet/1?instance=true", "*:truth/0?instance=true", task=task)
        assert list(result.objects) == ["mito"]
        assert sum("vesicle of" in warning for warning in result.warnings) == 2
        with pytest.raises(NotFoundError, match="no object 'vesicle' in task cells"):
            ask(project, "vesicle:unet/1?instance=true", "vesicle:truth/0?instance=true", task=task)

    def test_names_may_differ(self, project):
        store(project, "TS_1", "mito:truth/0@10?instance=true", boxes(0))
        store(project, "TS_1", "er:unet/1@10?instance=true", boxes(0))
        assert ask(project, "er:unet/1?instance=true").objects["mito"].error_rate == 0

    @pytest.mark.parametrize(
        ("sides", "words"),
        [
            (("mito:nobody/1?instance=true", "mito:truth/0?instance=true"), "no segmentation mito:nobody/1"),
            (("mito:unet/1?instance=true", "mito:nobody/0?instance=true"), "no segmentation mito:nobody/0"),
            (("*:unet/1?instance=true", "*:nobody/0?instance=true"), r"no segmentation \*:nobody/0"),
            (("er:unet/1?instance=true", "*:truth/0?instance=true"), "no er:truth/0"),
        ],
    )
    def test_what_is_not_there(self, project, sides, words):
        pair(project, "TS_1", boxes(0), boxes(0))
        with pytest.raises(NotFoundError, match=words):
            ask(project, *sides)

    def test_several(self, project):
        pair(project, "TS_1", boxes(0), boxes(0))
        store(project, "TS_1", "mito:unet/2@10?instance=true", boxes(0))
        with pytest.raises(PopsicleError, match="several match"):
            ask(project, "mito:unet/*?instance=true")

    def test_other_kinds(self, project):
        with pytest.raises(UsageError, match="names no instances"):
            ask(project, "mito:unet/1?multilabel=true", runs=["TS_1"])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((*SIDES[:2], "--reference", "mito:truth/0@10"), "mito:truth/0@10 names no instances, others do"),
            ((*SIDES, "--baseline", "*:old/1"), "*:old/1 names no instances, others do"),
            ((*SIDES, "-i", "er:unet/1?instance=true"), "one segmentation is scored against one"),
            ((*SIDES, "--absent", "one"), "--absent isn't for instances"),
            ((*SIDES, "--tolerance", "10"), "--tolerance isn't for instances"),
            ((*SIDES, "--centerline", "mito"), "--centerline isn't for instances"),
            ((*SIDES, "--rule", "kaggle"), "--rule isn't for instances"),
            (("-i", "*:u/1", "--reference", "*:t/0", "--network", "mito"), "--network isn't for picks"),
            (("-i", "a:u/1@9", "--reference", "a:t/0@9", "--network", "a"), "--network isn't for segmentations"),
            ((*SIDES[:2], "--task", "yeast"), "names no instances"),
        ],
    )
    def test_wrong_usage(self, vectors, popsicle, arguments, words):
        assert words in popsicle("evaluate", "-c", vectors.config, *arguments, code=2).stderr


class TestGrids:
    def test_other_grids_are_an_error(self, project):
        pair(project, "TS_1", boxes(0), boxes(0)[:, :, :-1])
        with pytest.raises(PopsicleError, match="run TS_1: mito:truth/0@10") as caught:
            ask(project)
        assert "--resample" in caught.value.hint
        with pytest.raises(PopsicleError, match="run TS_1") as caught:
            ask(project, "mito:unet/1@10?instance=true")

    def test_resampling_keeps_ids(self, project):
        coarse = boxes(0, shape=(3, 10, 12))
        fine = coarse.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
        store(project, "TS_1", "mito:truth/0@10?instance=true", fine)
        store(project, "TS_1", "mito:unet/1@20?instance=true", coarse)
        result = ask(project, "mito:unet/1?instance=true", resample=True)
        assert result.objects["mito"].tp == [len(np.unique(coarse)) - 1] * 10
        assert (result.resampled, result.options) == (True, ["--resample"])

    def test_resampling_panoptic_ones(self, project):
        labels, ids = whole(*classes(1))
        fine = [side.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2) for side in (labels, ids)]
        store(project, "TS_1", "cells:truth/0@10?panoptic=true", np.stack(fine))
        store(project, "TS_1", "cells:unet/1@20?panoptic=true", np.stack([labels, ids]))
        result = ask(project, "cells:unet/1?panoptic=true", "cells:truth/0?panoptic=true", resample=True)
        assert result.score == 1
        assert result.error_rate == 0
