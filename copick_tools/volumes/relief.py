"""How deep each voxel lies in its object: the relief whose basins a watershed tells apart.

Levels are integers, squares of distances in voxels up to `CAP`, so that they are the same for any blocks. Distances beyond
`CAP` count as `CAP`: necks up to twice as wide are seen, wider ones aren't.
"""

from __future__ import annotations

import math
from typing import Protocol

import edt
import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Box, around
from copick_tools.volumes.components import among, zyx
from copick_tools.volumes.normalize import Volume

CAP = 64  # voxels, the longest distance that is told
SURFACE = CAP**2  # levels above it are inside of an object, those from 1 up to it in its boundary
LEVEL = np.uint16


class Relief(Protocol):
    """Levels of a volume, made where they are asked for."""

    shape: tuple[int, int, int]

    def levels(self, box: Box) -> Integers | None:
        """zyx uint16, 0 outside of the object; None where there is none of it."""


class Depth:
    """Squared distance to the nearest voxel that isn't of the object, above `SURFACE`. What lies beyond the volume is unknown."""

    def __init__(self, labels: Volume, label: int) -> None:
        self.labels, self.label, self.shape = labels, label, zyx(labels)

    def levels(self, box: Box) -> Integers | None:
        block = around(box, CAP + 1, self.shape)
        mask = among(np.asarray(self.labels[block.outer]), [self.label])
        if not mask[block.local].any():
            return None
        inside = mask[block.local]
        return np.where(inside, SURFACE + distances(mask)[block.local], 0).astype(LEVEL)


class Bounded:
    """An object crossed by boundaries: as `Depth` in between them; in them minus the distance to what is in between.

    boundary: zyx, as large as the labels; from ``threshold`` on a voxel is of a boundary (a mask, or probabilities).
    """

    def __init__(self, labels: Volume, label: int, boundary: Volume, threshold: float) -> None:
        if zyx(boundary) != zyx(labels):
            raise ValueError(f"A boundary of shape {boundary.shape} doesn't go with labels of shape {labels.shape}")
        self.labels, self.label, self.shape = labels, label, zyx(labels)
        self.boundary, self.threshold = boundary, threshold

    def levels(self, box: Box) -> Integers | None:
        block = around(box, CAP + 1, self.shape)
        mask = among(np.asarray(self.labels[block.outer]), [self.label])
        if not mask[block.local].any():
            return None
        between = mask & ~(np.asarray(self.boundary[block.outer]) >= self.threshold)
        level = np.where(between[block.local], SURFACE + distances(between)[block.local], 0)
        in_boundary = (mask & ~between)[block.local]
        if in_boundary.any():
            np.copyto(level, SURFACE + 1 - distances(~between)[block.local], where=in_boundary)
        return level.astype(LEVEL)


def distances(mask: Mask) -> Floats:
    """Squared distance of the true voxels of a zyx mask to the nearest false one, at most CAP² (also where there is none)."""
    squared: Floats = edt.edtsq(np.ascontiguousarray(mask).view(np.uint8), black_border=False, parallel=1)
    return np.minimum(squared, np.float32(CAP**2), out=squared)


def length(level: int) -> float:
    """Distance in voxels that a level inside of an object stands for; 0 in a boundary."""
    return math.sqrt(max(level - SURFACE, 0))
