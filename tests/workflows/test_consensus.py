import numpy as np
import pytest
import zarr

from copick_tools.data import read, slabs
from copick_tools.data.project import Project, ProjectObject, create_project
from copick_tools.data.uris import segmentation_uri
from copick_tools.data.write import write_segmentation
from copick_tools.errors import NotFoundError, PopsicleError, UsageError
from copick_tools.metrics.contingency import contingency
from copick_tools.metrics.instances import NUMBERS, instance_numbers, inter_annotator, match_instances
from copick_tools.recipes.instance_results import ConsensusResult
from copick_tools.volumes.blocks import blocks
from copick_tools.workflows import instance_overlap
from copick_tools.workflows.consensus import ConsensusQuestion, consensus

OBJECTS = [ProjectObject(name, label, None, False, (0, 0, 0, 255)) for label, name in enumerate(("mito", "er"), 1)]
SHAPE = (4, 16, 20)
EVA, TOM, BOTH = (f"mito:{ids}?instance=true" for ids in ("eva/1", "tom/1", "consensus/1"))


@pytest.fixture
def project(tmp_path) -> Project:
    return create_project(tmp_path / "project", "cells", OBJECTS, "for tests")


def store(project, run, uri, volume):
    write_segmentation(project, run, segmentation_uri(uri.replace("?", "@10?"), output=True), volume)


def load(project, run, uri):
    return read.read_segmentation(project, run, segmentation_uri(uri)).numpy()


def boxes(*corners, shape=SHAPE, size=4):
    """Boxes of 2 x 4 x 4 voxels with the ids 1, 2, …"""
    volume = np.zeros(shape, np.uint32)
    for number, (z, y, x) in enumerate(corners, start=1):
        volume[z : z + 2, y : y + size, x : x + size] = number
    return volume


def ask(project, output=None, runs=None, sides=(EVA, TOM), **more):
    question = ConsensusQuestion(
        *(segmentation_uri(uri) for uri in sides),
        None if output is None else segmentation_uri(output, output=True),
        **{key: value for key, value in more.items() if key != "overwrite"},
    )
    result = consensus(project, runs or project.run_names, question, more.get("overwrite", False))
    text = result.model_dump_json()
    assert ConsensusResult.model_validate_json(text) == result
    assert "NaN" not in text
    return result


@pytest.fixture
def drawn(project):
    """Tom has three objects, Eva two of them (one a voxel aside, under another id) and two more."""
    tom = boxes((0, 0, 0), (0, 8, 0), (2, 8, 10))
    eva = np.roll(boxes((0, 0, 16), (0, 8, 0), (2, 8, 10), (0, 0, 8)), 0, axis=2)
    eva[eva == 2] = 70_000
    eva = np.where(np.roll(eva, 1, axis=2) == 70_000, 70_000, np.where(eva == 70_000, 0, eva))
    store(project, "TS_1", TOM, tom)
    store(project, "TS_1", EVA, eva)
    return project


class TestNumbers:
    def test_of_one_run(self, drawn):
        result = ask(drawn)
        entry = result.objects["mito"]
        assert (entry.n_reference, entry.n_input, entry.matched) == (3, 4, 2)
        assert entry.error_rate == result.error_rate == pytest.approx(3 / 3.5)
        assert entry.bound == result.bound == pytest.approx(1.5 / 3.5)
        assert (entry.of_reference, entry.of_input) == (1, 0.75)
        assert entry.mean_matched_iou == pytest.approx((1 + 3 / 5) / 2)
        assert result.by_run["TS_1"].objects["mito"].matched == 2
        assert result.output is None
        assert result.outcomes[0].counts == {"mito": 2}

    def test_whoever_is_the_reference(self, drawn):
        one, other = ask(drawn), ask(drawn, sides=(TOM, EVA))
        assert one.error_rate == other.error_rate
        assert one.objects["mito"].of_input == other.objects["mito"].of_reference

    def test_runs_are_averaged_and_empty_ones_left_out(self, drawn):
        for uri in (EVA, TOM):
            store(drawn, "TS_2", uri, boxes((0, 0, 0)))
            store(drawn, "TS_3", uri, boxes())
        result = ask(drawn)
        assert result.error_rate == pytest.approx(3 / 3.5 / 2)
        assert (result.objects["mito"].runs, result.objects["mito"].absent_runs) == (2, 1)
        assert result.by_run["TS_3"].error_rate is result.by_run["TS_3"].bound is None
        assert result.ci95 == {}
        assert result.warnings == ["no intervals from 3 runs: 5 are the least"]

    def test_nothing_at_all(self, project):
        for uri in (EVA, TOM):
            store(project, "TS_1", uri, boxes())
        result = ask(project)
        assert result.error_rate is result.bound is None
        assert "neither annotator drew mito" in result.warnings

    def test_classes(self, project):
        labels = (boxes((0, 0, 0), (0, 8, 0)) > 0).astype(int), (boxes((0, 0, 0)) > 0).astype(int)
        er = 2 * (boxes((2, 0, 10)) > 0)
        for uri, label in zip(("all:tom/1?panoptic=true", "all:eva/1?panoptic=true"), labels):
            ids = boxes((0, 0, 0), (0, 8, 0), (2, 0, 10))
            store(project, "TS_1", uri, np.stack([label + er, ids * (label + er > 0)]))
        result = ask(project, sides=("all:eva/1?panoptic=true", "all:tom/1?panoptic=true"))
        assert result.objects["mito"].error_rate == pytest.approx(1 / 1.5)
        assert result.objects["er"].error_rate == 0
        assert result.error_rate == pytest.approx(1 / 3)


