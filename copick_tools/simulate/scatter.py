"""Spheres at random positions without collisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.spatial import KDTree

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import Spheres
from copick_tools.types import Floats, Mask

CUT = 0.6  # of the radius: scattered particles are mostly in view or mostly out of it, for experts pick no halves
ROUNDS = 60  # tries to find room for a sphere before it is left out


class Obstacles(Protocol):
    """What spheres have to keep away from."""

    def clear(self, positions: Floats, radius: float) -> Mask:
        """(M,): whether spheres at positions (M, 3) xyz in angstrom touch none of it; radius: angstrom."""


def scatter(
    count: int, radius: float, field: Field, obstacles: tuple[Sequence[Spheres], Obstacles], rng: np.random.Generator
) -> Floats:
    """Up to ``count`` positions (N, 3) xyz in angstrom of spheres that touch no obstacle and not each other.

    radius: angstrom.
    """
    solids, others = obstacles
    trees = [(KDTree(centers), other) for centers, other in solids if len(centers)]
    low, high = _room(field, radius)
    placed: Floats = np.zeros((0, 3))
    for _ in range(ROUNDS):
        if len(placed) == count:
            break
        tried = rng.uniform(low, high, (count - len(placed), 3))
        tried = tried[field.uncut(tried, CUT * radius) & _clear(tried, radius, trees) & others.clear(tried, radius)]
        placed = _apart(np.concatenate([placed, tried]), 2 * radius)
    return placed


def _room(field: Field, radius: float) -> tuple[Floats, Floats]:
    """xyz bounds in angstrom; along z the whole sphere fits into the ice, or sits in the middle of it."""
    low, high = field.bounds
    inset = np.array([0, 0, min(radius, (high[2] - low[2]) / 2)])
    return low + inset, high - inset


def _clear(positions: Floats, radius: float, trees: Sequence[tuple[KDTree, float]]) -> Mask:
    """(N,): farther from every center in the trees than the sum of both radii (angstrom)."""
    clear = np.ones(len(positions), bool)
    for tree, other in trees:
        nearest, _ = tree.query(positions, distance_upper_bound=radius + other)
        clear &= np.isinf(nearest)
    return clear


def _apart(positions: Floats, distance: float) -> Floats:
    """The positions without those within ``distance`` (angstrom) of an earlier one that stays."""
    stays = np.ones(len(positions), bool)
    pairs = KDTree(positions).query_pairs(distance, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if stays[first]:
            stays[second] = False
    return positions[stays]
