"""Segmentations too large to hold, stored slab by slab in whole chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from copick_tools.volumes.blocks import SIZE

Slabs = Iterator[tuple[int, np.ndarray]]


def store_slabs(segmentation: Any, shape: tuple[int, int, int], slabs: Slabs, dtype: np.dtype[Any]) -> None:
    """Fill a new copick segmentation of ``shape`` (zyx). See `write.write_segmentation_slabs`."""
    import zarr

    segmentation.from_numpy(np.zeros((1, 1, 1), dtype), dtype=dtype)  # chunks and metadata as copick makes them
    zarr.open(segmentation.zarr())["0"].resize(shape)
    for z0, row in _rows(slabs, shape, dtype):
        z = slice(z0, z0 + sum(len(slab) for slab in row))
        for y, x in product(*(_parts(length) for length in shape[1:])):  # a chunk at a time: zarr pads it at the faces
            segmentation.set_region(np.concatenate([slab[:, y, x] for slab in row]), z=z, y=y, x=x)
        row.clear()  # before the next row is made


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, min(start + SIZE, length)) for start in range(0, length, SIZE))


def _rows(slabs: Slabs, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(z0, slabs) of one row of chunks after the other, the slabs cut where the rows end."""
    from copick.util.segmentation import checked_label_cast

    row: list[np.ndarray] = []
    begun, filled = 0, 0
    for z0, slab in slabs:
        if z0 != filled or slab.shape[1:] != shape[1:] or not 0 < len(slab) <= shape[0] - z0:
            raise ValueError(f"a slab {slab.shape} at z = {z0} doesn't follow {filled} slices of a volume {shape}")
        cuts = range(begun + SIZE - filled, len(slab), SIZE)
        parts = deque(np.split(checked_label_cast(slab, dtype), cuts))
        del slab
        while parts:
            row.append(parts.popleft())
            filled += len(row[-1])
            if filled in (begun + SIZE, shape[0]):
                yield begun, row
                row, begun = [], filled
    if filled != shape[0]:
        raise ValueError(f"the slabs end after {filled} of {shape[0]} slices")
