"""`popsicle fetch`: a train-ready project from the portal or a Croissant; complete, verified, resumable."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from copick_tools.data.bring import DOWNLOADS, Brought, Fetcher, Tally
from copick_tools.data.fetched import is_complete
from copick_tools.data.groups import Groups, publish_groups
from copick_tools.data.locking import Busy, locked
from copick_tools.data.plan import RunPlan
from copick_tools.data.project import Project, ProjectObject, create_project, local_path, open_project
from copick_tools.data.provenance import add_source, record_path
from copick_tools.data.put import put
from copick_tools.data.remote.download import Downloader
from copick_tools.data.remote.listing import Bucket
from copick_tools.data.replace import clear_leftovers
from copick_tools.data.splits import publish_splits
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.data_results import FetchEstimate, PlannedRun
from copick_tools.recipes.provenance import Source
from copick_tools.types import RunResult
from copick_tools.workflows.runs import each_run

log = logging.getLogger("copick_tools")
RUNS_AT_ONCE = 4  # whose files may be on their way


@dataclass(frozen=True)
class FetchPlan:
    """All that a fetch will do. refused: runs that can't be planned, and why. groups: as published with the splits."""

    name: str
    description: str
    source: Source
    objects: tuple[ProjectObject, ...]
    runs: tuple[RunPlan, ...]
    refused: tuple[RunResult, ...] = ()
    groups: Groups | None = None

    @property
    def size(self) -> int:
        """Bytes, as far as stated."""
        return sum(run.size for run in self.runs)

    @property
    def names(self) -> list[str]:
        """All runs, those that can't be planned included."""
        return [run.run for run in self.runs] + [result.run for result in self.refused]


@dataclass(frozen=True)
class How:
    """workers: downloads at once. verify: read what is there and compare hashes. trust_listing: see `Fetcher`."""

    workers: int = 32
    overwrite: bool = False
    verify: bool = False
    trust_listing: bool = False


def fetch(
    plan: FetchPlan, out: Path, how: How, progress: Callable[[int, int], None]
) -> tuple[Project, Iterator[RunResult]]:
    """Make (or go on making) the project ``out``. A result's value counts the points, or masks, of each object.

    Raises UsageError (``out`` holds another project), PopsicleError (another fetch is at it, too little space).
    """
    out = Path(os.path.abspath(out.expanduser()))
    require_own(out)
    require_space(plan, out, overwrite=how.overwrite)
    with ExitStack() as stack:
        stack.enter_context(_alone(out))
        downloader = stack.enter_context(Downloader(how.workers))
        tally = Tally(plan.size, progress)
        fetcher = Fetcher(out, downloader, Bucket(how.workers), tally, how.trust_listing, how.overwrite)
        ahead = stack.enter_context(_Ahead(fetcher, plan.runs, how))
        if not (out / "copick.json").exists():
            ahead.begin()  # while the first files are on their way, copick is imported
        project = create_project(out, plan.name, plan.objects, plan.description)
        return project, _results(project, plan, ahead, stack.pop_all())


def require_own(out: Path) -> None:
    """Raise UsageError where ``out`` has a config of data that are, or come from, elsewhere: it would be replaced."""
    if (out / "copick.json").exists():
        config = open_project(out).root.config
        elsewhere = config.config_type != "filesystem" or getattr(config, "static_root", None)
        if elsewhere or local_path(str(config.overlay_root)) != out:
            raise UsageError(f"{out / 'copick.json'} keeps its data elsewhere", "choose another --out")


def require_space(plan: FetchPlan, out: Path, *, overwrite: bool = False) -> None:
    """Raise PopsicleError where the disk has less room than what is missing."""
    wanted = sum(run.size for run in plan.runs if overwrite or not is_there(out, run))
    rooms = [out / DOWNLOADS / run.run for run in plan.runs]
    begun = sum(path.stat().st_size for room in rooms for path in room.rglob("*") if path.is_file())
    missing, free = max(0, wanted - begun), free_space(out)
    if missing > free:
        raise PopsicleError(
            f"{in_words(missing)} are to be fetched, {in_words(free)} are free at {out}",
            "make room, or fetch less: --split, --limit, -r",
        )


def estimate(plan: FetchPlan, out: Path) -> FetchEstimate:
    """What `fetch` would bring, for ``--dry-run``. Nothing is asked of the servers of the data."""
    out = Path(os.path.abspath(out.expanduser()))
    runs = [
        PlannedRun(
            run=run.run,
            split=run.record.split,
            dataset_id=run.record.dataset_id,
            portal_run_id=run.record.portal_run_id,
            tomogram=run.record.tomogram.uri if run.record.tomogram else None,
            picks=len(run.points),
            masks=len(list(run.all_stores())) - (run.record.tomogram is not None),
            bytes=run.size if run.is_stated else None,
            complete=is_there(out, run),
            notes=list(run.record.notes),
        )
        for run in plan.runs
    ]
    refused = [PlannedRun(run=result.run, error=result.error, hint=result.hint) for result in plan.refused]
    missing = sum(run.size for run, row in zip(plan.runs, runs) if not row.complete)
    return FetchEstimate(
        output=str(out),
        runs=runs + refused,
        items=sum(len(run.points) + len(list(run.all_stores())) for run in plan.runs),
        bytes=plan.size,
        missing_bytes=missing,
        free_bytes=free_space(out),
    )


