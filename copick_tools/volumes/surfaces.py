"""Smooth surfaces through clicked points: where a sample begins and ends along z (POPSICLE appendix C)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from copick_tools.types import Floats, Mask

COVERED = 0.03  # of the volume's longer side: clicks that spread less (deviation) tell no slope in that direction
STEEPEST = 0.4  # slope of a sample, as far as two surfaces that were clicked together are looked for
CONDITION = 30.0  # of a quadratic's equations; above it the clicks don't determine one
BEND = 1.5  # a quadratic leaves the plane by at most this many times what it does at any click
CURVED = 7  # clicks that a quadratic takes at least
FOLDS = 10  # parts that are predicted from the rest, where a plane and a quadratic are compared
ROUNDS, SETTLED = 30, 1e-3  # at most; voxels


@dataclass(frozen=True)
class Surface:
    """z as a function of y and x, all in voxels: a plane, bent where there are clicks.

    center: (2,) yx. whitening: (2, 2), from yx to coordinates in which the clicks have deviation 1. reach: of the farthest
    click in these. plane: (3,) and bend: (6,), coefficients of 1, u, v and 1, u, v, uu, uv, vv. limits: of the bend.
    """

    center: Floats
    whitening: Floats
    reach: float
    plane: Floats
    bend: Floats
    limits: tuple[float, float]

    def at(self, y: Floats, x: Floats) -> Floats:
        """z at these positions, which are broadcast. Beyond the clicks the bend stays what it is at their rim."""
        u, v = (
            (y - self.center[0]) * along_y + (x - self.center[1]) * along_x for along_y, along_x in self.whitening.T
        )
        flat: Floats = self.plane[0] + self.plane[1] * u + self.plane[2] * v
        if not self.bend.any():
            return flat
        shrink = self.reach / np.maximum(np.hypot(u, v), self.reach)
        bent = sum(value * term for value, term in zip(self.bend, _terms(u * shrink, v * shrink)))
        return np.asarray(flat + np.clip(bent, *self.limits))


def fit(clicks: Floats, extent: float) -> Surface:
    """The surface of clicks (N, 3) zyx in voxels; single wrong ones hardly move it.

    Constant for one or two clicks; a plane from three, which is level across a direction that they hardly cover; a
    quadratic from seven, if they determine one that predicts clicks better than the plane does (with six it would go through
    each wrong one). extent: the volume's longer side in voxels.

    >>> import numpy as np
    >>> corners = np.array([[10.0, 0, 0], [10, 0, 90], [19, 90, 0], [19, 90, 90]])
    >>> float(fit(corners, 100).at(45.0, 45.0).round(3))
    14.5
    """
    if not len(clicks):
        raise ValueError("no clicks to fit a surface to")
    z, position = clicks[:, 0], clicks[:, 1:]
    center = position.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(position, rowvar=False, bias=True) if len(clicks) > 2 else np.zeros((2, 2)))
    deviation = np.sqrt(np.maximum(variance, 0))
    covered = deviation >= max(COVERED * extent, 1e-9)
    whitening = axes * np.where(covered, 1 / np.maximum(deviation, 1e-9), 0.0)
    u, v = ((position - center) @ whitening).T
    terms = np.column_stack(_terms(u, v))
    plane, bend = _solve(terms[:, :3], z), np.zeros(6)
    bendable = len(clicks) >= CURVED and covered.all() and np.linalg.cond(terms) <= CONDITION
    if bendable and _error_of_others(terms, z) < _error_of_others(terms[:, :3], z):
        bend = _solve(terms, z) - [*plane, 0, 0, 0]
    bent = terms @ bend
    limits = BEND * min(0.0, float(bent.min())), BEND * max(0.0, float(bent.max()))
    return Surface(center, whitening, float(np.hypot(u, v).max()), plane, bend, limits)


def _terms(u: Floats, v: Floats) -> list[Floats]:
    return [np.ones_like(u), u, v, u * u, u * v, v * v]


def _solve(terms: Floats, z: Floats) -> Floats:
    """Coefficients that make the sum of Huber's losses least, squares up to one voxel."""
    weights, before = np.ones(len(z)), np.full(terms.shape[1], np.inf)
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(terms * root[:, None], z * root, rcond=None)[0]
        if np.abs(found - before).max() < SETTLED:
            break
        before, weights = found, 1 / np.maximum(1.0, np.abs(terms @ found - z))
    return np.asarray(found)


def _error_of_others(terms: Floats, z: Floats) -> float:
    """Mean distance of clicks from the surface that the others give."""
    fold = np.empty(len(z), dtype=int)
    fold[np.lexsort((*terms.T, z))] = np.arange(len(z)) % FOLDS
    off = [np.abs(terms[fold == k] @ _solve(terms[fold != k], z[fold != k]) - z[fold == k]) for k in range(FOLDS)]
    return float(np.concatenate(off).mean())


def split(clicks: Floats, extent: float) -> tuple[Floats, Floats]:
    """Clicks (N, 3) zyx in voxels on two surfaces, one above the other: those of the lower and those of the upper one.

    extent: the volume's longer side in voxels. Raises ValueError where they don't lie on two.

    >>> import numpy as np
    >>> [part[:, 0].tolist() for part in split(np.array([[90.0, 5, 5], [21, 0, 0], [20, 0, 9], [88, 3, 0]]), 100)]
    [[21.0, 20.0], [90.0, 88.0]]
    """
    if len(clicks) < 2:
        raise ValueError(f"{len(clicks)} click(s) can't show where the sample begins and where it ends")
    upper = _halves(clicks)
    for _ in range(ROUNDS):
        low, high = fit(clicks[~upper], extent), fit(clicks[upper], extent)
        z, y, x = clicks.T
        bottom, top = low.at(y, x), high.at(y, x)
        nearer = np.abs(z - top) < np.abs(z - bottom)
        if (nearer == upper).all() or nearer.all() or not nearer.any():
            break
        upper = nearer
    off = np.where(upper, np.abs(z - top), np.abs(z - bottom))
    if (off > (top - bottom) / 4).mean() > 0.2:
        raise ValueError("the clicks don't lie on two surfaces, one above the other: give the two in two sets")
    return clicks[~upper], clicks[upper]


def _halves(clicks: Floats) -> Mask:
    """Which clicks are on the upper of two parallel planes: the slope and the gap that leave the least squares."""
    z, y, x = (clicks - clicks.mean(axis=0)).T
    slopes = np.arange(-STEEPEST, STEEPEST + 0.01, 0.05) if len(clicks) >= 6 else np.zeros(1)
    best, chosen = np.inf, np.zeros(len(clicks), bool)
    lower = np.arange(1, len(clicks))  # how many are below the gap
    for along_y, along_x in product(slopes, slopes):
        height = z - along_y * y - along_x * x
        order = np.argsort(height, kind="stable")
        below = np.cumsum(height[order])[:-1]  # the heights sum to 0
        gained = below**2 / lower + below**2 / (len(clicks) - lower)
        cost = (height**2).sum() - gained.max() + len(clicks) * (along_y**2 + along_x**2)  # rather level than steep
        if cost < best - 1e-9:
            best, chosen = cost, np.zeros(len(clicks), bool)
            chosen[order[int(gained.argmax()) + 1 :]] = True
    return chosen
