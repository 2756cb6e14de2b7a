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


def gaussian(window: tuple[int, int, int], floor: float = 1e-3) -> Floats:
    """Blending weights of a zyx window: a gaussian of an eighth of the window, 1 at the center, at least ``floor``.

    >>> gaussian((1, 1, 3)).shape
    (1, 1, 3)
    """
    weights = np.ones((1, 1, 1))
    for axis, length in enumerate(window):
        profile = np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / (length / 8)) ** 2)
        weights = weights * profile.reshape([-1 if axis == a else 1 for a in range(3)])
    return np.asarray(np.maximum(weights / weights.max(), floor), dtype=np.float32)
