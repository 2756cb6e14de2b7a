"""`popsicle calibrate` of models that tell instances apart, and that segment, robustness and bench use what it wrote."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Popsicle
from training.cells import recipe
from workflows.planted import OTHER, TOMOGRAM, Planted, PlantedMasks, PlantedPrompts, planted

from copick_tools.data.project import Project, open_project
from copick_tools.data.uris import SegmentationUri, tomogram_uri
from copick_tools.data.write import write_segmentation
from copick_tools.recipes.instance_thresholds import InstanceThresholds, value_of
from copick_tools.recipes.load import load_recipe, load_task, parse, read_yaml
from copick_tools.volumes.cuts import Cuts
from copick_tools.workflows.instance_search import Measured, cross_validated, search
from copick_tools.workflows.learned_instances import promptable_of
from copick_tools.workflows.prompting import Asked

FOREGROUND = "instances.foreground"
BAD = {"foreground": 0.95}  # nobody is that sure
FEW = tuple(f"-sinstances.{key}" for key in ("center=0.5", "boundary=0.5", "smoothing=0"))  # leaves the foreground
GRID = ("-s", "prompting.mode=amg", "-s", "prompting.space=slices", "-s", "prompting.amg.points_per_side=12")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A is for training, B and C are alike, and D isn't."""
    return planted(tmp_path_factory.mktemp("planted"), {"A": 0.0, "B": 0.0, "C": 0.0, "D": OTHER})


@pytest.fixture(scope="module")
def card(tmp_path_factory) -> dict:
    """Of a checkpoint; tests change it."""
    from copick_tools.training.checkpoint import Card

    asked = load_recipe(recipe(tmp_path_factory.mktemp("recipe")))
    return Card(recipe=asked, task=load_task(asked.task), voxel_spacing=10.0, normalize=0.0).model_dump(mode="json")


@pytest.fixture
def world(card, project, tmp_path, monkeypatch):
    """Makes an experiment with a planted predictor."""
    from copick_tools.training.checkpoint import Card, save

    def make(predictor=None, kind="distances", of=project, changes=None, **instances):
        predictor = predictor or Planted(kind)
        monkeypatch.setattr("copick_tools.engines.registry.load", lambda path, device: predictor)
        folder = tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        own = copy.deepcopy(card)
        own["recipe"]["target"]["kind"] = kind
        own["recipe"]["instances"].update(instances or BAD)
        own["recipe"].update(changes or {})
        save(folder / "best.ckpt", Card(**own), {})
        return World(folder / "best.ckpt", of)

    return make


class World:
    """A checkpoint, and the commands on it."""

    def __init__(self, checkpoint, project):
        self.checkpoint, self.project, self.popsicle = checkpoint, project, Popsicle()
        self.thresholds = checkpoint.with_name("instance-thresholds.yaml")

    def __call__(self, *options, code=0, runs=("B",)):
        named = [part for run in runs for part in ("-r", run)]
        base = ("calibrate", self.checkpoint, "-c", self.project.config, "-i", TOMOGRAM, "--device", "cpu")
        return self.popsicle(*base, *named, *options, code=code)

    def read(self, path=None) -> InstanceThresholds:
        return parse(InstanceThresholds, read_yaml(path or self.thresholds), where="it")

    def segment(self, session, *options, code=0, runs=("B",)):
        named = [part for run in runs for part in ("-r", run)]
        output = f"cells:planted/{session}?panoptic=true"
        base = ("segment", self.checkpoint, "-c", self.project.config, "-i", TOMOGRAM, "-o", output, "--device", "cpu")
        return self.popsicle(*base, *named, "--overwrite", *options, code=code)

    def score(self, session, runs=("B",)) -> float:
        named = [part for run in runs for part in ("-r", run)]
        asked = ("-i", f"cells:planted/{session}?panoptic=true", "--reference", "cells:truth/0?panoptic=true")
        found = self.popsicle.json("evaluate", "-c", self.project.config, *asked, *named)
        return found["score"]


