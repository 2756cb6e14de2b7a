"""Where sliding windows go and how their overlap is blended."""

from __future__ import annotations

import math

import numpy as np

from copick_tools.types import Floats


def starts(length: int, window: int, overlap: float) -> list[int]:
    """First voxel of each window along one axis: evenly spaced, the first at 0, the last at the end.

    overlap: fraction of the window that neighbors share at least.

    >>> starts(10, 4, 0.5)
    [0, 2, 4, 6]
    >>> starts(3, 4, 0.5)
    [0]
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"Expected argument `overlap` to be in [0, 1), but got {overlap}")
    if length <= window:
        return [0]
    steps = math.ceil((length - window) / max(1.0, window * (1 - overlap)))
    return [round(index * (length - window) / steps) for index in range(steps + 1)]


def blending(length: int, window: int, overlap: float, floor: float = 0.1) -> list[Floats]:
    """Weights of each window along one axis: gaussian (sigma an eighth of the window, at least ``floor``), sum 1 everywhere.

    The weight of a voxel in 3D is the product of its three.

    >>> one, other = blending(6, 4, 0.5)
    >>> (one[2:] + other[:2]).round(6)
    array([1., 1.], dtype=float32)
    """
    profile = np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / (window / 8)) ** 2)
    profile = np.maximum(profile / profile.max(), floor)
    total = np.zeros(max(length, window))
    first = starts(length, window, overlap)
    for start in first:
        total[start : start + window] += profile
    return [np.asarray(profile / total[start : start + window], dtype=np.float32) for start in first]
