"""Three stages at once: order, failures, what is held, and how it ends; and one process per device."""

import copy
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import fake_tasks
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.data import read
from copick_tools.data.project import open_project
from copick_tools.data.uris import SegmentationUri, segmentation_uri
from copick_tools.data.write import has_segmentation, write_segmentation
from copick_tools.errors import NotFoundError, PopsicleError, UsageError
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.pipeline import in_memory, overlapped

ERRORS = {
    "expected": PopsicleError("it went wrong", "try this"),
    "value": ValueError("a bad value"),
    "file": OSError("no such file"),
    "memory": MemoryError("too large"),
}
STAGES = ("finished", "read", "compute", "finish")


class Thing:
    """Something large that is counted while it lives."""

    def __init__(self, alive):
        alive.add(self)


class Fake:
    """Stages that take note. fates: of each run, (stage, error), `skip` or None."""

    def __init__(self, fates):
        self.fates = fates
        self.tomograms, self.computed = weakref.WeakSet(), weakref.WeakSet()
        self.most = {"tomograms": 0, "computed": 0}
        self.begun = []
        self.threads = {stage: set() for stage in STAGES}
        self.lock = threading.Lock()

    @property
    def runs(self):
        return [str(number) for number in range(len(self.fates))]

    def __call__(self, runs=None):
        return overlapped(self.runs if runs is None else runs, self.read, self.compute, self.finish, self.finished)

    def _enter(self, stage, run):
        with self.lock:
            self.begun.append((stage, run))
            self.threads[stage].add(threading.current_thread())
        fate = self.fates[int(run)]
        if isinstance(fate, tuple) and fate[0] == stage:
            raise copy.copy(fate[1])  # one that was raised before holds on to what was there then

    def finished(self, run):
        self._enter("finished", run)
        return self.fates[int(run)] == "skip"

    def read(self, run):
        with self.lock:
            self.most["tomograms"] = max(self.most["tomograms"], len(self.tomograms) + 1)
        self._enter("read", run)
        return Thing(self.tomograms)

    def compute(self, run, tomogram):
        assert tomogram in self.tomograms
        with self.lock:
            self.most["computed"] = max(self.most["computed"], len(self.computed) + 1)
        self._enter("compute", run)
        return Thing(self.computed)

    def finish(self, run, computed):
        assert computed in self.computed
        self._enter("finish", run)
        return f"value of {run}"

    def expected(self):
        for run, fate in zip(self.runs, self.fates):
            if fate == "skip":
                yield run, "skipped", None, None
            elif fate is None:
                yield run, "done", None, f"value of {run}"
            elif isinstance(fate[1], PopsicleError):
                yield run, "failed", fate[1].message, None
            else:
                yield run, "failed", f"{type(fate[1]).__name__}: {fate[1]}", None


fates = st.none() | st.just("skip") | st.tuples(st.sampled_from(STAGES), st.sampled_from(list(ERRORS.values())))


def threads():
    return set(threading.enumerate())


@given(st.lists(fates, max_size=12))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_every_run_ends_once_in_order_and_two_are_held(many):
    before, fake = threads(), Fake(many)
    gc.disable()  # what is let go is gone at once, without the collector
    try:
        results = [(r.run, r.status, r.error, r.value) for r in fake()]
    finally:
        gc.enable()
    assert results == list(fake.expected())
    assert fake.most["tomograms"] <= 2
    assert fake.most["computed"] <= 2
    assert fake.threads["compute"] <= {threading.current_thread()}
    assert threading.current_thread() not in fake.threads["read"] | fake.threads["finish"]
    assert threads() == before
    entered = {run for stage, run in fake.begun if stage != "finished"}
    assert entered.isdisjoint(run for run, fate in zip(fake.runs, many) if fate == "skip")


@given(st.lists(fates, min_size=1, max_size=8), st.integers(0, 7))
@settings(deadline=None, derandomize=True, max_examples=80)
def test_closed_early_it_finishes_what_is_begun_and_begins_nothing(many, taken):
    before, fake = threads(), Fake(many)
    results = fake()
    seen = [result.run for _, result in zip(range(taken), results)]
    results.close()
    begun = list(fake.begun)
    assert threads() == before
    assert seen == fake.runs[: len(seen)]
    assert not fake.computed or len(fake.computed) <= 1
    time.sleep(0.002)
    assert fake.begun == begun


def test_the_stages_overlap():
    """Each stage waits for the others to be at work on their runs: one after the other would time out."""
    meeting = threading.Barrier(3, timeout=20)

    def stage(run, expected):
        if run == expected:
            meeting.wait()
        return run

    results = overlapped(
        ["0", "1", "2"],
        lambda run: stage(run, "2"),
        lambda run, tomogram: stage(run, "1"),
        lambda run, computed: stage(run, "0"),
    )
    assert [r.value for r in results] == ["0", "1", "2"]


