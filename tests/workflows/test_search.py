"""A search: what its journal keeps, who may take which trial, trials that are watched, and the command."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from copick_tools.data.locking import locked
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.recipes.load import load_recipe, read_yaml
from copick_tools.recipes.space import Choice, Number
from copick_tools.recipes.study_results import SearchResult, Usage
from copick_tools.workflows import children, search_trial
from copick_tools.workflows.children import Child, Interrupted, wait_for_former
from copick_tools.workflows.search import plan_search, search
from copick_tools.workflows.search_study import DEATHS, STALE, Study
from copick_tools.workflows.search_trial import Outcome, run_trial

SPACE = {"optimizer.lr": Number(low=1e-3, high=1e-2, log=True), "patch": Choice(choices=([8, 8], [16, 16]))}


@pytest.fixture
def study(tmp_path):
    return opened(tmp_path)


def opened(folder, start=()):
    made = Study(folder, SPACE, 0, 1)
    made.open(dict(start))
    return made


def begun(study, most=100):
    with ExitStack() as mine:
        trial = study.next(most, mine)
    return trial


class TestStudy:
    def test_first_trial_is_the_recipe_itself(self, tmp_path):
        start = {"optimizer.lr": 0.005, "patch": [16, 16], "train.epochs": 3}
        study = opened(tmp_path, start.items())
        assert study.values(begun(study)) == {"optimizer.lr": 0.005, "patch": [16, 16]}

    def test_values_outside_of_the_space_are_drawn(self, tmp_path):
        study = opened(tmp_path, {"optimizer.lr": 7.0, "patch": [16, 16]}.items())
        values = study.values(begun(study))
        assert values["patch"] == [16, 16]
        assert SPACE["optimizer.lr"].holds(values["optimizer.lr"])

    def test_what_has_ended_stays(self, tmp_path, study):
        for score in (0.1, 0.3):
            study.complete(begun(study).number, score)
        lagging = begun(study)
        lagging.report(0.05, 1)
        study.complete(lagging.number, 0.05, pruned=True)
        study.fail(begun(study).number, "no memory")
        again = opened(tmp_path)
        assert [(r.state, r.score, r.error) for r in again.results()] == [
            ("complete", 0.1, None),
            ("complete", 0.3, None),
            ("pruned", 0.05, None),
            ("failed", None, "no memory"),
        ]
        assert begun(again, most=4) is None
        assert begun(again, most=5).number == 4

    def test_the_same_trials_whatever_starts_between(self, tmp_path):
        one, values = opened(tmp_path / "a"), []
        for _ in range(12):
            trial = begun(one)
            values.append(one.values(trial))
            one.complete(trial.number, values[-1]["optimizer.lr"])
        for number in range(12):
            other = opened(tmp_path / "b")
            trial = begun(other)
            assert other.values(trial) == values[number]
            other.complete(trial.number, values[number]["optimizer.lr"])

    def test_nobody_takes_what_somebody_works_on(self, tmp_path, study):
        with ExitStack() as mine, ExitStack() as theirs:
            first = study.next(9, mine)
            second = opened(tmp_path).next(9, theirs)
            assert (first.number, second.number) == (0, 1)
            assert study.next(2, mine) is None

    def test_what_was_left_is_taken_up(self, tmp_path, study):
        left = begun(study)
        left.report(0.4, 3)
        with ExitStack() as mine:
            taken = opened(tmp_path).next(1, mine)
            assert taken.number == left.number
            assert taken.user_attrs["deaths"] == 1

    def test_a_trial_that_kills_its_process_fails(self, tmp_path, study):
        begun(study)
        for _ in range(DEATHS - 1):
            assert begun(study, most=1).number == 0
        assert begun(study, most=1) is None
        assert "died" in study.results()[0].error

    def test_an_interrupted_trial_did_not_die(self, tmp_path, study):
        begun(study)
        for _ in range(DEATHS + 1):
            study.leave(0)
            trial = begun(opened(tmp_path), most=1)
            assert (trial.number, trial.user_attrs["deaths"]) == (0, 0)

    def test_a_trial_that_gets_on_lives(self, tmp_path, study):
        begun(study)
        checkpoint = tmp_path / "trials" / "0000" / "last.ckpt"
        checkpoint.parent.mkdir()
        for hour in range(DEATHS + 1):
            checkpoint.touch()
            os.utime(checkpoint, (hour, hour))
            assert begun(study, most=1).user_attrs["deaths"] == 1
        begun(study, most=1)
        assert begun(study, most=1) is None

    def test_a_lock_that_was_left_is_taken(self, tmp_path, monkeypatch):
        from optuna.storages.journal import JournalFileSymlinkLock

        monkeypatch.setattr(JournalFileSymlinkLock.__init__, "__defaults__", (3,))  # seconds, not half a minute
        monkeypatch.chdir(tmp_path)
        study = opened(Path("relative"))
        study.study._storage._backend._lock.acquire()  # as a killed process
        again = []
        thread = threading.Thread(target=lambda: again.append(opened(Path("relative"))), daemon=True)
        thread.start()
        thread.join(20)
        assert again

    def test_a_damaged_journal(self, tmp_path, study):
        journal = tmp_path / "journal.log"
        journal.write_text(journal.read_text() + "half of this\n" + journal.read_text())
        with pytest.raises(FormatError, match=r"journal\.log is damaged"):
            opened(tmp_path)

    def test_seconds_are_those_at_work(self, tmp_path, study):
        study.complete(begun(study).number, 0.5)
        assert study.results()[0].seconds < 60
        folder = tmp_path / "trials" / "0000"
        folder.mkdir()
        (folder / "usage.json").write_text(Usage(seconds=3600).model_dump_json())
        assert study.results()[0].seconds == 3600

    def test_promising(self, study):
        assert not study.promising()
        study.fail(begun(study).number, "no memory")
        assert not study.promising()
        begun(study).report(0.1, 1)
        assert study.promising()

    def test_another_machine_is_believed_as_long_as_it_lives(self, tmp_path, study):
        claim = tmp_path / "trials" / "0000.claim"
        begun(study)
        claim.write_text("another-machine")  # its lock may not be seen from here
        assert begun(study, most=1) is None
        old = time.time() - STALE - 5
        os.utime(claim, (old, old))
        assert begun(study, most=1).number == 0

    def test_half_a_line_is_cut(self, tmp_path, study):
        study.complete(begun(study).number, 0.5)
        journal = tmp_path / "journal.log"
        whole = journal.read_bytes()
        journal.write_bytes(whole + b'{"op_code": 4, "worker_i')
        again = opened(tmp_path)
        assert journal.read_bytes().startswith(whole)
        assert again.results()[0].score == 0.5
        again.complete(begun(again).number, 0.6)
        assert [r.score for r in opened(tmp_path).results()] == [0.5, 0.6]

    def test_a_trial_that_ends_while_it_is_looked_at_is_left_alone(self, tmp_path, study, monkeypatch):
        begun(study)
        claim = Study._claim

        def late(self, number, mine):
            monkeypatch.undo()
            study.complete(number, 0.5)
            return claim(self, number, mine)

        monkeypatch.setattr(Study, "_claim", late)
        other = opened(tmp_path)
        assert begun(other, most=2).number == 1
        assert [r.state for r in other.results()] == ["complete", "running"]
        assert not list((tmp_path / "trials").glob("*.claim"))

    def test_many_threads_share_the_trials(self, tmp_path):
        studies, seen, lock = [opened(tmp_path) for _ in range(2)], [], threading.Lock()

        def work(study):
            while True:
                with ExitStack() as mine:
                    trial = study.next(12, mine)
                    if trial is None:
                        return
                    with lock:
                        seen.append(trial.number)
                    study.complete(trial.number, 0.1)

        threads = [threading.Thread(target=work, args=(studies[number % 2],)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == list(range(12))

    def test_importances_need_trials(self, study):
        assert study.importances() is None
        for _number in range(8):
            trial = begun(study)
            study.complete(trial.number, study.values(trial)["optimizer.lr"] * 100)
        found = study.importances()
        assert max(found, key=found.get) == "optimizer.lr"
        assert sum(found.values()) == pytest.approx(1)


SCRIPT = """
import os, pathlib, sys, threading, time
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()  # on the leash
out = pathlib.Path(sys.argv[1]); out.mkdir(parents=True, exist_ok=True)
with (out / "metrics.csv").open("w") as file:
    file.write("step,epoch,lr,loss,score\\n")
    for epoch, score in enumerate({scores}):
        file.write(f"{{10 * epoch}},{{epoch}},0.1,0.5,{{score}}\\n"); file.flush(); time.sleep({pause})
    file.write("999,99,0.1,0.5,0.")  # not written to its end
