"""Dense targets from points: label spheres and gaussian heatmaps.

Both take the positions in voxels of a larger grid and an ``origin``, so that any crop can be painted by itself and
equals the same crop of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from copick_tools.types import Floats, Integers

Box = tuple[slice, slice, slice]


def spheres(
    centers: Floats,
    radii: Floats,
    labels: Integers,
    shape: tuple[int, int, int],
    origin: tuple[int, int, int] = (0, 0, 0),
) -> Integers:
    """Label volume with a ball for each particle; where balls overlap, the nearest center relative to its radius wins.

    centers: (N, 3) zyx in voxels. radii: (N,) in voxels, inclusive. labels: (N,) 1 to 254.
    shape, origin: zyx in voxels of the crop that is painted.

    Returns uint8 labels, 0 where no ball reaches. The result doesn't depend on the order of the particles.

    >>> import numpy as np
    >>> spheres(np.array([[0.0, 0, 2], [0, 0, 5]]), np.array([2.0, 2]), np.array([1, 2]), (1, 1, 8))
    array([[[1, 1, 1, 1, 2, 2, 2, 2]]], dtype=uint8)
    """
    painted = np.zeros(shape, np.uint8)
    nearest = np.full(shape, np.inf, np.float32)
    order = np.lexsort((*np.asarray(centers, float).T[::-1], labels))
    for index, box, squared in _boxes(centers[order], radii[order], shape, origin):
        relative = (squared / radii[order][index] ** 2).astype(np.float32)
        closer = (squared <= radii[order][index] ** 2) & (relative < nearest[box])
        nearest[box][closer] = relative[closer]
        painted[box][closer] = labels[order][index]
    return painted


def heatmaps(
    centers: Floats,
    sigmas: Floats,
    channels: Integers,
    shape: tuple[int, int, int, int],
    origin: tuple[int, int, int] = (0, 0, 0),
) -> Floats:
    """Gaussian heatmaps, one channel per object, 1 at a particle's center; the largest value wins where they overlap.

    centers: (N, 3) zyx in voxels. sigmas: (N,) in voxels; cut off at three sigma. channels: (N,) from 0.
    shape: (K, z, y, x). origin: zyx in voxels of the crop that is painted.

    >>> import numpy as np
    >>> heatmaps(np.array([[0.0, 0, 1]]), np.array([1.0]), np.array([0]), (1, 1, 1, 3)).round(2)
    array([[[[0.61, 1.  , 0.61]]]], dtype=float32)
    """
    painted = np.zeros(shape, np.float32)
    for index, box, squared in _boxes(centers, 3 * sigmas, shape[1:], origin):
        value = np.exp(-0.5 * squared / sigmas[index] ** 2).astype(np.float32)
        value[squared > (3 * sigmas[index]) ** 2] = 0
        region = painted[channels[index]][box]
        np.maximum(region, value, out=region)
    return painted


def _boxes(
    centers: Floats, radii: Floats, shape: tuple[int, ...], origin: tuple[int, int, int]
) -> Iterator[tuple[int, Box, Floats]]:
    """Of each ball that reaches into the crop: its index, its clipped box, and the squared distances in that box."""
    local = np.asarray(centers, dtype=float) - origin
    low = np.maximum(np.ceil(local - radii[:, None]), 0).astype(int)
    high = np.minimum(np.floor(local + radii[:, None]) + 1, shape).astype(int)
    for index in np.flatnonzero((high > low).all(axis=1)):
        box = tuple(slice(a, b) for a, b in zip(low[index], high[index]))
        z, y, x = (np.arange(s.start, s.stop) - c for s, c in zip(box, local[index]))
        yield (
            int(index),
            (box[0], box[1], box[2]),
            z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2,
        )
