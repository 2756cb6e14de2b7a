"""Bring what a plan names into a project: download beside it, check, and rename into place."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from copick_tools.data.plan import PointsFile, RunPlan, Store, picks_path, segmentation_path
from copick_tools.data.portal.points import count_points, read_ndjson
from copick_tools.data.project import Project
from copick_tools.data.provenance import read_record, write_record
from copick_tools.data.remote.address import is_remote, join, local_files
from copick_tools.data.remote.download import Cancelled, Downloaded, Downloader, file_hash
from copick_tools.data.remote.listing import Bucket, RemoteFile, inside
from copick_tools.data.replace import persist
from copick_tools.data.write import refresh, write_picks
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.recipes.provenance import FetchedAnnotation, FetchedFile, RunRecord

log = logging.getLogger("copick_tools")


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
        return self.folder / ".popsicle" / "downloads"

    def bring(self, plan: RunPlan) -> Brought:
        """Download everything of a run, many files at once. Raises PopsicleError for the first that fails."""
        room = self.downloads / plan.run
        stores = list(plan.all_stores())
        listings = [self.downloader.submit(self._files, store) for store in stores]
        futures: dict[str, list[Future[Downloaded]]] = {}
        try:
            for entry in plan.points:
                size = None if self.trust_listing else entry.size
                remote = RemoteFile(self._url(entry.address), size, sha256=entry.sha256)
                futures[entry.key] = [self.downloader.start(remote, room / entry.key, self.tally.moved)]
            for store, listing in zip(stores, listings):
                target = self._target(room, store, files := listing.result())
                futures[store.key] = [self.downloader.start(f, target / f.path, self.tally.moved) for f in files]
            files_by_key = {key: [future.result() for future in several] for key, several in futures.items()}
        except CancelledError as error:
            raise Cancelled("interrupted", "run the same command again: what is here is kept") from error
        finally:
            pending = [future for several in futures.values() for future in several]
            for future in pending:
                future.cancel()
            wait(pending)
        return Brought(plan, room, files_by_key)

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
        if store.size is None:
            self.tally.more(total)
        elif store.size != total and not self.trust_listing:
            raise FormatError(
                f"{store.address} has {total} bytes in {len(files)} files, the portal states {store.size}",
                "incomplete, or the portal's number is out of date; --trust-listing takes the server's",
            )
        return files

    def _url(self, address: str) -> str:
        return self.bucket.url(address) if is_remote(address) else address

    def _target(self, room: Path, store: Store, files: list[RemoteFile]) -> Path:
        """Where the store's files go: into the place of a finished store if that is whole already."""
        final = self.folder / store.path if store.path else None
        if final is not None and not self.fresh and final.is_dir() and _is_whole(final, files):
            return final
        return room / store.key


