"""Instances that touch, told apart by watershed: the basins of a relief, merged where nothing narrow lies between.

Equal, to the bit, to what one block as large as the volume gives, for any blocks: basins are those of the whole (see
`basins`), and which of them are one is decided when all are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.basins import Basins, basins, highest
from copick_tools.volumes.blocks import SIZE, Box, around, blocks
from copick_tools.volumes.faces import Faces
from copick_tools.volumes.merging import Apart, Landscape, divided
from copick_tools.volumes.packed import ROOM, Packed, Shelf
from copick_tools.volumes.pieces import Instanced, Limits, Pieces
from copick_tools.volumes.relief import Relief
from copick_tools.volumes.runs import Connectivity, Grid, groups


class Ledger:
    """Tops and meetings of basins, block by block, in pieces of the volume."""

    def __init__(self) -> None:
        self._rows: list[tuple[Integers, Integers, Integers]] = []
        self._pairs: list[Integers] = []
        self._passes: list[Integers] = []

    def add(self, found: Basins, number: Integers, before: int) -> None:
        """number: (T,) of the tops' first voxels, as of `Grid`. before: pieces of other blocks."""
        self._rows.append((before + np.arange(len(found.tops)), found.tops, number))
        self._pairs.append(found.meet + (before - 1))
        self._passes.append(found.passes)

    def landscape(self, faces: Faces, total: int) -> tuple[Landscape, Integers, Integers]:
        """Basins in raster order of their tops, the numbers of these, and the basin of each of ``total`` pieces."""
        count, group = groups(total, *faces.same())
        piece, tops, number = (np.concatenate(values) for values in zip(*self._rows))
        top, first = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
        top[group[piece]] = tops
        np.minimum.at(first, group[piece], number)
        order = np.argsort(first)
        row = np.empty(count, np.int64)
        row[order] = np.arange(count)
        basin = row[group]
        pairs, passes = faces.meetings()
        pairs, passes = np.concatenate([*self._pairs, pairs]), np.concatenate([*self._passes, passes])
        one, other = basin[pairs].T
        differ = one != other
        return Landscape(top[order], *highest(one[differ], other[differ], passes[differ])), first[order], basin


@dataclass(frozen=True)
class Divided:
    """relief: of one object. label: of it. apart: which basins are two. distance: of seeds, voxels."""

    relief: Relief
    label: int
    connectivity: Connectivity
    apart: Apart
    distance: float = 0.0

    def instances(self, limits: Limits, chunk: int = SIZE, room: int = ROOM) -> Instanced:
        """See `Linked.instances`. Memory: up to a gibibyte for a block full of the object, about a kilobyte a basin, and that of `Faces`."""
        grid = Grid(self.relief.shape)
        pieces, faces, ledger = Pieces(grid.shape), Faces(grid, self.connectivity), Ledger()
        shelf = Shelf(self._packed, room)
        for block in blocks(grid.shape, size=chunk):
            levels = self._ringed(block.inner)
            if levels is not None:
                found = basins(levels, self.connectivity)
                packed = Packed.of(found.ids)
                labels = np.full(len(found.tops) + len(found.exits), self.label)
                before = pieces.add(block.inner, packed, labels)
                shelf.keep(block.inner, packed)
                place = np.unravel_index(found.at, levels.shape)
                number = grid.number(*(axis - 1 + part.start for axis, part in zip(place, block.inner)))
                ledger.add(found, number, before)
                faces.add(block.inner, found, levels, before)
            faces.close(block)
        if not pieces.total:
            return Instanced(pieces, *pieces.settled(0, np.empty(0, np.int64), limits), shelf)
        landscape, first, basin = ledger.landscape(faces, pieces.total)
        instance = divided(landscape, self.apart, np.column_stack(grid.place(first)), self.distance)
        return Instanced(pieces, *pieces.settled(len(instance), instance[basin], limits), shelf)

    def _packed(self, inner: Box) -> Packed:
        levels = self._ringed(inner)
        assert levels is not None  # blocks without the object have no pieces
        return Packed.of(basins(levels, self.connectivity).ids)

    def _ringed(self, inner: Box) -> Integers | None:
        """The levels of a block with a ring of one voxel; None without the object."""
        block = around(inner, 1, self.relief.shape)
        levels = self.relief.levels(block.outer)
        if levels is None:
            return None
        ring = [(1 - part.start, 1 - (o.stop - i.stop)) for part, o, i in zip(block.local, block.outer, block.inner)]
        return np.pad(levels, ring)
