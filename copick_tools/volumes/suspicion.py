"""Which instances of an object are odd: the order in which an expert should look at them (expert refinement, section 2.2
of the multi-organelle benchmark)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.types import Floats, Mask

NORMAL = 1.4826  # deviations of a normal distribution in its median absolute deviation
LEAST = 0.1  # deviation of a logarithm: a tenth more or less is nothing to notice
HALF = 3.0  # deviations that make a suspicion of 0.5
ODD = 1.0  # deviations from which there is a reason to look
FEW = 5  # whole instances that say what is usual; with fewer, those that a face cuts do, too


@dataclass(frozen=True)
class Suspicion:
    """One entry per instance. scores: (N,) in [0, 1). reasons: (N,) large, small, shape or none. usual: (N,) what they were
    compared with.
    """

    scores: Floats
    reasons: np.ndarray
    usual: Mask


def suspicion(volumes: Floats, compactness: Floats, cut: Mask) -> Suspicion:
    """How far each instance of one object is from the usual in volume and shape.

    In robust deviations (from the median, in median absolute deviations) of the logarithms of volume and compactness: d, the
    root of their sum of squares, is a suspicion of d / (d + 3). An instance that a face of the volume cuts (``cut``) is
    suspicious only where it is too large, unless there are too few whole ones to compare with.

    >>> found = suspicion(np.array([90.0, 100, 110, 95, 200, 100]), np.array([1, 1, 1, 1, 0.5, 1]), np.zeros(6, bool))
    >>> found.scores.round(2).tolist(), str(found.reasons[4])
    ([0.24, 0.0, 0.23, 0.14, 0.76, 0.0], 'shape')
    """
    usual = ~cut if (~cut).sum() >= FEW else np.ones(len(cut), bool)
    size, shape = _deviations(np.log(volumes), usual), _deviations(np.log(compactness), usual)
    excused = cut & ~usual
    size, shape = np.where(excused, np.maximum(size, 0), size), np.where(excused, 0.0, shape)
    distance = np.hypot(size, shape)
    reasons = np.where(np.abs(shape) > np.abs(size), "shape", np.where(size > 0, "large", "small"))
    return Suspicion(distance / (distance + HALF), np.where(distance < ODD, "none", reasons), usual)


def _deviations(values: Floats, usual: Mask) -> Floats:
    if not usual.any():
        return np.zeros(len(values))
    middle = np.median(values[usual])
    spread = NORMAL * np.median(np.abs(values[usual] - middle))
    return np.asarray((values - middle) / max(float(spread), LEAST))
