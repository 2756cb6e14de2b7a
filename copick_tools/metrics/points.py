"""Score the picks of many runs under one rule: counts per run and object, F-beta, the aggregate and its interval."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from copick_tools.metrics.augment import credited
from copick_tools.metrics.bootstrap import FEWEST, PairedDifference, interval, paired
from copick_tools.metrics.byu import byu
from copick_tools.metrics.fbeta import aggregate, fbeta, precision_recall
from copick_tools.metrics.match import require_finite
from copick_tools.metrics.reach import PAIRS, Reach, in_reach, nearest
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.types import Floats, Integers


@dataclass(frozen=True)
class PointScores:
    """counts: (R, K, 3) of tp, fp, fn for each run and object. undefined: why the rule gives no score, or None."""

    rule: PointRule
    runs: tuple[str, ...]
    objects: tuple[str, ...]
    counts: Floats
    undefined: str | None = None

    def numbers(self, totals: Floats | None = None) -> Floats:
        """(..., K, 6) tp, fp, fn, precision, recall and F-beta of counts (..., K, 3), all runs' sums unless given.

        NaN where undefined.
        """
        sums = self.counts.sum(axis=0) if totals is None else totals
        rates = np.stack([*precision_recall(sums), fbeta(sums, self.rule.beta)], axis=-1)
        return np.concatenate([sums, np.full_like(rates, np.nan) if self.undefined else rates], axis=-1)

    def fbeta(self) -> Floats:
        """(K,), NaN where undefined."""
        return np.asarray(self.numbers()[..., 5])

    def score(self) -> float:
        """The aggregate, NaN where undefined."""
        return float(self.aggregated(self.counts.sum(axis=0)))

    def run_scores(self) -> Floats:
        """(R,) the weighted mean of the objects that each run has, on either side; NaN where it has none."""
        return replace(self, rule=replace(self.rule, present_only=True)).aggregated(self.counts)

    def runs_with(self) -> Integers:
        """(K,) in how many runs each object is, on either side."""
        return np.asarray(self.counts.any(axis=2).sum(axis=0))

    def score_interval(self) -> Floats | None:
        """(2,) bootstrap interval of the aggregate over runs; None below five runs."""
        return interval(self.counts, self.aggregated)

    def number_intervals(self) -> Floats | None:
        """(2, K, 6) bootstrap intervals of `numbers`; NaN for objects in fewer than five runs, None below five runs."""
        bounds = interval(self.counts, self.numbers)
        return None if bounds is None else np.where((self.runs_with() < FEWEST)[:, None], np.nan, bounds)

    def against(self, baseline: PointScores) -> tuple[PairedDifference, PairedDifference] | None:
        """Differences of the aggregate and of each object's F-beta (K,) to a baseline's; None below five runs.

        An object in fewer than five runs has neither interval nor p.
        """
        score = paired(self.counts, baseline.counts, self.aggregated)
        objects = paired(self.counts, baseline.counts, lambda totals: self.numbers(totals)[..., 5])
        if score is None or objects is None:
            return None
        rare = np.maximum(self.runs_with(), baseline.runs_with()) < FEWEST
        low, high, p = (np.where(rare, np.nan, part) for part in (objects.low, objects.high, objects.p))
        return score, PairedDifference(objects.difference, low, high, p)

    def aggregated(self, totals: Floats) -> Floats:
        """The aggregate of counts (..., K, 3); NaN where undefined."""
        if self.undefined:
            return np.full(totals.shape[:-2], np.nan)
        weights = np.array([self.rule.weights[name] for name in self.objects])
        return np.asarray(aggregate(fbeta(totals, self.rule.beta), weights, present_only=self.rule.present_only))


def find_reach(reference: PointTable, prediction: PointTable, rule: PointRule) -> Reach:
    """All pairs within the distance, of the same run and object.

    Raises ValueError: not the same runs and objects, a position or score that isn't finite, too many pairs.
    """
    _validate(reference, prediction)
    found, room = [], PAIRS
    distances = prediction.distances(rule)
    for place in range(len(reference.objects)):
        here, there = (np.flatnonzero(table.object == place) for table in (reference, prediction))
        groups = reference.run[here], prediction.run[there]
        near = in_reach(reference.positions[here], prediction.positions[there], distances[there], groups, room)
        room -= len(near)
        found.append((here[near.reference], there[near.prediction], near.squared))
    return Reach(*(np.concatenate(parts) for parts in zip(*found))) if found else Reach(*np.empty((3, 0), int))


def score_points(
    reference: PointTable, prediction: PointTable, rule: PointRule, reach: Reach | None = None
) -> PointScores:
    """Match and count the picks of every run. reach: from `find_reach`, where it is there already.

    Raises ValueError as `find_reach`, the last reason under ``one-to-one`` only.

    >>> from copick_tools.types import Points
    >>> runs, objects = ("TS_1", "TS_2"), ("ribosome",)
    >>> truth = {"TS_1": {"ribosome": Points.at([[0, 0, 0], [500, 0, 0]])}}
    >>> guess = {"TS_1": {"ribosome": Points.at([[20, 0, 0]])}, "TS_2": {"ribosome": Points.at([[7, 7, 7]])}}
    >>> tables = (PointTable.of(picks, runs, objects) for picks in (truth, guess))
    >>> found = score_points(*tables, PointRule("one-to-one", 1.0, {"ribosome": 75.0}, {"ribosome": 1.0}))
    >>> found.counts[:, 0].tolist(), found.score()
    ([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], 0.5)
    """
    _validate(reference, prediction)
    truths, guesses = reference.counts(), prediction.counts()
    undefined = None
    if rule.rule == "byu":
        counts, undefined = _byu(reference, prediction, rule)
    else:
        tp = _found(reference, prediction, rule, reach)
        counts = np.stack([tp, guesses - tp, truths - tp], axis=-1)
    return PointScores(rule, reference.runs, reference.objects, counts, undefined)


def _validate(reference: PointTable, prediction: PointTable) -> None:
    if (reference.runs, reference.objects) != (prediction.runs, prediction.objects):
        raise ValueError("Expected the same runs and objects on both sides")
    if (reference.units() != prediction.units()).any():
        raise ValueError("Expected the same unit of positions on both sides")
    for side, table in (("reference", reference), ("prediction", prediction)):
        require_finite(f"{side}.positions", table.positions)
        require_finite(f"{side}.scores", table.scores)


def _found(reference: PointTable, prediction: PointTable, rule: PointRule, reach: Reach | None) -> Floats:
    """(R, K) how many reference points are found."""
    if rule.rule == "one-to-one":
        near = find_reach(reference, prediction, rule) if reach is None else reach
        return prediction.counts(np.flatnonzero(credited(near, len(reference), len(prediction))))
    if reach is not None:
        return reference.counts(np.unique(reach.reference))
    groups = [table.run * len(table.objects) + table.object for table in (reference, prediction)]
    found, _ = nearest(reference.positions, prediction.positions, reference.distances(rule), (groups[0], groups[1]))
    return reference.counts(np.flatnonzero(found >= 0))


def _byu(reference: PointTable, prediction: PointTable, rule: PointRule) -> tuple[Floats, str | None]:
    """(R, K, 3) tp, fp, fn, and why there is no score. Of several predictions in a run the one of best score counts."""
    truths = reference.counts()
    first, best = _last(reference, np.zeros(len(reference))), _last(prediction, prediction.scores)
    counts = np.zeros((*truths.shape, 3))
    for place, name in enumerate(reference.objects):
        here, there = first[:, place], best[:, place]
        motors, found = reference.at(here), prediction.at(there)
        counts[:, place] = byu(motors, found, rule.distances[name] / reference.units())
    several = np.argwhere(truths > 1)
    if not len(several):
        return counts, None
    run, place = several[0]
    return counts, (
        f"run {reference.runs[run]} holds {truths[run, place]:g} {reference.objects[place]} "
        f"({len(several)} such runs): the challenge's rule knows one or none"
    )


def _last(table: PointTable, key: Floats) -> Integers:
    """(R, K) the row of the largest key, the first of equals, of each run and object; -1 where there is none."""
    order = np.lexsort((-np.arange(len(table)), key))
    rows = np.full((len(table.runs), len(table.objects)), -1)
    rows[table.run[order], table.object[order]] = order
    return rows
