"""Particles as peaks of an object's own probability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np
from scipy.ndimage import correlate1d, maximum_filter1d
from scipy.special import gammainc

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Block, Box, blocks, bounding_box
from copick_tools.volumes.components import SCORE, quantized, zyx
from copick_tools.volumes.near import best, neighbors
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.probabilities import INFINITE, bits_of
from copick_tools.volumes.runs import Grid, Runs, groups, joined, touching, true_runs
from copick_tools.volumes.separate import window

CUT = 3.0  # reach of the smoothing, in sigmas
SLOPE = 0.5  # a peak's slopes count as well, down to this share of the threshold
REACH = 1.25  # how far a particle's voxels lie from its peak, of the ball's radius
TILE = 4.0  # side of the cubes that are smoothed together, of the ball's radius


class Ball(Protocol):
    """ball: radius in voxels of the ball that a particle looks like. least: probability below which a voxel counts as 0."""

    @property
    def ball(self) -> float: ...

    @property
    def least(self) -> float: ...


@dataclass(frozen=True)
class Scale:
    """ball: radius in voxels of the ball that a particle looks like. threshold: least score of a peak, in [0, 1].

    apart: least distance in voxels of two peaks; of nearer ones the better stays. smoothing: sigma, of the ball's radius.
    """

    ball: float
    threshold: float
    apart: float
    smoothing: float

    @cached_property
    def kernel(self) -> Floats:
        """Weights of the smoothing along an axis; a ball of ones has a peak of about 1 after it."""
        sigma = max(0.5, self.smoothing * self.ball)
        away = np.arange(-round(CUT * sigma), round(CUT * sigma) + 1)
        weights = np.exp(-0.5 * (away / sigma) ** 2)
        whole = gammainc(1.5, 0.5 * (self.ball / sigma) ** 2)  # of a gaussian within the ball
        kernel: Floats = weights / weights.sum() / whole ** (1 / 3)
        return kernel

    @property
    def half(self) -> int:
        """Half the window."""
        return window(self.ball)

    @property
    def least(self) -> float:
        """Probability below which a voxel counts as 0."""
        return SLOPE * self.threshold

    @property
    def halo(self) -> int:
        """How far a voxel's decision reaches."""
        return self.half + len(self.kernel) // 2


@dataclass(frozen=True)
class Peaks:
    """centers: (N, 3) zyx voxels. scores: (N,). volumes: (N,) voxels. at: (N, 3) zyx, the voxels of the peaks."""

    centers: Floats
    scores: Floats
    volumes: Integers
    at: Integers


def peaks(probability: Volume, scale: Scale, chunk: int) -> Peaks:
    """Peaks of an object's probability (zyx, in [0, 1], 0 mostly), best first.

    What is below `SLOPE` of the threshold counts as 0, so that it doesn't matter whether it was kept. The map is smoothed
    with a gaussian; a peak is the highest voxel of the window around it and reaches the threshold. Its height is its score:
    the mean probability around it, scaled so that a ball of ones has a score of 1. Its voxels are those within `REACH` that
    aren't 0 and are nearer to it than to other peaks: their number is the volume, their mean position, weighted by the
    probability, the center.
    """
    at, scores = _maxima(probability, scale, chunk)
    kept = best(at.astype(float), scores, scale.apart)
    at, scores = at[kept], scores[kept]
    centers, volumes, _ = measured(probability, at, scale)
    return Peaks(centers, scores, np.maximum(volumes, 1), at)


def measured(probability: Volume, at: Integers, scale: Ball) -> tuple[Floats, Integers, Floats]:
    """Of the voxels of each peak: their mean position weighted by the probability, (N, 3) zyx, or the peak itself where
    there are none; their number, (N,); their mean probability, (N,), or 0.
    """
    centers, volumes, means = at.astype(float), np.zeros(len(at), np.int64), np.zeros(len(at))
    for index, (box, mine, weights) in enumerate(voxels(probability, at, scale)):
        volumes[index] = int(mine.sum())
        total = int(weights.sum())
        if total:
            where = np.indices(mine.shape, dtype=np.int64)
            sums = [int((weights * axis).sum()) for axis in where]
            centers[index] = [part.start + value / total for part, value in zip(box, sums)]
            means[index] = total / (volumes[index] * SCORE)
    return centers, volumes, means


