"""Learning curves: nested subsets of annotated objects, their regions, what is done and what isn't done again."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from reports.studies import curve_result
from training.cells import NAMES, annotated, cells
from training.cells import recipe as cells_recipe

pytest.importorskip("torch")

from conftest import SHAPE, make_project
from workflows.killing import killed_and_twice_again

from copick_tools.data import read, uris
from copick_tools.data.splits import write_splits
from copick_tools.data.write import write_picks, write_segmentation
from copick_tools.errors import NotFoundError, PopsicleError
from copick_tools.recipes.learning_curve_results import LearningCurveResult
from copick_tools.recipes.load import load_recipe
from copick_tools.recipes.study_results import Usage
from copick_tools.training.data import TrainingData
from copick_tools.training.patches import Patches
from copick_tools.training.targets import IGNORED
from copick_tools.types import Points
from copick_tools.workflows import bench_job
from copick_tools.workflows.bench_job import Job
from copick_tools.workflows.learning_curve import Asked, plan_curve
from copick_tools.workflows.learning_curve_subsets import Annotations, powers


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Three training runs with picks, one without, one to choose by, one to score; for tests that don't write."""
    project = make_project(tmp_path_factory.mktemp("six"), 6)
    for name in ("ribosome", "apo-ferritin"):
        write_picks(project, "TS_5", uris.PicksUri(name, "truth", "0"), Points.at(np.empty((0, 3))))
    write_splits(project, {"train": ["TS_1", "TS_2", "TS_4", "TS_5"], "val": ["TS_6"], "test": ["TS_3"]})
    return project


@pytest.fixture
def writable(six, tmp_path):
    """The same, to write into."""
    from copick_tools.data.project import open_project

    shutil.copytree(six.config.parent, tmp_path / "six")
    path = tmp_path / "six" / "copick.json"
    path.write_text(path.read_text().replace(str(six.config.parent), str(tmp_path / "six")))
    return open_project(path)


def annotations(project, recipe_path, *settings):
    return Annotations(TrainingData.resolve(project, load_recipe(recipe_path, settings)))


def trained_on(project, recipe, region, runs):
    """The targets that a training reads. region: URI or None."""
    target = recipe.target.model_copy(update={"region": None if region is None else str(region)})
    data = TrainingData.resolve(project, recipe.model_copy(update={"target": target, "train_runs": tuple(runs)}))
    assert data.train == sorted(runs)
    return {run: data.training_runs(run)[0] for run in data.train}