def annotated(rng, places, rate):
    """Objects of eight voxels in a row: of the true ones (one place of eleven) some are missed, elsewhere as many are made up."""
    true = np.arange(places) % 11 == 0
    kept = np.flatnonzero(np.where(true, rng.random(places) >= rate, rng.random(places) < rate / 10))
    ids = np.zeros(places, np.uint32)
    ids[kept] = rng.permutation(len(kept)) + 1
    return ids.repeat(8)


class TestSimulatedAnnotators:
    """Annotators that err at random about a common truth."""

    @pytest.mark.parametrize(("error", "bound"), [(0.051, 0.050), (0.102, 0.100), (0.206, 0.195)])
    def test_half_of_their_difference_is_what_each_errs(self, error, bound):
        rng, places = np.random.default_rng(0), 550_000
        truth = annotated(rng, places, 0)
        one, other = (annotated(rng, places, error / 2) for _ in "ab")
        rates = [
            dict(zip(NUMBERS, instance_numbers(match_instances(contingency(truth, side)).counts())))["error_rate"]
            for side in (one, other)
        ]
        assert rates == pytest.approx([error, error], abs=0.004)
        between = inter_annotator(match_instances(contingency(one, other)).counts())
        assert between / 2 == pytest.approx(bound, abs=0.004)

    def test_through_the_command(self, project, popsicle):
        rng, places = np.random.default_rng(1), 26_400
        for number in range(6):
            for uri in (EVA, TOM):
                store(project, f"TS_{number}", uri, annotated(rng, places, 0.051).reshape(16, 110, 120))
        document = popsicle.json("consensus", "-c", project.config, "-i", EVA, "--reference", TOM)
        assert document["bound"] == pytest.approx(0.100, abs=0.01)
        assert document["error_rate"] == 2 * document["bound"]
        low, high = document["ci95"]["bound"]
        assert low < document["bound"] < high
        assert document["objects"]["mito"]["ci95"]["error_rate"] == [2 * low, 2 * high]