def voxels(probability: Volume, at: Integers, scale: Ball) -> Iterator[tuple[Box, Mask, Integers]]:
    """Of each peak: a box of the volume, which voxels in it are the peak's, and their probabilities as integers.

    at: (N, 3) zyx, the voxels of the peaks; of peaks equally near the earlier one gets a voxel.
    """
    reach = REACH * scale.ball
    near = neighbors(at.astype(float), 2 * reach)
    for index, place in enumerate(at):
        low = np.maximum(place - int(reach), 0)
        high = np.minimum(place + int(reach) + 1, probability.shape)
        box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])), slice(int(low[2]), int(high[2])))
        values = np.asarray(probability[box])
        own = _squared(box, place)
        mine = reaching(values, scale.least) & (own <= reach**2)
        for other in near[index]:
            theirs = _squared(box, at[other])
            mine &= (own < theirs) if other < index else (own <= theirs)
        yield box, mine, np.where(mine, quantized(values), 0)


def _squared(box: Box, place: Integers) -> Integers:
    z, y, x = (np.arange(part.start, part.stop) - int(p) for part, p in zip(box, place))
    squared: Integers = (z * z)[:, None, None] + (y * y)[None, :, None] + (x * x)[None, None, :]
    return squared


def _maxima(probability: Volume, scale: Scale, chunk: int) -> tuple[Integers, Floats]:
    """(N, 3) zyx voxels and heights of the peaks, one for each plateau, in raster order."""
    grid = Grid(zyx(probability))
    found, heights = [], []
    for block in blocks(grid.shape, halo=scale.halo, size=chunk):
        inside, height = _high(probability, block, scale, grid)
        found.append(inside)
        heights.append(height)
    return plateaus(found, heights, grid)


def plateaus(found: list[Runs], heights: list[Floats], grid: Grid) -> tuple[Integers, Floats]:
    """(N, 3) zyx, the middle voxel of each plateau, and its height in [0, 1], (N,); in raster order.

    found, heights: runs of peaks and the height of each; those that touch are one plateau.
    """
    runs, height = _connected(found, heights)
    if not len(runs):
        return np.empty((0, 3), np.int64), np.empty(0)
    number, group = groups(len(runs), *touching(runs, grid.forward()))
    members = np.argsort(group, kind="stable")
    held = np.cumsum((runs.last - runs.first + 1)[members])
    ends = held[np.searchsorted(group[members], np.arange(number), side="right") - 1]
    middle = np.r_[0, ends[:-1]] + np.diff(ends, prepend=0) // 2  # of the plateau's voxels, in raster order
    row = np.searchsorted(held, middle, side="right")
    at = runs.last[members[row]] + 1 - (held[row] - middle)
    score = np.clip(height[members[row]].astype(float), 0, 1)
    return np.column_stack(grid.place(at)), score


def _high(probability: Volume, block: Block, scale: Scale, grid: Grid) -> tuple[Runs, Floats]:
    """Runs of peaks in a block, and their heights."""
    found, heights = [], []
    for outer, tile, inner in _tiles(probability, block, scale):
        high, height = _highest(tile, inner, scale)
        if high.any():
            runs, its = high_runs(high, height, outer + [part.start for part in inner], grid)
            found.append(runs)
            heights.append(its)
    return _connected(found, heights)


def high_runs(high: Mask, height: Floats, corner: Integers, grid: Grid) -> tuple[Runs, Floats]:
    """Runs of the true voxels of a box at ``corner``, and the height of the first voxel of each."""
    runs = true_runs(high, corner, grid)
    return runs, height[high][np.cumsum(runs.last - runs.first + 1) - (runs.last - runs.first + 1)]