class TestSubsets:
    def test_larger_ones_hold_smaller_ones(self, writable, recipe_path):
        found = annotations(writable, recipe_path)
        assert found.counts == {"ribosome": 6, "apo-ferritin": 9}
        recipe = found.data.recipe
        for seed in (0, 1):
            before: dict = {}
            for count in (1, 2, 3, 5, 8, 11, 14, 15):
                subset = found.subset(count, seed)
                assert subset.objects == sum(subset.by_object.values()) == count
                found.write(subset)
                runs = trained_on(writable, recipe, found.region(subset), subset.runs)
                known = {run: made.target.crop((0, 0, 0), SHAPE) != IGNORED for run, made in runs.items()}
                picks = [made.target.anchors(channel) for made in runs.values() for channel in (1, 2)]
                assert sum(map(len, picks)) == count
                assert all((known[run] | ~before[run]).all() for run in before)
                before = known
            assert sorted(before) == ["TS_1", "TS_2", "TS_4", "TS_5"]  # the negative as well
            assert all(mask.all() for mask in before.values())

    def test_what_is_left_out_is_in_no_patch(self, writable, recipe_path):
        found = annotations(writable, recipe_path)
        subset = found.subset(1, 0)
        found.write(subset)
        runs = list(trained_on(writable, found.data.recipe, found.region(subset), subset.runs).values())
        patches = Patches(runs, 3, found.data.recipe)
        (kind,) = [channel for channel, n in enumerate(subset.by_object.values(), 1) if n]
        for index in range(20):
            labels = set(np.unique(patches[index][1])) - {IGNORED}
            assert labels
            assert labels <= {0, kind}

    def test_seeds_choose_others_and_repeat(self, six, recipe_path):
        found = annotations(six, recipe_path)
        chosen = {seed: str(found.region(found.subset(2, seed))) for seed in range(6)}
        assert len(set(chosen.values())) > 2
        assert chosen == {seed: str(found.region(annotations(six, recipe_path).subset(2, seed))) for seed in range(6)}

    def test_all_needs_no_region(self, six, recipe_path):
        found = annotations(six, recipe_path)
        subset = found.subset(15, 0)
        assert found.region(subset) is None
        assert (subset.share, subset.runs) == (1.0, ["TS_1", "TS_2", "TS_4", "TS_5"])

    def test_validation_runs_are_annotated_whole(self, writable, recipe_path):
        found = annotations(writable, recipe_path)
        subset = found.subset(3, 0)
        found.write(subset)
        assert read.read_segmentation(writable, "TS_6", found.region(subset)).numpy().all()

    def test_another_truth_is_another_region(self, writable, recipe_path):
        found = annotations(writable, recipe_path)
        subset = found.subset(3, 0)
        before = found.region(subset)
        run = subset.part[0].run
        write_picks(writable, run, uris.PicksUri("ribosome", "truth", "0"), Points.at([[100.0, 100, 100]]))
        found = annotations(writable, recipe_path)
        assert found.region(found.subset(3, 0)) != before

    def test_a_region_of_the_users_own_is_kept_to(self, writable, recipe_path):
        own = np.zeros(SHAPE, np.uint8)
        own[:, :24] = 1
        for run in writable.run_names:
            write_segmentation(writable, run, uris.SegmentationUri("own", "me", "0", 10.0, "multilabel"), own)
        setting = "target.region=own:me/0?multilabel=true"
        found = annotations(writable, recipe_path, setting)
        total = sum(found.counts.values())
        assert 1 < total < 15
        subset = found.subset(total - 1, 0)
        found.write(subset)
        for run in subset.runs + ["TS_6"]:
            written = read.read_segmentation(writable, run, found.region(subset)).numpy()
            assert not written[:, 24:].any()
            assert run != "TS_6" or written[:, :24].all()

    def test_instances_are_whole(self, tmp_path):
        project = cells(tmp_path, A=annotated(0), B=annotated(1), C=annotated(2))
        write_splits(project, {"train": ["A", "B"], "val": ["C"]})
        found = annotations(project, cells_recipe(tmp_path), "target.kind=distances")
        every = [annotated(0), annotated(1)]
        assert sum(found.counts.values()) == sum(map(count_objects, every))
        assert set(found.counts) == set(NAMES)
        subset = found.subset(3, 0)
        found.write(subset)
        run = subset.part[0].run
        region = read.read_segmentation(project, run, found.region(subset)).numpy() != 0
        labels, ids = {"A": every[0], "B": every[1]}[run]
        inside = [region[(labels == label) & (ids == number)] for label, number in pairs(labels, ids)]
        assert all(part.all() or not part.any() for part in inside)
        assert sum(part.all() for part in inside) == 3 - sum(count_objects(every["AB".index(r)]) for r in subset.whole)

    def test_compartments_count_by_what_hangs_together(self, tmp_path):
        project = cells(tmp_path)
        found = annotations(project, cells_recipe(tmp_path, "dice"), "target.kind=segmentation")
        assert found.unit == "connected parts of a label"
        assert sum(found.counts.values()) >= 3
        found.write(found.subset(1, 0))

    def test_a_recipe_may_name_its_training_runs(self, six, recipe_path):
        assert annotations(six, recipe_path, "train_runs=[TS_4, TS_2]").data.train == ["TS_2", "TS_4"]
        with pytest.raises(NotFoundError, match="train_runs: no run 'TS_6' in split train"):
            annotations(six, recipe_path, "train_runs=[TS_1, TS_6]")

    def test_nothing_annotated(self, writable, recipe_path):
        for run in ("TS_1", "TS_2", "TS_4"):
            for name in ("ribosome", "apo-ferritin"):
                write_picks(writable, run, uris.PicksUri(name, "truth", "0"), Points.at(np.empty((0, 3))))
        with pytest.raises(PopsicleError, match="no picks in the 4 training runs, of ribosome, apo-ferritin"):
            plan_curve(writable, Asked(str(recipe_path), writable.config.parent / "curve"))


def pairs(labels, ids):
    return {(int(a), int(b)) for a, b in zip(labels.ravel(), ids.ravel()) if a and b}


