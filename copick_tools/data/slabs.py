"""Volumes stored in copick's chunks, but in none that is larger than the volume (of a pyramid, its first level), for the rest of it
would be zeros: whole, slab by slab, or chunk by chunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from copick_tools.volumes.blocks import SIZE, blocks
from copick_tools.volumes.normalize import Volume

Slabs = Iterator[tuple[int, np.ndarray]]


def store_tomogram(tomogram: Any, volume: np.ndarray, levels: int) -> None:
    """Fill a new copick tomogram. See `write.write_tomogram`."""
    from copick.util.ome import volume_pyramid, write_ome_zarr_3d

    pyramid = volume_pyramid(volume, tomogram.voxel_spacing.voxel_size, levels)
    write_ome_zarr_3d(tomogram.zarr(), pyramid, chunk_size=fitting_chunks(volume.shape))


def store_labels(segmentation: Any, labels: np.ndarray) -> None:
    """Fill a new copick segmentation, with the smallest type that holds all labels. See `write.write_segmentation`.

    Raises ValueError where copick can't hold the labels.
    """
    from copick.util.segmentation import check_panoptic_values, label_dtype

    if segmentation.is_panoptic and labels.ndim == 4:  # before anything is replaced
        known = [entry.label for entry in segmentation.run.root.config.pickable_objects]
        check_panoptic_values(*labels, known)
    least = np.uint16 if segmentation.is_panoptic or segmentation.is_instance else np.uint8
    _create(segmentation, labels.shape[-3:], label_dtype(labels, floor=least))
    segmentation.set_region(labels)


def store_slabs(segmentation: Any, shape: tuple[int, int, int], slabs: Slabs, dtype: np.dtype[Any]) -> None:
    """Fill a new copick segmentation of ``shape`` (zyx). See `write.write_segmentation_slabs`."""
    channels = _create(segmentation, shape, dtype)
    for z0, row in _rows(slabs, (*channels, *shape), dtype):
        z = slice(z0, z0 + sum(slab.shape[-3] for slab in row))
        for y, x in product(*(_parts(length) for length in shape[1:])):  # a chunk at a time: zarr pads it at the faces
            segmentation.set_region(np.concatenate([slab[..., y, x] for slab in row], axis=-3), z=z, y=y, x=x)
        row.clear()  # before the next row is made


def store_volume(segmentation: Any, volume: Volume, dtype: np.dtype[Any]) -> None:
    """Fill a new copick segmentation from a volume that is sliced chunk by chunk. See `write.write_segmentation_volume`."""
    _create(segmentation, volume.shape, dtype)
    for block in blocks(volume.shape):
        z, y, x = block.inner
        segmentation.set_region(np.asarray(volume[block.inner]), z=z, y=y, x=x)


def _create(segmentation: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Empty, with metadata as copick makes them. shape: zyx. What comes before zyx: (2,) where it is panoptic."""
    import zarr

    channels = (2,) if segmentation.is_panoptic else ()
    segmentation.from_numpy(np.zeros((*channels, 1, 1, 1), dtype), dtype=dtype)
    group = zarr.open_group(segmentation.zarr())
    chunks = (*(1 for _ in channels), *fitting_chunks(shape))
    group.create_dataset(
        "0",
        shape=(*channels, *shape),
        chunks=chunks,
        dtype=dtype,
        compressor=group["0"].compressor,
        dimension_separator=group["0"]._dimension_separator,
        overwrite=True,
    )
    return channels


def fitting_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels along each axis of a chunk of a volume of ``shape``."""
    return tuple(max(1, min(SIZE, length)) for length in shape)


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, min(start + SIZE, length)) for start in range(0, length, SIZE))


def _rows(slabs: Slabs, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(z0, slabs) of one row of chunks after the other, the slabs cut where the rows end."""
    from copick.util.segmentation import checked_label_cast

    row: list[np.ndarray] = []
    begun, filled, depth = 0, 0, shape[-3]
    for z0, slab in slabs:
        sizes = (*slab.shape[:-3], *slab.shape[-2:]) if slab.ndim == len(shape) else ()
        if z0 != filled or sizes != (*shape[:-3], *shape[-2:]) or not 0 < slab.shape[-3] <= depth - z0:
            raise ValueError(f"a slab {slab.shape} at z = {z0} doesn't follow {filled} slices of a volume {shape}")
        cuts = range(begun + SIZE - filled, slab.shape[-3], SIZE)
        parts = deque(np.split(checked_label_cast(slab, dtype), cuts, axis=-3))
        del slab
        while parts:
            row.append(parts.popleft())
            filled += row[-1].shape[-3]
            if filled in (begun + SIZE, depth):
                yield begun, row
                row, begun = [], filled
    if filled != depth:
        raise ValueError(f"the slabs end after {filled} of {depth} slices")
