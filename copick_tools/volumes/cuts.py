"""Many masks of one image or volume, held as the voxels that are in them: no mask is ever a dense volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from copick_tools.types import Floats, Integers, Mask

Shape = tuple[int, int, int]
TOGETHER = 1 << 20  # voxels of a volume in which masks are compared at a time


@dataclass(frozen=True)
class Cuts:
    """N masks, which may overlap.

    shape: zyx of the volume. voxels: flat positions in it, int64, rising within a mask, one mask after another. ends: (N + 1,)
    where each mask begins in ``voxels``, and the end. iou, stability: (N,) what the model says of each: the IoU that it
    expects, and how little the mask changes with the threshold; 1 where it says nothing.

    >>> cuts = Cuts.of(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool), (2, 1, 3), z=1)
    >>> cuts.voxels.tolist(), cuts.sizes.tolist()
    ([3, 4, 4, 5], [2, 2])
    """

    shape: Shape
    voxels: Integers
    ends: Integers
    iou: Floats = field(default_factory=lambda: np.empty(0))
    stability: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def none(cls, shape: Shape) -> Cuts:
        """No mask."""
        return cls(shape, np.empty(0, np.int64), np.zeros(1, np.int64))

    @classmethod
    def of(
        cls,
        masks: Mask,
        shape: Shape,
        z: int = 0,
        corner: tuple[int, int] = (0, 0),
        said: tuple[Floats, Floats] | None = None,
    ) -> Cuts:
        """Masks of a slice. masks: (N, y, x) of a tile that lies at ``corner`` (y, x). said: iou and stability."""
        rows, y, x = np.nonzero(masks)
        voxels = (np.int64(z) * shape[1] + y + corner[0]) * shape[2] + x + corner[1]
        ends = np.r_[0, np.cumsum(np.bincount(rows, minlength=len(masks)))].astype(np.int64)
        iou, stability = (np.ones(len(masks)), np.ones(len(masks))) if said is None else said
        return cls(shape, voxels, ends, np.asarray(iou, float), np.asarray(stability, float))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def sizes(self) -> Integers:
        """(N,) voxels of each."""
        return np.diff(self.ends)

    def of_row(self, row: int) -> Integers:
        """The voxels of a mask."""
        return self.voxels[self.ends[row] : self.ends[row + 1]]

    def take(self, rows: Integers | Mask) -> Cuts:
        """Some of them, in this order. rows: numbers, or (N,) bool."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, np.int64)
        sizes = self.sizes[rows]
        starts = np.repeat(self.ends[rows] - np.r_[0, np.cumsum(sizes)][:-1], sizes)
        voxels = self.voxels[starts + np.arange(len(starts))]
        ends = np.r_[0, np.cumsum(sizes)].astype(np.int64)
        return Cuts(self.shape, voxels, ends, self.iou[rows], self.stability[rows])

    def in_box(self, row: int) -> tuple[Mask, Integers]:
        """A mask of a slice that isn't empty, (y, x) in its own box, and y, x of the box's first pixel."""
        y, x = np.divmod(self.of_row(row) % (self.shape[1] * self.shape[2]), self.shape[2])
        corner = np.array([y.min(), x.min()])
        mask = np.zeros((y.max() + 1 - corner[0], x.max() + 1 - corner[1]), bool)
        mask[y - corner[0], x - corner[1]] = True
        return mask, corner

    def boxes(self) -> Integers:
        """(N, 2, 3) first voxel along z, y, x, and one past the last; zeros for an empty mask."""
        found = np.zeros((len(self), 2, 3), np.int64)
        filled = np.flatnonzero(self.sizes)
        if len(filled):
            places = np.stack(np.unravel_index(self.voxels, self.shape))
            starts = self.ends[filled]
            found[filled, 0] = np.minimum.reduceat(places, starts, axis=1).T
            found[filled, 1] = np.maximum.reduceat(places, starts, axis=1).T + 1
        return found


