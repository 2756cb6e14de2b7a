"""Projection along the beam and its transpose, back-projection, for tilts about the y axis.

At the tilt t the voxel at x, z (from the center of the volume) falls on the detector at x cos t + z sin t (from the
center of the image), split between the two nearest columns. All rows y are alike: one sparse matrix projects them all,
and its transpose projects back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from copick_tools.types import Floats

SLAB = 32  # planes z at a time: bounds the memory of the matrix
BLOCK = 96  # rows y at a time: bounds the memory of the copies


def project(volume: Floats, angles: Floats) -> Floats:
    """Sums along the beam, float32 (tilt, y, x) as wide as the volume (zyx); angles: (tilts,) in degrees."""
    _, ny, nx = volume.shape
    images = np.zeros((len(angles), ny, nx), np.float32)
    for planes, rays in _rays(volume.shape, angles, nx):
        for rows in _rows(ny):
            slab = np.moveaxis(volume[planes, rows], 1, 2)
            columns = rays.T @ slab.reshape(-1, slab.shape[2])
            images[:, rows] += np.moveaxis(columns.reshape(len(angles), nx, -1), 1, 2)
    return images


def back_project(images: Floats, angles: Floats, shape: tuple[int, int, int]) -> Floats:
    """Mean over the tilts of what each voxel is seen as, float32 zyx.

    images: float32 (tilt, y, x), centered like the volume of ``shape`` (zyx), which may be narrower.
    angles: (tilts,) in degrees.
    """
    tilts, height, width = images.shape
    nz, ny, nx = shape
    volume = np.empty(shape, np.float32)
    cut = (height - ny) // 2
    for planes, rays in _rays(shape, angles, width):
        for rows in _rows(ny):
            columns = np.moveaxis(images[:, rows.start + cut : rows.stop + cut], 1, 2)
            slab = rays @ columns.reshape(tilts * width, -1)
            volume[planes, rows] = np.moveaxis(slab.reshape(-1, nx, slab.shape[1]), 2, 1)
    volume /= tilts
    return volume


def _rows(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, min(start + BLOCK, count))


def _rays(shape: tuple[int, int, int], angles: Floats, width: int) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """For each slab of planes z: voxels (z, x) by detector columns (tilt, x), two entries per voxel and tilt."""
    nz, _, nx = shape
    radians = np.deg2rad(angles)
    x = (np.arange(nx) - (nx - 1) / 2)[:, None] * np.cos(radians) + (width - 1) / 2
    first = np.arange(len(angles)) * width
    for start in range(0, nz, SLAB):
        planes = slice(start, min(start + SLAB, nz))
        z = (np.arange(planes.start, planes.stop) - (nz - 1) / 2)[:, None, None] * np.sin(radians)
        columns = x + z
        left = np.clip(np.floor(columns), 0, width - 2)
        share = (columns - left).astype(np.float32)
        entries = np.stack([left + first, left + first + 1], axis=-1).astype(np.int32)
        weights = np.maximum(np.stack([1 - share, share], axis=-1), 0)
        weights[(share < 0) | (share > 1)] = 0  # beside the detector
        voxels = share.shape[0] * nx
        ends = np.arange(voxels + 1, dtype=np.int32) * (2 * len(angles))
        matrix = sparse.csr_matrix((weights.ravel(), entries.ravel(), ends), (voxels, len(angles) * width))
        yield planes, matrix
