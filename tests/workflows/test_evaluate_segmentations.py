import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from conftest import SHAPE, SPACING, TASK, make_project

from copick_tools.data import read
from copick_tools.data.project import Project, open_project
from copick_tools.data.uris import SegmentationUri
from copick_tools.data.write import write_segmentation
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.metrics.surface import surface_counts, surface_dice
from copick_tools.recipes.load import load_task
from copick_tools.recipes.results import SemanticResult
from copick_tools.recipes.task import Task
from copick_tools.workflows.evaluate_segmentations import SegmentationQuestion, evaluate_segmentations
from copick_tools.workflows.scoring import write_scores

TRUTH = SegmentationUri("truth", "truth", "0", None, "multilabel")
GUESS = SegmentationUri("guess", "unet", "1", SPACING, "multilabel")
BINARY = SegmentationUri("ribosome", "unet", "1", SPACING, "binary")
RUNS = ("TS_1", "TS_2", "TS_3")


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    path = tmp_path_factory.mktemp("task") / "toy.yaml"
    path.write_text(TASK)
    return load_task(str(path))


@pytest.fixture
def project(shared_project, tmp_path) -> Project:
    """A copy to write into, quicker than a new one."""
    return open_project(shutil.copytree(shared_project.folder, tmp_path / "project"))


def truth(project, run):
    return read.read_segmentation(project, run, TRUTH).numpy()


def guess(project, change, runs=RUNS, uri=GUESS):
    """Write a prediction per run, made from the reference. Returns both by run."""
    made = {}
    for run in runs:
        reference = truth(project, run)
        made[run] = reference, change(reference.copy())
        write_segmentation(project, run, uri, made[run][1])
    return made


def ask(project, runs=RUNS, **changed):
    question = SegmentationQuestion(**{"prediction": GUESS, "reference": TRUTH, **changed})
    result = evaluate_segmentations(project, runs, question)
    assert SemanticResult.model_validate_json(result.model_dump_json()) == result
    assert "NaN" not in result.model_dump_json()
    return result


def plain_dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_a_perfect_prediction_scores_one(shared_project):
    result = ask(shared_project, prediction=TRUTH)
    assert result.score == 1
    assert {name: (o.dice, o.iou, o.runs) for name, o in result.objects.items()} == {
        "ribosome": (1, 1, 3),
        "apo-ferritin": (1, 1, 2),
    }
    assert result.by_run["TS_3"].objects["apo-ferritin"].dice is None
    assert result.by_run["TS_3"].score == 1
    assert result.objects["ribosome"].surface_dice is None
    assert result.tolerance is None
    assert result.warnings == ["no intervals from 3 runs: 5 are the least"]
    assert (result.runs, result.run_names, result.input) == (3, list(RUNS), [str(TRUTH)])


def test_numbers_of_a_shifted_prediction_are_those_of_plain_numpy(project):
    made = guess(project, lambda labels: np.roll(labels, 2, axis=2))
    result = ask(project, surface=("ribosome",), tolerance=10.0)
    for label, name in ((1, "ribosome"), (2, "apo-ferritin")):
        dices = [plain_dice(a == label, b == label) for a, b in made.values() if (a == label).any()]
        assert result.objects[name].dice == pytest.approx(np.mean(dices))
        assert result.objects[name].dice_sd == pytest.approx(np.std(dices))
        assert result.objects[name].iou == pytest.approx(np.mean([d / (2 - d) for d in dices]))
    assert result.score == pytest.approx(np.mean([o.dice for o in result.objects.values()]))
    surfaces = [surface_dice(surface_counts(a == 1, b == 1, SPACING, 10.0)) for a, b in made.values()]
    assert result.objects["ribosome"].surface_dice == pytest.approx(np.mean(surfaces))
    assert 0 < result.objects["ribosome"].surface_dice < 1
    assert result.objects["apo-ferritin"].surface_dice is None
    assert result.tolerance == 10
    one = result.by_run["TS_2"].objects["ribosome"]
    reference, prediction = made["TS_2"]
    assert one.both == ((reference == 1) & (prediction == 1)).sum()
    assert (one.reference, one.prediction) == ((reference == 1).sum(), (prediction == 1).sum())


