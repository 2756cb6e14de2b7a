"""The commands on a small project: results, skipping, machine-readable output, and one line for each mistake."""

import csv
import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch
from conftest import Popsicle

from copick_tools.data import read, splits
from copick_tools.data.project import open_project
from copick_tools.data.uris import SegmentationUri, picks_uri, segmentation_uri, tomogram_uri
from copick_tools.data.write import write_segmentation
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.results import DoctorResult, ModelCard, PointsResult, RunsResult
from copick_tools.recipes.task import Task


def text(result):
    return result.stderr


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestLook:
    def test_tasks(self, popsicle):
        assert {row["name"] for row in popsicle.json("tasks", "ls")} == {
            "phantom",
            "phantom-sim",
            "organelle-sim",
            "motorbench",
            "bacterial",
            "yeast",
        }
        task = Task.model_validate(popsicle.json("tasks", "show", "phantom"))
        assert [task.distance(o.name) for o in task.targets] == [30, 32.5, 45, 75, 65, 67.5]
        assert "Hint: did you mean phantom" in text(popsicle("tasks", "show", "fantom", code=1))

    def test_models(self, popsicle):
        card = ModelCard.model_validate(popsicle.json("models", "show", "octopi"))
        assert card.parameters == 3_259_333
        assert "no model family 'octopus'" in text(popsicle("models", "show", "octopus", code=1))

    def test_doctor(self, popsicle):
        checks = DoctorResult.model_validate(popsicle.json("doctor")).checks
        assert {"copick", "torch", "cpu", "configs"} <= {check.name for check in checks}

    def test_unknown_command_names_the_nearest(self, popsicle):
        assert "did you mean localize?" in popsicle("localise", code=2).output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    Popsicle()("simulate", "phantom", "--out", folder / "a", "--runs", 2, "--shape", "24,96,96", "--seed", 7)
    return folder


class TestSimulate:
    def test_same_seed_same_bytes(self, made, popsicle):
        popsicle("simulate", "phantom", "--out", made / "b", "--runs", 2, "--shape", "24,96,96", "--seed", 7, "-w", 2)

        def contents(folder):
            files = (path for path in (folder / "ExperimentRuns").rglob("*") if path.is_file())
            return {str(path.relative_to(folder)): path.read_bytes() for path in files}

        assert contents(made / "a") == contents(made / "b")

    def test_it_holds_what_it_says(self, made):
        project = open_project(made / "a")
        assert splits.read_splits(project) == {"train": ["TS_001"], "val": [], "test": ["TS_002"]}
        tomogram = read.read_tomogram(project, "TS_001", tomogram_uri("wbp@10.012"))
        assert tomogram.shape == (24, 96, 96)
        labels = read.read_segmentation(
            project, "TS_001", segmentation_uri("phantom:simulation/0@10.012?multilabel=true")
        ).numpy()
        picks = read.read_picks(project, "TS_001", [picks_uri("*:simulation/0")])
        record = json.loads((project.sidecar / "runs/TS_001.json").read_text())
        assert set(record["instances"]) == {*picks, "membrane"}
        assert sum(map(len, picks.values())) > 0
        for name, points in picks.items():
            instances = read.read_segmentation(
                project, "TS_001", segmentation_uri(f"{name}:simulation/0?instance=true")
            ).numpy()
            ids = [] if points.instance_ids is None else points.instance_ids.tolist()
            assert set(np.unique(instances)) - {0} <= set(ids)
            assert (labels[instances > 0] == project.object(name).label).all()
            assert points.trust_orientation or not len(points)

    def test_finished_runs_are_skipped_and_other_settings_refused(self, made, popsicle):
        again = ("simulate", "phantom", "--out", made / "a", "--runs", 2, "--shape", "24,96,96")
        assert "2 skipped" in text(popsicle(*again, "--seed", 7))
        assert "other settings" in text(popsicle(*again, "--seed", 8, code=2))

    @pytest.mark.slow
    def test_positions_of_experts(self, popsicle, tmp_path):
        (tmp_path / "picks").mkdir()
        shutil.copy(Path(__file__).parents[1] / "data/TS_5_4_beta-amylase.json", tmp_path / "picks")
        popsicle(
            "simulate",
            "phantom",
            "--out",
            tmp_path / "p",
            "--positions",
            tmp_path / "picks",
            "--shape",
            "150,600,630",
            "--voxel-spacing",
            "20",
            "--tilt-step",
            30,
        )
        found = read.read_picks(open_project(tmp_path / "p"), "TS_001", [picks_uri("*:simulation/0")])
        assert {name: len(points) for name, points in found.items() if len(points)} == {"beta-amylase": 10}

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("--shape", "16,48"), "three positive numbers"),
            (("--preset", "hardest"), "no preset 'hardest'"),
            (("--dose", "-1"), "dose has to be positive"),
            (("--voxel-spacing", "0"), "can't simulate"),
            (("--counts", "ribosom=3"), "ribosom"),
        ],
    )
    def test_mistakes(self, popsicle, tmp_path, arguments, reason):
        from click.testing import CliRunner

        from copick_tools.cli.main import popsicle as command

        result = CliRunner().invoke(
            command, ["simulate", "phantom", "--out", str(tmp_path / "x"), "--shape", "8,16,16", *arguments]
        )
        assert result.exit_code in (1, 2)
        assert reason in result.output


