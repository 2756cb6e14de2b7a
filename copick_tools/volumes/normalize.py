"""Robust intensity normalization: clip to percentiles, then zero mean and unit deviation."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from copick_tools.types import Floats

SLICES = 64  # read at a time


class Volume(Protocol):
    """Anything with a zyx shape that slices into arrays: an array, a memory map, a stored tomogram."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along z, y, x."""

    def __getitem__(self, region: Any) -> Any:
        """The part of the volume that a tuple of zyx slices names."""


class Intensity(NamedTuple):
    """Statistics of a tomogram: clipping bounds, and mean and deviation after clipping."""

    low: float
    high: float
    mean: float
    deviation: float


def intensity(volume: Volume, clip: float, samples: int = 2_000_000) -> Intensity:
    """Statistics of a zyx volume, read slab by slab, the percentiles from about ``samples`` evenly spaced voxels.

    clip: percent that is cut off at either end (gold beads, edges); 0: none, and all voxels count.

    Raises ValueError when a voxel isn't finite or all are equal.

    >>> import numpy as np
    >>> intensity(np.arange(8.0).reshape(2, 2, 2), clip=0).mean
    3.5
    """
    depth = volume.shape[0]
    step = max(1, round(float(np.prod(volume.shape) / samples) ** (1 / 3))) if clip else 1
    whole = _Sums()
    picked = []
    for z0 in range(0, depth, SLICES):
        slab = np.asarray(volume[z0 : z0 + SLICES, :, :], dtype=np.float32)
        if not np.isfinite(slab).all():
            raise ValueError(
                f"{int((~np.isfinite(slab)).sum())} voxels in slices {z0} to {z0 + len(slab) - 1} aren't finite"
            )
        if clip:
            picked.append(slab[(-z0) % step :: step, ::step, ::step].ravel())
        else:
            whole.add(slab)
    if not clip:
        return whole.intensity()
    values = np.concatenate(picked).astype(float)
    low, high = np.percentile(values, [clip, 100 - clip])
    clipped = np.clip(values, low, high)
    if not clipped.std() > 0:
        raise ValueError(
            f"all voxels are {values[0]:g}" if values.min() == values.max() else "nearly all voxels are equal"
        )
    return Intensity(float(low), float(high), float(clipped.mean()), float(clipped.std()))


class _Sums:
    """Mean and deviation of all voxels, slab by slab, without the cancellation of a sum of squares."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, slab: Floats) -> None:
        count, mean = slab.size, float(slab.mean(dtype=float))
        squares = float(np.square(slab - np.float32(mean)).sum(dtype=float))
        off, total = mean - self.mean, self.count + count
        self.squares += squares + off * off * self.count * count / total
        self.mean += off * count / total
        self.count = total
        self.low, self.high = min(self.low, float(slab.min())), max(self.high, float(slab.max()))

    def intensity(self) -> Intensity:
        if not self.low < self.high:
            raise ValueError(f"all voxels are {self.low:g}")
        return Intensity(self.low, self.high, self.mean, float(np.sqrt(self.squares / self.count)))


def normalize(block: Floats, statistics: Intensity) -> Floats:
    """A block of a volume (any shape), clipped and scaled by the statistics of the whole, float32.

    >>> import numpy as np
    >>> normalize(np.array([0.0, 5.0, 99.0]), Intensity(0, 10, 5, 2.5))
    array([-2.,  0.,  2.], dtype=float32)
    """
    clipped: Floats = np.clip(block, statistics.low, statistics.high, dtype=np.float32)
    clipped -= np.float32(statistics.mean)
    clipped /= np.float32(statistics.deviation)
    return clipped