class TestMaps:
    def test_better_ones_are_found_and_used(self, world):
        it = world()
        said = it("--reference", "cells:truth/0?panoptic=true")
        found = it.read()
        assert found.recipe_settings[FOREGROUND] == 0.95
        assert found.settings[FOREGROUND] in (0.4, 0.5, 0.6)
        assert found.recipe_score < 0.1 < 0.9 < found.fitted
        assert found.score is None
        assert any("can't be held out" in warning for warning in found.warnings)
        assert (found.runs, found.mode, found.promptable, found.folds) == (["B"], None, None, 1)
        assert list(found.objects) == ["vesicle", "mito", "er"]
        assert f"thresholds: {it.thresholds}" in said.stderr
        assert f"{found.fitted:.4f} on the runs that were learned from" in said.stdout
        used = it.segment("1")
        assert f"instances as learned ({it.thresholds}): {FOREGROUND}={found.settings[FOREGROUND]}" in used.stderr
        assert it.score("1") == pytest.approx(found.fitted)

    def test_what_is_typed_wins(self, world):
        it = world()
        it(*FEW)
        learned = it.read()
        said = it.segment("2", "-s", f"{FOREGROUND}=0.95")
        assert f"-s replaces {FOREGROUND}" in said.stderr
        assert it.score("2") == pytest.approx(learned.recipe_score)
        assert "as learned" not in it.segment("3", "--thresholds", "none").stderr
        assert it.score("3") == pytest.approx(learned.recipe_score)
        elsewhere = shutil.move(it.thresholds, it.thresholds.with_name("moved.yaml"))
        assert "as learned" not in it.segment("4").stderr
        assert "moved.yaml" in it.segment("4", "--thresholds", elsewhere).stderr
        assert it.score("4") == pytest.approx(learned.fitted)

    def test_runs_that_differ_are_cross_validated(self, world):
        """What is good for B is bad for D: the fitted score flatters."""
        it = world(foreground=0.3)
        it(*FEW, runs=("B", "D"))
        found = it.read()
        assert found.folds == 2
        assert found.score < found.fitted
        assert found.recipe.difference == pytest.approx(found.score - found.recipe_score)
        assert any("no better than the recipe's" in warning for warning in found.warnings)

    def test_runs_that_are_alike(self, world):
        it = world()
        it(*FEW, runs=("B", "C"))
        found = it.read()
        assert found.recipe_score < found.score <= found.fitted
        assert not any("no better" in warning for warning in found.warnings)

    def test_everything_tried_is_told_once(self, world):
        it = world()
        it("-s", "instances.smoothing=0", "-s", "instances.center=0.5")
        tried = it.read().tried
        assert len({json.dumps(entry.settings) for entry in tried}) == len(tried)
        assert tried[0].settings == it.read().recipe_settings
        assert max(entry.score for entry in tried) == it.read().fitted

    @pytest.mark.parametrize(
        ("predictor", "kind", "keys"),
        [
            (Planted("flows"), "flows", [FOREGROUND, "instances.flow_error", "instances.sink_distance"]),
            (Planted("boundary"), "boundary", [FOREGROUND, "instances.boundary"]),
            (PlantedMasks(), "instances", [FOREGROUND]),
        ],
    )
    def test_other_networks(self, world, predictor, kind, keys):
        it = world(predictor, kind)
        it("-s", "instances.smoothing=0") if kind == "flows" else it()
        found = it.read()
        assert list(found.settings) == keys
        assert found.recipe_score < 0.1 < found.fitted
        it.segment(kind)
        assert it.score(kind) == pytest.approx(found.fitted)

    def test_runs_are_predicted_once(self, world):
        predictor = Planted()
        world(predictor)(*FEW, runs=("B", "C"))
        assert len(predictor.seen) == 2

    def test_what_is_fixed_stays_and_is_used(self, world):
        it = world(foreground=0.5)
        it("-s", f"{FOREGROUND}=0.3", "-s", "instances.min_volume=5")
        found = it.read()
        assert FOREGROUND not in found.settings
        assert found.fixed == [f"{FOREGROUND}=0.3", "instances.min_volume=5"]
        assert f"{FOREGROUND}=0.3, instances.min_volume=5" in it.segment("5").stderr
        assert it.score("5") == pytest.approx(found.fitted)

    def test_one_object(self, world):
        it = world()
        write_instances(it.project, "B")
        it(*FEW, "--reference", "vesicle:expert/1?instance=true")
        assert list(it.read().objects) == ["vesicle"]
        assert it.read().fitted > 0.9


