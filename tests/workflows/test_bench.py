"""A benchmark run: what is done, what is skipped, what fails alone, and the table."""

import json
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("torch")

from workflows.killing import killed_and_twice_again

from copick_tools.data import uris
from copick_tools.data.write import write_picks
from copick_tools.errors import NotFoundError, UsageError
from copick_tools.recipes.results import PointsResult
from copick_tools.recipes.study_results import BenchResult, Usage
from copick_tools.types import Points
from copick_tools.workflows import bench_job, bench_table
from copick_tools.workflows.bench import Asked, bench, left, plan_bench
from copick_tools.workflows.bench_job import Job
from copick_tools.workflows.bench_table import spread


def quiet(done, total):
    """No bar."""


@pytest.fixture
def played(monkeypatch, project):
    """Commands that are played in this process: what was asked of them, and which of them fail."""
    seen, failing = [], {}

    def run(job, step, device, stop):
        command = job.command(step, device)
        seen.append((job.name, job.seed, step))
        if (job.name, step) in failing:
            raise failing[job.name, step]
        if step == "train":
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / "best.ckpt").write_text(f"{job.name} {job.seed}")
            (job.folder / "recipe.yaml").write_text(bench_job.dump_yaml(job.training.recipe))
            (job.folder / "data.json").write_text(job.training.data.model_dump_json(indent=2) + "\n")
            (job.folder / "usage.json").write_text(Usage(seconds=10.0 + job.seed, memory=2**30).model_dump_json())
            (job.folder / "finished").touch()
        if step == "calibrate":
            (job.folder / "thresholds.yaml").write_text("beta: 4")
        if step == "localize":
            uri = uris.picks_uri(command[command.index("-o") + 1], output=True)
            for name in ("ribosome", "apo-ferritin"):
                points = Points.at([[100.0, 100, 100]], [0.5]) if name == "ribosome" else Points.at(np.empty((0, 3)))
                write_picks(job._as_it_is, "TS_3", uris.PicksUri(name, uri.user, uri.session), points)

    monkeypatch.setattr(Job, "_run", run)
    monkeypatch.setattr(Job, "_timed", lambda job, step: {"TS_3": 2.0})
    monkeypatch.setattr(bench_job, "describe_checkpoint", lambda path: type("Card", (), {"parameters": 1234})())
    return seen, failing


def planned(project, recipe_path, tmp_path, *families, seeds=1, settings=("train.patch=[16,32,32]",)):
    given = ("model={family: octopi, preset: tiny}", *settings)
    return plan_bench(project, Asked((str(recipe_path),), families, seeds, given, out=tmp_path / "bench"))