def test_a_slow_last_stage_holds_the_others_up():
    """While the first is being finished, the second may be made and the third read, but the third isn't computed."""
    gate, computed, asked = threading.Event(), [], []

    def finish(run, made):
        gate.wait(20)
        return list(computed)

    def compute(run, tomogram):
        computed.append(run)
        if run == "1":
            threading.Timer(0.2, gate.set).start()
        return run

    def runs():
        for number in range(5):
            asked.append(number)
            yield str(number)

    results = overlapped(runs(), lambda run: run, compute, finish)
    assert next(results).value == ["0", "1"]
    assert len(asked) <= 3
    assert len(list(results)) == 4


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", [TypeError("a mistake"), KeyboardInterrupt()])
def test_what_no_run_is_to_blame_for_ends_everything(stage, error):
    before, fake = threads(), Fake([None, None, (stage, error), None, None])
    results = fake()
    seen = []
    with pytest.raises(type(error)):
        seen.extend(result.run for result in results)
    assert seen == fake.runs[: len(seen)]
    assert len(seen) <= 2
    assert ("finish", "4") not in fake.begun
    assert threads() == before


def test_an_interrupt_while_it_computes_lets_the_last_one_be_written():
    written, begun = [], threading.Event()

    def finish(run, computed):
        begun.set()
        time.sleep(0.2)
        written.append(run)

    def compute(run, tomogram):
        if run == "1":
            begun.wait(20)
            raise KeyboardInterrupt
        return run

    with pytest.raises(KeyboardInterrupt):
        list(overlapped(["0", "1", "2"], str, compute, finish))
    assert written == ["0"]


def test_what_was_skipped_is_said_before_the_next_is_computed():
    fake = Fake(["skip", "skip", None])
    results = fake()
    assert [next(results).status, next(results).status] == ["skipped", "skipped"]
    assert ("compute", "2") not in fake.begun
    assert next(results).status == "done"


def test_large_tomograms_stay_where_they_are(shared_project, monkeypatch):
    stored = read.read_tomogram(shared_project, "TS_1", fake_tasks.TomogramUri("wbp", 10.0))
    assert isinstance(in_memory(stored), np.ndarray)
    monkeypatch.setattr("copick_tools.workflows.pipeline.HELD", 10)
    assert in_memory(stored) is stored


def names(count):
    return [f"run{number}" for number in range(count)]


def by_status(results):
    found = {"done": set(), "skipped": set(), "failed": set()}
    for result in results:
        found[result.status].add(result.run)
    return found


