"""Which basins of a relief are one instance: by what lies between their tops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from copick_tools.types import Integers
from copick_tools.volumes.basins import highest
from copick_tools.volumes.near import best
from copick_tools.volumes.relief import SURFACE, length
from copick_tools.volumes.runs import groups

Apart = Callable[[int, int], bool]  # the lower of two tops, the pass between them -> are they two?


@dataclass(frozen=True)
class Necks:
    """Two where the neck is at most ``neck`` of the narrower part's width, and at least ``depth`` voxels lower than its top."""

    neck: float
    depth: float

    def __call__(self, top: int, pass_: int) -> bool:
        part, between = length(top), length(pass_)
        return between <= self.neck * part and part - between >= self.depth


@dataclass(frozen=True)
class Seeded:
    """Two where both tops are farther than ``clearance`` voxels from boundaries, and the way between them isn't."""

    clearance: float

    def __call__(self, top: int, pass_: int) -> bool:
        level = SURFACE + self.clearance**2
        return pass_ <= level < top


@dataclass(frozen=True)
class Landscape:
    """tops: (N,) levels of basins. pairs: (M, 2) of basins that touch, passes: (M,) the level of the highest pass of each.

    Basins are in an order that doesn't depend on blocks, for it breaks ties.
    """

    tops: Integers
    pairs: Integers
    passes: Integers

    def merged(self, apart: Apart) -> Integers:
        """(N,) for each basin the one with the highest top of all that are one with it.

        From the highest pass down, what meets there becomes one unless it is apart. A pair that is apart stays so: what was
        added since has higher tops and lower passes, and ``apart`` has to hold for these too. So the passes of a maximum
        spanning tree are all that matter.
        """
        parent, top = list(range(len(self.tops))), self.tops.tolist()

        def find(basin: int) -> int:
            while parent[basin] != basin:
                parent[basin] = parent[parent[basin]]
                basin = parent[basin]
            return basin

        for edge in self._tree().tolist():
            high, low = (find(basin) for basin in self.pairs[edge].tolist())
            if (top[low], -low) > (top[high], -high):
                high, low = low, high
            if not apart(top[low], int(self.passes[edge])):
                parent[low] = high
        return np.array([find(basin) for basin in range(len(parent))], dtype=np.int64)

    def of(self, summit: Integers, tops: Integers) -> tuple[Landscape, Integers]:
        """The landscape of what was merged, and the row of each basin in it. tops: of these rows."""
        summits, row = np.unique(summit, return_inverse=True)
        row = row.reshape(-1)
        one, other = row[self.pairs].T
        differ = one != other
        pairs, passes = highest(one[differ], other[differ], self.passes[differ])
        return Landscape(tops[summits], pairs, passes), row

    def _tree(self) -> Integers:
        """Rows of the passes in a maximum spanning tree, the highest first."""
        if not len(self.pairs):
            return np.empty(0, np.int64)
        order = np.lexsort((*self.pairs.T[::-1], -self.passes.astype(np.int64)))
        rank = np.empty(len(order))
        rank[order] = np.arange(1, len(order) + 1)
        size = len(self.tops)
        tree = minimum_spanning_tree(coo_array((rank, tuple(self.pairs.T)), shape=(size, size)).tocsr())
        return order[np.sort(tree.data).astype(np.int64) - 1]


def divided(landscape: Landscape, apart: Apart, places: Integers, distance: float) -> Integers:
    """(N,) the instance of each basin, by the basin of its highest top.

    places: (N, 3) zyx of the tops. distance: voxels; of tops of one object that are nearer only the highest is a seed, and
    what isn't one becomes part of the neighbor that it has the highest pass to.
    """
    summit = landscape.merged(apart)
    if not distance > 0 or not len(summit):
        return summit
    merged, row = landscape.of(summit, landscape.tops)
    seeds = np.unique(summit)
    _, component = groups(len(seeds), *merged.pairs.T)
    far = np.column_stack([places[seeds], component * (2 * distance)])  # others don't count
    stays = np.zeros(len(seeds), np.int64)
    stays[best(far.astype(float), merged.tops.astype(float), distance)] = 1
    grown = Landscape(stays, merged.pairs, merged.passes).merged(lambda top, pass_: top > 0)
    return seeds[grown[row]]
