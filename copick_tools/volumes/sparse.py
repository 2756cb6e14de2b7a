"""A volume that is mostly empty, held as the voxels that aren't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import bounds

WORD = 8  # bytes looked at together
SMALL = np.dtype(np.uint32)  # of a position within a plane


def occupied(values: np.ndarray) -> Integers:
    """Flat positions, int64 and in order, of the voxels that aren't 0. values: any shape, contiguous.

    Values of one byte are looked at eight at a time: made for arrays that are mostly 0.

    >>> import numpy as np
    >>> occupied(np.array([[0, 3], [0, 1]], np.uint8)).tolist()
    [1, 3]
    """
    flat = values.reshape(-1)
    if flat.itemsize != 1 or flat.size < WORD:
        return np.flatnonzero(flat)
    whole = flat.size // WORD * WORD
    words = flat[:whole].view(np.uint64)
    filled = np.flatnonzero(words)
    if len(filled) > len(words) // 4:
        return np.flatnonzero(flat != 0)
    voxel = np.flatnonzero(words[filled].view(np.uint8) != 0)
    voxel = filled[voxel // WORD] * WORD + voxel % WORD
    return np.concatenate([voxel, whole + np.flatnonzero(flat[whole:])])


class Sparse:
    """A mostly empty zyx volume, filled from z = 0 up; slicing gives dense arrays.

    A plane is held as positions and values, or dense where that is smaller. What isn't filled yet is 0.

    >>> import numpy as np
    >>> volume = Sparse((2, 1, 4), np.uint8)
    >>> volume.append(np.array([[[0, 0, 7, 0]]], np.uint8))
    >>> volume[:, :, 1:3].tolist()
    [[[0, 7]], [[0, 0]]]
    """

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        if len(shape) != 3 or min(shape) < 0:
            raise ValueError(f"Expected argument `shape` to have three lengths, but got {tuple(shape)}")
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.dtype = np.dtype(dtype)
        self._planes: list[tuple[np.ndarray | None, np.ndarray]] = []  # positions (None: dense), values

    @property
    def filled(self) -> int:
        """Planes along z that have been given."""
        return len(self._planes)

    @property
    def nbytes(self) -> int:
        """Memory of what is held; positions shared between volumes count in each."""
        return sum(values.nbytes + (0 if at is None else at.nbytes) for at, values in self._planes)

    def append(self, slab: np.ndarray) -> None:
        """Add the next planes. slab: (dz, y, x)."""
        slab = np.ascontiguousarray(slab, dtype=self.dtype)
        if slab.ndim != 3 or slab.shape[1:] != self.shape[1:]:
            raise ValueError(f"Expected planes of {self.shape[1:]}, but got {slab.shape}")
        looked_at = slab.view(f"u{self.dtype.itemsize}")  # half precision is slow to compare
        for plane, bits in zip(slab, looked_at):
            at = occupied(bits)
            self.append_plane(at.astype(SMALL), plane.reshape(-1)[at])

    def append_plane(self, at: np.ndarray, values: np.ndarray) -> None:
        """Add the next plane. at: flat positions in it, in order; kept, not copied. values: at those positions."""
        if self.filled == self.shape[0]:
            raise ValueError(f"All {self.shape[0]} planes are there already")
        values = np.asarray(values, dtype=self.dtype)
        size = self.shape[1] * self.shape[2]
        if len(at) * (SMALL.itemsize + self.dtype.itemsize) < size * self.dtype.itemsize:
            self._planes.append((np.asarray(at, dtype=SMALL), values))
            return
        dense = np.zeros(size, self.dtype)
        dense[at] = values
        self._planes.append((None, dense))

    def __getitem__(self, region: Any) -> np.ndarray:
        (z0, z1), (y0, y1), (x0, x1) = ((part.start, part.stop) for part in bounds(region, self.shape))
        out = np.zeros((z1 - z0, y1 - y0, x1 - x0), self.dtype)
        for plane, (at, values) in zip(out, self._planes[z0:z1]):
            if at is None:
                plane[...] = values.reshape(self.shape[1:])[y0:y1, x0:x1]
            else:
                self._fill(plane, at, values, (y0, y1, x0, x1))
        return out

    def _fill(self, plane: np.ndarray, at: np.ndarray, values: np.ndarray, window: tuple[int, int, int, int]) -> None:
        """Put the values that lie in the window into ``plane`` (y, x), the window's part of their plane."""
        y0, y1, x0, x1 = window
        width = self.shape[2]
        first, last = np.searchsorted(at, [y0 * width, y1 * width])
        position, values = at[first:last] - np.uint32(y0 * width), values[first:last]
        if x1 - x0 == width:
            plane.reshape(-1)[position] = values
            return
        y = position // np.uint32(width)  # faster than divmod
        x = position - y * np.uint32(width)
        inside = (x >= x0) & (x < x1)
        plane[y[inside], x[inside] - x0] = values[inside]