def test_blocks_change_nothing(project, monkeypatch):
    guess(project, lambda labels: np.roll(labels, 2, axis=2))
    wanted = {"surface": ("ribosome",), "centerline": ("ribosome", "apo-ferritin")}
    whole = ask(project, **wanted)
    import copick_tools.volumes.blocks as module

    monkeypatch.setattr(module.blocks, "__defaults__", (0, 16))
    assert ask(project, **wanted) == whole
    assert whole.objects["apo-ferritin"].centerline_dice < 1


def test_absent_objects(project):
    def no_ferritin_but_in_the_last(labels):
        labels[labels == 2] = 0
        if not (labels == 2).any():
            labels[0, 0, :5] = 2
        return labels

    made = guess(project, no_ferritin_but_in_the_last)
    assert not (made["TS_3"][0] == 2).any()
    assert ask(project).by_run["TS_3"].objects["apo-ferritin"].dice == 0
    guess(project, lambda labels: np.where(labels == 2, 0, labels))
    assert ask(project).objects["apo-ferritin"].runs == 2
    ones = ask(project, absent="one", surface=("apo-ferritin",), centerline=("apo-ferritin",)).objects["apo-ferritin"]
    assert (ones.runs, ones.dice, ones.iou) == (3, pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (ones.surface_dice, ones.centerline_dice) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize("line", ["filament", "network"])
def test_a_task_names_the_objects_and_their_shapes(project, task, line):
    guess(project, lambda labels: np.where(labels == 2, 0, labels), runs=["TS_3"])
    result = ask(project, ["TS_3"], task=task, split="test")
    assert (result.task, result.split, result.score) == ("toy", "test", 1)
    assert result.objects["apo-ferritin"].dice is None
    assert "apo-ferritin is nowhere in the reference" in result.warnings
    shapes = {"ribosome": "membrane", "apo-ferritin": line}
    shaped = task.model_copy(
        update={"objects": tuple(o.model_copy(update={"shape": shapes[o.name]}) for o in task.objects)}
    )
    result = ask(project, ["TS_1"], prediction=TRUTH, task=shaped)
    assert result.objects["ribosome"].surface_dice == result.objects["apo-ferritin"].centerline_dice == 1
    assert result.objects["apo-ferritin"].surface_dice is None
    assert result.tolerance == 2 * SPACING


def test_an_object_that_occurs_nowhere_is_left_out_without_a_task(shared_project):
    assert list(ask(shared_project, ["TS_3"], prediction=TRUTH).objects) == ["ribosome"]


def test_missing_predictions(project):
    guess(project, lambda labels: labels, runs=["TS_1", "TS_2"])
    with pytest.raises(PopsicleError, match="1 of 3 runs have no prediction .*: TS_3"):
        ask(project)
    result = ask(project, missing="empty")
    assert result.by_run["TS_3"].objects["ribosome"].dice == 0
    assert result.objects["ribosome"].dice == pytest.approx(2 / 3)
    assert result.warnings[0] == "1 runs have no prediction and count as empty: TS_3"
    with pytest.raises(NotFoundError, match="no segmentation gess"):
        ask(project, prediction=replace(GUESS, name="gess"), missing="empty")


def test_a_missing_reference_is_not_an_empty_one(project):
    guess(project, lambda labels: labels)
    guess(project, lambda labels: labels, runs=["TS_2"], uri=replace(GUESS, user="hand"))
    with pytest.raises(NotFoundError, match="2 of 3 runs have no reference .*: TS_1, TS_3"):
        ask(project, reference=replace(GUESS, user="hand"), missing="empty")
    with pytest.raises(NotFoundError, match="no segmentation"):
        ask(project, reference=replace(GUESS, user="nobody"))


def test_other_grids_are_errors_that_name_both(project):
    fine = replace(GUESS, voxel_spacing=5.0)
    for run in RUNS:
        double = truth(project, run).repeat(2, 0).repeat(2, 1).repeat(2, 2)
        write_segmentation(project, run, fine, double)
    with pytest.raises(PopsicleError, match=r"TS_1: .*\(24, 48, 48\) at 10 A .*\(48, 96, 96\) at 5 A") as error:
        ask(project, prediction=fine)
    assert "--resample" in error.value.hint
    result = ask(project, prediction=fine, resample=True, surface=("ribosome",))
    assert (result.score, result.resampled, result.objects["ribosome"].surface_dice) == (1, True, 1)
    back = ask(project, prediction=TRUTH, reference=fine, resample=True)
    assert (back.score, back.resampled) == (1, True)
    assert not ask(project, prediction=TRUTH, resample=True).resampled


def test_same_shape_at_another_spacing_is_an_error_even_when_resampled(project):
    wide = replace(GUESS, voxel_spacing=14.0)
    guess(project, lambda labels: labels, uri=wide)
    with pytest.raises(PopsicleError, match="at 10 A .* at 14 A"):
        ask(project, prediction=wide)
    with pytest.raises(PopsicleError, match="at 10 A .* at 14 A") as error:
        ask(project, prediction=wide, resample=True)
    assert "extents" in error.value.hint


def test_a_plane_more_or_less_may_be_resampled(project):
    guess(project, lambda labels: labels[:-1])
    with pytest.raises(PopsicleError, match=r"\(23, 48, 48\)"):
        ask(project)
    assert ask(project, resample=True).score == pytest.approx(1, abs=0.02)


def test_voxels_that_nobody_annotated_are_left_out_everywhere(project):
    hidden = (slice(None), slice(20, 48), slice(None))
    partly = SegmentationUri("partly", "hand", "0", SPACING, "multilabel")

    def hide(labels):
        labels[hidden] = 255
        return labels

    def spoil(labels):
        labels[hidden] = 2
        return labels

    made = guess(project, hide, uri=partly)
    guess(project, spoil)
    result = ask(project, reference=partly, surface=("ribosome",), centerline=("ribosome",))
    for run, (reference, _) in made.items():
        assert result.by_run[run].score in (1, None)
        assert result.by_run[run].objects["ribosome"].reference == (reference[:, :20] == 1).sum()
    assert result.objects["ribosome"].surface_dice == result.objects["ribosome"].centerline_dice == 1
    assert "58.3% of the voxels aren't annotated (label 255) and left out" in result.warnings


def test_labels_that_no_object_has_are_warned_of(project):
    def stray(labels):
        labels[0, 0, 0] = 77
        labels[0, 0, 1] = 255
        return labels

    guess(project, stray)
    result = ask(project)
    assert "label 77 of the prediction names no object; it is in 3 runs: TS_1, TS_2, TS_3" in result.warnings
    assert any("label 255 of the prediction" in warning for warning in result.warnings)
    result = ask(project, ["TS_2"], prediction=TRUTH, reference=GUESS)
    assert "label 77 of the reference names no object; it is in 1 runs: TS_2" in result.warnings
    assert not any("label 255 of" in warning for warning in result.warnings)


def test_binary_segmentations_hold_the_object_they_are_named_after(project, task):
    guess(project, lambda labels: labels == 1, uri=BINARY)
    hand = replace(BINARY, user="hand")
    guess(project, lambda labels: labels == 1, uri=hand)
    for question in ({"reference": hand}, {}, {"task": task}, {"reference": BINARY, "prediction": TRUTH}):
        result = ask(project, **{"prediction": BINARY, **question})
        assert {name: o.dice for name, o in result.objects.items()} == {"ribosome": 1}
    result = ask(project, prediction=BINARY, task=task)
    assert "only ribosome scored: this isn't the official number of task toy" in result.warnings
    cell = replace(BINARY, name="cell")
    guess(project, lambda labels: 200 * (labels > 0), uri=hand)
    for store in list(project.folder.glob("ExperimentRuns/*/Segmentations/*_hand_*ribosome.zarr")):
        store.rename(store.with_name(store.name.replace("hand", "unet").replace("ribosome", "cell")))
    project = open_project(project.config)
    assert list(ask(project, prediction=cell, reference=cell).objects) == ["cell"]
    with pytest.raises(NotFoundError, match="no object 'cell'"):
        ask(project, prediction=cell)


def test_a_binary_reference_of_0_and_255_says_so(project):
    uri = replace(BINARY, user="hand")
    guess(project, lambda labels: 255 * (labels == 1), uri=uri)
    guess(project, lambda labels: labels == 1, uri=BINARY)
    with pytest.raises(FormatError, match="255 means not annotated"):
        ask(project, reference=uri, prediction=BINARY)
    assert ask(project, prediction=uri, reference=BINARY).score == 1


def test_wrong_questions(project):
    guess(project, lambda labels: labels)
    with pytest.raises(NotFoundError, match="no object 'ribosom' is scored"):
        ask(project, surface=("ribosom",))
    with pytest.raises(UsageError, match="tolerance"):
        ask(project, surface=("ribosome",), tolerance=-1.0)
    with pytest.raises(UsageError, match="no runs"):
        ask(project, [])
    instances = replace(BINARY, kind="instance")
    guess(project, lambda labels: labels, uri=instances)
    with pytest.raises(UsageError, match="instances"):
        ask(project, prediction=instances)
    guess(project, lambda labels: labels, uri=replace(GUESS, session="2"))
    with pytest.raises(PopsicleError, match="several match"):
        ask(project, prediction=replace(GUESS, session="*"))
    empty = replace(GUESS, name="empty")
    guess(project, np.zeros_like, uri=empty)
    with pytest.raises(NotFoundError, match="neither side holds any object"):
        ask(project, prediction=empty, reference=empty)


def test_intervals_and_the_baseline(tmp_path):
    project = make_project(tmp_path, runs=6)
    runs = project.run_names
    shifted = replace(GUESS, session="2")
    guess(project, lambda labels: np.roll(labels, 1, axis=2), runs)
    guess(project, lambda labels: np.roll(labels, 3, axis=2), runs, shifted)
    result = ask(project, runs, baseline=shifted, surface=("ribosome",))
    assert "the intervals rest on 6 runs: too narrow, and p too small, below 20" in result.warnings
    low, high = result.ci95
    assert low < result.score < high
    ribosome = result.objects["ribosome"]
    assert set(ribosome.ci95) == {"dice", "iou", "surface_dice"}
    assert ribosome.ci95["dice"][0] <= ribosome.dice <= ribosome.ci95["dice"][1]
    other = ask(project, runs, prediction=shifted)
    assert result.baseline.input == [str(shifted)]
    assert result.baseline.score == other.score
    assert result.baseline.difference.difference == pytest.approx(result.score - other.score)
    assert result.baseline.difference.ci95[0] > 0
    assert result.baseline.difference.p < 0.01
    ferritin = result.baseline.objects["apo-ferritin"]
    assert ferritin.difference == pytest.approx(
        result.objects["apo-ferritin"].dice - other.objects["apo-ferritin"].dice
    )
    few = ask(project, runs[:4], baseline=shifted)
    assert (few.ci95, few.objects["ribosome"].ci95, few.baseline.difference.p) == (None, {}, None)
    assert few.baseline.difference.difference > 0
    assert "apo-ferritin is in 4 of 5 runs: no interval" in ask(project, runs[:5]).warnings


def test_tolerance_where_runs_differ_in_spacing(project):
    for run, spacing in (("TS_1", 10.0), ("TS_2", 20.0)):
        uri = SegmentationUri("cells", "hand", "0", spacing, "multilabel")
        write_segmentation(project, run, uri, truth(project, run))
    cells = SegmentationUri("cells", "hand", "0", None, "multilabel")
    result = ask(project, ["TS_1", "TS_2"], prediction=cells, reference=cells, surface=("ribosome",))
    assert (result.score, result.tolerance) == (1, 40)
    assert any("two voxels of the largest, 40 A" in warning for warning in result.warnings)


def test_progress_and_file(shared_project, tmp_path):
    steps = []
    question = SegmentationQuestion(TRUTH, TRUTH)
    result = evaluate_segmentations(shared_project, RUNS, question, lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    write_scores(result, tmp_path / "made")
    document = json.loads((tmp_path / "made" / "scores.json").read_text())
    assert (document["kind"], document["score"], SHAPE) == ("semantic", 1, (24, 48, 48))


def test_probabilities_are_no_labels_and_many_unknown_labels_are_one_line(project):
    guess(project, lambda labels: labels)
    store = read.read_segmentation(project, "TS_1", GUESS).entry.zarr()  # copick writes none, other tools do
    zarr.open(store, mode="r+").create_dataset("0", data=truth(project, "TS_1") * np.float32(0.3), overwrite=True)
    with pytest.raises(FormatError, match=r"run TS_1: .* holds 0\.[36], which is no label"):
        ask(project)
    other = replace(GUESS, name="many")
    guess(project, lambda labels: np.arange(labels.size).reshape(labels.shape) % 1000, uri=other)
    (line,) = [text for text in ask(project, prediction=other).warnings if "of the prediction name no object" in text]
    assert line.startswith("997 labels")
