"""How far every place is from what is there already, and how a body comes to touch it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from copick_tools.simulate.geometry import Box, Field
from copick_tools.simulate.organelles.shapes import REACH
from copick_tools.types import Floats, Mask

SQUEEZE = 8.0  # angstrom, by which bodies in contact flatten
STEPS = 60  # on the way to contact


@dataclass(frozen=True)
class Ground:
    """distance: float32 zyx of the simulated field, angstrom to the nearest edge, negative inside, at most REACH."""

    field: Field
    distance: Floats

    @classmethod
    def empty(cls, field: Field) -> Ground:
        """Nothing there."""
        return cls(field, np.full(field.padded, REACH, np.float32))

    def add(self, box: Box, depth: Floats) -> None:
        """Put a body there. depth: distance from its edge in the box."""
        np.minimum(self.distance[box], depth, out=self.distance[box])

    def at(self, positions: Floats) -> Floats:
        """(N,) angstrom at positions (N, 3) xyz in angstrom; beyond the field as at its faces."""
        voxels = np.asarray(positions)[:, ::-1] / self.field.voxel_spacing + self.field.margin
        found: Floats = ndimage.map_coordinates(self.distance, voxels.T, order=1, mode="nearest")
        return found

    def clear(self, positions: Floats, radius: float) -> Mask:
        """(N,): whether spheres at positions (N, 3) xyz in angstrom touch nothing; radius: angstrom."""
        return self.at(positions) > radius

    def gap(self, points: Floats) -> float:
        """Angstrom between a body and what is there; negative where they overlap.

        points: (N, 3) xyz in angstrom, on the body's surface and within.
        """
        return float(self.at(points).min())

    def share(self) -> float:
        """The fraction of the field that is free."""
        return float((self.distance > 0).mean())


def come_to_rest(points: Floats, heading: Floats, ground: Ground, limit: float) -> Floats | None:
    """The way (3,) xyz in angstrom along ``heading`` until a body touches what is there; None where it doesn't.

    points: (N, 3) xyz in angstrom, on the body's surface and within. limit: angstrom, the longest way.
    """
    way = 0.0
    for _ in range(STEPS):
        step = ground.gap(points + way * heading) + SQUEEZE
        if step < -1 or way > limit:
            return None  # begins in something, or meets nothing
        if step < 1:
            return way * heading
        way += step
    return None
