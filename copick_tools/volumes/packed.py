"""Blocks of integers held as runs of equal values: what has been found in a block is kept in little memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import Box, Corner, corner

ROOM = 1 << 28  # bytes of blocks that are kept


@dataclass(frozen=True)
class Packed:
    """A zyx block. starts: (N,) flat positions at which runs along x begin, in order. values: (N,) of the runs.

    >>> packed = Packed.of(np.array([[[0, 0, 7], [7, 3, 3]]]))
    >>> packed.starts.tolist(), packed.values.tolist()
    ([0, 2, 3, 4], [0, 7, 7, 3])
    >>> packed.unpacked(np.arange(8) * 10).tolist()
    [[[0, 0, 70], [70, 30, 30]]]
    """

    shape: tuple[int, ...]
    starts: Integers
    values: Integers

    @classmethod
    def of(cls, values: Integers) -> Packed:
        """The runs of a zyx array."""
        flat = values.reshape(-1)
        changes = np.empty(values.shape, bool)
        np.not_equal(flat[1:], flat[:-1], out=changes.reshape(-1)[1:])
        changes[..., :1] = True
        starts = np.flatnonzero(changes)
        return cls(values.shape, starts.astype(np.uint32), flat[starts])

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.starts.nbytes + self.values.nbytes)

    @property
    def lengths(self) -> Integers:
        """(N,) voxels of the runs."""
        return np.diff(self.starts, append=np.uint32(np.prod(self.shape)))

    def unpacked(self, table: Integers | None = None) -> Integers:
        """The block, each value replaced by its entry in ``table``, if there is one."""
        values = self.values if table is None else table[self.values]
        return np.repeat(values, self.lengths).reshape(self.shape)


class Shelf:
    """Packed blocks, by the box that they fill: kept while there is room (bytes), else made again."""

    def __init__(self, make: Callable[[Box], Packed], room: int = ROOM) -> None:
        self._make, self._room = make, room
        self._kept: dict[Corner, Packed] = {}

    def keep(self, inner: Box, packed: Packed) -> None:
        """Keep a block, if there is room."""
        if packed.nbytes <= self._room:
            self._room -= packed.nbytes
            self._kept[corner(inner)] = packed

    def get(self, inner: Box) -> Packed:
        """A block, kept or made."""
        kept = self._kept.get(corner(inner))
        return self._make(inner) if kept is None else kept
