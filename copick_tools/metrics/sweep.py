"""What an object's candidates are worth at every score threshold, and which threshold is best.

POPSICLE (B.7) fixes thresholds on validation runs; these are the counts that they are chosen from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.metrics.augment import credited
from copick_tools.metrics.fbeta import fbeta
from copick_tools.metrics.points import find_reach
from copick_tools.metrics.reach import Reach
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.types import Floats, Integers, Mask

LEVELS = 200  # thresholds that are tried, at most
NEARLY = 0.002  # thresholds whose F-beta is this close to the best are as good: the middle one is taken


@dataclass(frozen=True)
class Candidates:
    """Candidates of one object in all runs, and what they are held against, both tables of that one object.

    volumes: (N,) of the candidates, as fractions of a whole particle.
    """

    reference: PointTable
    prediction: PointTable
    volumes: Floats
    rule: PointRule
    reach: Reach

    @classmethod
    def of(cls, reference: PointTable, prediction: PointTable, volumes: Floats, rule: PointRule) -> Candidates:
        """Raises ValueError as `points.find_reach`."""
        return cls(reference, prediction, volumes, rule, find_reach(reference, prediction, rule))

    def within(self, low: float, high: float) -> Mask:
        """(N,) candidates of a volume in [low, high]."""
        return np.asarray((self.volumes >= low) & (self.volumes <= high))

    def levels(self) -> Floats:
        """(T,) rising thresholds to try: scores that occur, the last above all."""
        scores = np.unique(self.prediction.scores)
        if len(scores) > LEVELS:
            scores = scores[np.linspace(0, len(scores) - 1, LEVELS).round().astype(int)]
        return np.append(scores, np.inf)


def sweep(candidates: Candidates, kept: Mask, levels: Floats, folds: Integers) -> Floats:
    """(F, T, 3) tp, fp and fn of the ``kept`` candidates whose score reaches each of ``levels`` (T,), in each fold.

    kept: (N,). folds: (R,) the fold of each run, from 0.

    >>> from copick_tools.types import Points
    >>> truth = {"TS_1": {"ribosome": Points.at([[0, 0, 0]])}}
    >>> guess = {"TS_1": {"ribosome": Points.at([[20, 0, 0], [900, 0, 0]], [0.9, 0.4])}}
    >>> tables = [PointTable.of(picks, ("TS_1",), ("ribosome",)) for picks in (truth, guess)]
    >>> found = Candidates.of(*tables, np.ones(2), PointRule("czii", 4.0, {"ribosome": 75.0}, {"ribosome": 1.0}))
    >>> sweep(found, np.ones(2, bool), np.array([0.4, 0.9, np.inf]), np.zeros(1, int))[0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if candidates.rule.rule == "byu":
        return _motors(candidates, kept, levels, folds)
    reference, prediction = candidates.reference, candidates.prediction
    place = np.searchsorted(levels, prediction.scores, side="right") - 1  # the highest level that it reaches
    near = kept[candidates.reach.prediction]
    found = candidates.reach
    pairs = Reach(found.reference[near], found.prediction[near], found.squared[near])
    if candidates.rule.rule == "czii":
        best = np.full(len(reference), -1)
        np.maximum.at(best, pairs.reference, place[pairs.prediction])
        hit = best >= 0
        tp = _reaching(folds[reference.run[hit]], best[hit], folds, levels)
    else:
        order = np.flatnonzero(kept)[np.argsort(-prediction.scores[kept], kind="stable")]
        true = credited(pairs, len(reference), len(prediction), order)
        tp = _reaching(folds[prediction.run[true]], place[true], folds, levels)
    taken = _reaching(folds[prediction.run[kept]], place[kept], folds, levels)
    truths = np.bincount(folds[reference.run], minlength=folds.max() + 1)[:, None]
    return np.stack([tp, taken - tp, truths - tp], axis=-1)


def _reaching(fold: Integers, place: Integers, folds: Integers, levels: Floats) -> Floats:
    """(F, T) how many reach each level. fold, place: of each, place the highest level that it reaches, or -1."""
    shape = int(folds.max()) + 1, len(levels)
    counted = place >= 0
    cells = np.bincount(fold[counted] * shape[1] + place[counted], minlength=shape[0] * shape[1]).reshape(shape)
    return np.asarray(cells[:, ::-1].cumsum(axis=1)[:, ::-1], dtype=float)


def _motors(candidates: Candidates, kept: Mask, levels: Floats, folds: Integers) -> Floats:
    """Of a tomogram the best candidate counts (`metrics.byu`); one that misses the motor is a miss, no false positive."""
    reference, prediction = candidates.reference, candidates.prediction
    runs = len(prediction.runs)
    motor = np.bincount(reference.run, minlength=runs) > 0
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((-rows, prediction.scores[rows]))]
    best = np.full(runs, -1)
    best[prediction.run[rows]] = rows  # the last written is the best, the first of equals
    hits = np.zeros(len(prediction) + 1, bool)
    hits[candidates.reach.prediction] = True
    score = np.where(best >= 0, np.append(prediction.scores, 0)[best], -np.inf)
    said = score[:, None] >= levels
    tp = said & (motor & (best >= 0) & hits[best])[:, None]
    fp = said & ~motor[:, None]
    fn = motor[:, None] & ~tp
    counts = np.stack([tp, fp, fn], axis=-1).astype(float)
    total = np.zeros((int(folds.max()) + 1, *counts.shape[1:]))
    np.add.at(total, folds, counts)
    return total


def best_level(counts: Floats, beta: float) -> tuple[int, float]:
    """Which of the thresholds is best, and its F-beta. counts: (T, 3) by rising threshold.

    The middle of the thresholds around the best one that are as good but for `NEARLY`: it isn't the luck of one candidate.

    >>> best_level(np.array([[2.0, 9, 0], [2, 1, 0], [2, 1, 0], [2, 1, 0], [0, 0, 2]]), beta=1.0)
    (2, 0.8)
    """
    scores = np.nan_to_num(fbeta(counts, beta))
    top = int(scores.argmax())
    good = (scores >= scores[top] - NEARLY) & (scores > 0)
    if not good[top]:
        return top, 0.0
    low = top - int(np.argmin(good[top::-1])) + 1 if not good[: top + 1].all() else 0
    high = top + int(np.argmin(good[top:])) - 1 if not good[top:].all() else len(scores) - 1
    middle = (low + high) // 2
    return middle, float(scores[middle])
