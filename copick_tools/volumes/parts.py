"""Components larger than one particle, taken apart in crops of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from copick_tools.types import Integers, Mask
from copick_tools.volumes.blocks import SIZE, Box
from copick_tools.volumes.components import Components, numbered, stacked, zyx
from copick_tools.volumes.expected import ball_radius, workable
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.separate import one_component, separate, window

AROUND = 1 << 25  # voxels, at most, that are read around the components of a block
LARGE = 1.35  # of the expected volume: above it a component is looked at more closely
HUGE = 100.0  # above it, it is no clump of particles and is judged as a whole


class Held:
    """A volume of which a part is in memory: only that can be read.

    >>> Held(np.array([[[5, 6]]]), (0, 0, 2), (1, 1, 4))[0:1, 0:1, 3:4]
    array([[[6]]])
    """

    def __init__(self, part: np.ndarray, corner: Sequence[int], shape: tuple[int, int, int]) -> None:
        self.shape, self._part, self._corner = shape, part, corner

    def __getitem__(self, region: Box) -> np.ndarray:
        return self._part[tuple(slice(s.start - c, s.stop - c) for s, c in zip(region, self._corner))]


@dataclass(frozen=True)
class Crops:
    """Reads components back. labels: zyx. certainty: zyx, score of each voxel, or None."""

    labels: Volume
    certainty: Volume | None

    def nearby(self, found: Components, rows: Integers) -> Iterator[tuple[int, Crops]]:
        """These rows, block by block, and crops to read each with; labels that are stored in chunks are read block by block.

        With a certainty both are in memory already: see `Probabilities`.
        """
        if self.certainty is not None:
            yield from ((int(row), self) for row in rows)
            return
        shape = zyx(self.labels)
        blocks, block = np.unique(found.low[rows] // SIZE, axis=0, return_inverse=True)
        for number in range(len(blocks)):
            mine = rows[block.reshape(-1) == number]
            low, high = found.low[mine].min(axis=0).tolist(), found.high[mine].max(axis=0).tolist()
            crops: Crops = self
            if len(mine) > 1 and prod(b - a for a, b in zip(low, high)) <= AROUND:
                part = np.asarray(self.labels[tuple(slice(a, b) for a, b in zip(low, high))])
                crops = Crops(Held(part, low, shape), None)
            yield from ((int(row), crops) for row in mine)

    def mask(self, found: Components, index: int) -> Mask:
        """The voxels of one component, in its box."""
        box, low = _box(found, index), found.low[index]
        z, y, x = np.array(np.unravel_index(int(found.first[index]), zyx(self.labels))) - low
        return one_component(np.asarray(self.labels[box]) == found.labels[index], (int(z), int(y), int(x)))

    def parts(self, found: Components, index: int, expected: float) -> Integers:
        """The particles in one component, in its box: zyx, from 1, 0 outside."""
        return separate(self.mask(found, index), ball_radius(expected))

    def measured(self, found: Components, index: int, parts: Integers) -> Components:
        """Each part as a component, scored by the certainty."""
        sure = None if self.certainty is None else np.asarray(self.certainty[_box(found, index)])
        return numbered(parts, sure, found.low[index], zyx(self.labels), int(found.labels[index]))


def divisible(found: Components, expected: float, everywhere: bool) -> Integers:
    """Rows of the components that may be several particles. expected: voxels of one.

    everywhere: whatever their volume, if their box leaves room for two peaks of distance.
    """
    room = (found.high - found.low).max(axis=1, initial=0) > window(ball_radius(expected)) + 1
    large = room if everywhere else found.count > LARGE * expected
    return np.flatnonzero(large & workable(found, expected, HUGE))


def taken_apart(found: Components, expected: float, everywhere: bool, crops: Crops) -> Components:
    """The components, with parts in place of those that are several particles. See `divisible`."""
    rows = divisible(found, expected, everywhere)
    if not len(rows):
        return found
    parts = {
        row: near.measured(found, row, near.parts(found, row, expected)) for row, near in crops.nearby(found, rows)
    }
    whole = np.ones(len(found), np.bool_)
    whole[rows] = False
    return stacked([found.take(whole), *(parts[row] for row in sorted(parts))])


def _box(found: Components, index: int) -> Box:
    z, y, x = (slice(int(low), int(high)) for low, high in zip(found.low[index], found.high[index]))
    return z, y, x
