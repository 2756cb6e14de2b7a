"""From a semantic segmentation to instances: which voxels of an object are the same mitochondrion, vesicle, network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import SIZE, Box, blocks, bounds
from copick_tools.volumes.components import zyx
from copick_tools.volumes.divided import Divided
from copick_tools.volumes.linked import ANY, Linked
from copick_tools.volumes.merging import Necks, Seeded
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.packed import ROOM
from copick_tools.volumes.pieces import Instanced, Limits, dtype_for
from copick_tools.volumes.relief import Bounded, Depth
from copick_tools.volumes.runs import Connectivity


@dataclass(frozen=True)
class Way:
    """How the instances of one object are told apart; lengths in voxels, a method uses those that are its own.

    method: ``components``, ``network`` (fragments up to ``join`` apart hang together), ``watershed`` (see `Necks`; seeds at
    least ``distance`` apart), ``bounded`` (see `Bounded` and `Seeded`). limits: fewest and most voxels of an instance.
    """

    method: Literal["components", "network", "watershed", "bounded"]
    connectivity: Connectivity
    limits: tuple[float, float]
    neck: float = 0.0
    depth: float = 0.0
    distance: float = 0.0
    threshold: float = 0.0
    clearance: float = 0.0
    join: float = 0.0


class Converted:
    """Instance ids, zyx, put together where they are sliced. counts: label -> instances, which are numbered from 1."""

    def __init__(self, shape: tuple[int, int, int], parts: list[Instanced], chunk: int) -> None:
        self.shape, self._parts, self._chunk = shape, parts, chunk
        self.counts = {label: count for part in parts for label, count in part.counts.items()}
        self.dtype = dtype_for(max(self.counts.values(), default=0))

    def __getitem__(self, region: Any) -> Integers:
        box = bounds(region, self.shape)
        out = np.zeros([part.stop - part.start for part in box], self.dtype)
        for inner in _within(box, self.shape, self._chunk):
            low = [max(part.start, own.start) for part, own in zip(box, inner)]
            high = [min(part.stop, own.stop) for part, own in zip(box, inner)]
            there = tuple(slice(a - own.start, b - own.start) for a, b, own in zip(low, high, inner))
            here = tuple(slice(a - part.start, b - part.start) for a, b, part in zip(low, high, box))
            found = (part.block(inner) for part in self._parts)
            for number, ids in enumerate(ids[there] for ids in found if ids is not None):
                out[here] = out[here] + ids if number else ids  # no voxel is of two parts
        return out


class Panoptic:
    """(2, z, y, x) object labels and instance ids, as copick stores them; a voxel without an instance is background.

    >>> Panoptic(np.array([[[1, 2, 2]]]), np.array([[[0, 1, 0]]]))[:, :, :].tolist()
    [[[[0, 2, 0]]], [[[0, 1, 0]]]]
    """

    def __init__(self, labels: Volume, ids: Volume) -> None:
        self.labels, self.ids, self.shape = labels, ids, ids.shape

    def __getitem__(self, region: Any) -> Integers:
        ids = np.asarray(self.ids[region])
        return np.stack([np.where(ids > 0, self.labels[region], 0), ids])


def convert(
    labels: Volume,
    ways: Mapping[int, Way],
    boundaries: Mapping[int, Volume] | None = None,
    *,
    aware: bool = True,
    chunk: int = SIZE,
) -> Converted:
    """The instances of some labels of a semantic segmentation, each label's in its own way and numbered from 1.

    labels: zyx integers, 0 is background. ways: by label. boundaries: zyx, by label, for ``bounded``. aware: whether voxels
    of different labels are never one instance; else all are looked at as one object, whose label is `ANY`, in the way that
    all have in common. chunk: length of the blocks in voxels; it changes nothing but memory.

    Memory: a block (see `Linked`, `Divided`), `ROOM` for what was found, and tables of what lies in blocks.

    >>> way = Way("components", 26, (0, np.inf))
    >>> found = convert(np.array([[[1, 1, 2, 0, 2]]]), {1: way, 2: way})
    >>> found[:, :, :].tolist(), found.counts
    ([[[1, 1, 1, 0, 2]]], {1: 1, 2: 2})
    """
    shape = zyx(labels)
    if not ways:
        return Converted(shape, [], chunk)
    if not aware:
        way = _common(ways)
        linked = Linked(labels, tuple(ways), way.connectivity, False)
        return Converted(shape, [linked.instances({ANY: way.limits}, chunk)], chunk)
    together: dict[Connectivity, dict[int, Way]] = {}
    parts: list[tuple[Linked | Divided, Limits]] = []
    for label, way in ways.items():
        limits = {label: way.limits}
        if way.method in ("watershed", "bounded"):
            parts.append((_divided(labels, label, way, (boundaries or {}).get(label)), limits))
        elif way.join:
            parts.append((Linked(labels, (label,), way.connectivity, True, way.join), limits))
        else:
            together.setdefault(way.connectivity, {})[label] = way
    for connectivity, same in together.items():
        linked = Linked(labels, tuple(same), connectivity)
        parts.append((linked, {label: way.limits for label, way in same.items()}))
    room = ROOM // max(1, len(parts))
    return Converted(shape, [part.instances(limits, chunk, room) for part, limits in parts], chunk)


def present(labels: Volume, chunk: int = SIZE) -> list[int]:
    """The labels in a zyx volume but 0, in order.

    >>> present(np.array([[[0, 7, 3, 7]]]))
    [3, 7]
    """
    found: set[int] = set()
    for block in blocks(zyx(labels), size=chunk):
        found.update(np.unique(np.asarray(labels[block.inner])).tolist())
    return sorted(found - {0})


def _divided(labels: Volume, label: int, way: Way, boundary: Volume | None) -> Divided:
    if way.method == "watershed":
        return Divided(Depth(labels, label), label, way.connectivity, Necks(way.neck, way.depth), way.distance)
    if boundary is None:
        raise ValueError(f"Method bounded needs a boundary, label {label} has none")
    relief = Bounded(labels, label, boundary, way.threshold)
    return Divided(relief, label, way.connectivity, Seeded(way.clearance))


def _common(ways: Mapping[int, Way]) -> Way:
    """Raises ValueError unless all ways are one, of components."""
    every = set(ways.values())
    if len(every) != 1 or (way := every.pop()).method != "components":
        raise ValueError("Objects are looked at as one where all are components, in the same way")
    return way


def _within(box: Box, shape: tuple[int, int, int], chunk: int) -> list[Box]:
    """The blocks that a box reaches into."""
    low = [part.start // chunk * chunk for part in box]
    sides = [max(0, min(part.stop, length) - start) for part, length, start in zip(box, shape, low)]
    ends = [min(start + -(-side // chunk) * chunk, length) for start, side, length in zip(low, sides, shape)]
    inner = blocks(tuple(end - start for start, end in zip(low, ends)), size=chunk)
    return [_moved(block.inner, low) for block in inner]


def _moved(box: Box, by: list[int]) -> Box:
    z, y, x = (slice(part.start + move, part.stop + move) for part, move in zip(box, by))
    return z, y, x
