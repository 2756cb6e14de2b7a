"""Across the faces of blocks: which components of neighboring blocks are one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from copick_tools.types import Integers, Mask
from copick_tools.volumes.blocks import Block, Box
from copick_tools.volumes.runs import WITHIN, Connectivity, Grid, Runs, joined, touching


class Seams:
    """What lies at the faces between blocks, until the blocks on the other side have come: which components are one.

    Memory: about 60 bytes for each run at the faces of a row of blocks.
    """

    def __init__(self, grid: Grid, connectivity: Connectivity = 26) -> None:
        self.grid = grid
        self._links = (WITHIN, *grid.forward(connectivity))
        self._runs: list[Runs] = []
        self._owners: list[Integers] = []
        self._pairs: list[np.ndarray] = []

    def add(self, inner: Box, runs: Runs, owner: Integers) -> None:
        """inner: a block, or a part of one. runs: there, in order. owner: the component of each."""
        z, y, x = self.grid.place(runs.first)
        end = x + (runs.last - runs.first)
        whole = _at_face(z, inner[0], self.grid.shape[0]) | _at_face(y, inner[1], self.grid.shape[1])
        self._keep(runs.take(whole), owner[whole])
        sides = inner[2]
        left = ~whole & (x == sides.start) & (sides.start > 0)
        right = ~whole & (end == sides.stop - 1) & (sides.stop < self.grid.shape[2])
        self._keep(Runs(runs.first[left], runs.first[left], runs.labels[left]), owner[left])
        right &= ~(left & (x == end))
        self._keep(Runs(runs.last[right], runs.last[right], runs.labels[right]), owner[right])

    def add_voxels(self, inner: Box, labels: Integers, piece: Integers, before: int) -> None:
        """As `add`, by voxels. labels, piece: zyx, of each voxel of a block; pieces count from 1, component ``before``."""
        at = at_faces(inner, self.grid.shape)
        at = at[piece.reshape(-1)[at] > 0]
        if not len(at):
            return
        place = np.unravel_index(at, piece.shape)
        number = self.grid.number(*(axis + part.start for axis, part in zip(place, inner)))
        mine = piece.reshape(-1)[at].astype(np.int64) + (before - 1)
        starts = np.flatnonzero(np.r_[True, (np.diff(number) != 1) | (np.diff(mine) != 0)])
        last = np.r_[starts[1:], len(at)] - 1
        self._keep(Runs(number[starts], number[last], labels.reshape(-1)[at[starts]]), mine[starts])

    def close(self, block: Block) -> None:
        """After each block: at the end of a row of blocks what touches is noted, and what has been met is let go."""
        if block.inner[2].stop < self.grid.shape[2] or not self._runs:
            return
        runs, order = joined(self._runs)
        owner = np.concatenate(self._owners)[order]
        one, other = (owner[rows] for rows in touching(runs, self._links))
        self._pairs.append(distinct(one, other))
        open_ = unmet(runs.first, block, self.grid)
        self._runs, self._owners = [runs.take(open_)], [owner[open_]]

    def pairs(self) -> tuple[Integers, Integers]:
        """Components that are one."""
        if not self._pairs:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        one, other = np.concatenate(self._pairs).T
        return one, other

    def _keep(self, runs: Runs, owner: Integers) -> None:
        if len(runs):
            self._runs.append(runs)
            self._owners.append(owner)


def distinct(one: Integers, other: Integers) -> Integers:
    """Each pair once, (M, 2), those of a thing and itself left out.

    >>> distinct(np.array([3, 1, 3, 2]), np.array([4, 1, 4, 0])).tolist()
    [[2, 0], [3, 4]]
    """
    differ = one != other
    width = int(other.max(initial=0)) + 1
    return np.column_stack(np.divmod(np.unique(one[differ] * width + other[differ]), width))


def at_faces(inner: Box, shape: tuple[int, int, int]) -> Integers:
    """The voxels of a block in its first or last layer along an axis, where another block lies: flat positions, in order.

    >>> at_faces((slice(0, 1), slice(0, 2), slice(2, 5)), (1, 2, 9)).tolist()
    [0, 2, 3, 5]
    """
    ends = tuple((part.start > 0, part.stop < length) for part, length in zip(inner, shape))
    return _at_faces(tuple(part.stop - part.start for part in inner), ends)


@lru_cache(maxsize=64)
def _at_faces(sides: tuple[int, ...], ends: tuple[tuple[bool, bool], ...]) -> Integers:
    layers = []
    for length, (first, last) in zip(sides, ends):
        layer = np.zeros(length, bool)
        layer[:1] |= first
        layer[-1:] |= last
        layers.append(layer)
    z, y, x = layers
    return np.flatnonzero(z[:, None, None] | y[:, None] | x)


def unmet(number: Integers, block: Block, grid: Grid) -> Mask:
    """After the last block of a row: which voxels at faces have neighbors in blocks to come. number: as of `Grid`."""
    z, y, _ = block.inner
    at_z, at_y, _ = grid.place(number)
    above = (at_z == z.start - 1) & (y.stop < grid.shape[1])
    ahead = (at_z >= z.start) & (at_y == y.stop - 1) & (y.stop < grid.shape[1])
    open_: Mask = above | ahead | ((at_z == z.stop - 1) & (z.stop < grid.shape[0]))
    return open_


def _at_face(position: Integers, part: slice, length: int) -> np.ndarray:
    """Which positions lie in the first or last layer of a block that has a neighbor there."""
    faces = [voxel for voxel, inner in ((part.start, part.start > 0), (part.stop - 1, part.stop < length)) if inner]
    return np.isin(position, faces)