def count_objects(truth):
    return len(pairs(*truth))


def test_powers():
    assert powers(1) == [1]
    assert powers(9) == [1, 2, 4, 8, 9]


@pytest.fixture
def played(monkeypatch):
    """Commands that are played in this process: what was asked of them, and which of them fail."""
    seen, failing = [], {}

    def run(job, step, device, stop):
        command = job.command(step, device)
        seen.append((job.name, job.seed, step))
        if (job.name, step) in failing:
            raise failing[job.name, step]
        if step == "train":
            region = job.training.recipe.target.region
            for name in job.training.data.train if region else ():  # is there when it is trained
                read.read_segmentation(job._as_it_is, name, uris.segmentation_uri(region))
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / "best.ckpt").write_text(f"{job.name} {job.seed}")
            (job.folder / "recipe.yaml").write_text(bench_job.dump_yaml(job.training.recipe))
            (job.folder / "data.json").write_text(job.training.data.model_dump_json(indent=2) + "\n")
            (job.folder / "usage.json").write_text(Usage(seconds=10.0 + job.seed, memory=2**30).model_dump_json())
            (job.folder / "finished").touch()
        if step == "calibrate":
            (job.folder / "thresholds.yaml").write_text("beta: 4")
        if step == "localize":
            truth = read.read_picks(job._as_it_is, "TS_3", [uris.picks_uri("*:truth/0")])
            uri = uris.picks_uri(command[command.index("-o") + 1], output=True)
            found = len(job.training.data.train) > 3  # all of them, or none
            for name, points in truth.items():
                kept = points.positions[: len(points) * found]
                write_picks(
                    job._as_it_is,
                    "TS_3",
                    uris.PicksUri(name, uri.user, uri.session),
                    Points.at(kept, np.full(len(kept), 0.5)),
                )

    monkeypatch.setattr(Job, "_run", run)
    monkeypatch.setattr(Job, "_timed", lambda job, step: {"TS_3": 2.0})
    monkeypatch.setattr(bench_job, "describe_checkpoint", lambda path: type("Card", (), {"parameters": 1234})())
    return seen, failing


class TestCommand:
    @pytest.fixture
    def ask(self, writable, recipe_path, tmp_path, popsicle):
        def run(*more, code=0):
            given = ("learning-curve", recipe_path, "-c", writable.config, "--out", tmp_path / "curve")
            return popsicle.json(*given, *more, code=code)

        return run

    def test_every_power_of_two_once(self, ask, played, tmp_path):
        seen, _ = played
        found = LearningCurveResult.model_validate(ask("--repeats", "2", "--seed", "3"))
        assert [point.objects for point in found.points] == [1, 2, 4, 8, 15]
        assert [subset.seed for subset in found.points[0].subsets] == [3, 4]
        assert {step.status for step in found.steps} == {"done"}
        assert all(len(point.score.values) == 2 and point.score.mean is not None for point in found.points)
        assert found.points[-1].score.mean > found.points[0].score.mean
        assert (found.total, found.unit, found.runs) == ({"ribosome": 6, "apo-ferritin": 9}, "picks", 1)
        assert found.points[0].scores_by_object["ribosome"].values == pytest.approx(
            [json.loads(path.read_text())["objects"]["ribosome"]["fbeta"] for path in scores(tmp_path, 1)]
        )
        asked = list(seen)
        again = LearningCurveResult.model_validate(ask("--repeats", "2", "--seed", "3"))
        assert {step.status for step in again.steps} == {"skipped"}
        assert (seen, again.points) == (asked, found.points)
        stored = LearningCurveResult.model_validate_json((tmp_path / "curve" / "learning-curve.json").read_bytes())
        assert stored == again

    def test_what_is_asked_for_and_no_more(self, ask, played):
        found = ask("--objects", "3,all,1")
        assert [point["objects"] for point in found["points"]] == [1, 3, 15]
        assert found["points"][2]["subsets"][0]["region"] is None
        assert found["command"][-4:] == ["--objects", "3,all,1", "--split", "test"]

    def test_one_failure_stops_no_other(self, ask, played):
        seen, failing = played
        failing["learning-curve-2", "train"] = PopsicleError("no memory", "buy some")
        found = ask("--objects", "1,2,4", code=1)
        assert [point["score"]["mean"] is None for point in found["points"]] == [False, True, False]
        assert found["points"][1]["errors"] == ["seed 0, train: no memory (buy some)"]
        failing.clear()
        seen.clear()
        ask("--objects", "1,2,4")
        assert {name for name, _, _ in seen} == {"learning-curve-2"}

    def test_a_dry_run_writes_nothing(self, ask, writable, played, tmp_path):
        before = sorted(writable.config.parent.rglob("*"))
        found = ask("--objects", "2", "--dry-run")
        assert [command[1] for command in found["commands"]] == ["train", "calibrate", "localize", "evaluate"]
        assert found["subsets"][0]["objects"] == 2
        assert sorted(writable.config.parent.rglob("*")) == before
        assert not (tmp_path / "curve").exists()

    def test_the_table(self, writable, recipe_path, tmp_path, popsicle, played):
        given = ("learning-curve", recipe_path, "-c", writable.config, "--out", tmp_path / "curve")
        said = popsicle(*given, "--objects", "1,all")
        assert said.stdout.splitlines()[0].split()[:4] == ["objects", "runs", "annotated", "score"]
        assert [line.split()[0] for line in said.stdout.splitlines()[1:]] == ["1", "15"]
        assert "objects are picks" in said.stderr

    @pytest.mark.parametrize(
        ("more", "code", "words"),
        [
            (("--objects", "16"), 2, "the training runs hold 15 picks"),
            (("--objects", "0"), 2, "expected numbers from 1 up"),
            (("--objects", "1,,2"), 2, "expected numbers from 1 up"),
            (("-s", "train.seed=1"), 2, "--seed and --repeats set it"),
            (("-s", "train_runs=[TS_1]"), 2, "the subsets set it"),
            (("--split", "tset"), 1, "no split 'tset'"),
            (("--device", "cuda:77"), 2, "cuda:77"),
        ],
    )
    def test_mistakes(self, six, recipe_path, tmp_path, popsicle, more, code, words):
        given = ("learning-curve", recipe_path, "-c", six.config, "--out", tmp_path / "curve")
        assert words in popsicle(*given, *more, code=code).stderr