class TestConsensus:
    def test_voxels_of_both_under_the_references_id(self, drawn):
        result = ask(drawn, BOTH)
        expected = np.zeros(SHAPE, int)
        expected[0:2, 8:12, 1:4] = 2
        expected[2:4, 8:12, 10:14] = 3
        assert (load(drawn, "TS_1", BOTH) == expected).all()
        assert [(o.status, o.counts) for o in result.outcomes] == [("done", {"mito": 2})]
        assert result.output == BOTH

    def test_ids_above_65535_survive(self, drawn):
        ask(drawn, BOTH, sides=(TOM, EVA))
        assert np.unique(load(drawn, "TS_1", BOTH)).tolist() == [0, 3, 70_000]

    def test_chunks_change_nothing(self, drawn, monkeypatch):
        ask(drawn, BOTH)
        for place in (instance_overlap, slabs):
            monkeypatch.setattr(place, "blocks", lambda shape: blocks(shape, size=9))
        ask(drawn, "mito:consensus/2?instance=true")
        assert (load(drawn, "TS_1", "mito:consensus/2?instance=true") == load(drawn, "TS_1", BOTH)).all()

    def test_panoptic(self, project):
        sides = "all:eva/1?panoptic=true", "all:tom/1?panoptic=true"
        ids = boxes((0, 0, 0), (0, 8, 0), (2, 0, 10))
        tom = np.stack([np.array([0, 1, 2, 2])[ids], ids])
        eva = np.stack([np.array([0, 1, 1, 2])[ids], 5 * ids])  # the second is of another class
        for side in (tom, eva):
            side[0, 3, 15, :] = 2  # no object
        eva[0, 3, 15, :4] = 0
        for uri, side in zip(sides, (eva, tom)):
            store(project, "TS_1", uri, side)
        ask(project, "all:consensus/1?panoptic=true", sides=sides)
        found = load(project, "TS_1", "all:consensus/1?panoptic=true")
        assert (found[1] == np.where(ids == 2, 0, ids)).all()
        expected = np.array([0, 1, 0, 2])[ids]
        expected[3, 15, 4:] = 2
        assert (found[0] == expected).all()

    def test_what_either_left_unannotated(self, project):
        """Counts in no number, whoever is the reference; copick stores no such label, other programs may."""
        sides = "all:eva/1?panoptic=true", "all:tom/1?panoptic=true"
        ids = boxes((0, 0, 0), (0, 8, 0), (2, 0, 10))
        for uri in sides:
            store(project, "TS_1", uri, np.stack([np.sign(ids), ids]))
        entry = read.read_segmentation(project, "TS_1", segmentation_uri(sides[0])).entry
        hidden = np.stack([np.where(ids == 2, 255, np.sign(ids)), np.where(ids == 2, 0, ids)])
        zarr.open(entry.zarr())["0"][:] = hidden
        for order in (sides, sides[::-1]):
            result = ask(project, "all:both/1?panoptic=true", sides=order, overwrite=True)
            assert result.error_rate == 0
            assert result.objects["mito"].n_reference == result.objects["mito"].n_input == 2
            assert any("aren't annotated by both (label 255): TS_1" in words for words in result.warnings)
            expected = np.where(ids == 2, 0, ids)
            assert (load(project, "TS_1", "all:both/1?panoptic=true") == [np.sign(expected), expected]).all()

    def test_labels_above_65535(self, tmp_path):
        objects = [ProjectObject("mito", 70_000, None, False, (0, 0, 0, 255))]
        project = create_project(tmp_path / "large", "cells", objects, "for tests")
        sides = "all:eva/1?panoptic=true", "all:tom/1?panoptic=true"
        ids = boxes((0, 0, 0))
        for uri in sides:
            store(project, "TS_1", uri, np.stack([70_000 * ids, ids]))
        ask(project, "all:both/1?panoptic=true", sides=sides)
        assert (load(project, "TS_1", "all:both/1?panoptic=true") == [70_000 * ids, ids]).all()

    def test_a_panoptic_and_an_instance_one(self, drawn):
        eva = load(drawn, "TS_1", EVA)
        store(drawn, "TS_1", "all:eva/1?panoptic=true", np.stack([(eva > 0).astype(int), eva]))
        ask(drawn, BOTH)
        ask(drawn, "mito:consensus/2?instance=true", sides=("all:eva/1?panoptic=true", TOM))
        assert (load(drawn, "TS_1", "mito:consensus/2?instance=true") == load(drawn, "TS_1", BOTH)).all()

    def test_other_grids(self, drawn):
        fine = load(drawn, "TS_1", EVA).repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
        uri = segmentation_uri("mito:fine/1@5?instance=true", output=True)
        write_segmentation(drawn, "TS_1", uri, fine)
        with pytest.raises(PopsicleError, match="run TS_1"):
            ask(drawn, BOTH, sides=("mito:fine/1?instance=true", TOM))
        result = ask(drawn, BOTH, sides=("mito:fine/1?instance=true", TOM), resample=True)
        assert (result.resampled, result.options) == (True, ["--resample"])
        assert load(drawn, "TS_1", BOTH).shape == SHAPE

    def test_finished_ones_are_skipped(self, drawn):
        ask(drawn, BOTH)
        store(drawn, "TS_1", BOTH, boxes((0, 0, 0)))
        assert [o.status for o in ask(drawn, BOTH).outcomes] == ["skipped"]
        assert load(drawn, "TS_1", BOTH)[0, 0, 0] == 1
        assert ask(drawn, BOTH).error_rate == ask(drawn).error_rate
        assert [o.status for o in ask(drawn, BOTH, overwrite=True).outcomes] == ["done"]
        assert load(drawn, "TS_1", BOTH)[0, 0, 0] == 0

    def test_one_bad_run_fails_alone(self, drawn, popsicle):
        for uri in (EVA, TOM):
            store(drawn, "TS_2", uri, boxes((0, 0, 0)))
        stored = read.read_segmentation(drawn, "TS_2", segmentation_uri(EVA))
        stored.entry.from_numpy(np.full(SHAPE, 0.5, np.float32), dtype=np.dtype(np.float32))
        shown = popsicle("consensus", "-c", drawn.config, "-i", EVA, "--reference", TOM, "-o", BOTH, code=1)
        assert "run TS_2 failed: run TS_2: mito:eva/1@10?instance=true holds 0.5" in shown.stderr
        assert "1 of 2 runs couldn't be read and are left out: TS_2" in shown.stderr
        assert load(drawn, "TS_1", BOTH).any()
        document = popsicle.json("consensus", "-c", drawn.config, "-i", EVA, "--reference", TOM, code=1)
        assert [outcome["status"] for outcome in document["outcomes"]] == ["done", "failed"]
        assert list(document["by_run"]) == ["TS_1"]

    def test_all_bad(self, drawn):
        stored = read.read_segmentation(drawn, "TS_1", segmentation_uri(EVA))
        stored.entry.from_numpy(np.full(SHAPE, -1, np.int32), dtype=np.dtype(np.int32))
        result = ask(drawn)
        assert result.error_rate is None
        assert [outcome.status for outcome in result.outcomes] == ["failed"]

    def test_the_words(self, drawn, popsicle):
        command = "consensus", "-c", drawn.config, "-i", EVA, "--reference", TOM
        shown = popsicle(*command, "-o", BOTH)
        assert shown.stdout.splitlines()[1].split()[:7] == ["mito", "1", "3", "4", "2", "0.8571", "0.4286"]
        assert "inter-annotator error rate 0.8571\nhuman-consensus bound 0.4286" in shown.stdout
        assert "consensus: 1 written, 0 skipped, 0 failed" in shown.stderr
        assert "1 skipped (finished already; --overwrite makes them again)" in popsicle(*command, "-o", BOTH).stderr
        assert "written" not in popsicle(*command).stderr


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("mito:consensus/1", "can't hold the consensus"),
        ("all:consensus/1?panoptic=true", "can't hold the consensus"),
        ("er:consensus/1?instance=true", "isn't called after mito"),
        ("mito:eva/1?instance=true", "is what is compared"),
        ("mito:tom/1@10?instance=true", "is what is compared"),
        ("mito:consensus/1@20?instance=true", "has 10 A per voxel, the output 20"),
    ],
)
def test_outputs_that_do_not_fit(drawn, output, words):
    with pytest.raises(UsageError, match=words):
        ask(drawn, output)


