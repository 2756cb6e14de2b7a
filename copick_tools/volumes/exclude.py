"""Which positions to leave out: near a mask, such as membranes, or near the border of a volume."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Box, blocks
from copick_tools.volumes.normalize import Volume


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
    low = np.maximum(np.ceil(centers - reach - 0.5) - start, 0).astype(int)
    high = np.minimum(np.floor(centers + reach + 0.5) + 1 - start, labelled.shape).astype(int)
    near = np.zeros(len(centers), bool)
    for index in np.flatnonzero((high > low).all(axis=1)):
        part = labelled[tuple(slice(a, b) for a, b in zip(low[index], high[index]))]
        if part.any():
            off = [
                np.maximum(np.abs(np.arange(a, b) + first - center) - 0.5, 0) ** 2
                for a, b, first, center in zip(low[index], high[index], start, centers[index])
            ]
            squared = off[0][:, None, None] + off[1][None, :, None] + off[2][None, None, :]
            near[index] = bool((squared[part] <= reach**2).any())
    return near
