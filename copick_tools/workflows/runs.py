"""Walk through runs: skip what is finished, record what fails, go on."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from copick_tools.data.project import Project
from copick_tools.data.splits import add_to_splits
from copick_tools.data.write import refresh
from copick_tools.errors import PopsicleError
from copick_tools.types import RunResult

Work = Callable[[str], Any]


def each_run(
    runs: Sequence[str],
    work: Work,
    finished: Callable[[str], bool] = lambda run: False,
    workers: int = 1,
    project: Project | None = None,
) -> Iterator[RunResult]:
    """Yield what became of each run as it ends.

    work: makes the outputs of a run; its result is the `value`. With several workers it has to pickle.
    finished: whether all outputs of a run are there already.
    project: what the workers write to, so that this process sees it too.
    """
    if workers == 1 or len(runs) < 2:
        for run in runs:
            yield outcome(run, partial(work, run), partial(finished, run))
        return
    pool = ProcessPoolExecutor(min(workers, len(runs)), get_context("spawn"), start_worker)
    try:
        futures: dict[Future[Any], str] = {}
        for run in runs:
            skipped = outcome(run, lambda: None, partial(finished, run))
            if skipped.status == "done":
                futures[pool.submit(work, run)] = run
            else:
                yield skipped
        for future in as_completed(futures):
            result = replace(outcome(futures[future], future.result), seconds=None)  # waited, not worked
            if project is not None:
                refresh(project, result.run)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted: what has begun is finished, nothing else is begun


def with_splits(project: Project, results: Iterator[RunResult]) -> Iterator[RunResult]:
    """The results; at the end, runs that are there and in no split get one."""
    there = []
    for result in results:
        if result.status != "failed":
            there.append(result.run)
        yield result
    add_to_splits(project, sorted(there))


def outcome(run: str, work: Callable[[], Any], finished: Callable[[], bool] = lambda: False) -> RunResult:
    """What becomes of a run: what ``work`` returns is its value. What may go wrong with one run fails that run alone."""
    began = time.perf_counter()
    try:
        if finished():
            return RunResult(run, "skipped")
        value = work()
        return RunResult(run, "done", value=value, seconds=time.perf_counter() - began)
    except PopsicleError as error:
        return RunResult(run, "failed", error.message, error.hint)
    except BrokenProcessPool:
        return RunResult(run, "failed", "its worker process died", "out of memory? try fewer --workers")
    except (ValueError, OSError, MemoryError) as error:
        return RunResult(run, "failed", f"{type(error).__name__}: {error}")


def start_worker() -> None:
    """A worker's words go to stderr, as its parent's do: stdout is for results. Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr
    log = logging.getLogger("copick_tools")
    log.propagate = False
    log.handlers = [logging.StreamHandler()]
    log.setLevel(logging.INFO)


def _end_with_parent() -> None:
    """Workers of a parent that was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
