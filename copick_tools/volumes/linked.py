"""Instances that are what hangs together: connected components, found block by block and equal to those of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import cc3d
import edt
import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import SIZE, Box, around, blocks
from copick_tools.volumes.components import among, zyx
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.packed import ROOM, Packed, Shelf
from copick_tools.volumes.pieces import Instanced, Limits, Pieces
from copick_tools.volumes.runs import Connectivity, Grid, groups
from copick_tools.volumes.seams import Seams

ANY = 0  # the label of all voxels where labels don't count


@dataclass(frozen=True)
class Look:
    """What one block shows. ids: zyx, of its pieces, from 1. touching: zyx, what hangs together where it is equal.

    packed: the ids of voxels of the objects themselves. labels: (N,) of the pieces.
    """

    packed: Packed
    ids: Integers
    touching: Integers
    labels: Integers


@dataclass(frozen=True)
class Linked:
    """labels: zyx integers. wanted: those that are looked at.

    aware: whether only voxels of equal label are connected; the text of the 3D LPA (3D
    Connected Component Labeling, section 3.2 of the multi-organelle benchmark) knows no such condition: without it all
    instances have the label `ANY`. join: voxels; fragments of the wanted label that far apart hang together as well.
    """

    labels: Volume
    wanted: tuple[int, ...]
    connectivity: Connectivity
    aware: bool = True
    join: float = 0.0

    def instances(self, limits: Limits, chunk: int = SIZE, room: int = ROOM) -> Instanced:
        """Found in blocks of ``chunk`` voxels along each axis, of which as many are kept as ``room`` bytes hold.

        limits: voxels of an instance, by label. Memory: a block, the room, about 100 bytes a piece, and that of `Seams`.
        """
        grid = Grid(zyx(self.labels))
        pieces, seams = Pieces(grid.shape), Seams(grid, self.connectivity)
        shelf = Shelf(lambda inner: self._look(inner).packed, room)
        for block in blocks(grid.shape, size=chunk):
            look = self._look(block.inner)
            if len(look.labels):
                before = pieces.add(block.inner, look.packed, look.labels)
                shelf.keep(block.inner, look.packed)
                seams.add_voxels(block.inner, look.touching, look.ids, before)
            seams.close(block)
        number, group = groups(pieces.total, *seams.pairs())
        return Instanced(pieces, *pieces.settled(number, group, limits), shelf)

    def _look(self, inner: Box) -> Look:
        if self.join:
            return self._look_around(inner)
        values = np.ascontiguousarray(self.labels[inner])
        if values.dtype.kind not in "iub":
            raise ValueError(f"Expected integer labels, but got {values.dtype}")
        runs = Packed.of(values)
        good = among(runs.values, self.wanted)
        if not (good | (runs.values == 0)).all():
            values = np.where(among(values, self.wanted), values, values.dtype.type(0))
            runs = Packed.of(values)
        if not self.aware:
            values = (values != 0).view(np.uint8)
        if not good.any():
            return Look(Packed(runs.shape, runs.starts, runs.values), values, values, np.empty(0, np.int64))
        ids = cc3d.connected_components(values, connectivity=self.connectivity)
        packed = Packed(values.shape, runs.starts, ids.reshape(-1)[runs.starts])
        labels = np.zeros(int(packed.values.max()) + 1, np.int64)
        labels[packed.values] = runs.values if self.aware else ANY
        return Look(packed, ids, values, labels[1:])

    def _look_around(self, inner: Box) -> Look:
        """One label, whose fragments are grown by half the distance across which they hang together."""
        half = self.join / 2
        block = around(inner, ceil(half), zyx(self.labels))
        mask = among(np.asarray(self.labels[block.outer]), self.wanted)
        own, nothing = mask[block.local], np.empty(0, np.int64)
        if not mask.any():
            empty = own.view(np.uint8)
            return Look(Packed.of(empty), empty, empty, nothing)
        grown = edt.edtsq(np.ascontiguousarray(~mask), black_border=False, parallel=1) <= half**2
        touching = np.ascontiguousarray(grown[block.local]).view(np.uint8)
        ids = cc3d.connected_components(touching, connectivity=self.connectivity)
        labels = np.full(int(ids.max()), self.wanted[0], np.int64)
        return Look(Packed.of(np.where(own, ids, ids.dtype.type(0))), ids, touching, labels)