class TestPrompts:
    def test_a_grid(self, world):
        """The model believes in no mask as much as the recipe asks for; what lies beside objects it believes in less."""
        it = world(PlantedPrompts(), foreground=0.5)
        it(*GRID)
        found = it.read()
        assert list(found.settings) == ["prompting.amg.pred_iou", "prompting.amg.stability"]
        assert 0.55 < found.settings["prompting.amg.pred_iou"] <= 0.7
        assert found.mode == "amg"
        assert found.recipe_score < 0.4 < found.fitted
        it.segment("grid", *GRID)
        assert it.score("grid") == pytest.approx(found.fitted)
        assert "isn't used: it was learned with prompting.mode=amg, and this is no prompts" in it.segment("6").stderr
        refused = it.segment("6", "--thresholds", it.thresholds, code=2)
        assert "doesn't fit: it was learned with prompting.mode=amg" in refused.stderr

    def test_a_grid_in_a_volume_is_tuned_on_slices(self, world):
        it = world(PlantedPrompts(), foreground=0.5)
        said = it("-s", "prompting.mode=amg", "-s", "prompting.amg.points_per_side=4")
        assert "learned on slices put together" in said.stderr

    def test_prompts_from_maps(self, world):
        it = world(PlantedPrompts(), center=0.0, foreground=0.5)
        asked = ("-s", "prompting.mode=apg", "-s", "prompting.space=slices", "-s", "instances.boundary=0.5")
        it(*asked)
        found = it.read()
        assert list(found.settings) == ["instances.center", "prompting.apg.nms"]
        assert found.recipe_score < found.fitted
        it.segment("apg", *asked)
        assert it.score("apg") == pytest.approx(found.fitted)

    def test_another_model_that_answers(self, world):
        it = world(center=0.0, foreground=0.5)
        oracle = ("--promptable", "oracle:cells:truth/0?panoptic=true")
        it(*oracle, "-s", "prompting.space=slices", "-s", "instances.boundary=0.5")
        found = it.read()
        assert (found.mode, found.promptable) == ("apg", oracle[1])
        assert found.fitted > found.recipe_score
        asked = ("-s", "prompting.space=slices")
        assert "as learned" in it.segment("oracle", *oracle, *asked).stderr
        assert it.score("oracle") == pytest.approx(found.fitted)
        itself = it.segment("7", "--promptable", "oracle:vesicle:truth/0?instance=true", *asked, code=1)
        assert "learned with another model to answer prompts" in itself.stderr


class TestFiles:
    def test_finished_is_skipped(self, world):
        it = world()
        before = it(*FEW).stdout
        again = it(*FEW)
        assert "is finished already; --overwrite makes it again" in again.stderr
        assert again.stdout == before
        assert InstanceThresholds.model_validate(json.loads(it(*FEW, "--json").stdout)) == it.read()
        for options in (("-s", "instances.join=1"), ("-r", "C"), ("--reference", "*:truth/0?panoptic=true")):
            assert "or of other options" in it(*FEW, *options, code=1).stderr
        it("-s", "instances.smoothing=1", "-s", "instances.center=0.5", "--overwrite")
        assert it.read().fixed == ["instances.smoothing=1", "instances.center=0.5"]

    def test_of_another_checkpoint(self, world):
        it, other = world(), world(foreground=0.9)
        it(*FEW)
        shutil.copy(it.thresholds, other.thresholds)
        for options in ((), ("--thresholds", it.thresholds)):
            refused = other.segment("8", *options, code=1)
            assert "was learned with another checkpoint" in refused.stderr
            assert "popsicle calibrate again; --thresholds none" in refused.stderr
        other.segment("8", "--thresholds", "none")
        assert "no file" in other.segment("8", "--thresholds", "nowhere.yaml", code=1).stderr
        it.thresholds.write_text("format: popsicle-instance-thresholds-1\nscores: 3\n")
        assert "instance-thresholds.yaml" in it.segment("8", code=1).stderr

    def test_labels_have_nothing_to_do_with_it(self, world):
        it = world()
        base = ("segment", it.checkpoint, "-c", it.project.config, "-i", TOMOGRAM, "-o", "x:x/1?multilabel=true")
        assert "output has none" in it.popsicle(*base, "--thresholds", "x.yaml", code=2).stderr

    def test_killed_it_leaves_nothing(self, world, monkeypatch, tmp_path):
        from copick_tools.workflows import held_instances

        real, calls = held_instances.decode, []

        def killed(maps, how):
            calls.append(how)
            if len(calls) == 4:
                raise RuntimeError("killed")
            return real(maps, how)

        it, scratch = world(), tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        with monkeypatch.context() as patch:
            patch.setattr(held_instances, "decode", killed)
            with pytest.raises(RuntimeError, match="killed"):
                it(*FEW)
        assert list(scratch.iterdir()) == []
        assert list(it.checkpoint.parent.iterdir()) == [it.checkpoint]
        it(*FEW)
        assert list(scratch.iterdir()) == []
        assert sorted(it.checkpoint.parent.iterdir()) == [it.checkpoint, it.thresholds]

    def test_a_benchmark_run_predicts_anew(self, world):
        """Its predictions are of these thresholds alone."""
        from copick_tools.training.checkpoint import read_card
        from copick_tools.workflows.bench_job import Job

        it = world()
        card, data = read_card(it.checkpoint), SimpleNamespace(validation=("B",))
        training = SimpleNamespace(folder=it.checkpoint.parent, recipe=card.recipe, data=data)
        job = Job("it", 0, training, it.project, card.task, "val", ("B",), ())
        before = job.output
        it(*FEW)
        assert job.output != before
        it.thresholds.unlink()
        assert job.output == before

    @pytest.mark.slow
    def test_robustness_uses_it(self, world):
        it = world()
        base = ("robustness", it.checkpoint, "-c", it.project.config, "-i", TOMOGRAM, "-r", "B", "--device", "cpu")
        before = it.popsicle.json(*base, "--degradation", "blur=0.01")
        it(*FEW)
        after = it.popsicle.json(*base, "--degradation", "blur=0.01")
        assert before["identity"]["score"] == pytest.approx(it.read().recipe_score)
        assert after["identity"]["score"] == pytest.approx(it.read().fitted)
        assert before["identity"]["output"] != after["identity"]["output"]


