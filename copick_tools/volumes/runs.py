"""Runs of equal labels along x: the shortest way to say where the foreground of a label volume is.

Positions are numbered along x, then y, then z, with one empty voxel after each row and one empty row after each plane. So
a neighbor of a voxel lies at a fixed distance in that numbering, and nothing is a neighbor across the volume's faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copick_tools.types import Integers, Mask

Connectivity = Literal[6, 18, 26]
Link = tuple[int, int]  # distance to a row, and how far along it voxels touch
WITHIN: Link = (0, 1)  # a row and itself


@dataclass(frozen=True)
class Grid:
    """How the voxels of a volume are numbered. shape: zyx.

    >>> grid = Grid((2, 3, 4))
    >>> grid.number(1, 0, 2), grid.place(np.array([22]))
    (array(22), (array([1]), array([0]), array([2])))
    """

    shape: tuple[int, int, int]

    @property
    def row(self) -> int:
        """Distance of neighbors along y."""
        return self.shape[2] + 1

    @property
    def plane(self) -> int:
        """Distance of neighbors along z."""
        return (self.shape[1] + 1) * self.row

    def number(self, z: Integers | int, y: Integers | int, x: Integers | int) -> Integers:
        """Of the voxels at z, y, x."""
        return np.asarray(z * self.plane + y * self.row + x)

    def place(self, number: Integers) -> tuple[Integers, Integers, Integers]:
        """z, y, x of the voxels with these numbers."""
        z = number // self.plane  # faster than divmod
        rest = number - z * self.plane
        y = rest // self.row
        return z, y, rest - y * self.row

    def forward(self, connectivity: Connectivity = 26) -> tuple[Link, ...]:
        """Links to the rows after a voxel's own that touch it."""
        straight, corner = int(connectivity > 6), int(connectivity > 18)
        links = [(self.row, straight), (self.plane, straight)]
        if connectivity > 6:
            links += [(self.plane - self.row, corner), (self.plane + self.row, corner)]
        return tuple(links)

    def neighbors(self, connectivity: Connectivity = 26) -> tuple[int, ...]:
        """Distances to the neighbors that come after a voxel."""
        links = self.forward(connectivity)
        return (1, *(distance + step for distance, reach in links for step in range(-reach, reach + 1)))


@dataclass(frozen=True)
class Runs:
    """first, last: (N,) numbers of the first and last voxel, in rising order. labels: (N,)."""

    first: Integers
    last: Integers
    labels: Integers

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: np.ndarray) -> Runs:
        """Those that a mask or an index array names."""
        return Runs(self.first[which], self.last[which], self.labels[which])


def joined(parts: list[Runs]) -> tuple[Runs, Integers]:
    """All runs in rising order, and the row that each had before."""
    if not parts:
        nothing = np.empty(0, np.int64)
        return Runs(nothing, nothing, nothing), nothing
    first, last, labels = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "last", "labels")
    )
    order = np.argsort(first, kind="stable")
    return Runs(first, last, labels).take(order), order


def true_runs(mask: Mask, corner: Integers, grid: Grid) -> Runs:
    """Runs of the true voxels of a zyx mask, which lies at ``corner`` of a volume; labels are 1.

    >>> runs = true_runs(np.array([[[True, True, False, True]]]), np.array([0, 0, 1]), Grid((1, 1, 5)))
    >>> runs.first.tolist(), runs.last.tolist()
    ([1, 4], [2, 4])
    """
    rows = np.pad(mask, [(0, 0), (0, 0), (0, 1)])
    changes = np.flatnonzero(np.diff(rows.reshape(-1), prepend=False))
    starts, stops = changes[::2], changes[1::2]
    z, y, x = np.unravel_index(starts, rows.shape)
    first = grid.number(z + corner[0], y + corner[1], x + corner[2])
    return Runs(first, first + (stops - starts - 1), np.ones(len(first), np.uint8))


def touching(runs: Runs, links: tuple[Link, ...]) -> tuple[Integers, Integers]:
    """Pairs of runs of equal label that touch: their rows, each pair once. links: see `Grid.forward`, `WITHIN`."""
    ones, others = [], []
    for distance, reach in links:
        low = np.searchsorted(runs.last, runs.first + (distance - reach))
        high = np.searchsorted(runs.first, runs.last + (distance + reach), side="right")
        count = high - low
        one = np.repeat(np.arange(len(runs)), count)
        other = np.arange(len(one)) + np.repeat(low - np.cumsum(count) + count, count)
        same = (runs.labels[one] == runs.labels[other]) & (other > one)
        ones.append(one[same])
        others.append(other[same])
    return np.concatenate(ones), np.concatenate(others)


def groups(count: int, one: Integers, other: Integers) -> tuple[int, Integers]:
    """How many groups the pairs (one, other) make of ``count`` things, and the group of each, by first appearance."""
    if not len(one):
        return count, np.arange(count)
    graph = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    number, group = connected_components(graph, directed=False)
    return int(number), np.asarray(group, dtype=np.int64)