class TestSteps:
    def test_everything_once(self, project, recipe_path, tmp_path, played):
        seen, _ = played
        plan = planned(project, recipe_path, tmp_path, "octopi", "deepfinder", seeds=2)
        first = bench(plan, quiet)
        names = ["train", "calibrate", "localize", "evaluate"]
        assert [(s.name, s.seed, s.step) for s in first.steps] == [
            (name, seed, step) for name in ("octopi-tiny", "deepfinder-tiny") for seed in (0, 1) for step in names
        ]
        assert {s.status for s in first.steps} == {"done"}
        asked = list(seen)
        again = bench(planned(project, recipe_path, tmp_path, "octopi", "deepfinder", seeds=2), quiet)
        assert {s.status for s in again.steps} == {"skipped"}
        assert seen == asked
        assert again.rows == first.rows

    def test_one_failure_stops_no_other(self, project, recipe_path, tmp_path, played):
        seen, failing = played
        failing["octopi-tiny", "calibrate"] = bench_job.PopsicleError("no memory", "buy some")
        result = bench(planned(project, recipe_path, tmp_path, "octopi", "deepfinder", "nope"), quiet)
        rows = {row.name: row for row in result.rows}
        assert rows["octopi-tiny"].errors == ["seed 0, calibrate: no memory (buy some)"]
        assert "no model family 'nope'" in rows["nope-tiny"].errors[0]
        assert rows["deepfinder-tiny"].score.mean is not None
        assert result.rows[0].name == "deepfinder-tiny"
        failing.clear()
        seen.clear()
        bench(planned(project, recipe_path, tmp_path, "octopi", "deepfinder"), quiet)
        assert seen == [("octopi-tiny", 0, "calibrate"), ("octopi-tiny", 0, "localize")]

    def test_what_follows_a_change_is_done_again(self, project, recipe_path, tmp_path, played):
        seen, _ = played
        plan = planned(project, recipe_path, tmp_path, "octopi")
        bench(plan, quiet)
        (job,) = plan.jobs
        before, outputs = job.scored, set(project.run_names)
        (job.folder / "best.ckpt").write_text("other weights")
        seen.clear()
        (job,) = planned(project, recipe_path, tmp_path, "octopi").jobs
        bench(planned(project, recipe_path, tmp_path, "octopi"), quiet)
        assert [step for _, _, step in seen] == ["calibrate", "localize"]
        assert job.scored != before
        assert json.loads((job.folder / "scores.json").read_text())["input"] == [job.scored]
        assert outputs == set(project.run_names)

    def test_another_truth_is_scored_again(self, project, recipe_path, tmp_path, played):
        bench(planned(project, recipe_path, tmp_path, "octopi"), quiet)
        write_picks(project, "TS_3", uris.PicksUri("ribosome", "truth", "0"), Points.at([[110.0, 100, 100]]))
        again = bench(planned(project, recipe_path, tmp_path, "octopi"), quiet)
        assert [step.status for step in again.steps] == ["skipped", "skipped", "skipped", "done"]

    def test_another_recipe_in_the_folder_is_an_error(self, project, recipe_path, tmp_path, played):
        bench(planned(project, recipe_path, tmp_path, "octopi"), quiet)
        changed = planned(project, recipe_path, tmp_path, "octopi", settings=("train.patch=[16,16,16]",))
        assert not changed.jobs[0].finished("train")

    def test_two_processes_share_the_jobs(self, project, recipe_path, tmp_path, played):
        plan = planned(project, recipe_path, tmp_path, "octopi")
        (job,) = plan.jobs
        with bench_job.locked(job._lock):
            (outcome,) = bench(plan, quiet).steps
        assert (outcome.status, outcome.error) == ("skipped", "another process is at work on it")

    def test_several_devices(self, project, recipe_path, tmp_path, played):
        seen, _ = played
        plan = planned(project, recipe_path, tmp_path, "octopi", "deepfinder", seeds=3)
        result = bench(plan, quiet, devices=("cpu", "cpu", "cpu"))
        assert len(set(seen)) == len(seen) == 18
        assert [row.seeds for row in result.rows] == [[0, 1, 2]] * 2

    def test_damage_of_one_costs_no_other(self, project, recipe_path, tmp_path, played):
        plan = planned(project, recipe_path, tmp_path, "octopi", "deepfinder", seeds=2)
        bench(plan, quiet)
        first, second, third, _ = (job.folder for job in plan.jobs)
        (first / "steps.json").write_text("{")
        (second / "scores.json").write_text("{}")
        (third / "usage.json").write_text("{")
        result = bench(planned(project, recipe_path, tmp_path, "octopi", "deepfinder", seeds=2), quiet)
        rows = {row.name: row for row in result.rows}
        assert (rows["octopi-tiny"].seeds, rows["deepfinder-tiny"].seeds) == ([], [0, 1])
        assert ["steps.json" in rows["octopi-tiny"].errors[0], "scores.json" in rows["octopi-tiny"].errors[1]] == [
            True
        ] * 2
        assert rows["deepfinder-tiny"].train.seconds == 11.0
        assert [step.status for step in result.steps].count("failed") == 2

    def test_a_folder_that_cannot_be_costs_no_other(self, project, recipe_path, tmp_path, played):
        plan = planned(project, recipe_path, tmp_path, "octopi", "deepfinder")
        plan.folder.mkdir()
        (plan.folder / "octopi-tiny").touch()
        rows = {row.name: row for row in bench(plan, quiet).rows}
        assert "octopi-tiny" in rows["octopi-tiny"].errors[0]
        assert rows["deepfinder-tiny"].score.mean is not None

    def test_the_size_of_a_network_is_found_again(self, project, recipe_path, tmp_path, played):
        plan = planned(project, recipe_path, tmp_path, "octopi")
        bench(plan, quiet)
        plan.jobs[0].note(parameters=None)  # as where the process died before it noted it
        assert bench(plan, quiet).rows[0].parameters == 1234

    def test_interrupted_it_begins_nothing_else(self, project, recipe_path, tmp_path, played):
        (job,) = planned(project, recipe_path, tmp_path, "octopi").jobs
        stop = threading.Event()
        stop.set()
        with pytest.raises(bench_job.Interrupted):
            list(job.work("cpu", stop))