class TestTargets:
    def test_by_recipe_and_by_hand(self, popsicle, project, recipe_path):
        out = "targets:popsicle/0?multilabel=true"
        popsicle("targets", recipe_path, "-c", project.config, "-o", out, "-r", "TS_1")
        popsicle(
            "targets",
            "-c",
            project.config,
            "-i",
            "*:truth/0",
            "--tomogram",
            "wbp",
            "-o",
            "hand:popsicle/0?multilabel=true",
        )
        one, other = (
            read.read_segmentation(project, "TS_1", segmentation_uri(f"{name}:popsicle/0?multilabel=true")).numpy()
            for name in ("targets", "hand")
        )
        np.testing.assert_array_equal(one, other)
        assert set(np.unique(one)) == {0, 1, 2}
        assert "1 skipped" in text(popsicle("targets", recipe_path, "-c", project.config, "-o", out, "-r", "TS_1"))

    def test_heatmaps_are_features(self, popsicle, project, recipe_path):
        popsicle(
            "targets",
            recipe_path,
            "-c",
            project.config,
            "-o",
            "heat:popsicle/0?multilabel=true",
            "--kind",
            "gaussian",
            "-r",
            "TS_1",
        )
        tomogram = read.read_tomogram(open_project(project.config), "TS_1", tomogram_uri("wbp"))
        maps = tomogram.entry.get_features("heat-popsicle-0").numpy()
        assert maps.shape == (2, *tomogram.shape)
        assert 0.9 < maps.max() <= 1

    def test_a_typo_in_the_reference_paints_nothing(self, popsicle, project):
        base = ("targets", "-c", project.config, "--tomogram", "wbp", "-o", "none:popsicle/0?multilabel=true")
        assert "no reference picks match" in text(popsicle(*base, "-i", "*:nobody/0", code=1))

    @pytest.mark.parametrize("kind", ["spheres", "gaussian"])
    def test_outside_the_region_nothing_is_known(self, popsicle, project, kind):
        region = np.zeros((24, 48, 48), np.uint8)
        region[:, :, :20] = 1
        for run in project.run_names:
            write_segmentation(project, run, SegmentationUri("ribosome", "me", "1", 10.0, "binary"), region)
        out = "t:popsicle/0?multilabel=true"
        base = ("targets", "-c", project.config, "--tomogram", "wbp", "-i", "*:truth/0", "--region", "ribosome:me/1")
        popsicle(*base, "-o", out, "--kind", kind, "-r", "TS_1")
        again = open_project(project.config)
        if kind == "spheres":
            made = read.read_segmentation(again, "TS_1", segmentation_uri(out)).numpy()
            assert (made[:, :, 20:] == 255).all()
            assert set(np.unique(made[:, :, :20])) <= {0, 1, 2}
        else:
            made = read.read_tomogram(again, "TS_1", tomogram_uri("wbp")).entry.get_features("t-popsicle-0").numpy()
            assert (made[..., 20:] == -1).all()
            assert (made[..., :20] >= 0).all()

    def test_a_run_without_picks_is_background(self, popsicle, project):
        (project.folder / "ExperimentRuns/TS_1/Picks/truth_0_ribosome.json").unlink()
        (project.folder / "ExperimentRuns/TS_1/Picks/truth_0_apo-ferritin.json").unlink()
        popsicle(
            "targets",
            "-c",
            project.config,
            "-i",
            "*:truth/0",
            "--tomogram",
            "wbp",
            "-o",
            "none:popsicle/0?multilabel=true",
        )
        assert (
            not read.read_segmentation(project, "TS_1", segmentation_uri("none:popsicle/0?multilabel=true"))
            .numpy()
            .any()
        )

    def test_mistakes(self, popsicle, project):
        base = ("targets", "-c", project.config, "--tomogram", "wbp")
        assert "did you mean ribosome:truth/0?" in text(
            popsicle(*base, "-i", "ribosom:truth/0", "-o", "t:p/0?multilabel=true", code=1)
        )
        assert "add ?multilabel=true" in text(popsicle(*base, "-i", "*:truth/0", "-o", "t:p/0", code=2))
        assert "nothing says what" in text(
            popsicle("targets", "-c", project.config, "-o", "t:p/0?multilabel=true", code=2)
        )


