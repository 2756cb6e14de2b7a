"""`popsicle calibrate`: what it writes, what it takes up, what it refuses, and that localize keeps its promise."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from cards import recast
from conftest import Popsicle

from copick_tools.data import read
from copick_tools.data.project import open_project
from copick_tools.data.uris import TomogramUri, picks_uri, tomogram_uri
from copick_tools.data.write import write_tomogram
from copick_tools.metrics.choose import fold_of_runs
from copick_tools.recipes.load import parse, read_yaml
from copick_tools.recipes.recipe import Pick
from copick_tools.recipes.thresholds import Thresholds
from copick_tools.workflows.calibrate import ways_to_pick
from copick_tools.workflows.predict import Model


@pytest.fixture(scope="module")
def world(tmp_path_factory, checkpoint, shared_project):
    """A calibrated experiment of its own."""
    folder = tmp_path_factory.mktemp("calibrated") / "experiment"
    shutil.copytree(checkpoint.parent, folder)
    return Experiment(folder, shared_project, Popsicle())


class Experiment:
    """A copy of the trained experiment, and the command on it. said: of the first call."""

    def __init__(self, folder, project, popsicle):
        self.folder, self.project, self.popsicle = folder, project, popsicle
        self.checkpoint, self.thresholds = folder / "best.ckpt", folder / "thresholds.yaml"
        self.said = self()

    def __call__(self, *options, code=0, project=None, tomogram="wbp"):
        config = (project or self.project).config
        base = ("calibrate", self.checkpoint, "-c", config, "-i", tomogram, "--device", "cpu")
        return self.popsicle(*base, *options, code=code)

    def read(self, path=None):
        return parse(Thresholds, read_yaml(path or self.thresholds), where="it")


RUNS = ("-r", "TS_1", "-r", "TS_2", "-r", "TS_3")


@pytest.fixture
def predicted(monkeypatch):
    """What is predicted, in order."""
    names, real = [], Model.predict

    def predict(self, volume, voxel_spacing, where, **options):
        names.append(where.removeprefix("run "))
        return real(self, volume, voxel_spacing, where, **options)

    monkeypatch.setattr(Model, "predict", predict)
    return names


class TestCommand:
    def test_document(self, world):
        found = world.read()
        assert found.checkpoint == hashlib.sha256(world.checkpoint.read_bytes()).hexdigest()
        assert (found.task, found.split, found.runs, found.folds) == ("toy", "val", ["TS_2"], 1)
        assert found.reference == ["*:truth/0"]
        assert found.inference == {"overlap": 0.25, "tta": 1}
        assert [(setting.beta, setting.rule) for setting in found.settings] == [(4, "kaggle"), (1, "one-to-one")]
        for setting in found.settings:
            assert set(setting.objects) == {"ribosome", "apo-ferritin"}
            assert setting.fitted >= setting.recipe_score
            assert setting.score is None
            assert [o.references for o in setting.objects.values()] == [2, 3]
            assert setting.selections == []
        assert found.config == str(world.project.config)
        assert (found.tomogram, found.asked) == ("wbp", ["--calibration", "auto"])
        assert not world.thresholds.with_name("thresholds.yaml.parts").exists()

    def test_what_it_says(self, world):
        words, shown = world.said.stderr, world.said.stdout
        assert f"thresholds: {world.thresholds}" in words
        assert "no intervals from 1 run" in words
        assert "apo-ferritin: only 3 reference points" in words
        assert words.count("a single run can't be held out of itself") == 1  # and not once for each beta
        assert "trained on" not in words
        assert "F4" in shown
        assert "F1" in shown
        assert "rule one-to-one" in shown

    def test_finished_is_skipped(self, world, predicted):
        before = world.thresholds.stat().st_mtime_ns
        again = world()
        assert "is finished already; --overwrite makes it again" in again.stderr
        assert again.stdout == world.said.stdout
        found = Thresholds.model_validate(json.loads(world("--json").stdout))
        assert found == world.read()
        assert world.thresholds.stat().st_mtime_ns == before
        assert predicted == []

    @pytest.mark.parametrize(
        "options",
        [
            ("-r", "TS_1"),
            ("--split", "test"),
            ("--beta", "2"),
            ("--method", "peaks"),
            ("--calibration", "none"),
            ("--overlap", "0.5"),
            ("--reference", "ribosome:truth/0"),
        ],
    )
    def test_others_are_not_replaced(self, world, options, predicted):
        before = world.thresholds.read_bytes()
        result = world(*options, code=1)
        assert "of other runs or of other options" in result.stderr
        assert "Hint: --overwrite replaces them" in result.stderr
        assert world.thresholds.read_bytes() == before
        assert predicted == []

    def test_another_project_of_the_same_runs(self, world, project, predicted):
        result = world(project=project, code=1)
        assert "of another checkpoint or project" in result.stderr
        assert predicted == []

    def test_several_runs_and_other_options(self, world, tmp_path, predicted):
        out = tmp_path / "deep" / "other.yaml"
        said = world(*RUNS, "--beta", 2, "--method", "peaks", "--calibration", "none", "--out", out, "--json")
        found = world.read(out)
        assert Thresholds.model_validate(json.loads(said.stdout)) == found
        assert predicted == found.runs == ["TS_1", "TS_2", "TS_3"]
        assert (found.folds, found.split) == (3, None)
        rules = [(setting.beta, setting.rule) for setting in found.settings]
        assert rules == [(4, "kaggle"), (1, "one-to-one"), (2, "one-to-one")]
        for setting in found.settings:
            assert 0 <= setting.score <= setting.fitted
            assert setting.ci95 is None  # three runs are too few
            assert all(o.calibration is None for o in setting.objects.values())
            assert {o.method for o in setting.objects.values()} == {"peaks"}
        assert "the checkpoint was trained on TS_1" in found.warnings[0]
        assert any("no intervals from 3 runs" in warning for warning in found.warnings)
        world("--out", out, "--overwrite")
        assert world.read(out).runs == ["TS_2"]

    def test_betas_come_once(self, world, tmp_path):
        world("--beta", 4, "--beta", 1.0, "--beta", 0.5, "--method", "peaks", "--out", tmp_path / "t.yaml")
        assert [setting.beta for setting in world.read(tmp_path / "t.yaml").settings] == [4, 1, 0.5]

    def test_killed_it_goes_on(self, world, tmp_path, monkeypatch, predicted):
        counted = Model.predict

        def killed(self, volume, voxel_spacing, where, **options):
            if where == "run TS_2":
                raise RuntimeError("killed")
            return counted(self, volume, voxel_spacing, where, **options)

        out = tmp_path / "t.yaml"
        with monkeypatch.context() as patch:
            patch.setattr(Model, "predict", killed)
            with pytest.raises(RuntimeError, match="killed"):
                world(*RUNS, "--method", "peaks", "--out", out)
        assert predicted == ["TS_1"]
        assert not out.exists()
        world(*RUNS, "--method", "peaks", "--out", out)
        assert predicted == ["TS_1", "TS_2", "TS_3"]
        assert list(tmp_path.iterdir()) == [out]
        world(*RUNS, "--method", "peaks", "--out", tmp_path / "at-once.yaml")
        assert out.read_text() == (tmp_path / "at-once.yaml").read_text()

    def test_parts_of_other_ways_are_made_again(self, world, tmp_path, monkeypatch, predicted):
        from copick_tools.workflows import calibrate

        out = tmp_path / "t.yaml"
        with monkeypatch.context() as patch:
            patch.setattr(calibrate, "learn", None)
            with pytest.raises(TypeError):
                world("--out", out, "--method", "peaks")
        world("--out", out, "--method", "watershed")
        assert predicted == ["TS_2", "TS_2"]

    @pytest.mark.parametrize("fault", ["missing", "damaged", "not finite"])
    def test_a_run_that_cannot_be_read(self, world, project, tmp_path, fault):
        store = project.folder / "ExperimentRuns/TS_2/VoxelSpacing10.000/wbp.zarr"
        if fault == "missing":
            shutil.rmtree(store)
        elif fault == "damaged":
            chunk = next((store / "0").rglob("0/0/0"))
            chunk.write_bytes(chunk.read_bytes()[:100])
        else:
            bad = read.read_tomogram(project, "TS_2", tomogram_uri("wbp")).numpy()
            bad[3, 3, 3] = np.nan
            write_tomogram(project, "TS_2", TomogramUri("wbp", 10.0), bad)
        again = open_project(project.config)
        result = world(*RUNS, "--out", tmp_path / "t.yaml", project=again, code=1)
        assert result.stderr.startswith("Error: ")
        assert "run TS_2" in result.stderr
        assert not (tmp_path / "t.yaml").exists()

    @pytest.mark.parametrize(
        ("options", "reason", "code"),
        [
            (("--split", "vla"), "did you mean val?", 1),
            (("-r", "TS_9"), "no run 'TS_9'", 1),
            (("--beta", "0"), "--beta has to be a positive number", 2),
            (("--beta", "nan"), "--beta has to be a positive number", 2),
            (("--method", "com"), "'com' is not one of", 2),
            (("--calibration", "platt"), "'platt' is not one of", 2),
            (("--overlap", "1"), "--overlap", 2),
            (("--reference", "*:nobody/0"), "no reference picks match *:nobody/0", 1),
            (("--reference", "ribosom:truth/0"), "did you mean ribosome:truth/0?", 1),
            (("--device", "tpu9"), "no device", 2),
        ],
    )
    def test_mistakes(self, world, tmp_path, options, reason, code):
        out = tmp_path / "t.yaml"
        assert reason in world("--out", out, *options, code=code).stderr
        assert not out.exists()

    def test_no_such_tomogram(self, world, tmp_path):
        assert "no tomogram wpb in run TS_2" in world("--out", tmp_path / "t.yaml", tomogram="wpb", code=1).stderr

    def test_foreign_thresholds(self, world, tmp_path):
        (tmp_path / "t.yaml").write_text("format: popsicle-thresholds-1\nscore: 3\n")
        assert "t.yaml" in world("--out", tmp_path / "t.yaml", code=1).stderr

    def test_no_validation_split(self, world, tmp_path):
        without_split = tmp_path / "best.ckpt"
        recast(world.checkpoint, without_split, lambda card: card["recipe"].update(validation_split=None))
        base = ("calibrate", without_split, "-c", world.project.config, "-i", "wbp", "--device", "cpu")
        result = world.popsicle(*base, code=2)
        assert "the recipe has no validation split" in result.stderr
        assert "--split NAME or -r" in result.stderr
        world.popsicle(*base, "--split", "val")
        assert world.read(tmp_path / "thresholds.yaml").split == "val"

    def test_localize_gives_the_picks_that_were_promised(self, world, project):
        """On the runs that it learned from, the fitted score is what evaluate finds."""
        out = project.folder.parent / "all.yaml"
        world(*RUNS, "--out", out)
        setting = world.read(out).setting(1)
        base = ("localize", world.checkpoint, "-c", project.config, "-i", "wbp", "-o", ":net/1", "--device", "cpu")
        world.popsicle(*base, "--thresholds", out, "--beta", 1)
        score = ("evaluate", "-c", project.config, "-i", "*:net/1", "--reference", "*:truth/0", "--json")
        result = json.loads(world.popsicle(*score).stdout)
        for name, learned_of_it in setting.objects.items():
            assert result["objects"][name]["fbeta"] == pytest.approx(learned_of_it.fbeta)
            assert result["objects"][name]["precision"] == pytest.approx(learned_of_it.precision)
            assert result["objects"][name]["recall"] == pytest.approx(learned_of_it.recall)
        picks = read.read_picks(open_project(project.config), "TS_1", [picks_uri("*:net/1")])
        assert all((p.scores >= setting.objects[name].min_score).all() for name, p in picks.items())


def test_what_is_tried():
    recipe = Pick(threshold=0.42, merge=0.3)
    ways = ways_to_pick(recipe)
    assert ways[0] == recipe
    assert len(set(ways)) == len(ways)
    assert {way.method for way in ways} == {"components", "watershed", "peaks"}
    assert all(way.merge == 0.3 for way in ways)
    assert {way.method for way in ways_to_pick(recipe, ["peaks"])[1:]} == {"peaks"}
    own = recipe.model_copy(update={"method": "mean-shift", "bandwidth": 50.0})
    assert {way.method for way in ways_to_pick(own)} == {"components", "watershed", "peaks", "mean-shift"}
    for method in ("mean-shift", "mean-pool"):
        asked = ways_to_pick(own, [method])[1:]
        assert {(way.method, way.bandwidth) for way in asked} == {(method, 50.0)}
        assert [way.threshold for way in asked] == [0.35, 0.5, 0.65]
    assert fold_of_runs(23).max() + 1 == 5
