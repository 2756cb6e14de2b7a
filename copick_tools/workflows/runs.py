"""Walk through runs: skip what is finished, record what fails, go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from copick_tools.errors import PopsicleError
from copick_tools.types import RunResult

Work = Callable[[str], Any]


def each_run(
    runs: Sequence[str], work: Work, finished: Callable[[str], bool] = lambda run: False, workers: int = 1
) -> Iterator[RunResult]:
    """Yield what became of each run as it ends.

    work: makes the outputs of a run; its result is the `value`. With several workers it has to pickle.
    finished: whether all outputs of a run are there already.
    """
    todo = []
    for run in runs:
        if finished(run):
            yield RunResult(run, "skipped")
        else:
            todo.append(run)
    if workers == 1 or len(todo) < 2:
        for run in todo:
            yield _outcome(run, lambda run=run: work(run))
        return
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
        futures: dict[Future[Any], str] = {pool.submit(work, run): run for run in todo}
        for future in as_completed(futures):
            yield _outcome(futures[future], future.result)


def _outcome(run: str, work: Callable[[], Any]) -> RunResult:
    try:
        return RunResult(run, "done", value=work())
    except PopsicleError as error:
        return RunResult(run, "failed", error.message, error.hint)
    except BrokenProcessPool:
        return RunResult(run, "failed", "its worker process died", "out of memory? try fewer --workers")
    except (ValueError, OSError, MemoryError) as error:
        return RunResult(run, "failed", f"{type(error).__name__}: {error}")