@dataclass(frozen=True)
class Brought:
    """The files of a run, complete, on this machine."""

    plan: RunPlan
    room: Path
    files: dict[str, list[Downloaded]] = field(default_factory=dict)

    def put(self, project: Project) -> RunRecord:
        """Bring everything to its place in the project; the record comes last."""
        fetched: list[FetchedFile] = []
        for store in self.plan.stores:
            fetched += self._put_store(project.folder, store)
        points = {str(entry.uri): entry for entry in self.plan.points}
        annotations = []
        for annotation in self.plan.record.annotations:
            if annotation.uri in points:
                annotation, file = self._put_points(project, points[annotation.uri], annotation)
                fetched.append(file)
            annotations.append(annotation)
        notes = list(self.plan.record.notes)
        if self.plan.merge is not None:
            files, contested = self._put_merged(project.folder)
            fetched += files
            if contested:
                notes.append(f"{contested} voxels are in two masks: the lower label has them")
        changes = {"annotations": tuple(annotations), "files": tuple(fetched), "notes": tuple(notes)}
        record = _with_earlier(self.plan.record.model_copy(update=changes), project.folder)
        write_record(project.folder, record)
        shutil.rmtree(self.room, ignore_errors=True)
        return record

    def _put_store(self, folder: Path, store: Store) -> list[FetchedFile]:
        final = folder / str(store.path)
        files = self.files[store.key]
        made = self.room / store.key
        if made.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.is_dir():
                os.replace(final, self.room / f"{store.key}.replaced")
            os.replace(made, final)
            names = [file.path.relative_to(made).as_posix() for file in files]
        else:
            names = [file.path.relative_to(final).as_posix() for file in files]
        return [
            FetchedFile(path=f"{store.path}/{name}", size=file.size, sha256=file.sha256, url=file.url)
            for name, file in sorted(zip(names, files), key=lambda pair: pair[0])
        ]

    def _put_points(
        self, project: Project, entry: PointsFile, annotation: FetchedAnnotation
    ) -> tuple[FetchedAnnotation, FetchedFile]:
        (file,) = self.files[entry.key]
        path = picks_path(self.plan.run, entry.uri)
        try:
            if entry.spacing is None:
                count = count_points(file.path)
                (project.folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.path, project.folder / path)
                refresh(project, self.plan.run)
            else:
                points = read_ndjson(file.path, entry.spacing, entry.oriented)
                write_picks(project, self.plan.run, entry.uri, points)
                count = len(points)
        except FormatError as error:
            file.path.unlink()  # so that the next attempt asks for it again
            raise FormatError(f"{entry.address}: {error.message}", error.hint) from error
        fetched = made_file(project.folder, path)
        return annotation.model_copy(update={"points": count, "sha256": file.sha256}), fetched

    def _put_merged(self, folder: Path) -> tuple[list[FetchedFile], int]:
        from copick_tools.data.masks import merge_masks

        merge = self.plan.merge
        assert merge is not None
        assert merge.uri.voxel_spacing is not None
        made, path = self.room / "merged.zarr", segmentation_path(self.plan.run, merge.uri)
        shutil.rmtree(made, ignore_errors=True)
        masks = [(mask.label or 0, self.room / mask.key) for mask in merge.masks]
        contested = merge_masks(masks, merge.uri.voxel_spacing, made)
        final = folder / path
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.is_dir():
            os.replace(final, self.room / "merged.replaced")
        os.replace(made, final)
        inside = sorted(file.relative_to(folder).as_posix() for file in final.rglob("*") if file.is_file())
        return [made_file(folder, name) for name in inside], contested


def made_file(folder: Path, path: str) -> FetchedFile:
    """A file of the project that was made here, and stays."""
    persist(folder / path)
    return FetchedFile(path=path, size=(folder / path).stat().st_size, sha256=file_hash(folder / path))


def is_complete(folder: Path, plan: RunPlan, *, verify: bool = False) -> bool:
    """Whether all that the plan names was fetched and is there. verify: read every file and compare its hash.

    Raises PopsicleError: a file was changed since it was fetched, which nobody would want to be overwritten unasked.
    """
    record = read_record(folder, plan.run)
    if record is None or not _covers(record, plan):
        return False
    there = True
    for file in record.files:
        path = folder / file.path
        if not path.is_file():
            there = False
        elif path.stat().st_size != file.size or (verify and file_hash(path) != file.sha256):
            raise PopsicleError(f"{file.path} was changed since it was fetched", "--overwrite fetches the run again")
    return there


def _covers(record: RunRecord, plan: RunPlan) -> bool:
    """Whether an earlier fetch brought all that this plan names."""
    known = {(a.uri, a.url) for a in record.annotations}
    if not all((a.uri, a.url) in known for a in plan.record.annotations):
        return False
    paths = {file.path for file in record.files}
    folders = {path.split(".zarr/")[0] + ".zarr" for path in paths if ".zarr/" in path}
    wanted = {store.path for store in plan.stores}
    if plan.merge is not None:
        wanted.add(segmentation_path(plan.run, plan.merge.uri))
    return wanted <= folders and {picks_path(plan.run, p.uri) for p in plan.points} <= paths


def _with_earlier(record: RunRecord, folder: Path) -> RunRecord:
    """The record, and what an earlier fetch of the run brought beside it."""
    try:
        earlier = read_record(folder, record.run)
    except FormatError:
        earlier = None  # fetched again because it was damaged
    if earlier is None:
        return record
    uris, paths = {a.uri for a in record.annotations}, {f.path for f in record.files}
    kept = [a for a in earlier.annotations if a.uri not in uris]
    files = [f for f in earlier.files if f.path not in paths and (folder / f.path).is_file()]
    return record.model_copy(
        update={
            "split": record.split or earlier.split,
            "annotations": (*record.annotations, *kept),
            "files": (*record.files, *files),
        }
    )


def _is_whole(store: Path, files: Iterable[RemoteFile]) -> bool:
    """Whether a store holds just these files, in these sizes."""
    wanted = {file.path: file.size for file in files}
    there = {path.relative_to(store).as_posix(): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    return there == wanted
