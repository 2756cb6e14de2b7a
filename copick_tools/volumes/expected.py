"""How many voxels a whole particle has, from the data: neither specks nor fused particles mislead it."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.components import Components
from copick_tools.volumes.separate import depth, separate

LEAST, MOST = 0.35, 1.3  # radius that a whole particle may have, of the object's
LEAST_BALL, MOST_BALL = 0.5, 1.6  # of the ball that a network learned to paint, if that is known
UNKNOWN = 0.5  # the ball's radius, of the particle's, where neither it nor the data are there to tell
COMPACT = 0.75  # least compactness of one particle
SPAN = 2.0  # largest over smallest volume of whole particles
FEW = 3  # whole particles; with fewer the ball decides
FUSED = 10.0  # largest volume of what is separated to learn from its parts, of the largest particle
SAMPLE = 24  # fused components that are separated
SPREAD = 1000.0  # largest box that is worked on, of a particle's volume
BOX = 1 << 22  # voxels, likewise: bounds the memory

Crop = Callable[[Components, int], Mask]  # mask of one component, in its box


def ball(radius: float) -> float:
    """Volume of a ball.

    >>> round(ball(1.0), 2)
    4.19
    """
    return 4 / 3 * pi * radius**3


def ball_radius(volume: float) -> float:
    """Radius of a ball.

    >>> round(ball_radius(ball(3.0)), 9)
    3.0
    """
    return float((volume / ball(1.0)) ** (1 / 3))


def expected_volume(found: Components, radius: float, painted: float | None, crop: Crop) -> float:
    """Voxels of one whole particle. found: all components of its object.

    radius: of the particle, painted: of the ball that a network learned, None if unknown; both in voxels. Round components
    of a plausible size count as one particle. Where most of the volume is in others, some of those are separated, at the scale
    of their own largest inscribed ball, and their parts count too. With fewer than `FEW`, see `_guess`.
    """
    low, high = plausible(radius, painted)
    compact = found.compactness >= COMPACT
    whole = compact & (found.count >= low) & (found.count <= high)
    fused = np.flatnonzero(~compact & (found.count >= 2 * low) & workable(found, high, FUSED))
    volumes = found.count[whole].astype(float)
    weights = volumes
    if found.count[fused].sum() > found.count[whole].sum():
        chosen = fused[np.unique(np.linspace(0, len(fused) - 1, SAMPLE).round().astype(int))]
        parts = np.concatenate([_parts(crop(found, int(index))) for index in chosen]).astype(float)
        share = found.count[fused].sum() / found.count[chosen].sum()
        within = (parts >= low) & (parts <= high)
        volumes, weights = np.r_[volumes, parts[within]], np.r_[weights, parts[within] * share]
    return typical(volumes, weights, _guess(found, radius, painted))


def _guess(found: Components, radius: float, painted: float | None) -> float:
    """Where too few are there to tell: the ball; where that is unknown, the largest component that one particle may be."""
    low, high = plausible(radius, painted)
    possible = (found.count >= low) & (found.count <= high)
    if painted is not None or not possible.any():
        return fallback(radius, painted)
    compact = possible & (found.compactness >= COMPACT)
    return float(found.count[compact if compact.any() else possible].max())


def workable(found: Components, volume: float, most: float) -> Mask:
    """(N,) which components are small enough to be separated: of ``most`` particles of ``volume`` voxels, and not spread."""
    boxes = (found.high - found.low).astype(np.int64).prod(axis=1)
    small: Mask = (found.count <= most * volume) & (boxes <= min(SPREAD * volume, BOX))
    return small


def plausible(radius: float, painted: float | None) -> tuple[float, float]:
    """Least and largest volume of one whole particle. radius, painted: as in `expected_volume`."""
    if painted is None:
        return ball(LEAST * radius), ball(MOST * radius)
    return ball(LEAST_BALL * painted), ball(max(MOST_BALL * painted, MOST * radius))


def fallback(radius: float, painted: float | None) -> float:
    """Volume of one whole particle where the data don't tell. radius, painted: as in `expected_volume`."""
    return max(1.0, ball(UNKNOWN * radius if painted is None else painted))


def typical(volumes: Floats, weights: Floats, otherwise: float) -> float:
    """The volume of most: the median within the span, `SPAN` wide, that holds most weight. volumes, weights: (N,).

    otherwise: where no span holds `FEW`.

    >>> import numpy as np
    >>> volumes = np.array([1.0, 2, 1, 90, 100, 110, 400])
    >>> typical(volumes, volumes, 50.0), typical(volumes[:2], volumes[:2], 50.0)
    (100.0, 50.0)
    """
    order = np.argsort(volumes, kind="stable")
    volumes, held = volumes[order], np.r_[0.0, np.cumsum(weights[order])]
    ends = np.searchsorted(volumes, SPAN * volumes, side="right")
    enough = ends - np.arange(len(ends)) >= FEW
    if not enough.any():
        return otherwise
    first = int(np.argmax(np.where(enough, held[ends] - held[:-1], 0)))
    return float(np.median(volumes[first : ends[first]]))


def _parts(mask: Mask) -> Integers:
    """Volumes of the particles in the mask of one component."""
    inside = depth(mask)
    parts = separate(mask, float(inside.max()), inside)
    counts: Integers = np.bincount(parts.ravel())[1:]
    return counts
