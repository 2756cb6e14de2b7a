"""Touching particles of one object, told apart in a crop."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.runs import groups

SMOOTHING = 0.08  # sigma, of the ball's radius: evens out ragged edges
WINDOW = 0.4  # of the ball's radius, see `window`
NECK = 0.97  # a neck this wide, as a fraction of the narrower part, is none: the parts are one


def window(radius: float) -> int:
    """Half the side, in voxels, of the cube in which a peak is the highest. radius: voxels, of the ball that it looks like."""
    return max(1, round(WINDOW * radius))


def depth(mask: Mask) -> Floats:
    """Distance in voxels of each voxel of a zyx mask to the nearest voxel outside.

    What is beyond the crop is outside; holes are inside.
    """
    around = cc3d.connected_components(np.pad(~mask, 1, constant_values=True), connectivity=6)
    filled = around != around[0, 0, 0]
    distances: Floats = ndimage.distance_transform_edt(filled)[1:-1, 1:-1, 1:-1].astype(np.float32)
    return distances


def separate(mask: Mask, radius: float, inside: Floats | None = None) -> Integers:
    """The particles in a zyx mask of one connected component: int32, numbered from 1, 0 outside of the mask.

    The peaks of the smoothed distance to the surface are the particles; watershed shares the voxels out; parts joined by a
    neck nearly as wide as themselves are one. radius: voxels, of the ball that a particle looks like. inside: `depth` of
    the mask, if it is known.
    """
    inside = depth(mask) if inside is None else inside
    smooth = ndimage.gaussian_filter(inside, SMOOTHING * radius, mode="constant")
    highest = ndimage.maximum_filter(smooth, 2 * window(radius) + 1, mode="constant")
    seeds = cc3d.connected_components((smooth == highest) & mask, connectivity=26).astype(np.int32)
    if seeds.max() <= 1:
        return mask.astype(np.int32)
    parts: Integers = watershed(-smooth, seeds, mask=mask, connectivity=3)  # type: ignore[no-untyped-call]
    return _without_wide_necks(parts, smooth)


def one_component(crop: Mask, voxel: tuple[int, int, int]) -> Mask:
    """The part of a zyx mask that is connected (26) to a voxel of it."""
    parts = cc3d.connected_components(np.ascontiguousarray(crop), connectivity=26)
    part: Mask = parts == parts[voxel]
    return part


def _without_wide_necks(parts: Integers, height: Floats) -> Integers:
    """parts: zyx, from 1. height: zyx; a neck is as wide as the highest pass between two parts."""
    count = int(parts.max())
    peaks = ndimage.maximum(height, parts, np.arange(1, count + 1))
    ones, others = [], []
    for axis in range(3):
        near = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        far = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        meet = (parts[near] != parts[far]) & (parts[near] > 0) & (parts[far] > 0)
        one, other = parts[near][meet] - 1, parts[far][meet] - 1
        width = np.minimum(height[near][meet], height[far][meet])
        wide = width >= NECK * np.minimum(peaks[one], peaks[other])
        ones.append(one[wide])
        others.append(other[wide])
    _, group = groups(count, np.concatenate(ones), np.concatenate(others))
    numbers = np.r_[0, group + 1].astype(np.int32)
    joined: Integers = numbers[parts]
    return joined