@pytest.mark.parametrize(
    ("options", "reason", "code"),
    [
        (("--split", "vla"), "did you mean val?", 1),
        (("--beta", "2"), "instances are learned here, and --beta isn't about them", 2),
        (("--method", "peaks"), "--method isn't about them", 2),
        (("-s", "instances.centre=0.4"), "did you mean center", 1),
        (("-s", "train.epochs=4"), "only keys of instances", 2),
        (("--reference", "cells:truth/0?multilabel=true"), "names no instances", 2),
        (("--reference", "cells:nobody/0?panoptic=true"), "no segmentation", 1),
        (("--reference", "vesicles:truth/0?instance=true"), "did you mean vesicle?", 1),
        (("--reference", "*:empty/1?instance=true"), "no run has an instance of vesicle, mito, er", 1),
        (("--reference", "a:b/1?panoptic=true", "--reference", "c:d/1?panoptic=true"), "given twice", 2),
        (("--embeddings", "x"), "--embeddings are of models that are prompted", 2),
        (("-s", "prompting.mode=amg"), "answers no prompts", 2),
        (tuple(f"-sinstances.{key}=0.5" for key in ("foreground", "center", "boundary", "smoothing")), "nothing to", 2),
    ],
)
def test_mistakes(world, options, reason, code):
    it = world()
    if "*:empty/1?instance=true" in options:
        write_instances(it.project, "B", "empty", nothing=True)
    assert reason in it(*options, code=code).stderr
    assert not it.thresholds.exists()


def test_a_run_without_reference(world, tmp_path):
    own = planted(tmp_path / "own", {"A": 0.0, "B": 0.0, "C": 0.0})
    shutil.rmtree(own.folder / "ExperimentRuns/C/PanopticSegmentations")
    it = world(of=open_project(own.config))
    assert "run C" in it("--split", "val", code=1, runs=()).stderr


def test_no_validation_split(world):
    it = world(changes={"validation_split": None})
    assert "the recipe has no validation split" in it(code=2, runs=()).stderr


def test_models_of_classes(world):
    it = world(kind="segmentation", foreground=0.5)
    assert "predicts classes, not instances" in it("--reference", "vesicle:truth/0?instance=true", code=2).stderr
    failed = it("-s", "instances.foreground=0.4", "--reference", "vesicle:truth/0", code=2)
    assert "picks are learned here, and --set isn't about them" in failed.stderr


