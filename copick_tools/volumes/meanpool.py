"""Particles as peaks of an object's mask, mean-pooled over and over: the picking of DeepETPicker (Liu et al. 2024).

The voxels whose probability reaches the threshold are ones, the rest zeros; a mean over 5^3 voxels is taken as often as
the largest particle asks for; a voxel that is the highest of the 5^3 around it and above `LEAST` is a peak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.ndimage import correlate1d, maximum_filter1d

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import blocks, bounding_box
from copick_tools.volumes.components import zyx
from copick_tools.volumes.near import best
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.peaks import Peaks, cut, high_runs, measured, plateaus, reaching
from copick_tools.volumes.runs import Grid

SIDE = 5  # of the cube that is averaged, and in which a peak is the highest
LEAST = 0.1  # of the pooled mask: a peak is above
TILE = 32  # side of the cubes that are worked on together


def passes(diameter: float) -> int:
    """How often the mean is taken. diameter: voxels, of the largest particle.

    >>> passes(30.0), passes(3.0)
    (8, 1)
    """
    return int(diameter / (SIDE - 1)) + 1


@dataclass(frozen=True)
class Pooling:
    """ball: radius in voxels of the ball that a particle looks like. least: probability of a voxel of the mask.

    apart: least distance in voxels of two peaks; of nearer ones the higher stays. passes: how often the mean is taken.
    """

    ball: float
    least: float
    apart: float
    passes: int

    @cached_property
    def kernel(self) -> Floats:
        """Weights along an axis of all passes together."""
        weights = np.ones(1)
        for _ in range(self.passes):
            weights = np.convolve(weights, np.full(SIDE, 1 / SIDE))
        kernel: Floats = (weights + weights[::-1]) / 2
        return kernel

    @property
    def halo(self) -> int:
        """How far a voxel's decision reaches."""
        return len(self.kernel) // 2 + SIDE // 2


def pooled_peaks(probability: Volume, pooling: Pooling, chunk: int) -> Peaks:
    """Peaks of the pooled mask of an object's probability (zyx, in [0, 1], 0 mostly); around the volume are zeros.

    Their voxels are those of the mask within `peaks.REACH` of a ball that are nearer to them than to other peaks: the mean
    probability of these is the score, in [0, 1]; their number the volume; their mean position, weighted by the probability,
    the center. A peak with no such voxel has a score of 0.
    """
    grid = Grid(zyx(probability))
    found, heights = [], []
    for block in blocks(grid.shape, halo=pooling.halo, size=chunk):
        mask = reaching(np.ascontiguousarray(probability[block.outer]), pooling.least)
        corner = np.array([part.start for part in block.outer])
        low, high = (np.array([getattr(part, end) for part in block.local]) for end in ("start", "stop"))
        for at, top, height in _tiles(mask, low, high, pooling):
            runs, its = high_runs(top, height, corner + at, grid)
            found.append(runs)
            heights.append(its)
    at, height = plateaus(found, heights, grid)
    at = at[best(at.astype(float), height, pooling.apart)]
    centers, volumes, scores = measured(probability, at, pooling)
    return Peaks(centers, scores, np.maximum(volumes, 1), at)


def _tiles(mask: Mask, low: Integers, high: Integers, pooling: Pooling) -> Iterator[tuple[Integers, Mask, Floats]]:
    """Boxes of a zyx mask, between two corners, with peaks in them: corner, which voxels are peaks, and their heights.

    Nothing outside of the box around the mask's voxels within reach is a peak: a step towards them it is higher.
    """
    beyond = SIDE // 2 if pooling.passes == 1 else 0  # a single mean is flat within its reach
    for start in product(*(range(int(a), int(b), TILE) for a, b in zip(low, high))):
        stop = np.minimum(np.add(start, TILE), high)
        first, last = np.maximum(np.subtract(start, pooling.halo), 0), np.minimum(stop + pooling.halo, mask.shape)
        box = bounding_box(mask[tuple(slice(int(a), int(b)) for a, b in zip(first, last))])
        if box is None:
            continue
        last = np.minimum(first + [part.stop + beyond for part in box], last)
        first = np.maximum(first + [part.start - beyond for part in box], first)
        crop = mask[tuple(slice(int(a), int(b)) for a, b in zip(first, last))]
        begin, end = np.maximum(start, first), np.minimum(stop, last)
        if (begin >= end).any() or np.count_nonzero(crop) * pooling.kernel.max() ** 3 <= LEAST:
            continue
        height, top = _highest(crop, begin - first, end - first, pooling)
        if top.any():
            yield begin, top, height


def _highest(crop: Mask, begin: Integers, end: Integers, pooling: Pooling) -> tuple[Floats, Mask]:
    """Heights between two corners of a zyx mask, in single precision so that equal ones are equal; and which are peaks."""
    half = SIDE // 2
    pooled = crop.astype(float)
    core = []
    for axis, (first, last) in enumerate(zip(begin.tolist(), end.tolist())):
        part = slice(max(0, first - half), last + half)
        pooled = cut(correlate1d(pooled, pooling.kernel, axis=axis, mode="constant"), axis, part)
        core.append(slice(first - part.start, last - part.start))
    highest = pooled = pooled.astype(np.float32)
    for axis, part in enumerate(core):
        highest = cut(maximum_filter1d(highest, SIDE, axis=axis, mode="constant"), axis, part)
    height = pooled[tuple(core)]
    return height, (height == highest) & (height > LEAST)