class TestTrain:
    def test_experiment_folder(self, checkpoint, recipe_path):
        folder = checkpoint.parent
        assert load_recipe(folder / "recipe.yaml") == load_recipe(recipe_path)
        assert json.loads((folder / "versions.json").read_text())["torch"]
        rows = table(folder / "metrics.csv")
        assert [row["step"] for row in rows] == ["5", "10", "15", "20"]
        assert [bool(row["score"]) for row in rows] == [False, True, False, True]
        assert "validation score" in (folder / "log.txt").read_text()

    def test_finished_is_left_alone(self, popsicle, shared_project, recipe_path, checkpoint):
        command = ("train", recipe_path, "-c", shared_project.config, "--out", checkpoint.parent)
        before = checkpoint.stat().st_mtime_ns
        assert "finished already" in text(popsicle(*command))
        assert checkpoint.stat().st_mtime_ns == before
        assert "another recipe" in text(popsicle(*command, "-s", "train.seed=3", code=1))

    def test_unfinished_needs_a_word(self, popsicle, shared_project, recipe_path, checkpoint, tmp_path):
        shutil.copytree(checkpoint.parent, tmp_path / "half")
        (tmp_path / "half/finished").unlink()
        command = ("train", recipe_path, "-c", shared_project.config, "--out", tmp_path / "half")
        assert "--resume goes on" in text(popsicle(*command, code=1))
        before = (tmp_path / "half/recipe.yaml").read_text()
        assert "another recipe" in text(popsicle(*command, "--resume", "-s", "train.seed=9", code=1))
        assert (tmp_path / "half/recipe.yaml").read_text() == before

    def test_another_project_is_not_the_same_experiment(self, popsicle, project, recipe_path, checkpoint):
        command = ("train", recipe_path, "-c", project.config, "--out", checkpoint.parent)
        assert "another project or split" in text(popsicle(*command, code=1))

    def test_dry_run_prints_a_recipe_that_is_valid_again(self, popsicle, shared_project, recipe_path, tmp_path):
        out = popsicle(
            "train",
            recipe_path,
            "-c",
            shared_project.config,
            "--dry-run",
            "--out",
            tmp_path / "e",
            "-s",
            "train.seed=5",
        )
        (tmp_path / "again.yaml").write_text(out.stdout)
        assert load_recipe(tmp_path / "again.yaml").train.seed == 5
        assert not (tmp_path / "e").exists()

    @pytest.mark.parametrize(
        ("settings", "reason", "code"),
        [
            (("model.family=octopus",), "no model family 'octopus'", 1),
            (("model.channel=[8,16]",), "did you mean channels?", 1),
            (("model.strides=[2,2]",), "need 1 strides", 1),
            (("train.epoch=3",), "did you mean epochs", 1),
            (("train.patch=[15,24,24]",), "multiple of 2", 2),
            (("train_split=trian",), "did you mean train?", 1),
            (("validation_split=train",), "share runs", 2),
            (("reference='*:nobody/0'",), "no reference picks match", 1),
            (("input=wbp@7",), "no tomogram wbp@7", 1),
            (("task=phantom",), "has label", 2),
            (("train.lr",), "expected KEY=VALUE", 2),
            (("target.region=region:me/1",), "no segmentation region", 1),
        ],
    )
    def test_mistakes(self, popsicle, shared_project, recipe_path, tmp_path, settings, reason, code):
        options = [part for setting in settings for part in ("-s", setting)]
        result = popsicle(
            "train", recipe_path, "-c", shared_project.config, "--out", tmp_path / "e", *options, code=code
        )
        assert reason in text(result)
        assert not (tmp_path / "e/last.ckpt").exists()

    @pytest.mark.parametrize(
        "settings",
        [
            ("target.kind=gaussian", "loss.name=focal"),
            ("target.kind=segmentation", "target.uri='truth:truth/0@10.0?multilabel=true'", "loss.name=tversky"),
            (
                "train.cache=false",
                "augment.turn=1",
                "optimizer.name=sgd",
                "optimizer.lr=0.001",
                "loss.name=focal-tversky",
            ),
            ("validation_split=null", "optimizer.schedule=poly"),
            ("voxel_spacing=14", "train.cache=false"),
        ],
    )
    def test_other_ways(self, popsicle, shared_project, recipe_path, tmp_path, settings):
        options = [
            part for setting in (*settings, "train.epochs=1", "train.steps_per_epoch=2") for part in ("-s", setting)
        ]
        result = popsicle(
            "train", recipe_path, "-c", shared_project.config, "--out", tmp_path / "e", "--device", "cpu", *options
        )
        assert result.stdout.strip() == str(tmp_path / "e/best.ckpt")
        scored = [bool(row["score"]) for row in table(tmp_path / "e/metrics.csv")]
        assert scored == ["validation_split=null" not in settings]


