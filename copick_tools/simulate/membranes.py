"""Spherical lipid vesicles: where they go, and their bilayer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.simulate.geometry import Field
from copick_tools.types import Floats, Mask

HALF_THICKNESS = 30.0  # angstrom, from the middle of the bilayer to the water
HEAD_DISTANCE = 19.0  # angstrom, from the middle to the peak of the head groups
HEAD_WIDTH = 7.0  # angstrom, standard deviation
HEAD_POTENTIAL = 1.5  # volt over ice
TAIL_WIDTH = 9.0  # angstrom, standard deviation
TAIL_POTENTIAL = -0.4  # volt over ice, which acyl chains are lighter than
TRIES = 50  # to find room for a vesicle before it is left out

Spheres = tuple[Floats, float]  # (N, 3) xyz in angstrom, and their radius in angstrom


@dataclass(frozen=True)
class Vesicles:
    """positions: (N, 3) xyz in angstrom; radii: (N,) in angstrom, to the middle of the bilayer."""

    positions: Floats
    radii: Floats

    def clear(self, positions: Floats, radius: float) -> Mask:
        """(M,): whether spheres at positions (M, 3) xyz in angstrom touch no bilayer; radius: angstrom."""
        distances = np.linalg.norm(positions[:, None] - self.positions, axis=2)
        gaps = np.abs(distances - self.radii) - HALF_THICKNESS
        return np.all(gaps > radius, axis=1)

    def __len__(self) -> int:
        return len(self.radii)


def scatter_vesicles(
    count: int, radii: tuple[float, float], field: Field, solids: Sequence[Spheres], rng: np.random.Generator
) -> Vesicles:
    """Up to ``count`` vesicles, apart from each other and with no bilayer through a solid.

    radii: angstrom, smallest and largest.
    solids: what is there already.
    """
    low, high = field.bounds
    placed = Vesicles(np.zeros((0, 3)), np.zeros(0))
    for _ in range(count):
        for _ in range(TRIES):
            center, radius = rng.uniform(low, high)[None], rng.uniform(*radii)
            distances = np.linalg.norm(placed.positions - center, axis=1)
            apart = np.all(distances > placed.radii + radius + 2 * HALF_THICKNESS)
            vesicle = Vesicles(center, np.array([radius]))
            if apart and all(vesicle.clear(*spheres).all() for spheres in solids):
                placed = Vesicles(np.concatenate([placed.positions, center]), np.append(placed.radii, radius))
                break
    return placed


def bilayer_potential(depth: Floats, blur: float = 0.0) -> Floats:
    """Volt over ice at ``depth`` (angstrom from the middle of the bilayer): two head-group peaks and a trough.

    blur: angstrom, standard deviation of a Gaussian that the profile is seen through, where voxels are coarse.
    """
    heads = _gaussian(depth - HEAD_DISTANCE, HEAD_WIDTH, blur) + _gaussian(depth + HEAD_DISTANCE, HEAD_WIDTH, blur)
    return HEAD_POTENTIAL * heads + TAIL_POTENTIAL * _gaussian(depth, TAIL_WIDTH, blur)


def _gaussian(distance: Floats, width: float, blur: float) -> Floats:
    """A peak of height 1 and ``width``, blurred at equal integral."""
    if blur:
        blurred = math.hypot(width, blur)
        return np.float32(width / blurred) * _gaussian(distance, blurred, 0.0)
    peak: Floats = np.exp(-0.5 * (distance / width) ** 2)
    return peak
