"""Change the voxel spacing of a volume, voxel centers exact: new voxel i sits at origin + i * spacing (see `coordinates`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from copick_tools.types import Floats, Integers
from copick_tools.volumes.coordinates import binned_origin


def resample(volume: Floats, voxel_spacing: float, target_spacing: float) -> tuple[Floats, float]:
    """Linear interpolation of a zyx volume, low-pass filtered first when it gets coarser.

    voxel_spacing, target_spacing: angstrom.

    Returns the float32 volume and the position of its voxel 0 in angstrom, the same along each axis.

    >>> import numpy as np
    >>> coarse, origin = resample(np.ones((4, 4, 4), np.float32), 10.0, 20.0)
    >>> coarse.shape, origin
    ((2, 2, 2), 5.0)
    """
    factor = target_spacing / voxel_spacing
    smooth = np.asarray(volume, dtype=np.float32)
    if factor > 1:
        smooth = ndimage.gaussian_filter(smooth, (factor - 1) / 2, mode="nearest")
    shape = tuple(max(1, round(length / factor)) for length in volume.shape)
    return _affine(smooth, factor, (factor - 1) / 2, shape, order=1), binned_origin(voxel_spacing, factor)


def labels_onto(labels: Integers, factor: float, shape: tuple[int, ...]) -> Integers:
    """Bring labels of a volume made by `resample` back onto the grid that it came from, by nearest neighbor.

    labels: zyx. factor: spacing of ``labels`` over that of the grid. shape: zyx of the grid.

    >>> import numpy as np
    >>> labels_onto(np.array([[[1, 2]]]), 2.0, (1, 1, 4))
    array([[[1, 1, 2, 2]]])
    """
    return _affine(labels, 1 / factor, (1 / factor - 1) / 2, shape, order=0)


def _affine(volume: NDArray[Any], scale: float, offset: float, shape: tuple[int, ...], order: int) -> NDArray[Any]:
    return np.asarray(
        ndimage.affine_transform(volume, [scale] * 3, [offset] * 3, output_shape=shape, order=order, mode="nearest")
    )
