"""Bring the files of a run near its project: listed, downloaded, of the right size, under `.popsicle/downloads`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from copick_tools.data.hashing import file_hash
from copick_tools.data.plan import PointsFile, RunPlan, Store
from copick_tools.data.provenance import read_record
from copick_tools.data.remote.address import is_remote, join, local_files
from copick_tools.data.remote.download import Downloaded, Downloader
from copick_tools.data.remote.listing import Bucket, RemoteFile, inside
from copick_tools.errors import FormatError
from copick_tools.recipes.provenance import RunRecord

DOWNLOADS = ".popsicle/downloads"


class Tally:
    """Bytes here and bytes in all, told to ``progress`` as they change. For many threads."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._done, self._total, self._progress = 0, total, progress

    def moved(self, count: int) -> None:
        """Bytes came (negative: in vain)."""
        with self._lock:
            self._done += count
            self._progress(self._done, max(self._total, self._done))

    def more(self, count: int) -> None:
        """There is more to come than was stated."""
        with self._lock:
            self._total += count


@dataclass(frozen=True)
class Arrived:
    """A store, whole: its folder, its files, and a mark of what it is a copy of. in_place: the folder is its last."""

    folder: Path
    mark: str
    in_place: bool
    files: Sequence[Downloaded] = ()


@dataclass(frozen=True)
class Brought:
    """The files of a run, complete, on this machine. room: the run's own folder while it isn't finished.

    fresh: what is in the way may be replaced, whatever it is.
    """

    plan: RunPlan
    room: Path
    stores: dict[str, Arrived] = field(default_factory=dict)
    points: dict[str, Downloaded] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True)
class Fetcher:
    """Downloads for one project.

    trust_listing: the server's sizes count, whatever the portal states. fresh: what is in place is fetched again.
    """

    folder: Path
    downloader: Downloader
    bucket: Bucket
    tally: Tally
    trust_listing: bool = False
    fresh: bool = False

    @property
    def downloads(self) -> Path:
        """Where things are while they are on their way."""
        return self.folder / DOWNLOADS

    def bring(self, plan: RunPlan) -> Brought:
        """Download everything of a run, many files at once. Raises PopsicleError for the first that fails."""
        room = self.downloads / plan.run
        record = None if self.fresh else read_record(self.folder, plan.run)
        stores = list(plan.all_stores())
        listings = self.downloader.all([lambda store=store: self._files(store) for store in stores])
        arrivals = [self._place(room, record, store, files) for store, files in zip(stores, listings)]
        jobs = chain(
            (self._points_job(room, entry) for entry in plan.points),
            ((file, arrival.folder / file.path) for arrival, files in zip(arrivals, listings) for file in files),
        )
        done = iter(self.downloader.many(jobs, self.tally.moved))
        points = {entry.key: next(done) for entry in plan.points}
        whole = {
            store.key: Arrived(arrival.folder, arrival.mark, arrival.in_place, [next(done) for _ in files])
            for store, arrival, files in zip(stores, arrivals, listings)
        }
        return Brought(plan, room, whole, points, self.fresh)

    def _points_job(self, room: Path, entry: PointsFile) -> tuple[RemoteFile, Path]:
        size = None if self.trust_listing else entry.size
        remote = RemoteFile(self._url(entry.address), size, sha256=entry.sha256)
        return remote, room / f"{_mark(entry.address, [remote])}-{entry.key}"

    def _files(self, store: Store) -> list[RemoteFile]:
        """The files of a store; their sizes have to add up to what the portal states."""
        if store.files is not None:
            base = self._url(store.address)
            return [
                RemoteFile(join(base, inside(path, store.address)), size, None, path, sha256)
                for path, size, sha256 in store.files
            ]
        if not is_remote(store.address):
            files = list(local_files(store.address))
        elif store.address.startswith("s3://"):
            files = list(self.bucket.folder(store.address))
        else:
            raise FormatError(f"{store.address} can't be listed", "a manifest for https needs the files of its stores")
        total = sum(file.size or 0 for file in files)
        if store.size is None or self.trust_listing:
            self.tally.more(total - (store.size or 0))
        elif store.size != total:
            raise FormatError(
                f"{store.address} has {total} bytes in {len(files)} files, the portal states {store.size}",
                "incomplete, or the portal's number is out of date; --trust-listing takes the server's",
            )
        return files

    def _url(self, address: str) -> str:
        return self.bucket.url(address) if is_remote(address) else address

    def _place(self, room: Path, record: RunRecord | None, store: Store, files: list[RemoteFile]) -> Arrived:
        """Where a store's files go: where they are already, if that is the place of this very store, and whole."""
        mark = _mark(store.address, files)
        final = self.folder / store.path if store.path else None
        if final is not None and not self.fresh and _is_whole(final, files):
            placed = mark_path(room, store)
            marked = placed.is_file() and placed.read_text(encoding="utf-8") == mark
            if _is_intact(final, files) and (marked or _is_recorded(final, record, store, files)):
                return Arrived(final, mark, in_place=True)
        return Arrived(room / f"{mark}-{store.key}", mark, in_place=False)


def mark_path(room: Path, store: Store) -> Path:
    """What states that a store is in its place, while the run isn't finished."""
    return room / f"{store.key}.placed"


def _mark(address: str, files: Iterable[RemoteFile]) -> str:
    """Tells what is copied from what: an address with the names, sizes, ETags and hashes there."""
    digest = hashlib.sha256(address.encode())
    for file in sorted(files, key=lambda f: f.path):
        digest.update(repr((file.path, file.size, file.etag, file.sha256)).encode())
    return digest.hexdigest()[:16]


def _is_whole(store: Path, files: Iterable[RemoteFile]) -> bool:
    """Whether a store holds just these files, in these sizes."""
    wanted = {file.path: file.size for file in files}
    there = {path.relative_to(store).as_posix(): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    return there == wanted


def _is_intact(final: Path, files: Iterable[RemoteFile]) -> bool:
    """Whether the files have the hashes that are stated, where any are."""
    return all(file.sha256 in (None, file_hash(final / file.path)) for file in files if file.sha256)


def _is_recorded(final: Path, record: RunRecord | None, store: Store, files: Iterable[RemoteFile]) -> bool:
    """Whether an earlier fetch, finished, brought these very files, and they are still what they were."""
    if record is None:
        return False
    known = {file.path: file for file in record.files}
    for file in files:
        before = known.get(f"{store.path}/{file.path}")
        if before is None or (before.size, before.url) != (file.size, file.url):
            return False
        if file_hash(final / file.path) != before.sha256:
            return False
    return True
