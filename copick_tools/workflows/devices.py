"""One process per device, each with a pipeline of its own; runs are handed out as they are asked for."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from copick_tools.data.project import Project
from copick_tools.data.write import refresh
from copick_tools.errors import PopsicleError
from copick_tools.types import RunResult
from copick_tools.workflows.pipeline import Task, overlapped
from copick_tools.workflows.runs import outcome, start_worker

log = logging.getLogger("copick_tools")


def on_devices(
    task: Task, runs: Sequence[str], devices: Sequence[str], project: Project | None = None
) -> Iterator[RunResult]:
    """Yield what became of each run: the finished first, then in order on one device, as they end on several.

    One device is used from here, several each from a process. project: what the workers write to, so that this process sees it too.
    A worker that dies fails the runs that it held, and the others go on. Raises PopsicleError where a device can't open.
    """
    if not devices:
        raise ValueError("Expected argument `devices` to name at least one")
    left: deque[str] = deque()
    for run in runs:
        skipped = outcome(run, lambda: None, lambda run=run: task.finished(run))
        if skipped.status == "done":
            left.append(run)
        else:
            yield skipped
    if len(devices) == 1:
        if left:  # else nothing needs opening
            yield from overlapped(left, *task.stages(devices[0]), task.finished)  # another command may have done it
        return
    for result in _share(task, left, devices[: len(left)]):
        if project is not None:
            refresh(project, result.run)
        yield result


@dataclass
class _Worker:
    """A process. held: the runs that it was given and hasn't given back. asks: it waits for an answer."""

    device: str
    process: SpawnProcess
    connection: Connection
    held: list[str] = field(default_factory=list)
    asks: bool = False

    @classmethod
    def start(cls, device: str, task: Task) -> _Worker:
        ours, theirs = Pipe()
        process = get_context("spawn").Process(target=_work, args=(device, task, theirs))
        process.start()
        theirs.close()  # the worker has its own: when that closes, the worker is gone
        return cls(device, process, ours)

    def hear(self) -> Iterator[RunResult | PopsicleError | None]:
        """What it has said: results, why it couldn't open, or None: it asks for a run. Raises EOFError: it is gone."""
        while self.connection.poll():
            try:
                said = self.connection.recv()
            except OSError as error:  # it died while it spoke
                raise EOFError from error
            yield said
        if not self.process.is_alive() and not self.connection.poll():
            raise EOFError

    def give(self, run: str | None) -> None:
        """Answer. run: None if there are no more."""
        self.asks = False
        if run is not None:
            self.held.append(run)
        with contextlib.suppress(OSError):  # it died: heard next
            self.connection.send(run)

    def lost(self) -> list[RunResult]:
        """The runs that it held when it ended: none, if it ended well."""
        self.process.join()
        code = self.process.exitcode
        if not self.held and code:
            log.warning("the worker on %s died (exit code %s)", self.device, code)
        hint = "out of memory? try fewer devices" if code and code < 0 else "what it said last is above"
        return [RunResult(run, "failed", f"its worker on {self.device} died", hint) for run in self.held]


def _share(task: Task, left: deque[str], devices: Sequence[str]) -> Iterator[RunResult]:
    """Start the workers, hand out the runs, and yield what comes back."""
    workers: list[_Worker] = []
    try:
        for device in devices:
            workers.append(_Worker.start(device, task))
        while workers:
            wait([source for worker in workers for source in (worker.connection, worker.process.sentinel)])
            for worker in list(workers):
                try:
                    yield from _news(worker)
                except EOFError:
                    workers.remove(worker)
                    yield from worker.lost()
            _hand_out(workers, left)
        for run in left:
            yield RunResult(run, "failed", "no worker is left", "what happened to them is above")
    finally:
        _end(workers)


def _news(worker: _Worker) -> Iterator[RunResult]:
    """Its results, as far as it has sent them. Raises EOFError when it is gone, PopsicleError when it couldn't open."""
    for said in worker.hear():
        if said is None:
            worker.asks = True
        elif isinstance(said, PopsicleError):
            raise said
        else:
            worker.held.remove(said.run)
            yield said


def _hand_out(workers: Sequence[_Worker], left: deque[str]) -> None:
    """Answer those who ask; nobody reads ahead what another one could begin with."""
    for worker in workers:
        idle = sum(not other.held for other in workers if other is not worker)
        if worker.asks and not left:
            worker.give(None)
        elif worker.asks and (not worker.held or len(left) > idle):
            worker.give(left.popleft())


def _end(workers: Sequence[_Worker]) -> None:
    """Interrupt workers and wait for what they are writing."""
    for worker in workers:
        worker.connection.close()
        worker.process.terminate()
    for worker in workers:
        worker.process.join()


def _work(device: str, task: Task, connection: Connection) -> None:
    """A worker's life."""
    start_worker()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its parent's way to interrupt it
    speaking = threading.Lock()
    try:
        stages = task.stages(device)
        for result in overlapped(_asked(connection, speaking), *stages):
            with speaking:
                connection.send(result)
    except PopsicleError as error:
        connection.send(error)
    except (KeyboardInterrupt, BrokenPipeError):
        return


def _asked(connection: Connection, speaking: threading.Lock) -> Iterator[str]:
    """The runs that the parent gives, one at a time, until it has none or is gone."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            with speaking:
                connection.send(None)
            run = connection.recv()
            if run is None:
                return
            yield run
