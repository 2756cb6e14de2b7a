"""The one place where points (xyz, angstrom) become voxels (zyx) and back.

Voxel i sits at ``origin + i * voxel_spacing``: no half-voxel shift (copick's convention).
"""

from __future__ import annotations

import numpy as np

from copick_tools.types import Floats


def to_voxels(points: Floats, voxel_spacing: float, origin: float = 0.0) -> Floats:
    """points: (N, 3) xyz in angstrom. Returns (N, 3) zyx in voxels, fractional.

    voxel_spacing: angstrom. origin: position of voxel 0 in angstrom, the same along each axis.

    >>> import numpy as np
    >>> to_voxels(np.array([[10.0, 20.0, 30.0]]), 10.0)
    array([[3., 2., 1.]])
    """
    return (np.asarray(points, dtype=float)[:, ::-1] - origin) / voxel_spacing


def to_angstrom(voxels: Floats, voxel_spacing: float, origin: float = 0.0) -> Floats:
    """voxels: (N, 3) zyx. Returns (N, 3) xyz in angstrom. The inverse of `to_voxels`.

    >>> import numpy as np
    >>> to_angstrom(np.array([[3.0, 2.0, 1.0]]), 10.0)
    array([[10., 20., 30.]])
    """
    return np.asarray(voxels, dtype=float)[:, ::-1] * voxel_spacing + origin


def binned_origin(voxel_spacing: float, factor: float) -> float:
    """Position, in angstrom, of voxel 0 of a volume binned ``factor`` times from one of ``voxel_spacing`` angstrom.

    Binning by means puts the new voxel at the center of those that it averages; pyramid level k has factor 2^k.

    >>> binned_origin(10.0, 2)
    5.0
    """
    return (factor - 1) / 2 * voxel_spacing