class TestDevices:
    def test_runs_are_shared_out(self, tmp_path, capfd):
        (tmp_path / "run3").touch()
        runs = ["run0", "unreadable", "run1", "run2", "run3", "run4", "run5"]
        results = list(on_devices(fake_tasks.Notes(tmp_path, 0.1), runs, ["cpu", "cpu"]))
        assert by_status(results) == {
            "done": {"run0", "run1", "run2", "run4", "run5"},
            "skipped": {"run3"},
            "failed": {"unreadable"},
        }
        (failed,) = (r for r in results if r.status == "failed")
        assert failed.error == "OSError: can't be read"
        assert os.getpid() not in {r.value["pid"] for r in results if r.status == "done"}
        said = capfd.readouterr()
        assert said.out == ""
        assert "words of run5" in said.err

    @pytest.mark.slow
    def test_nobody_reads_ahead_what_another_could_begin_with(self, tmp_path):
        results = list(on_devices(fake_tasks.Notes(tmp_path, 15.0), ["a", "b"], ["cpu", "cpu"]))
        assert len({r.value["pid"] for r in results}) == 2

    def test_one_device_needs_no_process(self, tmp_path):
        results = list(on_devices(fake_tasks.Notes(tmp_path), ["b", "a"], ["cpu"]))
        assert [(r.run, r.value) for r in results] == [("b", {"pid": os.getpid()}), ("a", {"pid": os.getpid()})]

    @pytest.mark.parametrize("devices", [["none"], ["none", "none"]])
    def test_finished_runs_open_no_device(self, tmp_path, devices):
        (tmp_path / "a").touch()
        results = on_devices(fake_tasks.Notes(tmp_path), ["a"], devices)
        assert [(r.run, r.status) for r in results] == [("a", "skipped")]

    def test_finished_runs_are_told_before_one_device_opens(self, tmp_path):
        (tmp_path / "c").touch()
        results = on_devices(fake_tasks.Notes(tmp_path), ["a", "c", "b"], ["none"])
        assert next(results).run == "c"
        with pytest.raises(NotFoundError, match="no such device"):
            next(results)

    def test_on_one_device_the_others_keep_their_order(self, tmp_path):
        (tmp_path / "c").touch()
        results = list(on_devices(fake_tasks.Notes(tmp_path), ["b", "unreadable", "c", "a"], ["cpu"]))
        assert [(r.run, r.status) for r in results] == [
            ("c", "skipped"),
            ("b", "done"),
            ("unreadable", "failed"),
            ("a", "done"),
        ]

    def test_a_worker_that_dies_fails_what_it_held(self, tmp_path):
        runs = ["run0", "deadly", *(f"run{number}" for number in range(1, 8))]
        results = list(on_devices(fake_tasks.Notes(tmp_path, 0.1), runs, ["cpu", "cpu"]))
        found = by_status(results)
        assert sorted(r.run for r in results) == sorted(runs)
        assert "deadly" in found["failed"]
        assert len(found["failed"]) <= 3
        assert (
            found["done"] == {path.name for path in tmp_path.iterdir() if not path.name.endswith("~")} - found["failed"]
        )
        assert {r.error for r in results if r.status == "failed"} == {"its worker on cpu died"}

    def test_when_all_die_the_rest_fails(self, tmp_path):
        runs = [f"deadly{number}" for number in range(8)]
        results = list(on_devices(fake_tasks.Notes(tmp_path), runs, ["cpu", "cpu"]))
        assert sorted(r.run for r in results) == sorted(runs)
        assert {r.error for r in results if r.status == "failed"} == {"its worker on cpu died", "no worker is left"}

    def test_a_device_that_breaks_leaves_its_runs_to_the_other(self, tmp_path, capfd, caplog):
        results = list(on_devices(fake_tasks.Notes(tmp_path, 0.05), names(4), ["broken", "cpu"]))
        assert by_status(results)["done"] == set(names(4))
        assert "the driver is broken" in capfd.readouterr().err

    def test_a_device_that_cannot_open_is_an_error(self, tmp_path):
        with pytest.raises(NotFoundError) as caught:
            list(on_devices(fake_tasks.Notes(tmp_path, 0.05), names(20), ["cpu", "none"]))
        assert caught.value.hint == "choose another"
        assert not list(tmp_path.glob("*~"))

    def test_closed_early_workers_write_to_the_end(self, tmp_path):
        results = on_devices(fake_tasks.Notes(tmp_path, 0.3), names(12), ["cpu", "cpu"])
        next(results)
        results.close()
        there = {path.name for path in tmp_path.iterdir()}
        assert not [name for name in there if name.endswith("~")]
        assert 1 <= len(there) <= 8
        time.sleep(0.5)
        assert {path.name for path in tmp_path.iterdir()} == there

    def test_this_process_sees_what_the_workers_wrote(self, project):
        uri = SegmentationUri("ribosome", "dark", "1", 10.0, "binary")
        assert not has_segmentation(project, "TS_2", uri)
        task = fake_tasks.Dark(project, uri)
        results = list(on_devices(task, project.run_names, ["cpu", "cpu"], project))
        assert [r.status for r in results] == ["done"] * 3
        for result in results:
            stored = read.read_segmentation(project, result.run, uri).numpy()
            assert stored.sum() == result.value["dark"] > 0


KILLED = """
import sys
import fake_tasks
from pathlib import Path
from copick_tools.data.project import open_project
from copick_tools.data.uris import segmentation_uri
from copick_tools.workflows.devices import on_devices
if __name__ == "__main__":
    config, at, devices = sys.argv[1:]
    project = open_project(config)
    task = fake_tasks.Dark(project, segmentation_uri("ribosome:dark/1@10", output=True), 0.05, Path(at))
    list(on_devices(task, project.run_names, devices.split(","), project))
"""


@pytest.mark.parametrize("devices", ["cpu", pytest.param("cpu,cpu", marks=pytest.mark.slow)])
def test_a_kill_leaves_whole_outputs_and_a_rerun_makes_the_rest(project, tmp_path, devices):
    script, at = tmp_path / "killed.py", tmp_path / "begun.txt"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(fake_tasks.__file__), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(script), str(project.config), str(at), devices]
    process = subprocess.Popen(command, env=environment)
    for _ in fake_tasks.sleepless(60):
        if at.exists() and len(at.read_text().splitlines()) == 2:  # the second one is half written
            break
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    uri = segmentation_uri("ribosome:dark/1@10", output=True)
    again = open_project(project.config)
    whole = {run for run in again.run_names if has_segmentation(again, run, uri)}
    assert len(whole) < 3
    for run in whole:
        assert read.read_segmentation(again, run, uri).shape == (24, 48, 48)
    task = fake_tasks.Dark(again, uri)
    results = list(on_devices(task, again.run_names, ["cpu"]))
    assert {r.run for r in results if r.status == "skipped"} == whole
    assert {r.run for r in results if r.status == "done"} == set(again.run_names) - whole
    for run in again.run_names:
        dark = read.read_tomogram(again, run, fake_tasks.TomogramUri("wbp", 10.0)).numpy() < -1
        np.testing.assert_array_equal(read.read_segmentation(again, run, uri).numpy(), dark)
    assert not list((project.folder / ".popsicle/staging").iterdir())


