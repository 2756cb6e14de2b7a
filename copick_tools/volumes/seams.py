"""Across the faces of blocks: which components of neighboring blocks are one."""

from __future__ import annotations

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import Block, Box
from copick_tools.volumes.runs import Grid, Runs, joined, touching


class Seams:
    """What lies at the faces between blocks, until the blocks on the other side have come: which components are one."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
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

    def close(self, block: Block) -> None:
        """After each block: at the end of a row of blocks what touches is noted, and what has been met is let go."""
        z, y, x = block.inner
        if x.stop < self.grid.shape[2] or not self._runs:
            return
        runs, order = joined(self._runs)
        owner = np.concatenate(self._owners)[order]
        one, other = (owner[rows] for rows in touching(runs, (0, *self.grid.forward())))
        differ = one != other
        self._pairs.append(np.unique(np.column_stack([one[differ], other[differ]]), axis=0))
        at_z, at_y, _ = self.grid.place(runs.first)
        above = (at_z == z.start - 1) & (y.stop < self.grid.shape[1])
        ahead = (at_z >= z.start) & (at_y == y.stop - 1) & (y.stop < self.grid.shape[1])
        open_ = above | ahead | ((at_z == z.stop - 1) & (z.stop < self.grid.shape[0]))
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


def _at_face(position: Integers, part: slice, length: int) -> np.ndarray:
    """Which positions lie in the first or last layer of a block that has a neighbor there."""
    faces = [voxel for voxel, inner in ((part.start, part.start > 0), (part.stop - 1, part.stop < length)) if inner]
    return np.isin(position, faces)