def is_there(out: Path, plan: RunPlan) -> bool:
    """Whether a run is complete, as far as a look at its files tells."""
    try:
        return is_complete(out, plan)
    except PopsicleError:
        return True  # there, but not as it was


def in_words(count: int) -> str:
    """Bytes as a person says them.

    >>> in_words(999), in_words(1_300_000), in_words(2_100_000_000)
    ('999 B', '1.3 MB', '2.1 GB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def free_space(out: Path) -> int:
    """Bytes that are free where ``out`` is, or will be."""
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other fetches out of the project. Raises PopsicleError where one is at it."""
    try:
        with locked(out / ".popsicle" / "fetch.lock", wait=False):
            for folder in (out, out / ".popsicle", *(record_path(out, "_").parents[:2])):
                clear_leftovers(folder)
            yield
    except Busy as error:
        raise PopsicleError(f"another fetch is writing into {out}", "wait for it, or choose another --out") from error


def _results(project: Project, plan: FetchPlan, ahead: _Ahead, stack: ExitStack) -> Iterator[RunResult]:
    """Put in place what comes, in the order of the plan."""
    with stack:
        add_source(project.folder, plan.source)
        there, complete = set(), True
        for result in each_run([run.run for run in plan.runs], ahead.put(project), ahead.finished):
            complete &= result.status != "failed"
            there |= {result.run} if result.status != "failed" else set()
            yield result
        yield from plan.refused
        publish_splits(project, {run.run: run.record.split for run in plan.runs}, names=there)
        if plan.groups is not None:
            publish_groups(project, plan.groups)
        if complete:
            _tidy(ahead.downloads, plan)


def _tidy(downloads: Path, plan: FetchPlan) -> None:
    """Remove what is left of these runs' downloads, and the folder if nothing else is on its way."""
    for run in plan.runs:
        shutil.rmtree(downloads / run.run, ignore_errors=True)
    if downloads.is_dir() and not any(downloads.iterdir()):
        downloads.rmdir()


class _Ahead:
    """Runs that are on their way while an earlier one is put in place."""

    def __init__(self, fetcher: Fetcher, plans: Sequence[RunPlan], how: How) -> None:
        self._fetcher, self._how = fetcher, how
        self._plans = {plan.run: plan for plan in plans}
        self._waiting = deque(plans)
        self._coming: dict[str, Future[Brought] | None] = {}
        self._refused: dict[str, PopsicleError] = {}
        self._pool = ThreadPoolExecutor(RUNS_AT_ONCE, thread_name_prefix="run")

    def __enter__(self) -> _Ahead:
        return self

    @property
    def downloads(self) -> Path:
        """Where things are while they are on their way."""
        return self._fetcher.downloads

    def begin(self) -> None:
        """Start the first runs."""
        if self._waiting:
            self._begin(self._waiting[0].run)

    def __exit__(self, *_: object) -> None:
        self._fetcher.downloader.stop()
        self._pool.shutdown(cancel_futures=True)

    def finished(self, run: str) -> bool:
        """Whether the run was complete before. Raises PopsicleError: it was changed since."""
        self._begin(run)
        if run in self._refused:
            raise self._refused.pop(run)
        if self._coming[run] is not None:
            return False
        del self._coming[run]
        return True

    def put(self, project: Project) -> Callable[[str], Mapping[str, int]]:
        """What puts a run in place once all of it has come."""

        def work(run: str) -> Mapping[str, int]:
            future = self._coming.pop(run)
            assert future is not None
            record = put(project, future.result())
            for note in record.notes:
                log.warning("run %s: %s", run, note)
            counts: Counter[str] = Counter()
            for annotation in record.annotations:
                if annotation.reference:
                    counts[annotation.object] += 1 if annotation.points is None else annotation.points
            return dict(sorted(counts.items()))

        return work

    def _begin(self, run: str) -> None:
        """Start this run and as many of the next as may be on their way."""
        while self._waiting and (
            run not in self._coming and run not in self._refused or len(self._on_way) < RUNS_AT_ONCE
        ):
            plan = self._waiting.popleft()
            try:
                done = not self._how.overwrite and is_complete(self._fetcher.folder, plan, verify=self._how.verify)
            except PopsicleError as error:
                self._refused[plan.run] = error
                continue
            if done:
                self._fetcher.tally.moved(plan.size)
            self._coming[plan.run] = None if done else self._pool.submit(self._fetcher.bring, plan)

    @property
    def _on_way(self) -> list[str]:
        return [run for run, future in self._coming.items() if future is not None]
