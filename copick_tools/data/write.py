"""Write into a project: a result appears whole under its final name, or not at all.

copick writes to final paths. So the same project is opened with its overlay in DIR/.popsicle/staging, copick writes
there, and the finished file or store is renamed into place. A remote overlay can't rename: there the result is
written directly and a completion record comes last; without the record it counts as unfinished.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools.data.project import Project, local_path
from copick_tools.data.read import StoredVolume
from copick_tools.data.replace import is_alive
from copick_tools.data.slabs import Slabs, fitting_chunks, store_labels, store_slabs, store_tomogram, store_volume
from copick_tools.data.uris import Kind, PicksUri, SegmentationUri, TomogramUri
from copick_tools.types import Points
from copick_tools.volumes.normalize import Volume

OLD = ".replaced"
Entry = tuple[str, Callable[[], None]]  # where copick puts something, and what stores it there
Make = Callable[[Any], Entry]  # from a copick run


def write_tomogram(project: Project, run: str, uri: TomogramUri, volume: np.ndarray, levels: int = 3) -> None:
    """Store a zyx volume as a tomogram with a pyramid of mean-binned levels."""

    def make(staged: Any) -> Entry:
        spacing = staged.new_voxel_spacing(round(float(uri.voxel_spacing), 3), exist_ok=True)
        tomogram = spacing.new_tomogram(uri.tomo_type, exist_ok=True)
        return tomogram.overlay_path, lambda: store_tomogram(tomogram, volume, levels)

    _write(project, run, make)


def write_segmentation(project: Project, run: str, uri: SegmentationUri, labels: np.ndarray) -> None:
    """Store zyx labels (panoptic: (2, z, y, x) labels and instance ids) as a segmentation."""

    def make(staged: Any) -> Entry:
        segmentation = _new_segmentation(staged, uri)
        return segmentation.path, lambda: store_labels(segmentation, np.asarray(labels))

    _write(project, run, make)


def write_segmentation_slabs(
    project: Project, run: str, uri: SegmentationUri, shape: tuple[int, int, int], slabs: Slabs, dtype: Any
) -> None:
    """Store a segmentation of ``shape`` (zyx) that comes in slabs.

    slabs: (z0, (dz, y, x) labels; panoptic: (2, dz, y, x) labels and instance ids), from z = 0 up, without gaps, each an
    array of its own. One row of chunks is held.
    Raises ValueError: slabs that aren't like that, labels that ``dtype`` doesn't hold.
    """

    def make(staged: Any) -> Entry:
        segmentation = _new_segmentation(staged, uri)
        return segmentation.path, lambda: store_slabs(segmentation, shape, slabs, np.dtype(dtype))

    _write(project, run, make)


def write_segmentation_volume(project: Project, run: str, uri: SegmentationUri, volume: Volume, dtype: Any) -> None:
    """Store a segmentation that is made where it is sliced, one chunk after the other; only one is held.

    volume: zyx labels; where ``uri`` is panoptic, slices give (2, dz, dy, dx) labels and ids, and its shape is zyx still.
    Raises ValueError: labels that ``dtype`` doesn't hold.
    """

    def make(staged: Any) -> Entry:
        segmentation = _new_segmentation(staged, uri)
        return segmentation.path, lambda: store_volume(segmentation, volume, np.dtype(dtype))

    _write(project, run, make)


def _new_segmentation(staged: Any, uri: SegmentationUri) -> Any:
    kind: Kind = uri.kind or "binary"
    return staged.new_segmentation(
        round(float(uri.voxel_spacing), 3),
        uri.name,
        uri.session,
        user_id=uri.user,
        is_multilabel=kind == "multilabel",
        is_instance=kind == "instance",
        is_panoptic=kind == "panoptic",
        exist_ok=True,
    )


def write_picks(project: Project, run: str, uri: PicksUri, points: Points) -> None:
    """Store the picks of one object, none included: no picks is a statement."""
    _write(project, run, lambda staged: _picks_entry(staged, uri, points))


def make_picks(project: Project, folder: Path, run: str, picks: Mapping[PicksUri, Points]) -> dict[PicksUri, Path]:
    """Store picks as `write_picks` does, but in an overlay at ``folder``; where each file is."""
    staged = _with_overlay(project, folder).new_run(run, exist_ok=True)
    made = {}
    for uri, points in picks.items():
        path, store = _picks_entry(staged, uri, points)
        store()
        made[uri] = Path(path)
    return made


def _picks_entry(staged: Any, uri: PicksUri, points: Points) -> Entry:
    transforms = np.tile(np.eye(4), (len(points), 1, 1))
    if points.trust_orientation:
        transforms[:, :3, :3] = points.rotations
    picks = staged.new_picks(uri.object, uri.session, user_id=uri.user, exist_ok=True)
    picks.meta.trust_orientation = points.trust_orientation
    ids, scores = points.instance_ids, points.scores
    return picks.path, lambda: picks.from_numpy(points.positions, transforms, instance_ids=ids, scores=scores)


def write_features(project: Project, run: str, tomogram: StoredVolume, name: str, maps: np.ndarray) -> None:
    """Store float maps (C, z, y, x) as features of a tomogram."""

    def make(staged: Any) -> Entry:
        from copick.util.ome import write_ome_zarr_3d

        spacing = staged.new_voxel_spacing(round(tomogram.key_spacing, 3), exist_ok=True)
        features = spacing.new_tomogram(tomogram.entry.tomo_type, exist_ok=True).new_features(name, exist_ok=True)
        pyramid = {tomogram.voxel_spacing: maps}
        return features.path, lambda: write_ome_zarr_3d(
            features.zarr(), pyramid, fitting_chunks(maps.shape[1:]), channel_axis=True
        )

    _write(project, run, make)


def has_features(project: Project, run: str, tomogram: StoredVolume, name: str) -> bool:
    """Whether these features are there, finished."""
    found = tomogram.entry.get_features(name)
    return found is not None and _finished(project, found.path)


def has_picks(project: Project, run: str, uri: PicksUri) -> bool:
    """Whether this pick set is there, finished."""
    found = project.run(run).get_picks(object_name=uri.object, user_id=uri.user, session_id=uri.session)
    return any(_finished(project, picks.path) for picks in found)


def has_segmentation(project: Project, run: str, uri: SegmentationUri) -> bool:
    """Whether this segmentation is there, finished."""
    found = project.run(run).get_segmentations(is_instance=None, is_panoptic=None) or []
    ids = [(s, (s.name, s.user_id, s.session_id, s.voxel_size, s.segmentation_type)) for s in found]
    return any(uri.matches(*key) and _finished(project, s.path) for s, key in ids)


def remove_segmentation(project: Project, run: str, uri: SegmentationUri) -> None:
    """Remove this segmentation, at any voxel spacing that ``uri`` names, from where we write; none is no error."""
    root = local_path(project.root.config.overlay_root)
    found = project.run(run).get_segmentations(is_instance=None, is_panoptic=None) or []
    ids = [(s, (s.name, s.user_id, s.session_id, s.voxel_size, s.segmentation_type)) for s in found]
    for path in [s.path for s, key in ids if uri.matches(*key)]:
        if root is None:
            for gone in (_record(project, path), path):
                if project.root.fs_overlay.exists(gone):
                    project.root.fs_overlay.rm(gone, recursive=True)
        elif Path(path).is_relative_to(root) and Path(path).exists():
            with _staging(root) as folder:
                os.replace(path, folder / "gone")
    refresh(project, run)


def has_tomogram(project: Project, run: str, uri: TomogramUri) -> bool:
    """Whether this tomogram is there, finished; a run that isn't there has none."""
    if run not in project.run_names:
        return False
    return any(
        uri.matches(tomogram.tomo_type, spacing.voxel_size) and _finished(project, tomogram.overlay_path)
        for spacing in project.run(run).voxel_spacings
        for tomogram in spacing.tomograms
    )


