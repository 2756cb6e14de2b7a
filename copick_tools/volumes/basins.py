"""The basins of a relief in one block: which voxels lead uphill to the same top, and where basins meet.

Each voxel leads to its highest neighbor, of equals to the first; a top is a plateau without a higher neighbor. That depends
on nothing but a voxel's neighbors, so that the basins of the whole can be put together from those of blocks: a voxel that
leads out of its block leads to an exit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cc3d
import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.runs import Connectivity

Offset = tuple[int, int, int]


@dataclass(frozen=True)
class Basins:
    """ids: zyx, 1 to T are basins with a top in the block, the E next ones lead to exits; 0 outside of the object.

    tops: (T,) levels. at: (T,) their first voxels, exits: (E,), flat positions in the levels with their ring. meet: (M, 2)
    ids that touch. passes: (M,) the highest pass between them: of two voxels that touch, the lower one's level.
    """

    ids: Integers
    tops: Integers
    at: Integers
    exits: Integers
    meet: Integers
    passes: Integers


def offsets(connectivity: Connectivity) -> list[Offset]:
    """zyx steps to all neighbors; those behind come first, as in raster order.

    >>> offsets(6)
    [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    """
    most = {6: 1, 18: 2, 26: 3}[connectivity]
    return [(z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if 0 < z * z + y * y + x * x <= most]


def basins(levels: Integers, connectivity: Connectivity) -> Basins:
    """levels: zyx with a ring of one voxel around the block, 0 outside of the object and of the volume.

    >>> found = basins(np.pad(np.array([[[1, 2, 1, 3, 1]]], np.uint16), 1), 6)
    >>> found.ids.tolist(), found.tops.tolist(), found.meet.tolist(), found.passes.tolist()
    ([[[1, 1, 2, 2, 2]]], [2, 3], [[1, 2]], [1])
    """
    core = (slice(1, -1),) * 3
    mask = np.zeros(levels.shape, bool)
    mask[core] = levels[core] > 0
    at = np.flatnonzero(mask).astype(np.int32)
    strides = (levels.shape[1] * levels.shape[2], levels.shape[2], 1)
    steps = [sum(o * s for o, s in zip(offset, strides)) for offset in offsets(connectivity)]
    flat = np.ascontiguousarray(levels).reshape(-1)
    uphill = _uphill(flat, at, steps)
    top = np.zeros_like(flat)
    summit = at[uphill == 0]
    top[summit] = flat[summit]
    names = cc3d.connected_components(top.reshape(levels.shape), connectivity=connectivity).astype(np.int32)
    names = names.reshape(-1)
    first = np.zeros(int(names.max()) + 1, np.int32)
    first[names[summit[::-1]]] = summit[::-1]
    exits = _follow(uphill, at, names)
    meet, passes = _meetings(names, flat, at, steps[len(steps) // 2 :])
    return Basins(
        np.ascontiguousarray(names.reshape(levels.shape)[core]), flat[first[1:]], first[1:], exits, meet, passes
    )


def _uphill(levels: Integers, at: Integers, steps: list[int]) -> Integers:
    """Step from each voxel to its highest neighbor; 0 at a top. levels: flat. at: (N,) flat positions of the voxels."""
    best, uphill = levels[at], np.zeros(len(at), np.int32)
    for step in steps:
        neighbor = levels[at + np.int32(step)]
        uphill[neighbor > best] = step
        np.maximum(best, neighbor, out=best)
    return uphill


def _follow(uphill: Integers, at: Integers, names: Integers) -> Integers:
    """Write the id of the top or exit that each voxel's way ends at to ``names``, in which tops are named; the exits."""
    end = np.arange(len(names), dtype=np.int32)
    end[at] += uphill
    while True:
        reached = end[at]
        further = end[reached]
        if np.array_equal(further, reached):
            break
        end[at] = further
    exits = np.unique(reached[names[reached] == 0])
    names[exits] = int(names.max(initial=0)) + 1 + np.arange(len(exits), dtype=names.dtype)
    names[at] = names[reached]
    names[exits] = 0
    return exits


def _meetings(ids: Integers, levels: Integers, at: Integers, steps: list[int]) -> tuple[Integers, Integers]:
    """Pairs of ids that touch, the lower id first, and the highest pass of each. ids, levels: flat. at: as in `_uphill`."""
    ones, others, heights = [], [], []
    mine, level = ids[at], levels[at]
    for step in steps:
        near = at + np.int32(step)
        other = ids[near]
        meet = np.flatnonzero((mine != other) & (other > 0))
        ones.append(mine[meet])
        others.append(other[meet])
        heights.append(np.minimum(level[meet], levels[near[meet]]))
    return highest(np.concatenate(ones), np.concatenate(others), np.concatenate(heights))


def highest(one: Integers, other: Integers, heights: Integers) -> tuple[Integers, Integers]:
    """Each pair once, (M, 2), the lower number first, in order, with the greatest of its heights.

    >>> pairs, height = highest(np.array([1, 2, 1]), np.array([2, 1, 3]), np.array([5, 7, 4]))
    >>> pairs.tolist(), height.tolist()
    ([[1, 2], [1, 3]], [7, 4])
    """
    if not len(one):
        return np.empty((0, 2), np.int64), heights
    low, high = np.minimum(one, other).astype(np.int64), np.maximum(one, other).astype(np.int64)
    code = low * (int(high.max()) + 1) + high
    order = np.argsort(code)
    begins = np.flatnonzero(np.r_[True, np.diff(code[order]) != 0])
    pairs = np.column_stack([low[order[begins]], high[order[begins]]])
    return pairs, np.maximum.reduceat(heights[order], begins)