def test_several_objects_need_several_outputs(drawn):
    for uri in (EVA, TOM):
        store(drawn, "TS_1", uri.replace("mito", "er"), boxes((0, 0, 0)))
    sides = "*:eva/1?instance=true", "*:tom/1?instance=true"
    assert list(ask(drawn, sides=sides).objects) == ["er", "mito"]
    with pytest.raises(UsageError, match="holds one object, not er, mito"):
        ask(drawn, BOTH, sides=sides)


@pytest.mark.parametrize(
    ("sides", "error"),
    [
        (("mito:nobody/1?instance=true", TOM), NotFoundError),
        ((EVA, "mito:nobody/1?instance=true"), NotFoundError),
        ((EVA.replace("instance", "multilabel"), TOM), UsageError),
    ],
)
def test_what_is_not_there(drawn, sides, error):
    with pytest.raises(error):
        ask(drawn, sides=sides)


def test_a_run_that_one_annotator_lacks(drawn):
    store(drawn, "TS_2", TOM, boxes((0, 0, 0)))
    with pytest.raises(PopsicleError, match="1 of 2 runs have no segmentation mito:eva/1") as caught:
        ask(drawn)
    assert caught.value.hint == "choose runs that both annotated with --split or -r"


def test_no_runs(drawn):
    with pytest.raises(UsageError, match="no runs to compare"):
        consensus(drawn, [], ConsensusQuestion(segmentation_uri(EVA), segmentation_uri(TOM)))