def scores(tmp_path, objects):
    return sorted((tmp_path / "curve" / f"objects-{objects}").glob("seed-*/scores.json"))


class TestReport:
    def write(self, folder, **changes):
        folder.mkdir()
        (folder / "learning-curve.json").write_text(curve_result(**changes).model_dump_json())
        return folder

    def test_a_curve_and_its_numbers(self, tmp_path, popsicle):
        folder = self.write(tmp_path / "octopi")
        popsicle("report", folder, "--out", tmp_path / "r.html", "--csv", tmp_path / "r.csv")
        page = (tmp_path / "r.html").read_text()
        assert "Learning curve" in page
        assert page.count('role="img"') == 2  # all, and each object
        assert "popsicle learning-curve" in page
        assert "octopi: 16 objects,,,score" in (tmp_path / "r.csv").read_text()

    def test_several_share_a_chart(self, tmp_path, popsicle):
        one, two = self.write(tmp_path / "octopi"), self.write(tmp_path / "slices", family="slices")
        popsicle("report", one, two, "--out", tmp_path / "r.html")
        page = (tmp_path / "r.html").read_text()
        assert page.count("Learning curves: task") == 1
        assert "octopi: 0.210 to 0.730; slices: 0.210 to 0.730" in page

    def test_different_measures_share_none(self, tmp_path, popsicle):
        one, two = self.write(tmp_path / "octopi"), self.write(tmp_path / "slices", metric="mean Dice")
        popsicle("report", one, two, "--out", tmp_path / "r.html")
        assert "Learning curves: task" not in (tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_killed_it_goes_on(writable, recipe_path, tmp_path):
    out = tmp_path / "curve"
    command = [sys.executable, "-m", "copick_tools.cli", "learning-curve", str(recipe_path), "--objects", "1,4"]
    command += ["-c", str(writable.config), "--out", str(out), "--device", "cpu", "--json"]
    outputs = killed_and_twice_again(command, out / "objects-4" / "seed-0" / "last.ckpt")
    second, third = map(LearningCurveResult.model_validate_json, outputs)
    assert [step.status for step in second.steps] == ["skipped"] * 4 + ["done"] * 4
    assert {step.status for step in third.steps} == {"skipped"}
    assert third.points == second.points
