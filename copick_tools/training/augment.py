"""Augmentation of one patch. Turns are about z: the beam axis, and with it the thin axis of the slab, stays where it is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from copick_tools.recipes.recipe import Augment
from copick_tools.training.targets import IGNORED


def augment(
    voxels: np.ndarray, target: np.ndarray, settings: Augment, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """voxels: (z, y, x), normalized. target: (z, y, x) channels or (K, z, y, x) heatmaps; turned alike."""
    for axis, probability in ((-3, settings.flip_z), (-2, settings.flip_yx), (-1, settings.flip_yx)):
        if rng.random() < probability:
            voxels, target = np.flip(voxels, axis), np.flip(target, axis)
    if rng.random() < settings.quarter_turn:
        turns = int(rng.integers(1, 4)) if voxels.shape[-1] == voxels.shape[-2] else 2
        voxels, target = np.rot90(voxels, turns, (-2, -1)), np.rot90(target, turns, (-2, -1))
    if rng.random() < settings.turn:
        voxels, target = _turn(voxels, target, float(rng.uniform(-180, 180)))
    if rng.random() < settings.intensity:
        scale, offset = rng.uniform(-settings.contrast, settings.contrast, 2)
        voxels = voxels * np.float32(1 + scale) + np.float32(offset)
    if rng.random() < settings.intensity:
        noise = rng.standard_normal(voxels.shape, dtype=np.float32)
        voxels = voxels + np.float32(rng.uniform(0, settings.noise)) * noise
    return np.ascontiguousarray(voxels, dtype=np.float32), np.ascontiguousarray(target)


def _turn(voxels: np.ndarray, target: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn in the plane by any angle; corners that come from outside are reflected and ignored."""
    turned = ndimage.rotate(voxels, degrees, (-2, -1), reshape=False, order=1, mode="reflect")
    if target.ndim == 3:
        return turned, ndimage.rotate(target, degrees, (-2, -1), reshape=False, order=0, cval=IGNORED)
    known = ndimage.rotate((target >= 0).astype(np.float32), degrees, (-2, -1), reshape=False, order=1)
    moved = ndimage.rotate(np.maximum(target, 0), degrees, (-2, -1), reshape=False, order=1)
    moved[known < 0.999] = -1.0  # what an ignored voxel, or one from outside, had a part in
    return turned, moved
