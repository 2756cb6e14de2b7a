"""Walk through a volume block by block, so that memory doesn't grow with it.

Blocks have the size of copick's chunks and start where they do: a walk without a halo reads each chunk once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from copick_tools.types import Integers, Mask
from copick_tools.volumes.normalize import Volume

SIZE = 256  # voxels along each axis, as copick's chunks
Box = tuple[slice, slice, slice]
Corner = tuple[int, int, int]


@dataclass(frozen=True)
class Block:
    """Slices zyx. outer: the block with its halo, in the volume. inner: without, in the volume. local: inner in outer."""

    outer: Box
    inner: Box
    local: Box


def blocks(shape: tuple[int, ...], halo: int = 0, size: int = SIZE) -> Iterator[Block]:
    """Blocks whose inner parts cover a volume of ``shape`` (zyx) once, in order.

    halo: voxels that ``outer`` has more on each side, less at the volume's faces. size: voxels along each axis.

    >>> [block.inner[2] for block in blocks((1, 1, 5), size=3)]
    [slice(0, 3, None), slice(3, 5, None)]
    >>> last = list(blocks((1, 1, 5), halo=1, size=3))[-1]
    >>> last.outer[2], last.local[2]
    (slice(2, 5, None), slice(1, 3, None))
    """
    if len(shape) != 3:
        raise ValueError(f"Expected argument `shape` to have three axes, but got {shape}")
    if halo < 0 or size < 1:
        raise ValueError(f"Expected `halo` to be at least 0 and `size` at least 1, but got {halo} and {size}")
    for corner in product(*(range(0, length, size) for length in shape)):
        inner = _box([slice(start, min(start + size, length)) for start, length in zip(corner, shape)])
        yield around(inner, halo, shape)


def around(inner: Box, halo: int, shape: tuple[int, ...]) -> Block:
    """A box of a volume of ``shape`` (zyx) with a halo of so many voxels on each side, less at the volume's faces."""
    outer = [slice(max(0, s.start - halo), min(length, s.stop + halo)) for s, length in zip(inner, shape)]
    local = [slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer)]
    return Block(_box(outer), inner, _box(local))


def corner(box: Box) -> Corner:
    """The first voxel of a box, zyx."""
    z, y, x = (int(part.start) for part in box)
    return z, y, x


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box that holds all true voxels of a zyx mask, None where there are none.

    >>> import numpy as np
    >>> bounding_box(np.array([[[False, True, True]]]))
    (slice(0, 1, None), slice(0, 1, None), slice(1, 3, None))
    """
    plane = np.asarray(mask.any(axis=0))
    z, y, x = (np.flatnonzero(line) for line in (mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0)))
    return None if not len(z) else _box([slice(int(axis[0]), int(axis[-1]) + 1) for axis in (z, y, x)])


def bounds(region: Any, shape: tuple[int, int, int]) -> Box:
    """The box (zyx, from first to one past the last voxel) that an index of up to three slices names; the rest is whole.

    Raises IndexError for anything else, and for steps.

    >>> bounds((slice(None), slice(-2, 99)), (4, 5, 6))
    (slice(0, 4, None), slice(3, 5, None), slice(0, 6, None))
    """
    parts = region if isinstance(region, tuple) else (region,)
    if len(parts) > 3 or not all(isinstance(part, slice) for part in parts):
        raise IndexError(f"A volume is read by slices along z, y, x, not by {region}")
    found = [part.indices(length) for part, length in zip((*parts, *[slice(None)] * 3), shape)]
    if any(step != 1 for _, _, step in found):
        raise IndexError(f"A volume is read by slices without steps, not by {region}")
    return _box([slice(start, max(start, stop)) for start, stop, _ in found])


class OnGrid:
    """Labels (zyx) seen on another grid, by nearest neighbor; it reads what is sliced. See `resample.labels_onto`.

    factor: voxel spacing of ``labels`` over that of the grid. shape: zyx of the grid.

    >>> import numpy as np
    >>> OnGrid(np.array([[[1, 2]]]), 2.0, (1, 1, 4))[:, :, 1:]
    array([[[1, 2, 2]]])
    """

    def __init__(self, labels: Volume, factor: float, shape: tuple[int, int, int]) -> None:
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"Expected argument `factor` to be positive, but got {factor}")
        self.labels, self.factor, self.shape = labels, factor, shape

    def __getitem__(self, region: Box) -> Integers:
        nearest = [
            np.clip(np.floor((np.arange(*part.indices(length)) + 0.5) / self.factor), 0, stored - 1).astype(int)
            for part, length, stored in zip(region, self.shape, self.labels.shape)
        ]
        if any(not len(axis) for axis in nearest):
            return np.empty([len(axis) for axis in nearest], dtype=np.uint8)
        read = np.asarray(self.labels[tuple(slice(int(axis[0]), int(axis[-1]) + 1) for axis in nearest)])
        return np.asarray(read[np.ix_(*(axis - axis[0] for axis in nearest))])


def _box(parts: list[slice]) -> Box:
    z, y, x = parts
    return z, y, x