def write_instances(project: Project, run: str, user: str = "expert", nothing: bool = False) -> None:
    """Of vesicles, as the truth has them."""
    from copick_tools.data.read import read_tomogram

    volume = read_tomogram(project, run, tomogram_uri(TOMOGRAM)).numpy().astype(int)
    ids = np.where(volume // 1000 == 1, volume % 1000, 0).astype(np.uint16) * (not nothing)
    write_segmentation(project, run, SegmentationUri("vesicle", user, "1", 10.0, "instance"), ids)


def test_promptable_models_are_known_by_their_weights(card, tmp_path):
    """The same model of another tool has another card for each project."""
    from copick_tools.training.checkpoint import Card, save, weights_hash

    weights = {"a": torch.zeros(2, 2), "b": torch.tensor(1.0)}
    for name, voxel_spacing, b in (("one", 10.0, 1.0), ("same", 20.0, 1.0), ("other", 10.0, 2.0)):
        own = Card(**{**card, "voxel_spacing": voxel_spacing})
        save(tmp_path / name, own, {"network": {**weights, "b": torch.tensor(b)}})
    found = [promptable_of(Asked(tmp_path / name)) for name in ("one", "same", "other")]
    assert found[0] == found[1] != found[2]
    assert weights_hash(tmp_path / "one") == found[0]


def by_worth(worth: dict, asked: list) -> Measured:
    """Of one run and object. worth: by values. asked: gets what is measured."""

    def measure(settings):
        asked.extend(tuple(setting.values()) for setting in settings)
        return [np.array([[worth.get(tuple(setting.values()), 0.0)]]) for setting in settings]

    return Measured(measure)


class TestSearch:
    FEW = {"a": (2.0, 1.0, 3.0), "b": (None, 0.5)}
    MANY = {"a": (2.0, 1.0, 3.0), "b": (None, 0.5), "c": tuple(range(10))}

    @pytest.mark.parametrize(("space", "count"), [(FEW, 6), (MANY, 13)])
    def test_the_recipe_counts_where_nothing_is_better(self, space, count):
        asked = []
        recipe = {key: values[0] for key, values in space.items()}
        assert search(space, by_worth({}, asked)) == recipe
        assert len(asked) == len(set(asked)) == count
        assert asked[0] == tuple(recipe.values())
        assert search(space, by_worth(dict.fromkeys(asked, np.nan), [])) == recipe

    def test_few_combinations_are_all_tried(self):
        """One alone of these is no better."""
        assert search(self.FEW, by_worth({(3.0, 0.5): 0.1}, [])) == {"a": 3.0, "b": 0.5}

    def test_of_equals_the_one_with_more_of_the_recipe(self):
        equals = dict.fromkeys([(1.0, 0.5), (3.0, 0.5), (3.0, None)], 0.7)
        assert search(self.FEW, by_worth(equals, [])) == {"a": 3.0, "b": None}

    def test_keys_that_depend_on_each_other(self):
        """A second round finds what the first can't."""
        worth = {(2.0, None, 0): 0.2, (2.0, 0.5, 0): 0.3, (3.0, 0.5, 0): 0.9, (2.0, 0.5, 7): 0.4, (3.0, 0.5, 7): 0.95}
        assert search(self.MANY, by_worth(worth, [])) == {"a": 3.0, "b": 0.5, "c": 7}

    def test_held_out_runs_take_no_part(self):
        rows = {1.0: [[0.9], [0.1]], 2.0: [[0.5], [0.5]], 3.0: [[0.1], [0.9]]}
        measured = Measured(lambda settings: [np.array(rows[s["a"]]) for s in settings])
        found = cross_validated({"a": (2.0, 1.0, 3.0)}, measured, np.arange(2))
        assert found.tolist() == [[0.1], [0.1]]
        assert cross_validated({"a": (2.0, 1.0)}, measured, np.zeros(2, int)) is None


def test_masks_come_back_from_files(tmp_path):
    from copick_tools.workflows.held_instances import load_cuts, save_cuts

    masks = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    masks[2] = False
    masks[3], masks[4] = True, True  # one ends where the next begins
    said = np.arange(5) / 5, np.arange(5) / 7
    for cuts in (Cuts.of(masks, (3, 10, 9), 1, (2, 1), said), Cuts.none((1, 4, 4))):
        save_cuts(tmp_path / "it.npz", cuts)
        found = load_cuts(tmp_path / "it.npz")
        assert found.shape == cuts.shape
        for name in ("voxels", "ends", "iou", "stability"):
            np.testing.assert_array_equal(getattr(found, name), getattr(cuts, name))


def test_keys_are_those_of_recipes(tmp_path):
    from copick_tools.recipes.instance_thresholds import DECIDE, GRID

    found = load_recipe(recipe(tmp_path))
    assert {key for keys in DECIDE.values() for key in keys} == set(GRID)
    assert all(value_of(found, key) in GRID[key] for key in GRID if key != "prompting.amg.pred_iou")
