"""Picks of many runs as columns, and the rule that scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from copick_tools.types import Floats, Integers, Mask, Points

Picks = Mapping[str, Points]
"""object -> points"""


@dataclass(frozen=True)
class PointRule:
    """How points are scored. distances: angstrom per object. weights: per object, in the aggregate.

    present_only: an object that is on neither side is left out of the aggregate; otherwise (the challenges) it counts 0.
    """

    rule: Literal["one-to-one", "czii", "byu"]
    beta: float
    distances: Mapping[str, float]
    weights: Mapping[str, float]
    present_only: bool = True


@dataclass(frozen=True)
class PointTable:
    """Picks of many runs, a row per pick.

    run, object: (N,) places in ``runs`` and ``objects``. positions: (N, 3) xyz. scores: (N,).
    unit: (R,) angstrom per unit of a run's positions; 1, angstrom, unless the picks are in voxels.
    """

    runs: tuple[str, ...]
    objects: tuple[str, ...]
    run: Integers
    object: Integers
    positions: Floats
    scores: Floats
    unit: Floats | float = 1.0

    @classmethod
    def of(cls, picks: Mapping[str, Picks], runs: Sequence[str], objects: Sequence[str]) -> PointTable:
        """The picks (run -> object -> points) of these runs and objects; others are left out."""
        keys = [(r, k) for r in range(len(runs)) for k in range(len(objects)) if objects[k] in picks.get(runs[r], {})]
        sets = [picks[runs[r]][objects[k]] for r, k in keys]
        sizes = [len(points) for points in sets]
        places = np.array(keys, dtype=int).reshape(-1, 2)
        return cls(
            runs=tuple(runs),
            objects=tuple(objects),
            run=np.repeat(places[:, 0], sizes),
            object=np.repeat(places[:, 1], sizes),
            positions=np.concatenate([np.empty((0, 3)), *(points.positions for points in sets)]),
            scores=np.concatenate([np.empty(0), *(points.scores for points in sets)]),
        )

    def __len__(self) -> int:
        return len(self.run)

    def take(self, rows: Integers | Mask) -> PointTable:
        """The picks that a mask or an index array names."""
        return replace(
            self, run=self.run[rows], object=self.object[rows], positions=self.positions[rows], scores=self.scores[rows]
        )

    @classmethod
    def stack(cls, tables: Sequence[PointTable], objects: Sequence[str]) -> PointTable:
        """One table of all picks of tables with the same runs and one object each. objects: the columns of the result."""
        columns = [np.full(len(table), list(objects).index(table.objects[0])) for table in tables]
        return replace(
            tables[0],
            objects=tuple(objects),
            run=np.concatenate([table.run for table in tables]),
            object=np.concatenate(columns),
            positions=np.concatenate([table.positions for table in tables]),
            scores=np.concatenate([table.scores for table in tables]),
        )

    def counts(self, rows: Integers | slice = slice(None)) -> Floats:
        """(R, K) how many of these rows each run and object have."""
        cells = self.run[rows] * len(self.objects) + self.object[rows]
        counts = np.bincount(cells, minlength=len(self.runs) * len(self.objects))
        return np.asarray(counts.reshape(len(self.runs), len(self.objects)), dtype=float)

    def units(self) -> Floats:
        """(R,) angstrom per unit of the positions."""
        return np.broadcast_to(np.asarray(self.unit, dtype=float), len(self.runs))

    def distances(self, rule: PointRule) -> Floats:
        """(N,) the matching distance of each pick, in the unit of its run's positions."""
        angstrom = np.array([rule.distances[name] for name in self.objects], dtype=float)
        return np.asarray(angstrom[self.object] / self.units()[self.run])

    def at(self, rows: Integers) -> Floats:
        """(R, 3) positions of these rows, NaN for row -1."""
        return np.concatenate([self.positions, np.full((1, 3), np.nan)])[rows]
