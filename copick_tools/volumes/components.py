"""Connected components of label volumes of any size, block by block, and what they measure.

Only the foreground is worked on, as runs along x: a tomogram's particles fill a hundredth of it. All sums are integers,
so that the result is the same, to the bit, for any blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import SIZE, Block, Box, blocks
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.runs import Grid, Runs, groups, joined, touching
from copick_tools.volumes.seams import Seams
from copick_tools.volumes.sparse import occupied

SIDE = np.int32  # of the box of a component
SCORE = 65535  # a score of 1, as an integer
SLAB = 1 << 20  # voxels looked at together
RUNS = 1 << 17  # about as many are put together at a time


@dataclass(frozen=True)
class Components:
    """One entry per component, in raster order of their first voxels. All int64 but the labels and the box (int32).

    labels: (N,). first: (N,) flat position of the first voxel in the volume. low, high: (N, 3) zyx, the box, half open.
    count: (N,) voxels. moments: (N, 3) sums of z, y, x. squares: (N,) sum of z² + y² + x². score: (N,) sum of the
    voxels' scores (`SCORE` is 1). weighted: (N, 3) sums of z, y, x times score.
    """

    labels: Integers
    first: Integers
    low: Integers
    high: Integers
    count: Integers
    moments: Integers
    squares: Integers
    score: Integers
    weighted: Integers

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: np.ndarray) -> Components:
        """Those that a mask or an index array names."""
        return Components(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def centers(self) -> Floats:
        """(N, 3) zyx voxels, weighted by the score, or not where that is 0 all over."""
        some = self.score > 0
        sums = np.where(some[:, None], self.weighted, self.moments)
        centers: Floats = sums / np.where(some, self.score, self.count)[:, None]
        return centers

    @property
    def scores(self) -> Floats:
        """(N,) mean score in [0, 1]."""
        scores: Floats = self.score / (self.count * float(SCORE))
        return scores

    @property
    def compactness(self) -> Floats:
        """(N,) volume over that of the ball with the same second moment: 1 for balls, about 0.5 for two that touch."""
        centers = self.moments / self.count[:, None]
        spread = np.maximum(self.squares / self.count - (centers**2).sum(axis=1), 0) + 0.25  # a voxel's own
        compactness: Floats = self.count / (4 / 3 * np.pi * (5 / 3 * spread) ** 1.5)
        return compactness


def components(
    labels: Volume, wanted: Collection[int] | None = None, certainty: Volume | None = None, chunk: int = SIZE
) -> Components:
    """Connected components (26) of equal label, of all objects in one pass.

    labels: zyx integers, 0 is background. wanted: labels to look at, all unless given. certainty: zyx, score of each voxel
    in [0, 1]. chunk: length of the blocks that are read, in voxels; it doesn't change the result.

    Memory: a block as it is read; about 300 bytes for each of the runs along x that are put together at a time, `RUNS` and
    those of a slab at most (190 MiB where every second voxel is one); and about 160 bytes a component.

    >>> import numpy as np
    >>> found = components(np.array([[[0, 1, 1, 1, 0, 2]]], np.uint8))
    >>> found.centers.tolist(), found.labels.tolist(), found.count.tolist()
    ([[0.0, 0.0, 2.0], [0.0, 0.0, 5.0]], [1, 2], [3, 1])
    """
    return traced(labels, wanted, certainty, chunk)[0]


def traced(
    labels: Volume, wanted: Collection[int] | None, certainty: Volume | None, chunk: int, keep_runs: bool = False
) -> tuple[Components, Runs, Integers]:
    """As `components`, with the runs of the whole volume and the component of each, or none unless they are kept.

    Memory: as for `components`, and about 80 bytes a run if they are kept.
    """
    grid = Grid(zyx(labels))
    seams, found, kept, owners, total = Seams(grid), [], [], [], 0
    for block in blocks(grid.shape, size=chunk):
        for part, runs, sums in _measured(labels, certainty, block, grid, wanted):
            number, group = groups(len(runs), *touching(runs, grid.forward()))
            found.append(_summed(sums, group, number))
            seams.add(part, runs, group + total)
            if keep_runs:
                kept.append(runs)
                owners.append(group + total)
            total += number
        seams.close(block)
    merged, owner = _merged(found, *seams.pairs(), total)
    runs, order = joined(kept)
    return merged, runs, owner[np.concatenate(owners)[order]] if kept else order


def by_label(labels: Volume, chunk: int = SIZE) -> Components:
    """The voxels of each label but 0 measured as one component, connected or not, by rising label. Memory: as `components`.

    >>> import numpy as np
    >>> found = by_label(np.array([[[3, 0, 3, 1]]]))
    >>> found.labels.tolist(), found.count.tolist()
    ([1, 3], [1, 2])
    """
    grid = Grid(zyx(labels))
    found = []
    for block in blocks(grid.shape, size=chunk):
        for _, _, runs in _measured(labels, None, block, grid, None):
            found.append(_one_each(runs))
    return _one_each(stacked(found))


def numbered(
    parts: Integers, certainty: np.ndarray | None, corner: Integers, shape: tuple[int, int, int], label: int
) -> Components:
    """The voxels of each number in a crop, measured as one component, in the order of the numbers.

    parts: zyx, 1 to N, each there at least once; 0 is left out. certainty: zyx, score of each voxel in [0, 1]. corner: (3,)
    zyx of the crop in a volume of ``shape``. label: of all of them.
    """
    parts = np.ascontiguousarray(parts)
    at = occupied(parts)
    score = None if certainty is None else quantized(certainty.reshape(-1)[at])
    runs = _runs(at, parts.reshape(-1)[at], score, parts.shape, corner, Grid(shape))
    summed = _summed(runs, runs.labels - 1, int(parts.max()))
    return replace(summed, labels=np.full(len(summed), label))


def run_lengths(values: Integers, corner: Integers, shape: tuple[int, int, int]) -> Runs:
    """Runs of equal values in a zyx crop at ``corner`` of a volume of ``shape``; 0 is left out."""
    values = np.ascontiguousarray(values)
    at = occupied(values)
    found = _runs(at, values.reshape(-1)[at], None, values.shape, corner, Grid(shape))
    return _as_runs(found, Grid(shape))


def quantized(certainty: np.ndarray) -> Integers:
    """Scores in [0, 1] as integers up to `SCORE`; what is no number is 0.

    >>> import numpy as np
    >>> quantized(np.array([0.0, 1.0, np.nan])).tolist()
    [0, 65535, 0]
    """
    clipped = np.clip(np.nan_to_num(certainty.astype(np.float32), nan=0.0), 0, 1)
    integers: Integers = np.rint(clipped * np.float32(SCORE)).astype(np.int64)
    return integers


def size_scores(sizes: Integers, expected: Floats | float) -> Floats:
    """Score in (0, 1] of components known by size alone: min(v / v0, v0 / v). Not calibrated.

    >>> import numpy as np
    >>> size_scores(np.array([50, 100, 200]), np.array([100.0, 100.0, 100.0]))
    array([0.5, 1. , 0.5])
    """
    scores: Floats = np.minimum(sizes / expected, expected / sizes)
    return scores


def zyx(volume: Volume) -> tuple[int, int, int]:
    """Shape of a volume. Raises ValueError unless it has three axes."""
    if len(volume.shape) != 3:
        raise ValueError(f"Expected a volume with three axes, but got shape {volume.shape}")
    z, y, x = volume.shape
    return z, y, x


def among(values: Integers, wanted: Collection[int]) -> Mask:
    """Where integers of any shape are one of those that are wanted.

    >>> import numpy as np
    >>> among(np.array([0, 3, 7]), [3, 300]).tolist()
    [False, True, False]
    """
    if values.dtype.kind == "i" or values.dtype.itemsize > 2:
        return np.isin(values, list(wanted))
    table = np.zeros(1 << 8 * values.dtype.itemsize, bool)
    table[[value for value in wanted if value < len(table)]] = True
    found: Mask = table[values.view(f"u{values.dtype.itemsize}")]
    return found


def stacked(parts: list[Components]) -> Components:
    """All of them, in the order given."""
    if not parts:
        none, sums, box = np.empty(0, np.int64), np.empty((0, 3), np.int64), np.empty((0, 3), SIDE)
        return Components(none, none, box, box, none, sums, none, none, sums)
    return Components(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Components)))


def _measured(
    labels: Volume, certainty: Volume | None, block: Block, grid: Grid, wanted: Collection[int] | None
) -> Iterator[tuple[Box, Runs, Components]]:
    """The runs of a block, and each of them measured as if it were a component; in parts along z where they are many."""
    read = np.asarray(labels[block.inner])
    if read.dtype.kind not in "iub":
        raise ValueError(f"Expected integer labels, but got {read.dtype}")
    sure = None if certainty is None else certainty[block.inner]
    corner = np.array([part.start for part in block.inner])
    depth = max(1, SLAB // max(1, read[:1].size))
    parts: list[Components] = []
    begin = 0
    for z in range(0, len(read), depth):
        slab = np.ascontiguousarray(read[z : z + depth])
        at = occupied(slab)
        value = slab.reshape(-1)[at]
        if wanted is not None:
            chosen = among(value, wanted)
            at, value = at[chosen], value[chosen]
        if len(at):
            score = None if sure is None else quantized(np.asarray(sure[z : z + depth]).reshape(-1)[at])
            parts.append(_runs(at, value, score, slab.shape, corner + (z, 0, 0), grid))
        end = min(z + depth, len(read))
        if parts and (end == len(read) or sum(map(len, parts)) > RUNS):
            sums = stacked(parts)
            parts.clear()
            inner = (slice(int(corner[0]) + begin, int(corner[0]) + end), *block.inner[1:])
            yield inner, _as_runs(sums, grid), sums
            begin = end


def _as_runs(measured: Components, grid: Grid) -> Runs:
    """Runs that were measured."""
    first = grid.number(*measured.low.T.astype(np.int64))
    return Runs(first, first + measured.count - 1, measured.labels)


def _runs(
    at: Integers, value: Integers, score: Integers | None, shape: tuple[int, ...], corner: np.ndarray, grid: Grid
) -> Components:
    """Runs of a slab, measured. at: flat positions of its foreground. value, score: there. corner: of the slab."""
    if not len(at):
        return stacked([])
    row = at // shape[2]
    starts = np.flatnonzero(np.r_[True, (np.diff(at) != 1) | (value[1:] != value[:-1]) | (np.diff(row) != 0)])
    length = np.diff(np.r_[starts, len(at)])
    z, y = np.divmod(row[starts], shape[1])
    z, y, x = z + corner[0], y + corner[1], at[starts] - row[starts] * shape[2] + corner[2]
    last = x + length - 1
    sum_x = (x + last) * length // 2
    moments = np.column_stack([z * length, y * length, sum_x])
    squares = (z * z + y * y) * length + _squares_up_to(last) - _squares_up_to(x - 1)
    total = np.zeros(len(starts), np.int64)
    weighted = np.zeros((len(starts), 3), np.int64)
    if score is not None:
        total = np.add.reduceat(score, starts)
        along = np.add.reduceat(score * (at - row * shape[2] + corner[2]), starts)
        weighted = np.column_stack([z * total, y * total, along])
    first = (z * grid.shape[1] + y) * grid.shape[2] + x
    low, high = (np.column_stack(box).astype(SIDE) for box in ([z, y, x], [z + 1, y + 1, last + 1]))
    return Components(value[starts], first, low, high, length, moments, squares, total, weighted)


def _squares_up_to(number: Integers) -> Integers:
    """0² + 1² + … + number²."""
    return number * (number + 1) * (2 * number + 1) // 6


def _summed(parts: Components, group: Integers, number: int) -> Components:
    """One component for each of ``number`` groups of parts. group: (N,) of each part."""
    return Components(
        *(_put_together(field.name, getattr(parts, field.name), group, number) for field in fields(Components))
    )


def _one_each(parts: Components) -> Components:
    """One component for each label."""
    labels, group = np.unique(parts.labels, return_inverse=True)
    return _summed(parts, group.reshape(-1), len(labels))


def _put_together(name: str, values: Integers, group: Integers, number: int) -> Integers:
    """One field of `Components`: of groups of parts, from that of the parts."""
    if name == "labels":
        labels = np.zeros(number, values.dtype)
        labels[group] = values
        return labels
    join = {"first": np.minimum, "low": np.minimum, "high": np.maximum}.get(name, np.add)
    start = np.iinfo(values.dtype).max if join is np.minimum else 0
    whole = np.full((number, *values.shape[1:]), start, values.dtype)
    for column, given in zip(np.atleast_2d(whole.T), np.atleast_2d(values.T)):
        join.at(column, group, given)
    return whole


def _merged(found: list[Components], one: Integers, other: Integers, total: int) -> tuple[Components, Integers]:
    """The components of all blocks, those that are one put together, in order; and the row that each one got.

    ``found`` is used up, field by field: it may be large.
    """
    number, group = groups(total, one, other)
    if not found:
        return stacked([]), group
    columns = {field.name: [getattr(part, field.name) for part in found] for field in fields(Components)}
    found.clear()
    first = _put_together("first", np.concatenate(columns.pop("first")), group, number)
    order = np.argsort(first)
    merged = {"first": first[order]}
    for name in list(columns):
        merged[name] = _put_together(name, np.concatenate(columns.pop(name)), group, number)[order]
    row = np.empty(number, np.int64)
    row[order] = np.arange(number)
    return Components(**merged), row[group]
