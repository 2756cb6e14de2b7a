"""Augmentation of one patch. Turns are about z: the beam axis, and with it the thin axis of the slab, stays where it is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from copick_tools.recipes.recipe import Augment
from copick_tools.training.layouts import CLASSES, PLANE, Layout


def augment(
    voxels: np.ndarray, target: np.ndarray, settings: Augment, rng: np.random.Generator, layout: Layout = CLASSES
) -> tuple[np.ndarray, np.ndarray]:
    """voxels: (z, y, x), normalized. target: turned alike, as its layout says."""
    for axis, probability in ((-3, settings.flip_z), (-2, settings.flip_yx), (-1, settings.flip_yx)):
        if rng.random() < probability:
            voxels, target = np.flip(voxels, axis), layout.flipped(target, axis)
    if rng.random() < settings.quarter_turn:
        turns = int(rng.integers(1, 4)) if voxels.shape[-1] == voxels.shape[-2] else 2
        voxels, target = np.rot90(voxels, turns, PLANE), layout.quarter(target, turns)
    if rng.random() < settings.turn:
        degrees = float(rng.uniform(-180, 180))  # what comes from outside is reflected, and unknown in the target
        voxels = ndimage.rotate(voxels, degrees, PLANE, reshape=False, order=1, mode="reflect")
        target = layout.turned(target, degrees)
    if rng.random() < settings.intensity:
        scale, offset = rng.uniform(-settings.contrast, settings.contrast, 2)
        voxels = voxels * np.float32(1 + scale) + np.float32(offset)
    if rng.random() < settings.intensity:
        noise = rng.standard_normal(voxels.shape, dtype=np.float32)
        voxels = voxels + np.float32(rng.uniform(0, settings.noise)) * noise
    # copies: numpy takes an axis of one voxel for contiguous even where its stride is negative, and torch doesn't
    return np.array(voxels, dtype=np.float32, order="C"), np.array(target, order="C")