def joined(shape: Shape, parts: Sequence[Cuts]) -> Cuts:
    """All masks of several, in order."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Cuts.none(shape)
    ends = np.r_[0, np.cumsum(np.concatenate([part.sizes for part in parts]))].astype(np.int64)
    iou, stability = (np.concatenate([getattr(part, name) for part in parts]) for name in ("iou", "stability"))
    return Cuts(shape, np.concatenate([part.voxels for part in parts]), ends, iou, stability)


def suppressed(cuts: Cuts, scores: Floats, threshold: float) -> Integers:
    """Rows that non-maximum suppression keeps, best first: of two masks with an IoU above ``threshold`` the better one.

    scores: (N,); of equal ones the earlier counts as better. Empty masks are dropped.
    """
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    shared, sizes = _shared(cuts), cuts.sizes
    order = order[sizes[order] > 0]
    rank = np.empty(len(cuts), np.int64)
    rank[order] = np.arange(len(order))
    alive = np.ones(len(cuts), bool)
    for row in order.tolist():
        if alive[row]:
            part = slice(shared.indptr[row], shared.indptr[row + 1])
            others, common = shared.indices[part], shared.data[part]
            union = sizes[row] + sizes[others] - common
            alive[others[(common / union > threshold) & (rank[others] > rank[row])]] = False
    return order[alive[order]]


def suppressed_by_box(cuts: Cuts, scores: Floats, threshold: float) -> Integers:
    """As `suppressed`, with the IoU of the boxes around masks, as Segment Anything does; for masks of one slice.

    >>> cuts = Cuts.of(np.array([[[1, 1, 0]], [[1, 0, 1]], [[1, 1, 1]]], bool), (1, 1, 3))
    >>> suppressed_by_box(cuts, np.array([0.5, 0.9, 0.8]), 0.9).tolist()
    [1, 0]
    """
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    order = order[cuts.sizes[order] > 0]
    first, last = np.moveaxis(cuts.boxes()[order][:, :, 1:], 1, 0)
    area = (last - first).prod(axis=1).astype(float)
    alive = np.ones(len(order), bool)
    for row in range(len(order)):
        if alive[row]:
            sides = np.minimum(last[row], last[row + 1 :]) - np.maximum(first[row], first[row + 1 :])
            common = np.maximum(sides, 0).prod(axis=1)
            alive[row + 1 :] &= common / (area[row] + area[row + 1 :] - common) <= threshold
    return order[alive]


def _shared(cuts: Cuts) -> sparse.csr_array:
    """(N, N) voxels that pairs of masks share, for pairs that share any. Memory: some 7 bytes a voxel of a mask."""
    rows = np.repeat(np.arange(len(cuts), dtype=np.int32), cuts.sizes)
    found = sparse.csr_array((len(cuts), len(cuts)), dtype=np.int64)
    for start in range(0, int(np.prod(cuts.shape)), TOGETHER):
        there = np.flatnonzero((cuts.voxels >= start) & (cuts.voxels < start + TOGETHER))
        if len(there):
            columns = (cuts.voxels[there] - start).astype(np.int32)
            ones = np.ones(len(there), np.int64)
            table = sparse.coo_array((ones, (rows[there], columns)), shape=(len(cuts), TOGETHER)).tocsr()
            found = found + table @ table.T
    return found.tocsr()


def painted(cuts: Cuts, rows: Integers, covered: float = 1.0) -> Integers:
    """zyx uint32 ids: row ``rows[i]`` is id i + 1. Voxels of several masks go to the first of them.

    covered: masks of which those before have a larger share are left out: what shows of them would be their rims.
    """
    ids = np.zeros(int(np.prod(cuts.shape)), np.uint32)
    for number, row in enumerate(rows.tolist(), start=1):
        own = cuts.of_row(row)
        free = own[ids[own] == 0]
        if len(free) >= (1 - covered) * len(own):
            ids[free] = number
    return ids.reshape(cuts.shape)
