"""Normalized surface Dice: how much of two surfaces lies within a tolerance of each other (membranes).

Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy", 2018,
arXiv:1809.04430, with surface voxels in place of surface elements. Where an object leaves the volume, or reaches voxels
that nobody annotated, it has no surface.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from copick_tools.types import Floats, Integers, Mask

ROUNDING = 1e-9  # relative; a tolerance of two voxels reaches two voxels whatever their spacing
Box = tuple[slice, slice, slice]


def surface_counts(
    reference: Mask,
    prediction: Mask,
    voxel_spacing: float,
    tolerance: float,
    inner: Box | None = None,
    mask: Mask | None = None,
) -> Integers:
    """Additive counts of surface voxels: those of an object with one of their six neighbors outside it.

    reference, prediction: zyx, bool, the same shape. voxel_spacing, tolerance: angstrom; the ball is closed.
    inner: zyx slices of the part to count, all by default. The parts of a volume add up to the whole if each comes
    with `halo` voxels around it. mask: zyx, bool, the voxels that are annotated, all by default.

    Returns (4,): surface voxels of the reference, those in reach of the prediction's surface, and the same reversed.

    >>> import numpy as np
    >>> plane = np.zeros((9, 3, 3), bool)
    >>> plane[3] = True
    >>> surface_counts(plane, np.roll(plane, 2, axis=0), voxel_spacing=10.0, tolerance=20.0)
    array([9, 9, 9, 9])
    """
    _validate(reference, prediction, mask)
    reach = _squared_reach(voxel_spacing, tolerance)
    one, other = (np.argwhere(_surface(side, mask)) for side in (reference, prediction))
    counts = []
    for near, far in ((one, other), (other, one)):
        if inner is not None:
            low, high = np.array([part.indices(length)[:2] for part, length in zip(inner, reference.shape)]).T
            near = near[((near >= low) & (near < high)).all(axis=1)]
        counts += [len(near), _within(near, far, reach)]
    return np.array(counts)


def surface_dice(counts: Integers) -> Floats:
    """counts: (..., 4) from `surface_counts`. Returns the share of both surfaces in reach of the other, NaN without any.

    >>> import numpy as np
    >>> surface_dice(np.array([10, 9, 10, 6]))
    np.float64(0.75)
    """
    one, one_near, other, other_near = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(one + other == 0, np.nan, (one_near + other_near) / (one + other))[()]


def halo(voxel_spacing: float, tolerance: float) -> int:
    """Voxels around a block that `surface_counts` needs. voxel_spacing, tolerance: angstrom.

    >>> halo(10.0, 25.0)
    3
    """
    return math.isqrt(_squared_reach(voxel_spacing, tolerance)) + 1


def _validate(reference: Mask, prediction: Mask, mask: Mask | None) -> None:
    if reference.ndim != 3 or reference.shape != prediction.shape:
        raise ValueError(f"Expected two zyx volumes of one shape, but got {reference.shape} and {prediction.shape}")
    for name, volume in (("reference", reference), ("prediction", prediction), ("mask", mask)):
        if volume is not None and volume.dtype != bool:
            raise ValueError(f"Expected argument `{name}` to be bool, but got {volume.dtype}")
    if mask is not None and mask.shape != reference.shape:
        raise ValueError(f"Expected argument `mask` to have shape {reference.shape}, but got {mask.shape}")


def _squared_reach(voxel_spacing: float, tolerance: float) -> int:
    """Largest squared distance between voxels, in voxels, that is within the tolerance."""
    if not (math.isfinite(voxel_spacing) and voxel_spacing > 0):
        raise ValueError(
            f"Expected argument `voxel_spacing` to be a positive number of angstrom, but got {voxel_spacing}"
        )
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"Expected argument `tolerance` to be angstrom, not negative, but got {tolerance}")
    return math.floor((tolerance / voxel_spacing) ** 2 * (1 + ROUNDING))


def _surface(volume: Mask, mask: Mask | None) -> Mask:
    if not volume.any():
        return volume
    if mask is None:
        return np.asarray(volume & ~ndimage.binary_erosion(volume, border_value=1))
    return np.asarray(volume & mask & ~ndimage.binary_erosion(volume | ~mask, border_value=1))


def _within(near: Integers, far: Integers, reach: int) -> int:
    """How many voxels of ``near`` (N, 3) have one of ``far`` (M, 3) within the squared distance ``reach``."""
    if not len(near) or not len(far):
        return 0
    distances = cKDTree(far).query(near, distance_upper_bound=math.sqrt(reach + 0.5))[0]
    return int(np.isfinite(distances).sum())