class TestSegment:
    def task(self, project, checkpoint, output="net:net/1?multilabel=true", **more):
        from copick_tools.workflows.segment import Segmenting

        return Segmenting(
            checkpoint, project, fake_tasks.TomogramUri("wbp", None), segmentation_uri(output, output=True), **more
        )

    def test_a_damaged_tomogram_fails_alone_and_a_rerun_does_the_rest(self, project, checkpoint):
        from copick_tools.workflows.segment import segment

        (project.folder / "ExperimentRuns/TS_3/VoxelSpacing10.000/wbp.zarr/0/0/0/0").write_bytes(b"damaged")
        task = self.task(project, checkpoint)
        results = list(segment(task, project.run_names, ["cpu"]))
        assert [r.status for r in results] == ["done", "done", "failed"]
        assert "can't be read" in results[2].error
        for result in results[:2]:
            stored = read.read_segmentation(project, result.run, task.output).numpy()
            assert result.value == {o.name: int((stored == o.label).sum()) for o in project.objects.values()}
        assert any(sum(r.value.values()) for r in results[:2])
        again = list(segment(task, project.run_names, ["cpu"]))
        assert [r.status for r in again] == ["skipped", "skipped", "failed"]
        over = segment(self.task(project, checkpoint, overwrite=True), ["TS_1"], ["cpu"])
        assert [r.status for r in over] == ["done"]

    @pytest.mark.slow
    def test_two_devices_write_what_one_does(self, project, checkpoint):
        from copick_tools.workflows.segment import segment

        one, two = (self.task(project, checkpoint, f"net:net/{devices}?multilabel=true") for devices in (1, 2))
        counts = {r.run: r.value for r in segment(one, project.run_names, ["cpu"])}
        assert {r.run: r.value for r in segment(two, project.run_names, ["cpu", "cpu"])} == counts
        for run in project.run_names:
            stored = [read.read_segmentation(project, run, task.output).numpy() for task in (one, two)]
            np.testing.assert_array_equal(*stored)

    def test_outside_the_sample_there_is_background(self, project, checkpoint):
        from copick_tools.workflows.segment import segment
        from copick_tools.workflows.where import Where

        half = np.zeros((24, 48, 48), np.uint8)
        half[:12] = 1
        sample = SegmentationUri("ribosome", "sample", "1", 10.0, "binary")
        write_segmentation(project, "TS_1", sample, half)
        task = self.task(project, checkpoint, where=Where(sample=(sample,)))
        (result,) = segment(task, ["TS_1"], ["cpu"])
        assert result.status == "done", result.error
        stored = read.read_segmentation(project, "TS_1", task.output).numpy()
        assert not stored[12:].any()
        everywhere = self.task(project, checkpoint, "net:net/2?multilabel=true")
        assert [r.status for r in segment(everywhere, ["TS_1"], ["cpu"])] == ["done"]
        assert read.read_segmentation(project, "TS_1", everywhere.output).numpy()[12:].any()

    def test_what_cannot_hold_the_labels(self, project, checkpoint):
        from copick_tools.workflows.segment import segment

        with pytest.raises(UsageError, match="binary"):
            segment(self.task(project, checkpoint, "ribosome:net/1"), project.run_names)
        with pytest.raises(UsageError, match="not instances"):
            segment(self.task(project, checkpoint, "ribosome:net/1?instance=true"), project.run_names)
        (wrong,) = segment(self.task(project, checkpoint, "n:net/1@20?multilabel=true"), ["TS_1"], ["cpu"])
        assert wrong.error == "the tomogram of run TS_1 has 10 A per voxel, the output 20"

    def test_rows_are_counted_on_the_way(self, monkeypatch):
        from copick_tools.workflows import segment

        monkeypatch.setattr(segment, "SIZE", 4)
        labels = np.random.default_rng(0).integers(0, 3, (10, 6, 7), dtype=np.uint8)
        counts = np.zeros(256, int)
        found = list(segment._slabs(labels, counts, binary=False))
        assert [z for z, _ in found] == [0, 4, 8]
        np.testing.assert_array_equal(np.concatenate([slab for _, slab in found]), labels)
        assert counts[1:3].tolist() == [(labels == 1).sum(), (labels == 2).sum()]
        binary = np.concatenate([slab for _, slab in segment._slabs(labels, counts, binary=True)])
        np.testing.assert_array_equal(binary, labels > 0)
