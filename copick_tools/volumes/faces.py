"""Across the faces of blocks: where the basins of neighboring blocks go on and meet."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from copick_tools.types import Integers, Mask
from copick_tools.volumes.basins import Basins, highest
from copick_tools.volumes.blocks import Block, Box
from copick_tools.volumes.runs import Connectivity, Grid
from copick_tools.volumes.seams import at_faces, distinct, unmet


@dataclass(frozen=True)
class Voxels:
    """At faces. number: (N,) as of `Grid`. piece: (N,) of the volume. level: (N,). top: (N,) whether it is one."""

    number: Integers
    piece: Integers
    level: Integers
    top: Mask

    def take(self, which: np.ndarray) -> Voxels:
        """Those that a mask or an index array names."""
        return Voxels(*(getattr(self, field.name)[which] for field in fields(self)))


class Faces:
    """As `Seams`, for basins. Memory: about 50 bytes for each voxel of the object at the faces of a row of blocks."""

    def __init__(self, grid: Grid, connectivity: Connectivity) -> None:
        self.grid, self._steps = grid, grid.neighbors(connectivity)
        self._voxels: list[Voxels] = []
        self._exits: list[tuple[Integers, Integers]] = []
        self._same: list[Integers] = []
        self._meet: list[tuple[Integers, Integers]] = []

    def add(self, inner: Box, found: Basins, levels: Integers, before: int) -> None:
        """The basins of a block, whose first is piece ``before`` of the volume. levels: zyx of the block and its ring."""
        at = at_faces(inner, self.grid.shape)
        at = at[found.ids.reshape(-1)[at] > 0]
        place = np.unravel_index(at, found.ids.shape)
        ids, level = found.ids[place], levels[tuple(axis + 1 for axis in place)]
        tops = np.r_[found.tops, np.zeros(len(found.exits), found.tops.dtype)]
        self._voxels.append(
            Voxels(self._number(place, inner), ids.astype(np.int64) + (before - 1), level, level == tops[ids - 1])
        )
        place = tuple(axis - 1 for axis in np.unravel_index(found.exits, levels.shape))
        first = before + len(found.tops)
        self._exits.append((self._number(place, inner), first + np.arange(len(found.exits))))

    def close(self, block: Block) -> None:
        """After each block: at the end of a row of blocks what meets is noted, and what has met all is let go."""
        if block.inner[2].stop < self.grid.shape[2] or not self._voxels:
            return
        known = Voxels(*(np.concatenate([getattr(v, f.name) for v in self._voxels]) for f in fields(Voxels)))
        known = known.take(np.argsort(known.number))
        for step in self._steps:
            here, there = _found(known.number, known.number + step)
            self._note(known.take(here), known.take(there))
        number, piece = (np.concatenate(values) for values in zip(*self._exits))
        row, to = _found(known.number, number)
        self._same.append(np.column_stack([piece[row], known.piece[to]]))
        left = np.ones(len(number), bool)
        left[row] = False
        self._exits = [(number[left], piece[left])]
        self._voxels = [known.take(unmet(known.number, block, self.grid))]

    def same(self) -> tuple[Integers, Integers]:
        """Pieces that are one basin."""
        one, other = np.concatenate([np.empty((0, 2), np.int64), *self._same]).T
        return one, other

    def meetings(self) -> tuple[Integers, Integers]:
        """Pairs of pieces that touch, (M, 2), and the highest pass of each."""
        pairs = np.concatenate([np.empty((0, 2), np.int64), *(pairs for pairs, _ in self._meet)])
        return pairs, np.concatenate([np.empty(0, np.int64), *(passes for _, passes in self._meet)])

    def _note(self, one: Voxels, other: Voxels) -> None:
        differ = one.piece != other.piece
        one, other = one.take(differ), other.take(differ)
        flat = one.top & other.top & (one.level == other.level)  # one plateau, cut by a face
        self._same.append(distinct(one.piece[flat], other.piece[flat]))
        self._meet.append(highest(one.piece, other.piece, np.minimum(one.level, other.level)))

    def _number(self, place: tuple[Integers, ...], inner: Box) -> Integers:
        z, y, x = (axis + part.start for axis, part in zip(place, inner))
        return self.grid.number(z, y, x)


def _found(numbers: Integers, wanted: Integers) -> tuple[Integers, Integers]:
    """Rows of ``wanted`` that are among ``numbers``, which are in order, and the rows where."""
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    here = np.flatnonzero(numbers[at] == wanted)
    return here, at[here]
