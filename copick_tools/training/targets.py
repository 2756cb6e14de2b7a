"""What a network learns, crop by crop: painted from points, or read from a segmentation.

A target crop is either channel numbers (z, y, x) uint8, with `IGNORED` where nothing is known, or soft heatmaps
(K, z, y, x) float32, with -1 where nothing is known, or what tells instances apart (see `instance_targets`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.recipe import IGNORED, Target
from copick_tools.recipes.task import TaskObject
from copick_tools.training.layouts import CLASSES, HEATMAPS, Layout
from copick_tools.types import Points
from copick_tools.volumes.components import zyx
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.paint import heatmaps, spheres

ANCHORS = 20_000  # voxels remembered per object of a segmentation, as places to put patches
Shape = tuple[int, int, int]


class Source(Protocol):
    """The target of one run. layout: of its crops."""

    @property
    def layout(self) -> Layout: ...

    def crop(self, corner: Shape, size: Shape) -> np.ndarray:
        """Target of the zyx box at ``corner``."""

    def anchors(self, channel: int) -> np.ndarray:
        """(N, 3) zyx voxels where the object of ``channel`` is, for placing patches."""

    def annotated(self) -> np.ndarray | None:
        """(N, 3) zyx voxels of which something is known, spread over all of them; None where everything is known."""


@dataclass(frozen=True)
class Painted:
    """Spheres or heatmaps around points. centers: (N, 3) zyx in voxels; radii (N,) in voxels; channels (N,) from 1."""

    centers: np.ndarray
    radii: np.ndarray
    channels: np.ndarray
    soft: int = 0  # number of heatmap channels; 0: spheres
    region: Volume | None = None

    @property
    def layout(self) -> Layout:
        """See `Source`."""
        return HEATMAPS if self.soft else CLASSES

    def crop(self, corner: Shape, size: Shape) -> np.ndarray:
        """See `Source.crop`. ``radii`` are sigmas when the target is soft."""
        if self.soft:
            made = heatmaps(self.centers, self.radii, self.channels - 1, (self.soft, *size), corner)
        else:
            made = spheres(self.centers, self.radii, self.channels, size, corner)
        if self.region is not None:
            outside = np.asarray(self.region[_box(corner, size)]) == 0
            made[..., outside] = -1 if self.soft else IGNORED
        return made

    def anchors(self, channel: int) -> np.ndarray:
        """See `Source.anchors`; those in the annotated region."""
        found = self.centers[self.channels == channel]
        if self.region is None or not len(found):
            return found
        voxels = np.clip(np.round(found).astype(int), 0, np.array(self.region.shape) - 1)
        return found[np.asarray(self.region[:, :, :])[tuple(voxels.T)] != 0]

    def annotated(self) -> np.ndarray | None:
        """See `Source.annotated`."""
        return None if self.region is None else spread(np.asarray(self.region[:, :, :]) != 0)


@dataclass(frozen=True)
class Stored:
    """A segmentation of the project, its labels mapped to channels."""

    volume: Volume
    channel_of: np.ndarray  # (256,) label -> channel
    places: Mapping[int, np.ndarray]
    region: Volume | None = None
    layout: Layout = CLASSES
    known: np.ndarray | None = None  # see `Source.annotated`

    def crop(self, corner: Shape, size: Shape) -> np.ndarray:
        """See `Source.crop`."""
        made = self.channel_of[np.asarray(self.volume[_box(corner, size)])]
        if self.region is not None:
            made[np.asarray(self.region[_box(corner, size)]) == 0] = IGNORED
        return made

    def anchors(self, channel: int) -> np.ndarray:
        """See `Source.anchors`."""
        return self.places[channel]

    def annotated(self) -> np.ndarray | None:
        """See `Source.annotated`."""
        return self.known


def spread(known: np.ndarray) -> np.ndarray | None:
    """(N, 3) voxels of a zyx mask, at most `ANCHORS`, evenly; None where the mask holds all.

    >>> spread(np.ones((2, 2, 2), bool)) is None, spread(np.eye(2, dtype=bool)[None]).tolist()
    (True, [[0, 0, 0], [0, 1, 1]])
    """
    count = int(np.count_nonzero(known))
    if count == known.size:
        return None
    steps = max(1, -(-count // ANCHORS))
    found, before = [np.empty((0, 3), int)], 0
    for z in range(known.shape[0]):
        voxels = np.argwhere(known[z])
        chosen = voxels[-before % steps :: steps]
        found.append(np.column_stack([np.full(len(chosen), z), chosen]))
        before += len(voxels)
    return np.concatenate(found)


def _box(corner: Shape, size: Shape) -> tuple[slice, slice, slice]:
    z, y, x = (slice(c, c + s) for c, s in zip(corner, size))
    return z, y, x


def painted(
    points: Mapping[str, Points],
    objects: Sequence[TaskObject],
    target: Target,
    grid: tuple[float, float],
    region: Volume | None = None,
) -> Painted:
    """The target of one run from its reference picks. ``objects``: in the order of the channels.

    grid: voxel spacing and position of voxel 0, in angstrom.
    """
    voxel_spacing, origin = grid
    fraction = target.sigma_fraction if target.kind == "gaussian" else target.radius_fraction
    rows = [(channel, entry, points[entry.name]) for channel, entry in enumerate(objects, 1) if entry.name in points]
    return Painted(
        centers=np.concatenate(
            [np.empty((0, 3)), *(to_voxels(found.positions, voxel_spacing, origin) for _, _, found in rows)]
        ),
        radii=np.concatenate(
            [np.empty(0), *(np.full(len(p), fraction * (o.radius or 0) / voxel_spacing) for _, o, p in rows)]
        ),
        channels=np.concatenate([np.empty(0, int), *(np.full(len(p), channel) for channel, _, p in rows)]),
        soft=len(objects) if target.kind == "gaussian" else 0,
        region=region,
    )


def stored(volume: Volume, objects: Sequence[TaskObject], target: Target, region: Volume | None = None) -> Stored:
    """The target of one run from a label segmentation, read once slab by slab to find where each object is."""
    channel_of = np.zeros(256, np.uint8)
    for channel, entry in enumerate(objects, 1):
        channel_of[entry.label] = channel
    if target.ignore_label is not None:
        if channel_of[target.ignore_label]:
            raise UsageError(f"target.ignore_label {target.ignore_label} is the label of an object")
        channel_of[target.ignore_label] = IGNORED
    found: dict[int, list[np.ndarray]] = {channel: [] for channel in range(1, len(objects) + 1)}
    known = np.empty(zyx(volume), bool)
    for z0 in range(0, volume.shape[0], 16):
        labels = np.asarray(volume[z0 : z0 + 16, :, :])
        if labels.max() > IGNORED:
            raise FormatError(f"label {labels.max()} in a target segmentation: labels are at most {IGNORED}")
        slab = channel_of[labels]
        if region is not None:
            slab[np.asarray(region[z0 : z0 + 16, :, :]) == 0] = IGNORED
        known[z0 : z0 + 16] = slab != IGNORED
        for channel, places in found.items():
            voxels = np.argwhere(slab == channel)
            every = max(1, len(voxels) * -(-volume.shape[0] // 16) // ANCHORS)
            places.append(voxels[::every] + [z0, 0, 0])
    places = {channel: np.concatenate(voxels) for channel, voxels in found.items()}
    return Stored(volume, channel_of, places, region, known=spread(known))
