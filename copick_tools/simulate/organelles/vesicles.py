"""Vesicles, many of them in clusters whose members touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import HALF_THICKNESS
from copick_tools.simulate.organelles.body import Body, in_membrane, membrane
from copick_tools.simulate.organelles.settings import OrganelleSettings
from copick_tools.simulate.organelles.shapes import Ellipsoid
from copick_tools.simulate.placement import random_rotations
from copick_tools.types import Floats

VESICLE = "vesicle"
LUMEN, CORE = 0.1, 5.0  # crowding in a clear and in a dense-core vesicle
HALO = 50.0  # angstrom between the membrane and a dense core


@dataclass(frozen=True)
class Vesicle:
    """shape: its outer edge; dense: whether it has a dense core."""

    shape: Ellipsoid
    dense: bool

    @property
    def points(self) -> Floats:
        """(N, 3) xyz in angstrom, on its surface and within."""
        return self.shape.points()

    @property
    def half_width(self) -> float:
        """Angstrom."""
        return float(self.shape.half_axes.max())

    def moved(self, by: Floats) -> Vesicle:
        """The same elsewhere. by: (3,) xyz in angstrom."""
        shape = self.shape
        return Vesicle(Ellipsoid(shape.center + by, shape.half_axes, shape.rotation), self.dense)

    def body(self, field: Field) -> Body:
        """Filled: the instance is lumen and membrane."""
        box = self.shape.box(field)
        depth = self.shape.depth(field.axes(box))
        middle = depth + HALF_THICKNESS
        crowding = np.full(depth.shape, LUMEN, np.float32)
        if self.dense:
            crowding[middle < -HALF_THICKNESS - HALO] = CORE
        crowding[in_membrane(middle)] = 0
        return Body(box, depth, membrane(middle, field.voxel_spacing), crowding, {VESICLE: depth < 0})


def draw_vesicle(settings: OrganelleSettings, rng: np.random.Generator) -> Vesicle:
    """One of random size, form and filling, nowhere yet."""
    uneven = 1 + settings.vesicle_eccentricity * rng.uniform(-1, 1, 3)
    half_axes = np.clip(rng.uniform(*settings.vesicle_radius) * uneven, *settings.vesicle_radius)
    rotation = random_rotations(1, rng)[0]
    return Vesicle(Ellipsoid(np.zeros(3), half_axes, rotation), bool(rng.random() < settings.dense_core))
