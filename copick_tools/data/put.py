"""Put what was brought into its place in a project. Whenever this ends, the next attempt comes to the same result.

First everything is made beside the project and compared with what is in its place: what wasn't fetched isn't replaced
unasked. Then the run's record goes, each thing is renamed into its place, and the record comes back last: in between the
run counts as unfinished.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from copick_tools.data.bring import Brought, mark_path
from copick_tools.data.check import check_volumes
from copick_tools.data.fetched import differs, made_file
from copick_tools.data.hashing import file_hash
from copick_tools.data.plan import PointsFile, Store, annotation_path, picks_path, segmentation_path
from copick_tools.data.portal.points import count_points, read_ndjson
from copick_tools.data.project import Project, write_text
from copick_tools.data.provenance import read_as_record, read_record, record_path, write_record
from copick_tools.data.uris import PicksUri
from copick_tools.data.write import make_picks, refresh
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.recipes.provenance import FetchedAnnotation, FetchedFile, RunRecord
from copick_tools.types import Points

EARLIER = "earlier.json"  # the run's record while something is put beside what it states
OUTSIDE = 50.0  # angstrom beyond the faces of a tomogram at which a point is worth a word


@dataclass
class _Made:
    """What is ready to be put. places: final path, relative to the project -> where it is now."""

    places: dict[str, Path] = field(default_factory=dict)
    annotations: list[FetchedAnnotation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def put(project: Project, brought: Brought) -> RunRecord:
    """Bring everything of a run to its place, and state so.

    Raises FormatError (points or volumes that can't be read), PopsicleError (something of the user's own is in the way).
    """
    folder, run = project.folder, brought.plan.run
    earlier = _earlier(folder, run, brought.room)
    check_volumes(brought)
    made = _make(project, brought)
    _require_ours(folder, brought, made, earlier)
    if record_path(folder, run).exists():
        os.replace(record_path(folder, run), brought.room / EARLIER)
    marks = {str(store.path): store for store in brought.plan.stores}
    for path in marks.keys() - made.places.keys():
        write_text(mark_path(brought.room, marks[path]), brought.stores[marks[path].key].mark)
    for path, now in made.places.items():
        _swap(now, folder / path, brought.room)
        if path in marks:
            write_text(mark_path(brought.room, marks[path]), brought.stores[marks[path].key].mark)
    refresh(project, run)
    record = brought.plan.record.model_copy(
        update={
            "annotations": tuple(made.annotations),
            "files": tuple(_files(folder, brought, made)),
            "notes": tuple(made.notes),
        }
    )
    if earlier is not None and differs(earlier, record):
        _remove(folder, earlier, record)
    elif earlier is not None:
        record = _with_earlier(record, earlier, folder)
    write_record(folder, record)
    shutil.rmtree(brought.room, ignore_errors=True)
    return record


def _earlier(folder: Path, run: str, room: Path) -> RunRecord | None:
    """What an earlier fetch stated, also if putting something beside it was cut short; None where it can't be read."""
    try:
        return read_record(folder, run) or read_as_record(room / EARLIER)
    except FormatError:
        return None


def _make(project: Project, brought: Brought) -> _Made:
    """Make everything that isn't downloaded as it will be: picks, merged masks."""
    plan, room = brought.plan, brought.room / "made"
    shutil.rmtree(room, ignore_errors=True)
    made = _Made(notes=list(plan.record.notes))
    for store in plan.stores:
        if not brought.stores[store.key].in_place:
            made.places[str(store.path)] = brought.stores[store.key].folder
    _make_picks(project, brought, room, made)
    if plan.merge is not None:
        from copick_tools.data.masks import merge_masks

        assert plan.merge.uri.voxel_spacing is not None
        merged = room / "merged.zarr"
        masks = [(mask.label or 0, brought.stores[mask.key].folder) for mask in plan.merge.masks]
        try:
            contested = merge_masks(masks, plan.merge.uri.voxel_spacing, merged)
        except FormatError:
            for _, folder in masks:
                shutil.rmtree(folder)  # so that the next attempt asks for them again
            raise
        made.places[segmentation_path(plan.run, plan.merge.uri)] = merged
        if contested:
            made.notes.append(f"{contested} voxels are in two masks: the lower label has them")
    return made


def _make_picks(project: Project, brought: Brought, room: Path, made: _Made) -> None:
    """Make pick sets; several files of one object, of different states, become one."""
    run, counts = brought.plan.run, {}
    written: dict[PicksUri, Points] = {}
    for entry in brought.plan.points:
        file = brought.points[entry.key]
        found = _read_points(file.path, entry)
        if isinstance(found, Points):
            written[entry.uri] = _together(written[entry.uri], found) if entry.uri in written else found
        else:
            copy = room / entry.key
            copy.parent.mkdir(parents=True, exist_ok=True)
            made.places[picks_path(run, entry.uri)] = Path(shutil.copyfile(file.path, copy))
        counts[entry.annotation] = (len(found) if isinstance(found, Points) else found, file.sha256)
        made.notes += _noticed(entry, found, brought.plan.extent)
    for uri, path in make_picks(project, room, run, written).items() if written else ():
        made.places[picks_path(run, uri)] = path
    for annotation in brought.plan.record.annotations:
        if annotation.url in counts:
            count, sha256 = counts[annotation.url]
            annotation = annotation.model_copy(update={"points": count, "sha256": sha256})
        made.annotations.append(annotation)


