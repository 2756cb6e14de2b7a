"""Find and read tomograms, picks and segmentations of a project."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from copick_tools.data.project import Project
from copick_tools.data.stored_points import stored_points
from copick_tools.data.uris import Kind, PicksUri, SegmentationUri, TomogramUri
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, nearest
from copick_tools.types import Points

log = logging.getLogger("copick_tools")
KEY_ROUNDING = 0.0006  # angstrom; copick keys spacings at three decimals


@dataclass(frozen=True)
class StoredVolume:
    """A tomogram or segmentation that reads what is sliced: zyx, level 0 of its pyramid.

    channel: of a panoptic segmentation, which is (2, z, y, x) without one.
    """

    entry: Any
    name: str
    run: str
    key_spacing: float
    channel: Literal["label", "instance"] | None = None

    def __getitem__(self, region: tuple[slice, slice, slice]) -> np.ndarray:
        z, y, x = region
        only = {"channel": self.channel} if self.channel else {}
        try:
            found = self.entry.numpy(zarr_group="0", x=x, y=y, z=z, **only)
        except (RuntimeError, ValueError, KeyError, OSError) as error:  # blosc raises RuntimeError for a damaged chunk
            raise FormatError(f"{self.name} of run {self.run} can't be read: {error}") from error
        values: np.ndarray = found.astype(found.dtype.newbyteorder("="), copy=False)  # as other programs may store them
        return values

    @cached_property
    def _store(self) -> tuple[tuple[int, ...], float]:
        """Shape of level 0 and the spacing that the data itself states."""
        import zarr

        try:
            group = zarr.open(self.entry.zarr(), mode="r")
            shape = tuple(group["0"].shape)
            attributes = group.attrs.asdict()
        except (KeyError, ValueError, OSError) as error:
            raise FormatError(f"{self.name} of run {self.run} can't be read: {error}") from error
        if getattr(self.entry, "is_panoptic", False) and len(shape) == 4 and shape[0] == 2:
            shape = shape[1:]
        if len(shape) != 3:
            raise FormatError(f"{self.name} of run {self.run} has shape {shape}, not three axes")
        try:
            return shape, _stated_spacing(attributes) or self.key_spacing
        except FormatError as error:
            raise FormatError(f"{self.name} of run {self.run}: {error.message}") from error

    def of_channel(self, channel: Literal["label", "instance"]) -> StoredVolume:
        """One channel of a panoptic segmentation: object labels, or ids within an object."""
        return replace(self, channel=channel)

    def fingerprint(self) -> bytes:
        """Changes with the volume: names, sizes and times of its files; where those lie elsewhere, its middle slice."""
        store = self.entry.zarr()
        if "file" in store.fs.protocol:
            files = [(str(path), path.stat()) for path in sorted(Path(store.path).rglob("*")) if path.is_file()]
            return json.dumps([(name, found.st_size, found.st_mtime_ns) for name, found in files]).encode()
        middle = self.shape[0] // 2
        return self[middle : middle + 1, :, :].tobytes()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self._store[0]

    @cached_property
    def voxel_spacing(self) -> float:
        """Angstrom, from the data's own scale."""
        stated = self._store[1]
        if abs(stated - self.key_spacing) > KEY_ROUNDING:
            where = f"{self.name} of run {self.run} is filed under {self.key_spacing:g} A"
            log.warning("%s but says %.6g A: using its own", where, stated)
        return stated

    def require_shape(self, other: StoredVolume) -> None:
        """Raise FormatError unless both have the same shape."""
        if self.shape != other.shape:
            raise FormatError(f"run {self.run}: {self.name} has shape {self.shape}, {other.name} {other.shape}")

    def numpy(self) -> np.ndarray:
        """The whole volume."""
        return self[:, :, :]


def _stated_spacing(attributes: dict[str, Any]) -> float | None:
    """Spacing of level 0 in angstrom from OME-Zarr metadata, None where it says nothing."""
    to_angstrom = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4}
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        return None
    for dataset in multiscales[0].get("datasets", []):
        for transform in dataset.get("coordinateTransformations", []):
            if dataset.get("path") == "0" and transform.get("type") == "scale":
                unit = multiscales[0].get("axes", [{}])[-1].get("unit", "angstrom")
                scale = [float(value) * to_angstrom.get(unit, 1.0) for value in transform["scale"][-3:]]
                if max(scale) > 1.01 * min(scale):
                    raise FormatError(f"its voxels aren't cubes: {scale} angstrom along z, y, x")
                return scale[-1]
    return None