def _write(project: Project, run: str, make: Make) -> None:
    """Store one file or store of a run, and bring it to its place."""
    root = local_path(project.root.config.overlay_root)
    if root is None:
        _write_remote(project, make(project.root.new_run(run, exist_ok=True)))
    else:
        with _staging(root) as folder:
            path, store = make(_with_overlay(project, folder).new_run(run))
            store()
            _replace(Path(path), root / Path(path).relative_to(folder))
    refresh(project, run)


def _write_remote(project: Project, entry: Entry) -> None:
    """The record of what stood there goes first, that of what stands there now comes last."""
    path, store = entry
    filesystem, record = project.root.fs_overlay, _record(project, path)
    if filesystem.exists(record):
        filesystem.rm(record)
    store()
    with filesystem.open(record, "w") as file:
        file.write("{}")


@contextlib.contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder of our own on the overlay's file system, gone afterwards; what killed processes left goes as well."""
    parent = root / ".popsicle" / "staging"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        host, _, rest = left.name.rpartition("@")
        if host == socket.gethostname() and not is_alive(int(rest.partition("-")[0])):
            _put_back(left, root)
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{socket.gethostname()}@{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_back(left: Path, root: Path) -> None:
    """Return what a process had moved out of the way when it was killed before the new one was in place."""
    with contextlib.suppress(FileNotFoundError):  # another process sweeps here as well
        for old in list(left.rglob(f"*{OLD}")):
            final = root / old.relative_to(left).with_name(old.name.removesuffix(OLD))
            if not final.exists():
                os.replace(old, final)


def _with_overlay(project: Project, folder: Path) -> Any:
    """The same project, objects and ids included, with an empty overlay at ``folder`` and nothing else."""
    import copick
    from numcodecs import blosc

    blosc.use_threads = False  # its threads store blocks in the order that they finish: other bytes each time
    config = project.root.config
    document = {
        "config_type": "filesystem",
        "name": config.name,
        "description": config.description,
        "version": config.version,
        "user_id": config.user_id,
        "pickable_objects": [o.model_dump(mode="json") for o in config.pickable_objects],
        "overlay_root": f"local://{folder}",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    return copick.from_string(json.dumps(document))


def _replace(made: Path, final: Path) -> None:
    """Rename into place; a store that stands there is moved out of the way first, for a folder can't replace one."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.is_dir():
        os.replace(final, made.with_name(made.name + OLD))
    os.replace(made, final)


def _record(project: Project, path: str) -> str:
    root = project.root.root_overlay
    return f"{root}/.popsicle/complete/{path.removeprefix(root).strip('/')}.json"


def _finished(project: Project, path: str) -> bool:
    if local_path(project.root.config.overlay_root) is not None:
        return True
    return bool(project.root.fs_overlay.exists(_record(project, path)))


def refresh(project: Project, run: str) -> None:
    """Drop what copick remembers of a run, and our list of runs if this one is new."""
    if run in project.run_names:
        project.root.get_run(run).refresh()
    else:
        project.root.refresh()
        del project.run_names
