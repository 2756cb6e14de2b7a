"""What of an instance lies in one block: a piece. From the pieces of all blocks to numbered instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import Box, Corner, corner
from copick_tools.volumes.packed import Packed, Shelf

Limits = Mapping[int, tuple[float, float]]  # label -> fewest and most voxels of an instance
NOWHERE = np.iinfo(np.int64).max  # the first voxel of a piece without voxels


@dataclass
class Pieces:
    """Of the blocks so far; they are numbered from 0. shape: zyx of the volume."""

    shape: Corner
    _before: dict[Corner, tuple[int, int]] = field(default_factory=dict)  # block -> pieces before it, and in it
    _labels: list[Integers] = field(default_factory=list)
    _count: list[Integers] = field(default_factory=list)
    _first: list[Integers] = field(default_factory=list)
    total: int = 0

    def add(self, inner: Box, packed: Packed, labels: Integers) -> int:
        """A block in which they are numbered from 1. labels: (N,) of each. How many there were before."""
        before, number = self.total, len(labels)
        count, first = _measured(inner, packed, number, self.shape)
        self._before[corner(inner)] = (before, number)
        self._labels.append(labels)
        self._count.append(count)
        self._first.append(first)
        self.total += number
        return before

    def settled(self, number: int, group: Integers, limits: Limits) -> tuple[Integers, dict[int, int]]:
        """The instance of each piece, and how many instances each label has.

        group: (N,) of each piece, below ``number``: an instance. Instances of a label are numbered from 1 in raster order of
        their first voxels, so in the order of the 3D LPA's representative labels; those beyond the limits are 0.
        """
        label = np.zeros(number, np.int64)
        count, first = np.zeros(number, np.int64), np.full(number, NOWHERE)
        if self.total:
            label[group] = np.concatenate(self._labels)
            np.add.at(count, group, np.concatenate(self._count))
            np.minimum.at(first, group, np.concatenate(self._first))
        numbers, counts = np.zeros(number, np.int64), {}
        for value, (least, most) in limits.items():
            good = np.flatnonzero((label == value) & (count >= max(1, least)) & (count <= most))
            numbers[good[np.argsort(first[good])]] = np.arange(1, len(good) + 1)
            counts[value] = len(good)
        return numbers[group].astype(dtype_for(max(counts.values(), default=0))), counts

    def table(self, numbers: Integers, inner: Box) -> Integers | None:
        """What the numbers of a block become. numbers: of all pieces. None where there are none."""
        before, number = self._before.get(corner(inner), (0, 0))
        return np.r_[numbers.dtype.type(0), numbers[before : before + number]] if number else None


@dataclass(frozen=True)
class Instanced:
    """Instances of some objects, made block by block. numbers: of each piece. counts: label -> how many instances."""

    pieces: Pieces
    numbers: Integers
    counts: dict[int, int]
    shelf: Shelf

    def block(self, inner: Box) -> Integers | None:
        """Numbers of the voxels of a block, zyx; None where there are none."""
        table = self.pieces.table(self.numbers, inner)
        if table is None or not table.any():
            return None
        return self.shelf.get(inner).unpacked(table)


def dtype_for(number: int) -> np.dtype[np.unsignedinteger]:
    """The type of ids up to a number, as copick stores them: uint16 or uint32."""
    return np.dtype(np.uint16 if number < 2**16 else np.uint32)


def limits(labels: Iterable[int], least: float = 0, most: float = inf) -> Limits:
    """The same for all labels."""
    return dict.fromkeys(labels, (least, most))


def _measured(inner: Box, packed: Packed, number: int, shape: Corner) -> tuple[Integers, Integers]:
    """Voxels of the pieces 1 to N of a block, and the flat position of their first voxel in the volume."""
    count = np.zeros(number + 1, np.int64)
    np.add.at(count, packed.values, packed.lengths.astype(np.int64))
    first = np.full(number + 1, NOWHERE)
    at = np.full(number + 1, -1, np.int64)
    at[packed.values[::-1]] = packed.starts[::-1]
    there = np.flatnonzero(at >= 0)
    place = np.unravel_index(at[there], packed.shape)
    first[there] = np.ravel_multi_index(tuple(p + s.start for p, s in zip(place, inner)), shape)
    return count[1:], first[1:]
