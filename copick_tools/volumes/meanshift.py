"""Mean shift of foreground voxels with a flat kernel, as DeepFinder clusters (Moebel et al. 2021; Comaniciu and Meer 2002).

It gives what scikit-learn's ``MeanShift(bandwidth, bin_seeding=True)`` gives for the same voxels, to the bit, unless a voxel
lies at the bandwidth's very distance from a mean, where rounding decides for either of them. As voxels lie on a grid, those
within a ball are counted and added up row by row, from cumulative sums along x: a step costs the square of the bandwidth,
not its cube, and memory goes with the runs and the seeds, not with the voxels.

A bandwidth below 2/3 of a ball's radius finds several centers in it, one below the radius a center beside the middle; a
much larger one takes neighbors together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from copick_tools.errors import PopsicleError
from copick_tools.types import Floats, Integers
from copick_tools.volumes.blocks import SIZE
from copick_tools.volumes.components import SCORE, SLAB, quantized, traced, zyx
from copick_tools.volumes.near import best
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.runs import Grid, Runs, joined

STEPS = 300  # after which a seed stays where it is
STILL = 1e-3  # of the bandwidth: a step this short is the last one
SEEDS = 1 << 19  # more of them are no particles; as many take some minutes and 1 GiB
BATCH = 1 << 20  # rows of balls, or bins, looked at together


class TooManySeeds(PopsicleError):
    """The foreground isn't particles: mean-shift would take for ever."""


@dataclass(frozen=True)
class Clusters:
    """One entry per cluster that has voxels, in an order that the voxels alone decide.

    centers: (K, 3) zyx voxels. labels: (K,) that most of its voxels have; the lowest of equal ones. count: (K,) voxels.
    scores: (K,) mean score of its voxels, in [0, 1]. first: (K,) flat position of its first voxel. runs: which voxels;
    their labels are ``first``.
    """

    centers: Floats
    labels: Integers
    count: Integers
    scores: Floats
    first: Integers
    runs: Runs


def clusters(
    labels: Volume, wanted: Collection[int], certainty: Volume | None, bandwidth: float, chunk: int = SIZE
) -> Clusters:
    """Clusters of the voxels of all wanted labels together; a voxel belongs to the center that is nearest to it.

    labels: zyx integers. certainty: zyx, score of each voxel in [0, 1]; without it scores are 0. bandwidth: voxels.
    chunk: length of the blocks that are read, in voxels; it doesn't change the result.

    >>> bead = np.zeros((1, 1, 30), np.uint8)
    >>> bead[0, 0, 3:6], bead[0, 0, 20:27] = 1, 2
    >>> found = clusters(bead, [1, 2], None, 4.0)
    >>> found.centers[:, 2].tolist(), found.labels.tolist(), found.count.tolist()
    ([23.0, 4.0], [2, 1], [7, 3])
    """
    grid = Grid(zyx(labels))
    _, runs, _ = traced(labels, wanted, None, chunk, keep_runs=True)
    centers = mean_shift(runs, grid, bandwidth)
    known = np.unique(np.asarray(sorted(wanted)))
    votes, total = np.zeros(len(centers) * len(known), np.int64), np.zeros(len(centers), np.int64)
    first, parts = np.full(len(centers), np.iinfo(np.int64).max), []
    tree = cKDTree(centers) if len(centers) else None
    for number, label, sure in _voxels(runs, grid, certainty):
        place = np.column_stack(grid.place(number))
        owner = np.asarray(tree.query(place)[1], dtype=np.int64) if tree else np.empty(0, np.int64)
        votes += np.bincount(owner * len(known) + np.searchsorted(known, label), minlength=len(votes))
        np.add.at(total, owner, sure)
        np.minimum.at(first, owner, np.ravel_multi_index(tuple(place.T), grid.shape))
        parts.append(_runs(number, owner))
    by_label = votes.reshape(-1, len(known))
    count = by_label.sum(axis=1)
    own, _ = joined(parts)
    some = count > 0
    return Clusters(
        centers[some],
        known[by_label[some].argmax(axis=1)] if some.any() else np.empty(0, np.int64),
        count[some],
        total[some] / (count[some] * float(SCORE)),
        first[some],
        Runs(own.first, own.last, first[own.labels]),
    )


