"""Many tomograms through three stages: the next one is read and the last one written while one is computed."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from copick_tools.data.read import StoredVolume
from copick_tools.types import RunResult
from copick_tools.volumes.normalize import Volume
from copick_tools.workflows.runs import outcome

Read = TypeVar("Read")
Computed = TypeVar("Computed")
HELD = 2**29  # voxels; a tomogram of more isn't held in memory


class Stages(NamedTuple):
    """What is done with a run. read and finish run in threads of their own, compute in the caller's.

    read: run -> tomogram. compute: run, tomogram -> what it makes of it. finish: run, that -> the result's value.
    """

    read: Callable[[str], Any]
    compute: Callable[[str, Any], Any]
    finish: Callable[[str, Any], Any]


class Task(Protocol):
    """What to do with every run of a command. A frozen dataclass that pickles: each device has its own copy."""

    def finished(self, run: str) -> bool:
        """Whether all outputs of a run are there already."""

    def stages(self, device: str) -> Stages:
        """Open what a device needs, once. Raises PopsicleError where that can't be."""


def overlapped(
    runs: Iterable[str],
    read: Callable[[str], Read],
    compute: Callable[[str, Read], Computed],
    finish: Callable[[str, Computed], Any],
    finished: Callable[[str], bool] = lambda run: False,
) -> Iterator[RunResult]:
    """Yield what became of each run, in order. See `Stages`; ``runs`` is pulled from the thread that reads.

    Two tomograms are held at most (one computed, the next read), and two that were computed (one finished, one made).
    Closed or interrupted, it finishes what is being written and begins nothing else.
    """
    stop = threading.Event()
    advance = partial(_advance, iter(runs), read, finished, stop)
    behind: deque[Future[RunResult]] = deque()  # in order of the runs; only the first may still be at work
    with ThreadPoolExecutor(1, "finish") as finishing, ThreadPoolExecutor(1, "read") as reading:
        try:
            ahead = reading.submit(advance)
            while True:
                while behind and not ahead.done():
                    wait([ahead, behind[0]], return_when=FIRST_COMPLETED)
                    yield from _ended(behind)
                skipped, tomogram = ahead.result()
                behind.extend(map(_settled, skipped))
                if tomogram is None:
                    break
                ahead = reading.submit(advance)
                yield from _ended(behind)
                computed = _go_on(tomogram, compute)
                del tomogram
                ended = _ended(behind, every=True)
                behind.append(finishing.submit(_last, [computed], finish))
                del computed
                yield from ended
            yield from _ended(behind, every=True)
        finally:
            stop.set()


def _advance(
    runs: Iterator[str], read: Callable[[str], Any], finished: Callable[[str], bool], stop: threading.Event
) -> tuple[list[RunResult], RunResult | None]:
    """Runs that were skipped, then the next one that wasn't, its tomogram as the value; None where there is none."""
    skipped: list[RunResult] = []
    while not stop.is_set() and (run := next(runs, None)) is not None:
        result = outcome(run, partial(read, run), lambda: stop.is_set() or finished(run))
        if result.status != "skipped":
            return skipped, result
        skipped.append(result)
    return skipped, None


def _go_on(result: RunResult, stage: Callable[[str, Any], Any]) -> RunResult:
    """The next stage, unless the run failed in an earlier one."""
    if result.status != "done":
        return result
    ended = outcome(result.run, partial(stage, result.run, result.value))
    return replace(ended, seconds=(result.seconds or 0.0) + (ended.seconds or 0.0))


def _last(held: list[RunResult], finish: Callable[[str, Any], Any]) -> RunResult:
    """The last stage. held: one result, let go before anyone hears that it is finished."""
    return _go_on(held.pop(), finish)


def _ended(behind: deque[Future[RunResult]], every: bool = False) -> list[RunResult]:
    """Take what has ended from the front; with ``every``, wait for all. Raises what no run is to blame for."""
    over = []
    while behind and (every or behind[0].done()):
        over.append(behind.popleft().result())
    return over


def _settled(result: RunResult) -> Future[RunResult]:
    future: Future[RunResult] = Future()
    future.set_result(result)
    return future


def in_memory(stored: StoredVolume) -> Volume:
    """A tomogram read whole, ahead of its use; above ``HELD`` voxels as it is stored, read where it is sliced."""
    return stored.numpy() if math.prod(stored.shape) <= HELD else stored
