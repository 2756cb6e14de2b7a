"""Robust intensity normalization: clip to percentiles, then zero mean and unit deviation; or by percentiles alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from copick_tools.types import Floats

SLICES = 64  # read at a time
SAMPLES = 2_000_000  # voxels that percentiles are made of
DARK, BRIGHT = 1.0, 99.0  # percentiles that Cellpose makes 0 and 1
SPREAD = 2.3263478740408408  # deviations from a gaussian's mean to either of them
Scaling = Literal["deviations", "percentiles"]


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


def scale_of(volume: Volume, clip: float, scaling: Scaling = "deviations") -> Intensity:
    """Statistics of a zyx volume: `intensity` with ``clip``, or `percentiles`. Raises ValueError as those."""
    return percentiles(volume) if scaling == "percentiles" else intensity(volume, clip)


def percentiles(volume: Volume, samples: int = SAMPLES) -> Intensity:
    """Statistics by which the 1st and 99th percentile become -`SPREAD` and `SPREAD`, where they lie in a gaussian of deviation
    1; nothing is clipped. Cellpose makes them 0 and 1, which differs by a scale and an offset that are always the same.

    Raises ValueError when a voxel isn't finite, or the two percentiles are equal.

    >>> import numpy as np
    >>> percentiles(np.arange(101.0).reshape(1, 1, 101)).mean
    50.0
    """
    low, high = np.percentile(_sampled(volume, samples), [DARK, BRIGHT])
    if not low < high:
        raise ValueError(f"nearly all voxels are {low:g}")
    return Intensity(-np.inf, np.inf, float(low + high) / 2, float(high - low) / (2 * SPREAD))


def _sampled(volume: Volume, samples: int) -> Floats:
    """About so many voxels of a zyx volume, evenly spaced. Raises ValueError when one that was looked at isn't finite."""
    step = _step(volume, samples)
    picked = [slab[(-z0) % step :: step, ::step, ::step].ravel() for z0, slab in _slabs(volume)]
    return np.concatenate(picked).astype(float)


def _step(volume: Volume, samples: int) -> int:
    share = float(np.prod(volume.shape) / samples)
    return max(1, int(round(share ** (1 / 3))))


def _slabs(volume: Volume) -> Iterator[tuple[int, Floats]]:
    """(z0, float32 slices) of a volume. Raises ValueError when a voxel isn't finite."""
    for z0 in range(0, volume.shape[0], SLICES):
        slab = np.asarray(volume[z0 : z0 + SLICES, :, :], dtype=np.float32)
        if not np.isfinite(slab).all():
            raise ValueError(
                f"{int((~np.isfinite(slab)).sum())} voxels in slices {z0} to {z0 + len(slab) - 1} aren't finite"
            )
        yield z0, slab


def intensity(volume: Volume, clip: float, samples: int = SAMPLES) -> Intensity:
    """Statistics of a zyx volume, read slab by slab, the percentiles from about ``samples`` evenly spaced voxels.

    clip: percent that is cut off at either end (gold beads, edges); 0: none, and all voxels count.

    Raises ValueError when a voxel isn't finite or all are equal.

    >>> import numpy as np
    >>> intensity(np.arange(8.0).reshape(2, 2, 2), clip=0).mean
    3.5
    """
    if not clip:
        whole = _Sums()
        for _, slab in _slabs(volume):
            whole.add(slab)
        return whole.intensity()
    values = _sampled(volume, samples)
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
