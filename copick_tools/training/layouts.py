"""How target crops are laid out, and so how they are moved with their voxels: the last three axes are z, y, x in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from copick_tools.recipes.recipe import IGNORED

PLANE = (-2, -1)


class Layout(Protocol):
    """Moves a target crop. Where nothing is known afterwards, it says so."""

    def filled(self, target: np.ndarray, missing: list[tuple[int, int]]) -> np.ndarray:
        """With so many unknown voxels before and after along z, y, x."""

    def flipped(self, target: np.ndarray, axis: int) -> np.ndarray:
        """Mirrored along an axis, -3 to -1."""

    def quarter(self, target: np.ndarray, turns: int) -> np.ndarray:
        """Turned in the plane as ``np.rot90`` does."""

    def turned(self, target: np.ndarray, degrees: float) -> np.ndarray:
        """Turned in the plane as ``ndimage.rotate`` does."""


class Classes:
    """(z, y, x) uint8 channel numbers, `IGNORED` where nothing is known."""

    def filled(self, target: np.ndarray, missing: list[tuple[int, int]]) -> np.ndarray:
        """See `Layout`."""
        return np.pad(target, missing, constant_values=IGNORED)

    def flipped(self, target: np.ndarray, axis: int) -> np.ndarray:
        """See `Layout`."""
        return np.flip(target, axis)

    def quarter(self, target: np.ndarray, turns: int) -> np.ndarray:
        """See `Layout`."""
        return np.rot90(target, turns, PLANE)

    def turned(self, target: np.ndarray, degrees: float) -> np.ndarray:
        """See `Layout`."""
        return np.asarray(ndimage.rotate(target, degrees, PLANE, reshape=False, order=0, cval=IGNORED))


class Heatmaps(Classes):
    """(K, z, y, x) float32, -1 where nothing is known."""

    def filled(self, target: np.ndarray, missing: list[tuple[int, int]]) -> np.ndarray:
        """See `Layout`."""
        return np.pad(target, [(0, 0), *missing], constant_values=-1)

    def turned(self, target: np.ndarray, degrees: float) -> np.ndarray:
        """See `Layout`."""
        known = ndimage.rotate((target >= 0).astype(np.float32), degrees, PLANE, reshape=False, order=1)
        moved = ndimage.rotate(np.maximum(target, 0), degrees, PLANE, reshape=False, order=1)
        moved[known < 0.999] = -1.0  # what an ignored voxel, or one from outside, had a part in
        return np.asarray(moved)


@dataclass(frozen=True)
class Shaped(Classes):
    """(2 + G, z, y, x) float32: channel number, whether the geometry is known (1) or not (0), and the geometry.

    vectors: whether that is the components of vectors along (z,) y, x, which turn with what they lie in. before: channels
    before the geometry; 3 where the ids of instances stand there, too.
    """

    vectors: bool
    before: int = 2

    def filled(self, target: np.ndarray, missing: list[tuple[int, int]]) -> np.ndarray:
        """See `Layout`."""
        more = np.pad(target, [(0, 0), *missing])
        more[0] = super().filled(target[0], missing)
        return more

    def flipped(self, target: np.ndarray, axis: int) -> np.ndarray:
        """See `Layout`."""
        moved = np.flip(target, axis)
        if self.vectors and -axis <= len(target) - self.before:
            moved = moved.copy()
            moved[axis] *= -1
        return moved

    def quarter(self, target: np.ndarray, turns: int) -> np.ndarray:
        """See `Layout`."""
        return self._with_vectors(np.rot90(target, turns, PLANE), 90.0 * turns)

    def turned(self, target: np.ndarray, degrees: float) -> np.ndarray:
        """See `Layout`."""
        moved = ndimage.rotate(target, degrees, PLANE, reshape=False, order=0)
        moved[0] = ndimage.rotate(target[0], degrees, PLANE, reshape=False, order=0, cval=IGNORED)
        return self._with_vectors(moved, degrees)

    def _with_vectors(self, moved: np.ndarray, degrees: float) -> np.ndarray:
        """The vectors turned as the voxels were: from y towards x, of the array's axes, by minus this angle."""
        if not self.vectors:
            return moved
        moved = moved.copy()
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        y, x = moved[-2].copy(), moved[-1].copy()
        moved[-2], moved[-1] = cosine * y - sine * x, sine * y + cosine * x
        return moved


CLASSES, HEATMAPS = Classes(), Heatmaps()
