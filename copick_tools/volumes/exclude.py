"""Which positions to leave out: near a mask, such as membranes, or near the border of a volume."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from scipy.spatial import cKDTree

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Box, blocks
from copick_tools.volumes.normalize import Volume

PART = 128  # voxels along each axis of what is looked at together
CORNER = 0.8661  # of a voxel's cube, from its center


def near_border(centers: Floats, shape: tuple[int, ...], margin: float) -> Mask:
    """(N,) whether centers (N, 3) zyx are less than ``margin`` from the first or the last voxel of an axis, all in voxels.

    >>> import numpy as np
    >>> near_border(np.array([[2.0, 5, 5], [1.9, 5, 5], [5, 5, 7.1]]), (10, 10, 10), 2.0)
    array([False,  True,  True])
    """
    far = (centers >= margin) & (centers <= np.subtract(shape, 1) - margin)
    return np.asarray(~far.all(axis=1))


def near_mask(
    centers: Floats, mask: Volume, labels: Collection[int] | None, distance: float, factor: float = 1.0
) -> Mask:
    """(N,) whether a labelled voxel of ``mask`` (a cube, not its center alone) is within ``distance`` of each center.

    centers: (N, 3) zyx in voxels. mask: zyx labels. labels: those that count, None: all but 0. distance: in voxels of the
    centers, inclusive. factor: voxel spacing of the mask over that of the centers; the grids begin at the same corner, as
    in `blocks.OnGrid`.

    Each block of the mask is read once at most, and only where there are centers.

    >>> import numpy as np
    >>> membrane = np.zeros((1, 1, 10), np.uint8)
    >>> membrane[0, 0, 4] = 7
    >>> near_mask(np.array([[0.0, 0, 7], [0, 0, 8]]), membrane, None, 2.5)
    array([ True, False])
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"Expected argument `factor` to be positive, but got {factor}")
    if not distance >= 0:
        raise ValueError(f"Expected argument `distance` to be at least 0, but got {distance}")
    local, reach = (np.asarray(centers, dtype=float) + 0.5) / factor - 0.5, distance / factor
    near = np.zeros(len(local), bool)
    for block in blocks(mask.shape):
        start, stop = ([getattr(part, end) for part in block.inner] for end in ("start", "stop"))
        off = np.maximum(np.subtract(start, 0.5) - local, local - np.subtract(stop, 0.5))
        asked = np.flatnonzero(~near & (np.square(np.maximum(off, 0)).sum(axis=1) <= reach**2))
        if len(asked):
            near[asked] = _near_in(local[asked], _labelled(mask, block.inner, labels), start, reach)
    return near


def _labelled(mask: Volume, box: Box, labels: Collection[int] | None) -> Mask:
    found: Integers = np.asarray(mask[box])
    return found != 0 if labels is None else np.isin(found, list(labels))


def _near_in(centers: Floats, labelled: Mask, start: list[int], reach: float) -> Mask:
    """(N,) whether a true voxel's cube is within ``reach`` of centers (N, 3), in a block that begins at ``start``; zyx."""
    local = centers - start
    column = np.rint(local)
    there = np.flatnonzero((column >= 0).all(axis=1) & (column < labelled.shape).all(axis=1))
    near = np.zeros(len(centers), bool)
    near[there] = labelled[tuple(column[there].astype(int).T)]
    for part in blocks(labelled.shape, size=PART):
        cubes = np.argwhere(_rim(labelled[part.inner])) + [side.start for side in part.inner]
        rest = np.flatnonzero(~near)
        if len(cubes) and len(rest):
            near[rest] = _near_cubes(local[rest], cubes, reach)
    return near


def _rim(labelled: Mask) -> Mask:
    """The true voxels that a false one, or none at all, is next to (6): the nearest one to a place outside is among them."""
    padded = np.pad(labelled, 1)
    surrounded, inner = np.ones(labelled.shape, bool), slice(1, -1)
    for axis in range(3):
        for side in (slice(None, -2), slice(2, None)):
            surrounded &= padded[tuple(side if a == axis else inner for a in range(3))]
    rim: Mask = labelled & ~surrounded
    return rim


def _near_cubes(centers: Floats, cubes: Integers, reach: float) -> Mask:
    """(N,) whether centers (N, 3) are within ``reach`` of a cube. cubes: (M, 3), the voxels; all zyx.

    The nearest voxel's center tells for nearly all; where it lies in the corner's reach only, its surroundings are looked at.
    """
    tree, farthest = cKDTree(cubes), reach + CORNER
    away, _ = tree.query(centers, distance_upper_bound=farthest)
    near: Mask = away <= reach
    for index in np.flatnonzero(~near & np.isfinite(away)):
        around = cubes[tree.query_ball_point(centers[index], farthest)]
        squared = np.square(np.maximum(np.abs(around - centers[index]) - 0.5, 0)).sum(axis=1)
        near[index] = bool((squared <= reach**2).any())
    return near
