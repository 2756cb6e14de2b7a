"""Binary masks of several objects become one multilabel volume, a chunk at a time."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr

from copick_tools.errors import FormatError

log = logging.getLogger("copick_tools")
CHUNKS = (64, 256, 256)  # voxels along z, y, x; as many are in memory at a time


def merge_masks(masks: Sequence[tuple[int, Path]], voxel_spacing: float, out: Path) -> int:
    """Write the OME-Zarr multilabel volume ``out`` of (label, mask store): the number of voxels that two masks claim.

    A voxel gets the lowest label that claims it. voxel_spacing: angstrom. What is above 0 in a mask counts.
    Raises FormatError: masks of different shapes, no 3D volume.
    """
    from numcodecs import Blosc, blosc

    blosc.use_threads = False  # its threads store blocks in the order that they finish: other bytes each time
    arrays = [(label, _level0(path)) for label, path in sorted(masks)]
    shape = arrays[0][1].shape
    for _, array in arrays:
        if len(array.shape) != 3:
            raise FormatError(f"a mask of {array.shape} voxels is no volume")
        if array.shape != shape:
            raise FormatError(f"masks of {array.shape} and {shape} voxels can't be one volume")
    group = zarr.open_group(zarr.storage.FSStore(str(out), mode="w", dimension_separator="/"), mode="w")
    group.attrs["multiscales"] = [_multiscale(voxel_spacing)]
    labels = group.create_dataset(
        "0",
        shape=shape,
        chunks=tuple(min(c, s) for c, s in zip(CHUNKS, shape)),
        dtype=np.uint8,
        compressor=Blosc("lz4", 5, Blosc.SHUFFLE),
        fill_value=0,
        dimension_separator="/",
        write_empty_chunks=True,  # a missing chunk is then always a loss, never a zero
    )
    contested = 0
    for corner in np.ndindex(*(-(-size // chunk) for size, chunk in zip(shape, labels.chunks))):
        region = tuple(slice(i * c, min((i + 1) * c, size)) for i, c, size in zip(corner, labels.chunks, shape))
        merged = np.zeros([part.stop - part.start for part in region], np.uint8)
        for label, array in arrays:
            claimed = _read(array, region) > 0
            contested += int(np.count_nonzero(claimed & (merged != 0) & (merged != label)))
            merged[claimed & (merged == 0)] = label
        labels[region] = merged
    return contested


def _read(array: zarr.Array, region: tuple[slice, ...]) -> np.ndarray:
    try:
        return np.asarray(array[region])
    except (RuntimeError, ValueError, OSError, zlib.error) as error:  # what codecs raise on damaged chunks
        raise FormatError(f"a mask has a chunk that can't be read: {error}") from error


def _level0(path: Path) -> zarr.Array:
    """The full resolution of an OME-Zarr store."""
    try:
        group = zarr.open_group(zarr.storage.FSStore(str(path), mode="r", dimension_separator="/"), mode="r")
        return group["0"]
    except (KeyError, TypeError, ValueError, OSError, zarr.errors.MetadataError) as error:
        raise FormatError(f"{path.name} is no OME-Zarr volume") from error


def _multiscale(voxel_spacing: float) -> dict[str, object]:
    scale = {"type": "scale", "scale": [voxel_spacing] * 3}
    return {
        "version": "0.4",
        "name": "/",
        "axes": [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