class TestPredict:
    def test_localize_evaluate_report(self, popsicle, project, checkpoint, recipe_path, tmp_path):
        command = ("localize", checkpoint, "-c", project.config, "-i", "wbp@10.0", "-o", ":net/1", "--device", "cpu")
        found = RunsResult.model_validate(popsicle.json(*command))
        assert [row.status for row in found.runs] == ["done"] * 3
        assert "3 skipped" in text(popsicle(*command))
        picks = read.read_picks(open_project(project.config), "TS_3", [picks_uri("*:net/1")])
        assert set(picks) == {"ribosome", "apo-ferritin"}
        assert all((p.scores >= 0).all() and (p.scores <= 1).all() for p in picks.values())

        task = recipe_path.parent / "toy.yaml"
        score = ("evaluate", "-c", project.config, "-i", "*:net/1", "--task", task, "--out", tmp_path / "scores")
        result = PointsResult.model_validate(popsicle.json(*score))
        assert result.rule == "kaggle"
        assert result.other_rule.rule == "one-to-one"
        assert result.runs == 3
        assert result.ci95 is None  # three runs are too few
        rows = table(tmp_path / "scores/matches.csv")
        outcomes = [row["outcome"] for row in rows]
        totals = PointsResult.model_validate(popsicle.json(*score, "--rule", "one-to-one")).objects.values()
        assert outcomes.count("fn") == sum(o.fn for o in totals)
        assert outcomes.count("tp") + outcomes.count("fp") == sum(o.tp + o.fp for o in totals)

        popsicle("report", tmp_path / "scores", "--out", tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert page.count("data:image/jpeg") >= 3
        assert "http" not in page
        assert f"{result.score:.3f}" in page

    def test_segment_and_pick(self, popsicle, project, checkpoint):
        popsicle(
            "segment",
            checkpoint,
            "-c",
            project.config,
            "-i",
            "wbp",
            "-o",
            "net:net/1?multilabel=true",
            "-r",
            "TS_1",
            "--device",
            "cpu",
        )
        labels = read.read_segmentation(project, "TS_1", segmentation_uri("net:net/1@10.0?multilabel=true"))
        assert labels.shape == (24, 48, 48)
        command = ("pick", "-c", project.config, "-i", "net:net/1?multilabel=true", "-o", ":labels/1", "-r", "TS_1")
        counts = popsicle.json(*command)["runs"][0]["counts"]
        picks = read.read_picks(open_project(project.config), "TS_1", [picks_uri("*:labels/1")])
        assert counts == {name: len(points) for name, points in picks.items()}

    def test_the_truth_is_found_by_pick(self, popsicle, project):
        popsicle("pick", "-c", project.config, "-i", "truth:truth/0?multilabel=true", "-o", ":labels/1", "-w", 2)
        result = popsicle.json("evaluate", "-c", project.config, "-i", "*:labels/1", "--reference", "*:truth/0")
        assert result["rule"] == "one-to-one"
        assert result["other_rule"] is None
        assert result["objects"]["ribosome"]["distance"] == 60

    def test_files(self, popsicle, checkpoint, shared_project, tmp_path):
        volume = read.read_tomogram(shared_project, "TS_1", tomogram_uri("wbp")).numpy()
        with mrcfile.new(tmp_path / "one.mrc") as mrc:
            mrc.set_data(volume)
            mrc.voxel_size = 10.0
        with mrcfile.new(tmp_path / "bright.mrc") as mrc:
            mrc.set_data(-volume)
        (tmp_path / "broken.mrc").write_bytes((tmp_path / "one.mrc").read_bytes()[:5000])
        popsicle("localize", checkpoint, tmp_path / "one.mrc", "--out", tmp_path / "one.star", "--device", "cpu")
        star = starfile.read(tmp_path / "one.star")
        assert {"rlnCenteredCoordinateXAngst", "rlnTomoName"} <= set(star.columns)
        command = ("localize", checkpoint, tmp_path / "bright.mrc", "--out", tmp_path / "two.star", "--device", "cpu")
        assert "--voxel-spacing" in text(popsicle(*command, code=1))
        popsicle(*command, "--voxel-spacing", 10, "--invert")
        again = starfile.read(tmp_path / "two.star")
        np.testing.assert_array_equal(star.rlnCenteredCoordinateXAngst, again.rlnCenteredCoordinateXAngst)
        both = popsicle(
            "localize", checkpoint, tmp_path / "one.mrc", tmp_path / "broken.mrc", "--out", tmp_path / "b.csv", code=1
        )
        assert "broken.mrc" in text(both)
        assert {row["run_name"] for row in table(tmp_path / "b.csv")} == {"one"}
        assert "is there already" in text(popsicle(*command, "--voxel-spacing", 10, code=1))
        popsicle(*command, "--voxel-spacing", 10, "--overwrite")

    def test_a_real_crop(self, popsicle, checkpoint, tmp_path):
        crop = Path(__file__).parents[1] / "data/13pf_MT.tif"
        result = popsicle("localize", checkpoint, crop, "--out", tmp_path / "picks.star", "--invert", "--device", "cpu")
        assert "resampled from 10.52 to the model's 10 A" in text(result)
        assert {"13pf_MT"} >= set(starfile.read(tmp_path / "picks.star", always_dict=True)["particles"].rlnTomoName)

    def test_another_voxel_spacing_is_resampled_and_mapped_back(self, popsicle, checkpoint, shared_project, tmp_path):
        from copick_tools.volumes.resample import Resampled

        volume = read.read_tomogram(shared_project, "TS_1", tomogram_uri("wbp")).numpy()
        resampled = Resampled(volume, 10.0, 5.0)
        fine, origin = resampled[:, :, :], resampled.origin
        for name, array, spacing in (("coarse", volume, 10.0), ("fine", fine, 5.0)):
            with mrcfile.new(tmp_path / f"{name}.mrc") as mrc:
                mrc.set_data(array)
                mrc.voxel_size = spacing
        out = tmp_path / "picks.csv"
        result = popsicle(
            "localize", checkpoint, tmp_path / "coarse.mrc", tmp_path / "fine.mrc", "--out", out, "--device", "cpu"
        )
        assert "resampled from 5 to the model's 10 A" in text(result)
        rows = table(out)
        points = {
            run: np.array([[float(r[a]) for a in "xyz"] for r in rows if r["run_name"] == run])
            for run in ("coarse", "fine")
        }
        assert len(points["coarse"]) > 0
        nearest = np.linalg.norm(points["coarse"][:, None] - (points["fine"] + origin)[None], axis=2).min(1)
        assert np.median(nearest) < 5

    def test_foreign_checkpoints(self, popsicle, project, tmp_path):
        class Evil:
            def __reduce__(self):
                return (print, ("executed",))

        torch.save({"format": "popsicle-checkpoint-1", "card": Evil()}, tmp_path / "evil.ckpt")
        torch.save({"state_dict": torch.zeros(3)}, tmp_path / "other.ckpt")
        (tmp_path / "text.ckpt").write_text("no checkpoint")
        for name in ("evil", "other", "text"):
            result = popsicle(
                "localize", tmp_path / f"{name}.ckpt", "-c", project.config, "-i", "wbp", "-o", ":x/1", code=1
            )
            assert "is no popsicle checkpoint" in text(result)
            assert "executed" not in result.output
        missing = popsicle("localize", tmp_path / "none.ckpt", "-c", project.config, "-i", "wbp", "-o", ":x/1", code=1)
        assert "no checkpoint" in text(missing)

    def test_one_bad_tomogram_and_the_others_go_on(self, popsicle, project, checkpoint):
        from copick_tools.data.uris import TomogramUri
        from copick_tools.data.write import write_tomogram

        bad = read.read_tomogram(project, "TS_2", tomogram_uri("wbp")).numpy()
        bad[3, 3, 3] = np.nan
        write_tomogram(project, "TS_2", TomogramUri("wbp", 10.0), bad)
        write_tomogram(project, "TS_3", TomogramUri("wbp", 10.0), np.ones_like(bad))
        result = popsicle(
            "localize", checkpoint, "-c", project.config, "-i", "wbp", "-o", ":n/1", "--json", "--device", "cpu", code=1
        )
        rows = json.loads(result.stdout)["runs"]
        assert [row["status"] for row in rows] == ["done", "failed", "failed"]
        assert "aren't finite" in rows[1]["error"]
        assert "all voxels are 1" in rows[2]["error"]
        assert not read.read_picks(open_project(project.config), "TS_2", [picks_uri("*:n/1")])

    def test_a_damaged_store_and_the_others_go_on(self, popsicle, project, checkpoint):
        chunk = next((project.folder / "ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr/0").rglob("0/0/0"))
        chunk.write_bytes(chunk.read_bytes()[:100])
        command = ("localize", checkpoint, "-c", project.config, "-i", "wbp", "-o", ":n/1", "--json", "--device", "cpu")
        rows = json.loads(popsicle(*command, code=1).stdout)["runs"]
        assert [row["status"] for row in rows] == ["failed", "done", "done"]
        assert "can't be read" in rows[0]["error"]

    @pytest.mark.parametrize(
        ("arguments", "reason", "code"),
        [
            (("-i", "wbp", "-o", "ribosom:n/1"), "did you mean ribosome?", 1),
            (("-i", "wpb@10", "-o", ":n/1"), "did you mean wbp@10?", 1),
            (("-i", "wbp", "-o", ":n/1", "-r", "TS_9"), "no run 'TS_9'", 1),
            (("-i", "wbp", "-o", ":n/1", "--split", "tets"), "did you mean test?", 1),
            (("-i", "wbp", "-o", ":n"), "doesn't say where to write", 2),
            (("-i", "wbp"), "-o missing", 2),
            (("-i", "wbp", "-o", ":n/1", "--invert"), "goes with files", 2),
            (("-i", "wbp", "-o", ":n/1", "--threshold", "2"), "between 0 and 1", 2),
            (("-i", "wbp", "-o", ":n/1", "--device", "tpu9"), "no device", 2),
        ],
    )
    def test_mistakes(self, popsicle, shared_project, checkpoint, arguments, reason, code):
        assert reason in text(popsicle("localize", checkpoint, "-c", shared_project.config, *arguments, code=code))


class TestEvaluate:
    def test_a_run_without_prediction(self, popsicle, project):
        popsicle("pick", "-c", project.config, "-i", "truth:truth/0?multilabel=true", "-o", ":labels/1", "-r", "TS_1")
        base = ("evaluate", "-c", project.config, "-i", "*:labels/1", "--reference", "*:truth/0")
        assert "2 of 3 runs have no prediction" in text(popsicle(*base, code=1))
        result = popsicle.json(*base, "--missing", "empty")
        assert result["by_run"]["TS_2"]["objects"]["ribosome"]["fn"] == 2
        assert any("count as empty" in warning for warning in result["warnings"])
        assert popsicle.json(*base, "-r", "TS_1")["ci95"] is None

    @pytest.mark.parametrize(
        ("arguments", "reason", "code"),
        [
            (("-i", "*:nobody/1", "--reference", "*:truth/0"), "no prediction picks match", 1),
            (("-i", "*:truth/0", "--reference", "*:nobody/0"), "no reference picks match", 1),
            (("-i", "*:truth/0"), "nothing to score against", 2),
            (("-i", "*:truth/0", "--reference", "*:truth/0", "--rule", "kaggle"), "a task's official code", 2),
            (("-i", "*:truth/0", "--reference", "*:truth/0", "--rule", "hungarian"), "no rule 'hungarian'", 2),
            (("-i", "*:truth/0", "--reference", "*:truth/0", "--distance", "-3"), "positive", 2),
            (("-i", "*:truth/0", "--reference", "*:truth/0", "--task", "phantm"), "no task 'phantm'", 1),
        ],
    )
    def test_mistakes(self, popsicle, shared_project, arguments, reason, code):
        assert reason in text(popsicle("evaluate", "-c", shared_project.config, *arguments, code=code))


class TestImport:
    def test_a_folder_of_tomograms_with_picks(self, popsicle, tmp_path):
        folder = tmp_path / "tomograms"
        folder.mkdir()
        volume = np.random.default_rng(0).normal(size=(8, 10, 12)).astype(np.float32)
        for name in ("TS_1", "TS_2"):
            with mrcfile.new(folder / f"{name}.mrc") as mrc:
                mrc.set_data(volume)
                mrc.voxel_size = 13.0
        (tmp_path / "picks.csv").write_text("run_name,object_name,x,y,z\nTS_1,ribosome,50,60,70\n")
        command = (
            "import",
            folder,
            "--picks",
            tmp_path / "picks.csv",
            "--out",
            tmp_path / "p",
            "--radius",
            "ribosome=150",
        )
        popsicle(*command)
        project = open_project(tmp_path / "p")
        assert project.object("ribosome").radius == 150
        picks = {run: read.read_picks(project, run, [picks_uri("*:import/0")])["ribosome"] for run in project.run_names}
        assert picks["TS_1"].positions.tolist() == [[50, 60, 70]]
        assert len(picks["TS_2"]) == 0
        np.testing.assert_array_equal(read.read_tomogram(project, "TS_2", tomogram_uri("wbp@13")).numpy(), volume)
        assert "2 skipped" in text(popsicle(*command))
        assert splits.read_splits(project) == {"train": ["TS_1"], "val": [], "test": ["TS_2"]}
        (tmp_path / "more.csv").write_text("run_name,object_name,x,y,z\nTS_2,apo-ferritin,10,20,30\n")
        popsicle(
            "import", folder, "--picks", tmp_path / "more.csv", "--out", tmp_path / "p", "--radius", "apo-ferritin=60"
        )
        again = open_project(tmp_path / "p")
        assert {name: o.label for name, o in again.objects.items()} == {"ribosome": 1, "apo-ferritin": 2}
        assert len(read.read_picks(again, "TS_2", [picks_uri("*:import/0")])["apo-ferritin"]) == 1
        (tmp_path / "picks.csv").write_text("run_name,object_name,x,y,z\nTS_11,ribosome,50,60,70\n")
        assert "did you mean TS_1?" in text(popsicle(*command, code=1)).replace(" or TS_2", "")

    def test_bad_files(self, popsicle, tmp_path):
        (tmp_path / "a.mrc").write_bytes(b"nothing")
        assert "a.mrc" in text(popsicle("import", tmp_path / "a.mrc", "--out", tmp_path / "p", code=1))
        assert "no file" in text(popsicle("import", tmp_path / "b.mrc", "--out", tmp_path / "q", code=2))
