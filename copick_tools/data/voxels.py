"""What the volume formats share: native bytes, dtypes a file can hold, one spacing for three axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copick_tools.errors import FormatError, UsageError

Sizes = tuple[float | None, float | None, float | None]
"""Voxel size along x, y, z in angstrom; None where the file doesn't say."""

ANISOTROPY = 0.01  # axes further apart than this share are not one spacing
DECIMALS = 5  # angstrom; headers hold float32, good for seven digits


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The same voxels in this machine's byte order: unchanged (still mapped) where they are, else a copy."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def known(size: float) -> float | None:
    """A voxel size in angstrom, or None where it says nothing (zero, negative, not finite)."""
    return float(size) if math.isfinite(size) and size > 0 else None


def one_spacing(path: Path, sizes: Sizes) -> float | None:
    """One voxel spacing in angstrom for sizes x y z in angstrom; None if an axis is unknown.

    Sizes more than 1 % apart are an error: everything here counts distances in one spacing.
    """
    x, y, z = sizes
    if x is None or y is None or z is None:
        return None
    if max(x, y, z) > (1 + ANISOTROPY) * min(x, y, z):
        raise FormatError(
            f"{path}: voxels aren't cubes: x {x:.5g}, y {y:.5g}, z {z:.5g} angstrom",
            "resample the volume to one spacing; if only the header is wrong, state the voxel spacing yourself",
        )
    return round((x + y + z) / 3, DECIMALS)


def positive(voxel_spacing: float) -> float:
    """``voxel_spacing`` in angstrom if it can be one, else a UsageError."""
    if known(voxel_spacing) is None:
        raise UsageError(f"voxel spacing {voxel_spacing} isn't a length", "give a positive number of angstrom")
    return float(voxel_spacing)


def storable(path: Path, array: NDArray[Any], integers: Sequence[type[np.integer[Any]]]) -> NDArray[Any]:
    """``array`` (z y x, voxels) in a dtype that the file can hold and that reads back equal.

    Floats become float32 (which rounds float64). Integers and booleans outside ``integers`` become the first of them
    that holds every value; if none does, that is an error.
    """
    if array.ndim != 3 or array.size == 0:
        raise FormatError(f"{path}: an array of shape {array.shape} isn't a volume", "give three axes: z y x")
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind not in "biu":
        raise FormatError(f"{path}: {array.dtype} voxels can't be stored", "convert them to float32 or integers")
    if array.dtype.type in integers:
        return array
    low, high = int(array.min()), int(array.max())
    for dtype in integers:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    raise FormatError(
        f"{path}: no integer type of this format holds {low} to {high}",
        "renumber the labels, or write .tif, which holds 32 bits",
    )
