"""What pick scores are worth: precision-recall curve and average precision, reliability and calibration error.

All of them ask of each pick whether it is true, one-to-one, when picks are taken by falling score
(`copick_tools.metrics.augment.credited`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.metrics.augment import credited
from copick_tools.metrics.bootstrap import FEWEST, interval
from copick_tools.metrics.points import find_reach
from copick_tools.metrics.reach import Reach
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.types import Floats, Integers, Mask

THRESHOLDS = 256  # of a resampled curve
BINS = 10


@dataclass(frozen=True)
class ScoredPicks:
    """Picks of one object in all runs. scores, true, run: (M,). references: (R,) reference points of each run.

    Raises ValueError for a score that isn't finite.
    """

    scores: Floats
    true: Mask
    run: Integers
    references: Integers

    def __post_init__(self) -> None:
        if not np.isfinite(self.scores).all():
            raise ValueError("Expected finite scores")


def scored_picks(reference: PointTable, prediction: PointTable, rule: PointRule, name: str) -> ScoredPicks:
    """The picks of object ``name``, and which of them are true.

    >>> import numpy as np
    >>> from copick_tools.types import Points
    >>> truth = {"TS_1": {"ribosome": Points.at([[0, 0, 0]])}}
    >>> guess = {"TS_1": {"ribosome": Points.at([[20, 0, 0], [30, 0, 0]], [0.4, 0.9])}}
    >>> tables = [PointTable.of(picks, ("TS_1",), ("ribosome",)) for picks in (truth, guess)]
    >>> rule = PointRule("one-to-one", 1.0, {"ribosome": 75.0}, {"ribosome": 1.0})
    >>> scored_picks(*tables, rule, "ribosome").true
    array([False,  True])
    """
    return of_object(
        reference, prediction, true_picks(reference, prediction, find_reach(reference, prediction, rule)), name
    )


def true_picks(reference: PointTable, prediction: PointTable, reach: Reach) -> Mask:
    """(N,) which picks are true, by falling score."""
    order = np.argsort(-prediction.scores, kind="stable")
    return credited(reach, len(reference), len(prediction), order)


def of_object(reference: PointTable, prediction: PointTable, true: Mask, name: str) -> ScoredPicks:
    """The picks of object ``name``. true: (N,) of all picks."""
    place = reference.objects.index(name)
    rows = prediction.object == place
    references = reference.counts()[:, place].astype(int)
    return ScoredPicks(prediction.scores[rows], true[rows], prediction.run[rows], references)


def precision_recall_curve(picks: ScoredPicks) -> tuple[Floats, Floats, Floats]:
    """Thresholds, by falling score, and the precision and recall of the picks that reach them: (T,) each.

    >>> import numpy as np
    >>> picks = ScoredPicks(np.array([0.9, 0.5]), np.array([True, False]), np.zeros(2, int), np.array([2]))
    >>> precision_recall_curve(picks)
    (array([0.9, 0.5]), array([1. , 0.5]), array([0.5, 0.5]))
    """
    order = np.argsort(-picks.scores, kind="stable")
    scores = picks.scores[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, int)
    tp = np.cumsum(picks.true[order])[last]
    total = picks.references.sum()
    recall = tp / total if total else np.full(len(last), np.nan)
    return scores[last], tp / (last + 1), recall


def average_precision(precision: Floats, recall: Floats) -> float:
    """Area under the steps of a curve: sum of (gain of recall) x precision, without interpolation.

    precision, recall: (T,) by falling threshold.

    >>> import numpy as np
    >>> average_precision(np.array([1.0, 0.5]), np.array([0.5, 1.0]))
    0.75
    """
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def average_precision_interval(picks: ScoredPicks) -> Floats | None:
    """(2,) bootstrap interval over runs; None where fewer than five runs have any of it, or nothing is true.

    Recall grows at true picks alone, so their scores are the thresholds; of more than `THRESHOLDS` a part, with the
    precision between two of them taken for the mean of both.
    """
    runs = len(picks.references)
    if (picks.references + np.bincount(picks.run, minlength=runs) > 0).sum() < FEWEST or not picks.true.any():
        return None
    levels = np.unique(picks.scores[picks.true])
    exact = len(levels) <= THRESHOLDS
    if not exact:
        levels = levels[np.linspace(0, len(levels) - 1, THRESHOLDS).round().astype(int)]
    levels = levels[::-1]
    place = np.searchsorted(-levels, -picks.scores)  # the highest level that the score reaches
    reaching = place < len(levels)
    shape = runs, len(levels)
    cells = (picks.run * shape[1] + place)[reaching]
    tp, all_ = (
        np.bincount(cells, weights, runs * shape[1]).reshape(shape).cumsum(axis=1)
        for weights in (picks.true[reaching], None)
    )

    def statistic(totals: Floats) -> Floats:
        found, taken, references = totals[:, : shape[1]], totals[:, shape[1] : -1], totals[:, -1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(taken > 0, found / taken, 1.0)
            recall = found / references
        if not exact:
            precision[:, 1:] = (precision[:, 1:] + precision[:, :-1]) / 2
        return np.asarray((np.diff(recall, prepend=0.0, axis=1) * precision).sum(axis=1))

    return interval(np.column_stack([tp, all_, picks.references]), statistic)


def reliability(picks: ScoredPicks) -> Floats:
    """(R, `BINS`, 3) picks, sum of scores and true picks of each run in equal bins of score; a score of 0.1 is in the first.

    scores lie in [0, 1]. Raises ValueError otherwise.

    >>> import numpy as np
    >>> picks = ScoredPicks(np.array([0.05, 1.0]), np.array([False, True]), np.zeros(2, int), np.array([2]))
    >>> reliability(picks)[0, [0, 9]].tolist()
    [[1.0, 0.05, 0.0], [1.0, 1.0, 1.0]]
    """
    if ((picks.scores < 0) | (picks.scores > 1)).any():
        raise ValueError("Expected scores in [0, 1]")
    runs = len(picks.references)
    bins = np.searchsorted(np.arange(1, BINS) / BINS, picks.scores)
    cells = picks.run * BINS + bins
    parts = [np.bincount(cells, weights, runs * BINS) for weights in (None, picks.scores, picks.true)]
    return np.stack(parts, axis=-1).reshape(runs, BINS, 3).astype(float)


def calibration_error(bins: Floats) -> Floats:
    """Expected calibration error: mean distance of score and precision over the bins, weighted by their picks.

    bins: (..., B, 3) summed over runs. NaN without picks. Source: Guo et al., ICML 2017.

    >>> import numpy as np
    >>> calibration_error(np.array([[4.0, 2.0, 1.0]]))
    np.float64(0.25)
    """
    picks, scores, true = np.moveaxis(np.asarray(bins, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs(true - scores).sum(axis=-1) / picks.sum(axis=-1))[()]