def read_tomogram(project: Project, run: str, uri: TomogramUri) -> StoredVolume:
    """The one tomogram of a run that ``uri`` names.

    Raises NotFoundError (none), PopsicleError (several).
    """
    found = [
        StoredVolume(tomogram, f"{tomogram.tomo_type}@{spacing.voxel_size:g}", run, spacing.voxel_size)
        for spacing in project.run(run).voxel_spacings
        for tomogram in spacing.tomograms
    ]
    chosen = [volume for volume in found if uri.matches(volume.entry.tomo_type, volume.entry.voxel_spacing.voxel_size)]
    return _only(chosen, found, f"tomogram {uri}", run)


def list_tomograms(project: Project, run: str) -> list[TomogramUri]:
    """The tomograms of a run. Raises NotFoundError where it has none."""
    found = [
        TomogramUri(tomogram.tomo_type, spacing.voxel_size)
        for spacing in project.run(run).voxel_spacings
        for tomogram in spacing.tomograms
    ]
    if not found:
        raise NotFoundError(f"run {run} has no tomogram")
    return found


def find_segmentations(project: Project, run: str, uri: SegmentationUri) -> list[StoredVolume]:
    """The segmentations of a run that ``uri`` names. Raises PopsicleError when binary and multilabel ones mix."""
    found = [volume for volume, ids in _segmentations(project, run) if uri.matches(*ids)]
    if uri.kind is None and len({volume.entry.is_multilabel for volume in found}) > 1:
        names = ", ".join(volume.name for volume in found)
        raise PopsicleError(
            f"{uri} matches binary and multilabel segmentations in run {run}: {names}", "add ?multilabel=true"
        )
    return found


def read_segmentation(project: Project, run: str, uri: SegmentationUri) -> StoredVolume:
    """The one segmentation of a run that ``uri`` names. Raises NotFoundError (none), PopsicleError (several)."""
    every = [volume for volume, _ in _segmentations(project, run)]
    return _only(find_segmentations(project, run, uri), every, f"segmentation {uri}", run)


def _segmentations(project: Project, run: str) -> list[tuple[StoredVolume, tuple[str, str, str, float, Kind]]]:
    rows = []
    for entry in project.run(run).get_segmentations(is_instance=None, is_panoptic=None) or []:
        ids = (entry.name, entry.user_id, entry.session_id, float(entry.voxel_size), entry.segmentation_type)
        name = str(SegmentationUri(*ids))
        rows.append((StoredVolume(entry, name, run, float(entry.voxel_size)), ids))
    return rows


def _only(chosen: list[StoredVolume], found: list[StoredVolume], wanted: str, run: str) -> StoredVolume:
    names = [volume.name for volume in found]
    if not chosen:
        raise NotFoundError(f"no {wanted} in run {run}", nearest(wanted.partition(" ")[2], names))
    if len(chosen) > 1:
        raise PopsicleError(f"several match {wanted} in run {run}", "choose one: " + ", ".join(v.name for v in chosen))
    return chosen[0]


def list_picks(project: Project, run: str) -> list[PicksUri]:
    """The ids of all pick sets of a run."""
    return sorted((PicksUri(*ids) for ids in _ids(project, run)), key=str)


def require_picks(project: Project, runs: Sequence[str], uris: Sequence[PicksUri], what: str) -> None:
    """Raise NotFoundError unless at least one of the runs has a pick set that the URIs name: else it is a typo."""
    found = (uri.matches(*ids) for uri in uris for run in runs for ids in _ids(project, run))
    if not any(found):
        stored = {str(uri) for run in runs for uri in list_picks(project, run)}
        wanted = " ".join(map(str, uris))
        hint = nearest(wanted, stored)
        for uri in uris:
            like = SegmentationUri(uri.object, uri.user, uri.session, None, None)
            if any(like.matches(*ids) for run in runs[:5] for _, ids in _segmentations(project, run)):
                hint = f"segmentations match: write {wanted}?multilabel=true, or with @ and a voxel spacing"
        raise NotFoundError(f"no {what} picks match {wanted} in these {len(runs)} runs", hint)


def _ids(project: Project, run: str) -> list[tuple[str, str, str]]:
    return [(picks.pickable_object_name, picks.user_id, picks.session_id) for picks in project.run(run).picks]


def read_picks(project: Project, run: str, uris: Sequence[PicksUri]) -> dict[str, Points]:
    """The picks of a run by object; objects without a pick set are left out.

    Raises PopsicleError when two sets of one object match: which one is meant?
    """
    entries: dict[str, Any] = {}
    for picks in project.run(run).picks:
        ids = (picks.pickable_object_name, picks.user_id, picks.session_id)
        if not any(uri.matches(*ids) for uri in uris):
            continue
        if ids[0] in entries:
            both = f"{PicksUri(*ids)} and {ids[0]}:{entries[ids[0]].user_id}/{entries[ids[0]].session_id}"
            raise PopsicleError(f"two pick sets of {ids[0]} in run {run}: {both}", "name the user and session")
        entries[ids[0]] = picks
    return {name: stored_points(entry, run) for name, entry in sorted(entries.items())}