sys.stderr.write("Error: out of memory\\n"); sys.exit({code})
"""


@pytest.fixture
def trained(monkeypatch):
    """Trainings that a script plays."""
    monkeypatch.setattr(children, "LOOK", 0.05)

    def play(scores, pause=0.0, code=0):
        def start(command, result, log):
            script = SCRIPT.format(scores=scores, pause=pause, code=code)
            result.parent.mkdir(parents=True, exist_ok=True)
            folder = command[command.index("--out") + 1]
            with log.open("wb") as err:
                process = subprocess.Popen([sys.executable, "-c", script, folder], stdin=subprocess.PIPE, stderr=err)
            return Child(process, result, log)

        monkeypatch.setattr(search_trial.Child, "start", start)

    return play


class TestTrial:
    def run(self, study, tmp_path, stop=None):
        recipe = load_recipe("phantom-sim/tiny")
        trial = begun(study)
        return trial, run_trial(trial, recipe, tmp_path / "trials", [], stop or threading.Event())

    def test_best_validation_counts(self, study, tmp_path, trained):
        trained([0.1, 0.4, "", 0.3])
        trial, outcome = self.run(study, tmp_path)
        assert outcome.score == 0.4
        assert study.study.get_trials()[trial.number].intermediate_values == {0: 0.1, 1: 0.4, 3: 0.3}

    def test_why_it_failed(self, study, tmp_path, trained):
        trained([0.1], code=1)
        outcome = self.run(study, tmp_path)[1]
        assert (outcome.score, outcome.error) == (None, "out of memory")

    def test_laggards_end_early(self, study, tmp_path, trained):
        for _number in range(10):
            trial = begun(study)
            for epoch in range(4):
                trial.report(0.5, epoch)
            study.complete(trial.number, 0.5)
        trained([0.1, 0.2, 0.3, 0.9], pause=2.0)
        began = time.perf_counter()
        trial, outcome = self.run(study, tmp_path)
        assert outcome.pruned
        assert outcome.score < 0.5
        assert time.perf_counter() - began < 7
        assert study.study.get_trials()[trial.number].intermediate_values

    def test_pruned_for_what_is_to_be_logged_again(self, study, tmp_path, trained):
        for _number in range(10):
            trial = begun(study)
            trial.report(0.5, 3)
            study.complete(trial.number, 0.5)
        begun(study).report(0.1, 3)  # by a process that died before its training wrote a checkpoint
        trained([0.2], pause=60)
        assert self.run(study, tmp_path)[1] == Outcome(0.1, pruned=True)

    def test_what_the_former_process_left_ends_first(self, tmp_path):
        held, stop = threading.Event(), threading.Event()

        def hold():
            with locked(tmp_path / ".lock"):
                held.set()
                time.sleep(0.7)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        began = time.perf_counter()
        wait_for_former(tmp_path, stop)
        assert time.perf_counter() - began > 0.4
        wait_for_former(tmp_path / "nothing", stop)
        thread.join()

    def test_interrupted(self, study, tmp_path, trained):
        trained([0.1], pause=60)
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Interrupted):
            self.run(study, tmp_path, stop)


class TestPlan:
    def test_what_is_set_is_not_searched(self, shared_project, recipe_path, tmp_path):
        every = plan_search(shared_project, str(recipe_path), out=tmp_path).parameters
        assert {"optimizer.lr", "num_layers", "model.dropout", "loss.alpha"} <= set(every)
        some = plan_search(
            shared_project, str(recipe_path), ("optimizer.lr=0.1", "model.channels=[4,8]"), out=tmp_path
        ).parameters
        assert not {"optimizer.lr", "num_layers", "hidden_layers", "base_channel"} & set(some)
        assert "model.dropout" in some
        none = plan_search(shared_project, str(recipe_path), ("model.preset=tiny",), out=tmp_path).parameters
        assert not {"model.dropout", "num_layers"} & set(none)
        none = plan_search(shared_project, str(recipe_path), ("optimizer={lr: 0.1}",), out=tmp_path).parameters
        assert not {"optimizer.lr", "optimizer.weight_decay"} & set(none)

    def test_patches_fit_the_tomograms(self, shared_project, recipe_path, tmp_path):
        patches = plan_search(shared_project, str(recipe_path), out=tmp_path).parameters["train.patch"].choices
        assert all(side <= most for patch in patches for side, most in zip(patch, (24, 48, 48)))

    def test_no_validation_no_search(self, shared_project, recipe_path, tmp_path):
        with pytest.raises(UsageError, match="validation"):
            plan_search(shared_project, str(recipe_path), ("validation_split=null",), out=tmp_path)

    def test_a_space_of_ones_own(self, shared_project, recipe_path, tmp_path):
        space = tmp_path / "space.yaml"
        space.write_text("optimizer.lrr: {low: 1, high: 2}")
        with pytest.raises(FormatError, match="lrr"):
            plan_search(shared_project, str(recipe_path), space=space)
        space.write_text("optimizer.lr: {low: 0.1, high: 0.2}")
        assert list(plan_search(shared_project, str(recipe_path), space=space).parameters) == ["optimizer.lr"]
        with pytest.raises(UsageError, match=r"optimizer\.lr: set by -s and searched"):
            plan_search(shared_project, str(recipe_path), ("optimizer.lr=0.3",), space)

    def test_another_search_in_the_folder(self, shared_project, recipe_path, tmp_path, monkeypatch):
        plan = plan_search(shared_project, str(recipe_path), out=tmp_path)
        (tmp_path / "search.json").write_text(plan.record.model_dump_json())
        other = plan_search(shared_project, str(recipe_path), ("train.epochs=9",), out=tmp_path)
        with pytest.raises(PopsicleError, match=r"another search \(recipe\.train\.epochs\)"):
            search(other, lambda done, total: None, trials=1)
        elsewhere = replace(plan, record=plan.record.model_copy(update={"validation": ["TS_9"]}))
        with pytest.raises(PopsicleError, match=r"another search \(validation\)"):
            search(elsewhere, lambda done, total: None, trials=1)
        (tmp_path / "search.json").write_text("{")
        with pytest.raises(FormatError, match="search.json"):
            search(plan, lambda done, total: None, trials=1)

    def test_three_failures_are_enough(self, shared_project, recipe_path, tmp_path, trained):
        trained([], code=1)
        plan = plan_search(shared_project, str(recipe_path), out=tmp_path)
        with pytest.raises(PopsicleError, match="the first 3 trials failed, the last one: out of memory"):
            search(plan, lambda done, total: None, trials=9)
        assert len(SearchResult.model_validate_json((tmp_path / "result.json").read_bytes()).trials) == 3

    def test_the_best_is_a_recipe(self, shared_project, recipe_path, tmp_path, trained):
        trained([0.25])
        plan = plan_search(shared_project, str(recipe_path), out=tmp_path)
        moved = []
        result = search(plan, lambda done, total: moved.append((done, total)), trials=3, devices=("cpu", "cpu"))
        assert (result.best, result.score, moved[-1]) == (0, 0.25, (3, 3))
        found = load_recipe(result.recipe)
        assert "found by popsicle search: trial 0 of 3" in found.notes[-1]
        again = search(plan, lambda done, total: None, trials=3)
        assert again == result


def test_a_command_ends_with_its_parent(tmp_path):
    child = Child.start(
        ["simulate", "phantom", "--out", str(tmp_path / "sim"), "--runs", "99"], tmp_path / "out", tmp_path / "log"
    )
    assert child.wait(3.0) is None
    began = time.perf_counter()
    child.end()
    assert time.perf_counter() - began < 20
    assert child.process.returncode == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("words\nError: no memory\nHint: buy some\n", "no memory"),
        (
            "run a failed: no space\nrun b failed: no room\nlocalize: 0 done, 0 skipped, 2 failed\n",
            "run a failed: no space",
        ),
        ("Traceback\n\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("", "exit code 1"),
    ],
)
def test_why_a_command_failed(tmp_path, said, why):
    (tmp_path / "log").write_text(said)
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], stdin=subprocess.DEVNULL)
    process.wait()
    assert Child(process, tmp_path / "out", tmp_path / "log").why() == why


def test_a_command_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.py").write_text("raise SystemExit('mine')")
    child = Child.start(["tasks", "ls"], tmp_path / "out", tmp_path / "log")
    assert child.wait(60) == 0
    assert "phantom" in child.result.read_text()


@pytest.mark.slow
def test_killed_in_one_of_two_processes_nothing_is_lost(project, recipe_path, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("optimizer.lr: {low: 1.0e-3, high: 1.0e-2, log: true}")
    out = tmp_path / "search"
    command = [sys.executable, "-m", "copick_tools.cli", "search", str(recipe_path), "-c", str(project.config)]
    command += ["--space", str(space), "--trials", "4", "--out", str(out), "--device", "cpu"]
    first, second = (subprocess.Popen(command) for _ in range(2))
    journal = out / "trials" / "0001" / "last.ckpt"
    while not journal.exists() and first.poll() is None:
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = opened_results(out)
    subprocess.run(command, check=True)
    assert second.wait() == 0
    subprocess.run(command, check=True)
    result = SearchResult.model_validate_json((out / "result.json").read_bytes())
    assert [trial.state for trial in result.trials] == ["complete"] * 4
    kept = {trial.number: trial for trial in result.trials}
    assert all(kept[t.number] == t for t in before if t.state == "complete")
    best = read_yaml(out / "best.yaml")
    assert best["optimizer"]["lr"] == kept[result.best].values["optimizer.lr"]
    with locked(out / "trials" / "0000.claim", wait=False):
        pass
    again = [sys.executable, "-m", "copick_tools.cli", "train", str(out / "best.yaml"), "-c", str(project.config)]
    subprocess.run([*again, "--out", str(tmp_path / "experiment"), "-s", "train.epochs=1"], check=True)
    assert (tmp_path / "experiment" / "best.ckpt").exists()


def opened_results(folder):
    study = Study(folder, {"optimizer.lr": SPACE["optimizer.lr"]}, 0, 1)
    study.open({})
    return study.results()
