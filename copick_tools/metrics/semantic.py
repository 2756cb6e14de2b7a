"""Scores of segmentations over runs: per object the mean over runs, over objects their mean (POPSICLE 5.2 and B.7).

Dice and its relatives of a run are numbers of that run; runs are averaged, not pooled, and resampled for intervals.
"""

from __future__ import annotations

import numpy as np

from copick_tools.metrics.bootstrap import FEWEST, PairedDifference, Statistic, interval, paired
from copick_tools.metrics.fbeta import aggregate
from copick_tools.types import Floats, Integers


def object_means(values: Floats) -> Floats:
    """values: (R, K) of run and object, NaN where undefined. Returns (K,) means over runs, NaN where never defined.

    >>> import numpy as np
    >>> object_means(np.array([[1.0, np.nan], [0.5, np.nan]]))
    array([0.75,  nan])
    """
    return _means(sums(values).sum(axis=0))


def object_deviations(values: Floats) -> Floats:
    """values: (R, K) of run and object, NaN where undefined. Returns (K,) standard deviations of the population.

    The paper doesn't say which deviation it means. In three rows of its Table 2 (mitochondria) it equals the mean, 0.46
    and 0.46: the population's deviation of a run at 0 and one at twice the mean, so that is what we take.

    >>> import numpy as np
    >>> object_deviations(np.array([[0.0], [0.92], [np.nan]]))
    array([0.46])
    """
    return np.sqrt(object_means((values - object_means(values)) ** 2))


def mean_score(values: Floats) -> float:
    """values: (R, K) of run and object. Returns the mean over objects of their means over runs, NaN where undefined.

    >>> import numpy as np
    >>> mean_score(np.array([[1.0, 0.0], [0.5, np.nan]]))
    0.375
    """
    return float(aggregated(sums(values).sum(axis=0)))


def mean_intervals(values: Floats) -> Floats | None:
    """values: (R, K). Returns (2, K) bootstrap bounds of `object_means`; NaN for objects in fewer than five runs."""
    bounds = interval(sums(values), _means)
    return None if bounds is None else np.where(_defined(values) < FEWEST, np.nan, bounds)


def score_interval(values: Floats) -> Floats | None:
    """values: (R, K). Returns (2,) bootstrap bounds of `mean_score`; an object that a resample lacks is left out of it."""
    return interval(sums(values), aggregated)


def paired_means(values: Floats, baseline: Floats) -> PairedDifference | None:
    """values, baseline: (R, K) of the same runs and objects. Returns the differences of `object_means`, each (K,).

    Bounds and p are NaN for objects in fewer than five runs.
    """
    found = _paired(values, baseline, _means)
    if found is None:
        return None
    few = np.minimum(_defined(values), _defined(baseline)) < FEWEST
    low, high, p = (np.where(few, np.nan, number) for number in (found.low, found.high, found.p))
    return PairedDifference(found.difference, low, high, p)


def paired_score(values: Floats, baseline: Floats) -> PairedDifference | None:
    """values, baseline: (R, K) of the same runs and objects. Returns the difference of `mean_score`."""
    return _paired(values, baseline, aggregated)


def _paired(values: Floats, baseline: Floats, statistic: Statistic) -> PairedDifference | None:
    if np.shape(values) != np.shape(baseline):
        raise ValueError(f"values {np.shape(values)} and baseline {np.shape(baseline)} differ in shape")
    return paired(sums(values), sums(baseline), statistic)


def sums(values: Floats) -> Floats:
    """(R, K, 2): the value, or 0 where there is none, and whether there is one. Additive over runs."""
    return np.stack([np.nan_to_num(values), ~np.isnan(values)], axis=-1).astype(float)


def _defined(values: Floats) -> Integers:
    return np.asarray((~np.isnan(values)).sum(axis=0))


def _means(total: Floats) -> Floats:
    """total: (..., K, 2). Returns (..., K), NaN where no run has a value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total[..., 1] > 0, total[..., 0] / total[..., 1], np.nan))


def aggregated(total: Floats) -> Floats:
    """total: (..., K, 2) from `sums`, added up over runs. Returns (...): the mean over objects."""
    return aggregate(_means(total), np.ones(total.shape[-2]), present_only=True)