def _connected(parts: list[Runs], heights: list[Floats]) -> tuple[Runs, Floats]:
    """All runs in rising order, one for those that continue each other: a plateau has one height."""
    runs, order = joined(parts)
    if not len(runs):
        return runs, np.empty(0, np.float32)
    starts = np.flatnonzero(np.r_[True, runs.first[1:] != runs.last[:-1] + 1])
    last = runs.last[np.r_[starts[1:] - 1, len(runs) - 1]]
    return Runs(runs.first[starts], last, runs.labels[starts]), np.concatenate(heights)[order][starts]


def _tiles(probability: Volume, block: Block, scale: Scale) -> Iterator[tuple[Integers, Floats, Box]]:
    """Where something is: corner of a crop with its halo, its values as float32, and the box inside of it to search."""
    values = np.ascontiguousarray(probability[block.outer])
    some = reaching(values, scale.least)
    corner = np.array([part.start for part in block.outer])
    for low, high in _boxes(some[block.local], max(8, round(TILE * scale.ball))):
        begin, end = (at + [part.start for part in block.local] for at in (low, high))
        first, last = np.maximum(begin - scale.halo, 0), np.minimum(end + scale.halo, values.shape)
        crop = tuple(slice(a, b) for a, b in zip(first, last))
        tile = np.where(some[crop], values[crop], 0).astype(np.float32)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(begin - first, end - first))
        yield corner + first, tile, (z, y, x)


def reaching(values: np.ndarray, least: float) -> Mask:
    """Which voxels are at least ``least``, above 0 and finite."""
    if values.dtype == np.float16:  # half precision is slow to compare
        bits = np.uint16(max(1, bits_of(least)))
        return np.asarray((values.view(np.uint16) - bits) < INFINITE - bits)  # wraps around below the least
    return np.asarray((values >= np.float64(least)) & (values > 0) & (values < np.inf))


def _boxes(mask: Mask, side: int) -> Iterator[tuple[Integers, Integers]]:
    """Corners, half open, of the true voxels in each cube of the given side that has any. mask: zyx."""
    for z, y in product(*(range(0, length, side) for length in mask.shape[:2])):
        column = mask[z : z + side, y : y + side]
        filled = np.flatnonzero(column.any(axis=(0, 1)))
        for x in np.unique(filled // side) * side:
            box = bounding_box(column[:, :, x : x + side])
            if box is not None:
                corner = np.array([z, y, x])
                yield corner + [part.start for part in box], corner + [part.stop for part in box]


def _highest(tile: Floats, inner: Box, scale: Scale) -> tuple[Mask, Floats]:
    """Which voxels of the inner box are peaks, and the heights there."""
    own = tile[inner]
    kernel = scale.kernel
    most = min(float(tile.max()) * kernel.sum() ** 3, float(tile.sum(dtype=float)) * kernel.max() ** 3)
    if most < scale.threshold * (1 - 1e-5):
        return np.zeros(own.shape, np.bool_), own
    smooth, core = tile, list(inner)  # what isn't needed any more is cut off after each axis
    for axis in range(3):
        near = slice(max(0, inner[axis].start - scale.half), inner[axis].stop + scale.half)
        smooth = cut(correlate1d(smooth, kernel, axis=axis, mode="constant"), axis, near)
        core[axis] = slice(inner[axis].start - near.start, inner[axis].stop - near.start)
    highest = smooth
    for axis in range(3):
        highest = cut(maximum_filter1d(highest, 2 * scale.half + 1, axis=axis, mode="constant"), axis, core[axis])
    height = smooth[tuple(core)]
    return (height == highest) & (own > 0) & (height >= max(scale.threshold, 1e-6)), height


def cut(values: Floats, axis: int, part: slice) -> Floats:
    """A part along one axis."""
    return values[tuple(part if index == axis else slice(None) for index in range(3))]