def _read_points(path: Path, entry: PointsFile) -> Points | int:
    """The points of a file; of copick's own JSON, which stays as it is, their number."""
    try:
        return count_points(path) if entry.spacing is None else read_ndjson(path, entry.spacing, entry.oriented)
    except FormatError as error:
        path.unlink()  # so that the next attempt asks for it again
        raise FormatError(f"{entry.address}: {error.message}", error.hint) from error


def _together(first: Points, second: Points) -> Points:
    """Points of two files; their orientations count if both have some."""
    both = (first, second)
    ids = [np.zeros(len(part), np.int64) if part.instance_ids is None else part.instance_ids for part in both]
    return Points(
        np.concatenate([part.positions for part in both]),
        np.concatenate([part.scores for part in both]),
        np.concatenate([part.rotations for part in both]),
        first.trust_orientation and second.trust_orientation,
        np.concatenate(ids),
    )


def _noticed(entry: PointsFile, found: Points | int, extent: tuple[float, ...] | None) -> list[str]:
    """What is odd about the points of a file."""
    count = found if isinstance(found, int) else len(found)
    notes = []
    if entry.stated is not None and entry.stated != count:
        notes.append(f"{entry.uri}: the portal states {entry.stated} objects, its file has {count} points")
    if extent is not None and not isinstance(found, int):
        outside = ((found.positions < -OUTSIDE) | (found.positions > np.array(extent) + OUTSIDE)).any(axis=1)
        if outside.any():
            notes.append(f"{entry.uri}: {int(outside.sum())} of {count} points lie outside of the tomogram")
    return notes


def _require_ours(folder: Path, brought: Brought, made: _Made, earlier: RunRecord | None) -> None:
    """Raise PopsicleError where picks, a tomogram or a segmentation would be replaced that weren't fetched."""
    if brought.fresh:
        return
    known = {file.path for file in earlier.files} if earlier else set()
    for path, now in made.places.items():
        fetched = path in known or any(other.startswith(f"{path}/") for other in known)
        if (folder / path).exists() and not fetched and _hashes(folder / path) != _hashes(now):
            raise PopsicleError(
                f"{path} is there and isn't what was fetched", "--overwrite replaces it, another --out keeps it"
            )


def _hashes(path: Path) -> dict[str, str]:
    """Hash by name of a file, or of the files in a folder."""
    if path.is_file():
        return {"": file_hash(path)}
    return {file.relative_to(path).as_posix(): file_hash(file) for file in path.rglob("*") if file.is_file()}


def _swap(made: Path, final: Path, room: Path) -> None:
    """Rename into place; a folder that stands there is moved out of the way, for another can't replace it."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.is_dir():
        os.replace(final, room / f"replaced-{uuid.uuid4().hex}")
    os.replace(made, final)


def _files(folder: Path, brought: Brought, made: _Made) -> list[FetchedFile]:
    """All files of the run, as they are in the project now."""
    files: list[FetchedFile] = []
    for store in brought.plan.stores:
        files += _downloaded(brought, store)
    downloaded = {str(store.path) for store in brought.plan.stores}
    for path in made.places:
        if path in downloaded:
            continue
        inside = [file for file in sorted((folder / path).rglob("*")) if file.is_file()]
        files += [made_file(folder, file.relative_to(folder).as_posix()) for file in inside or [folder / path]]
    return files


def _downloaded(brought: Brought, store: Store) -> list[FetchedFile]:
    arrived = brought.stores[store.key]
    named = [(file.path.relative_to(arrived.folder).as_posix(), file) for file in arrived.files]
    return [
        FetchedFile(path=f"{store.path}/{name}", size=file.size, sha256=file.sha256, url=file.url)
        for name, file in sorted(named, key=lambda pair: pair[0])
    ]


def _with_earlier(record: RunRecord, earlier: RunRecord, folder: Path) -> RunRecord:
    """The record, and what an earlier fetch of the run brought beside it."""
    uris, paths = {a.uri for a in record.annotations}, {f.path for f in record.files}
    files = [f for f in earlier.files if f.path not in paths and (folder / f.path).is_file()]
    there = [f.path for f in files]
    kept = [
        a
        for a in earlier.annotations
        if a.uri not in uris and any(p.startswith(annotation_path(record.run, a.uri)) for p in there)
    ]
    return record.model_copy(
        update={
            "tomogram": record.tomogram or earlier.tomogram,
            "split": record.split or earlier.split,
            "annotations": (*record.annotations, *kept),
            "files": (*record.files, *files),
        }
    )


def _remove(folder: Path, earlier: RunRecord, record: RunRecord) -> None:
    """What was fetched for another alignment, and isn't now."""
    paths = {file.path for file in record.files}
    for file in earlier.files:
        if file.path not in paths:
            gone = folder / file.path
            gone.unlink(missing_ok=True)
            while gone.parent != folder and not any(gone.parent.iterdir()):  # an empty store would still be one
                gone = gone.parent
                gone.rmdir()
