"""Many jobs of a study, one at a time on each device, none in the way of another."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from copick_tools.recipes.study_results import StepOutcome
from copick_tools.workflows.bench_job import Job
from copick_tools.workflows.children import on_each

log = logging.getLogger("copick_tools")
Result = TypeVar("Result")


def work(
    jobs: Sequence[Job],
    made: Callable[[Sequence[StepOutcome]], Result],
    progress: Callable[[int, int], None],
    devices: Sequence[str],
) -> Result:
    """Do what isn't done of the jobs. A job that fails stops none of the others.

    made: writes and returns the result so far, of what became of the steps: after each job, so that an interrupted study has
    one too, and at the end.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    runner = _Runner(waiting, made, progress, sum(len(job.steps) for job in jobs))
    on_each(devices, runner.work, runner.stop)
    return runner.write()


@dataclass
class _Runner(Generic[Result]):
    """What the threads share, one for each device. total: steps of all jobs."""

    waiting: queue.SimpleQueue[Job]
    made: Callable[[Sequence[StepOutcome]], Result]
    progress: Callable[[int, int], None]
    total: int

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.outcomes: list[StepOutcome] = []
        self.lock = threading.Lock()
        self.progress(0, self.total)

    def work(self, device: str) -> None:
        """Jobs on a device, until there are no more."""
        while not self.stop.is_set():
            try:
                job = self.waiting.get_nowait()
            except queue.Empty:
                return
            for outcome in job.work(device, self.stop):
                self.tell(outcome)
            self.write()

    def write(self) -> Result:
        """The result of what is finished."""
        with self.lock:
            return self.made(self.outcomes)

    def tell(self, outcome: StepOutcome) -> None:
        """Remember what became of a step, and say so."""
        with self.lock:
            self.outcomes.append(outcome)
            self.progress(len(self.outcomes), self.total)
        words = {"done": "done", "skipped": outcome.error or "finished already", "failed": f"failed: {outcome.error}"}
        level = logging.ERROR if outcome.status == "failed" else logging.INFO
        log.log(level, "%s, seed %d: %s %s", outcome.name, outcome.seed, outcome.step, words[outcome.status])