class TestPlan:
    def test_commands_are_those_one_would_type(self, project, recipe_path, tmp_path):
        (job,) = planned(project, recipe_path, tmp_path, "octopi").jobs
        from copick_tools.cli.main import popsicle

        for step in job.steps:
            command = job.command(step, "cpu")
            with popsicle.make_context("popsicle", command) as context:
                name, found, rest = popsicle.resolve_command(context, command)
                assert name == step
                found.make_context(name, rest)

    def test_what_is_left(self, project, recipe_path, tmp_path, played):
        found = left(planned(project, recipe_path, tmp_path, "octopi", "nope"), "cpu")
        assert found.commands[0][:3] == ["popsicle", "train", str(recipe_path)]  # which is there, as seed-0.yaml isn't
        assert "train.seed=0" in found.commands[0]
        assert [command[1] for command in found.commands] == ["train", "calibrate", "localize", "evaluate"]
        assert [failure.name for failure in found.failures] == ["nope-tiny"]
        bench(planned(project, recipe_path, tmp_path, "octopi"), quiet)
        assert left(planned(project, recipe_path, tmp_path, "octopi"), "cpu").commands == []

    def test_seeds_are_counted(self, project, recipe_path, tmp_path):
        with pytest.raises(UsageError, match="--seeds"):
            planned(project, recipe_path, tmp_path, settings=("train.seed=7",))

    def test_runs_that_were_trained_on_are_told(self, project, recipe_path, tmp_path, caplog):
        asked = Asked((str(recipe_path),), split="val", out=tmp_path / "bench")
        plan = plan_bench(project, asked)
        assert plan.jobs[0].seen == ["TS_2"]
        assert "validated on" in bench_table._notes([], plan.jobs)[0]
        assert planned(project, recipe_path, tmp_path).jobs[0].seen == []

    def test_recipes_of_one_task(self, project, recipe_path):
        with pytest.raises(UsageError, match="one table"):
            plan_bench(project, Asked((str(recipe_path), "phantom-sim/unet-small")))
        with pytest.raises(UsageError, match="both be called octopi-tiny"):
            plan_bench(project, Asked((str(recipe_path), str(recipe_path))))
        with pytest.raises(NotFoundError, match="no recipe 'phantom-sim/tyni'"):
            plan_bench(project, Asked(("phantom-sim/tyni",)))
        with pytest.raises(NotFoundError, match="tset"):
            plan_bench(project, Asked((str(recipe_path),), split="tset"))


class TestTable:
    def test_numbers_are_those_of_the_evaluations(self, project, recipe_path, tmp_path, played):
        plan = planned(project, recipe_path, tmp_path, "octopi", seeds=3)
        result = bench(plan, quiet)
        scores = [
            PointsResult.model_validate_json((job.folder / "scores.json").read_bytes()).score for job in plan.jobs
        ]
        (row,) = result.rows
        assert row.score.values == scores
        assert row.score.mean == pytest.approx(np.mean(scores))
        assert (row.rank, row.parameters, row.seconds_per_run) == (1, 1234, 2.0)
        assert (row.train.seconds, row.train.memory) == (11.0, 2**30)
        assert result.notes[0] == "Each training: 20 steps of 2 x 16x32x32 voxels."
        assert BenchResult.model_validate_json((plan.folder / "bench.json").read_bytes()) == result
        assert {"table.md", "table.csv", "table.html"} <= {path.name for path in plan.folder.iterdir()}

    def test_spread(self):
        assert spread([0.5, None, 0.7]).model_dump() == {
            "mean": pytest.approx(0.6),
            "sd": pytest.approx(np.std([0.5, 0.7], ddof=1)),
            "values": [0.5, None, 0.7],
        }
        assert spread([None]).mean is None


@pytest.mark.slow
def test_killed_it_goes_on_and_then_has_nothing_to_do(project, recipe_path, tmp_path):
    out = tmp_path / "bench"
    command = [sys.executable, "-m", "copick_tools.cli", "bench", str(recipe_path), "--seeds", "2"]
    command += ["-c", str(project.config), "--out", str(out), "--device", "cpu", "--json"]
    outputs = killed_and_twice_again(command, out / "octopi-tiny" / "seed-1" / "last.ckpt")
    second, third = map(BenchResult.model_validate_json, outputs)
    assert [s.status for s in second.steps[:4]] == ["skipped"] * 4
    assert [s.status for s in second.steps[4:]] == ["done"] * 4
    assert {s.status for s in third.steps} == {"skipped"}
    assert third.rows == second.rows
    usage = Usage.model_validate_json((out / "octopi-tiny" / "seed-1" / "usage.json").read_bytes())
    assert usage.starts == 2
