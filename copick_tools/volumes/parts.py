"""Components larger than one particle, taken apart in crops of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.types import Integers, Mask
from copick_tools.volumes.blocks import Box
from copick_tools.volumes.components import Components, numbered, stacked, zyx
from copick_tools.volumes.expected import ball_radius
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.separate import WINDOW, one_component, separate

LARGE = 1.35  # of the expected volume: above it a component is looked at more closely
HUGE = 100.0  # above it, it is no clump of particles and is judged as a whole
SPREAD = 1000.0  # largest box, of the expected volume, that is looked at
BOX = 1 << 22  # voxels, likewise: bounds the memory


@dataclass(frozen=True)
class Crops:
    """Reads components back. labels: zyx. certainty: zyx, score of each voxel, or None."""

    labels: Volume
    certainty: Volume | None

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
    side = found.high - found.low
    boxes = side.prod(axis=1)
    workable = (found.count <= HUGE * expected) & (boxes <= min(SPREAD * expected, BOX))
    window = max(1, round(WINDOW * ball_radius(expected)))
    large = (side.max(axis=1, initial=0) > window + 1) if everywhere else (found.count > LARGE * expected)
    return np.flatnonzero(workable & large)


def taken_apart(found: Components, expected: float, everywhere: bool, crops: Crops) -> Components:
    """The components, with parts in place of those that are several particles. See `divisible`."""
    rows = divisible(found, expected, everywhere)
    parts = [crops.measured(found, int(row), crops.parts(found, int(row), expected)) for row in rows]
    whole = np.ones(len(found), np.bool_)
    whole[rows] = False
    return stacked([found.take(whole), *parts])


def _box(found: Components, index: int) -> Box:
    z, y, x = (slice(int(low), int(high)) for low, high in zip(found.low[index], found.high[index]))
    return z, y, x