def mean_shift(runs: Runs, grid: Grid, bandwidth: float) -> Floats:
    """Centers (K, 3) zyx of the voxels of some runs, whatever their labels; those with most voxels within reach first.

    bandwidth: radius of the kernel in voxels, at least 1. Each cube of its side with a voxel in it starts a seed, which
    moves to the mean of the voxels within reach until it stays; of seeds that end within the bandwidth the best stays.

    Raises PopsicleError for more than `SEEDS` seeds.

    >>> row = Runs(np.array([0, 20]), np.array([4, 26]), np.array([1, 1]))
    >>> mean_shift(row, Grid((1, 1, 40)), 4.0)[:, 2].tolist()
    [23.0, 2.0]
    """
    if not bandwidth >= 1:
        raise ValueError(f"Expected argument `bandwidth` to be at least a voxel, but got {bandwidth}")
    if not len(runs):
        return np.empty((0, 3))
    ends, within = _climbed(_seeds(runs, grid, bandwidth), _Sums(runs, grid), bandwidth)
    kept = best(
        -ends, within.astype(float), np.nextafter(bandwidth, np.inf)
    )  # of equal ones the last in zyx order stays
    centers: Floats = ends[kept]
    return centers


def _seeds(runs: Runs, grid: Grid, bandwidth: float) -> Floats:
    """(S, 3) zyx, middles of the cubes with voxels in them, in single precision; the voxels, if each has its own cube."""
    sides = [round(length / bandwidth) + 1 for length in grid.shape]
    found = []
    for start in range(0, len(runs), BATCH // 16):
        part = runs.take(np.arange(start, min(start + BATCH // 16, len(runs))))
        z, y, x = grid.place(part.first)
        low, high = (np.round(edge / bandwidth).astype(np.int64) for edge in (x, x + part.last - part.first))
        row = np.round(z / bandwidth).astype(np.int64) * sides[1] + np.round(y / bandwidth).astype(np.int64)
        count = high - low + 1
        along = np.arange(count.sum()) + np.repeat(low - np.cumsum(count) + count, count)
        found.append(np.unique(np.repeat(row, count) * sides[2] + along))
    bins = np.unique(np.concatenate(found))
    if len(bins) > SEEDS:
        raise TooManySeeds(
            f"mean-shift would start at {len(bins)} places, {SEEDS} at most: the foreground isn't particles",
            "a higher threshold, a larger bandwidth, or method components",
        )
    if len(bins) == int((runs.last - runs.first + 1).sum()):
        return np.column_stack(grid.place(np.concatenate([number for number, _, _ in _voxels(runs, grid, None)]))) * 1.0
    middles = np.column_stack(np.unravel_index(bins, sides)).astype(np.float32) * np.float32(bandwidth)
    return np.asarray(middles, dtype=float)


def _climbed(at: Floats, sums: _Sums, bandwidth: float) -> tuple[Floats, Integers]:
    """Where seeds end, each place once, and how many voxels are within reach there. Seeds that meet go on as one."""
    ends, within = [], []
    for step in range(STEPS + 1):
        mean, count = sums.mean(at, bandwidth)
        still = (np.sqrt(((mean - at) ** 2).sum(axis=1)) <= STILL * bandwidth) | (step == STEPS)
        some = count > 0
        ends.append(mean[some & still])
        within.append(count[some & still])
        at = mean[some & ~still]
        at = at[_distinct(at)]
        if not len(at):
            break
    every, counts = np.concatenate(ends), np.concatenate(within)
    once = _distinct(every)
    return every[once], counts[once]


def _distinct(at: Floats) -> Integers:
    """Rows of (N, 3) without those that repeat another, in zyx order."""
    order = np.lexsort(at.T[::-1])
    differ = (at[order[1:]] != at[order[:-1]]).any(axis=1)
    return order[np.r_[True, differ]] if len(order) else order


class _Sums:
    """Numbers and sums of the voxels of runs, of any part of any row. Integers, so exact."""

    def __init__(self, runs: Runs, grid: Grid) -> None:
        self._runs, self._grid = runs, grid
        count = runs.last - runs.first + 1
        self._count = np.r_[0, np.cumsum(count)]
        self._total = np.r_[0, np.cumsum((runs.first + runs.last) * count // 2)]

    def mean(self, at: Floats, radius: float) -> tuple[Floats, Integers]:
        """Mean (N, 3) zyx of the voxels within the balls around ``at``, and their number (N,); 0 where there are none."""
        most = [min(int(np.ceil(radius)), side) for side in self._grid.shape[:2]]
        z, y = (np.arange(-reach, reach + 2) for reach in most)
        off = [
            np.maximum(np.abs(axis - 0.5) - 0.5, 0) ** 2 for axis in (z, y)
        ]  # least: the middle is up to 1 further on
        met = np.argwhere(off[0][:, None] + off[1][None, :] <= radius**2)
        rows = np.column_stack([z[met[:, 0]], y[met[:, 1]]])
        size = max(1, BATCH // len(rows))
        found = [self._mean(at[start : start + size], radius, rows) for start in range(0, len(at), size)]
        return np.concatenate([mean for mean, _ in found]), np.concatenate([count for _, count in found])

    def _mean(self, at: Floats, radius: float, rows: Integers) -> tuple[Floats, Integers]:
        """rows: (R, 2) along z and y, of those that a ball may meet."""
        z, y = (np.floor(at[:, axis]).astype(np.int64)[:, None] + rows[:, axis] for axis in (0, 1))
        left = radius**2 - (z - at[:, :1]) ** 2 - (y - at[:, 1:2]) ** 2
        half = np.sqrt(np.maximum(left, 0))
        low = np.maximum(np.ceil(at[:, 2:] - half), 0).astype(np.int64)
        high = np.minimum(np.floor(at[:, 2:] + half), self._grid.shape[2] - 1).astype(np.int64)
        inside = (z >= 0) & (z < self._grid.shape[0]) & (y >= 0) & (y < self._grid.shape[1])
        met = np.flatnonzero(inside & (left >= 0) & (low <= high))
        own_z, own_y, first, last = (values.reshape(-1)[met] for values in (z, y, low, high))
        row = self._grid.number(own_z, own_y, 0)
        (above, sum_above), (below, sum_below) = self._before(row + last + 1), self._before(row + first)
        count = above - below
        sums = (own_z * count, own_y * count, sum_above - sum_below - row * count)
        owner = met // len(rows)
        number, *totals = (np.bincount(owner, weights, len(at)) for weights in (count, *sums))
        mean: Floats = np.stack(totals, axis=1) / np.maximum(number, 1)[:, None]
        return mean, number.astype(np.int64)

    def _before(self, number: Integers) -> tuple[Integers, Integers]:
        """How many voxels have a lower number, and the sum of their numbers."""
        begun = np.searchsorted(self._runs.first, number)
        last = np.maximum(begun - 1, 0)
        first = self._runs.first[last]
        stop = np.minimum(number, self._runs.last[last] + 1)
        part = np.where(begun > 0, stop - first, 0)
        return self._count[last] + part, self._total[last] + part * (first + stop - 1) // 2


def _voxels(runs: Runs, grid: Grid, certainty: Volume | None) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Numbers, labels and scores (`SCORE` is 1) of the voxels of runs, some planes at a time."""
    depth = max(1, SLAB // max(1, grid.shape[1] * grid.shape[2]))
    ends = np.searchsorted(runs.first, np.arange(0, grid.shape[0] + depth, depth) * grid.plane)
    for index, (begin, end) in enumerate(zip(ends[:-1], ends[1:])):
        if begin == end:
            continue
        part, z0 = runs.take(np.arange(begin, end)), index * depth
        count = part.last - part.first + 1
        number = np.arange(count.sum()) + np.repeat(part.first - np.cumsum(count) + count, count)
        score: Integers = np.zeros(len(number), np.int64)
        if certainty is not None:
            z, y, x = grid.place(number)
            score = quantized(np.asarray(certainty[z0 : z0 + depth, :, :])[z - z0, y, x])
        yield number, np.repeat(part.labels, count), score


def _runs(number: Integers, owner: Integers) -> Runs:
    """Runs of voxels of one owner each."""
    starts = np.flatnonzero(np.r_[True, (np.diff(number) != 1) | (np.diff(owner) != 0)])
    return Runs(number[starts], number[np.r_[starts[1:] - 1, len(number) - 1]], owner[starts])
