"""Bootstrap over runs: picks and voxels of one tomogram aren't independent, tomograms are (a cluster bootstrap).

Percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993) of statistics of per-run sums, and
the paired comparison of two predictions on the same runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from copick_tools.types import Floats

SAMPLES = 2000
FEWEST = 5  # runs; below that there is no interval
FEW = 20  # runs; below that an interval deserves a warning

Statistic = Callable[[Floats], Floats]
"""Maps sums over runs, (samples, ...), to values, (samples, ...)."""


@dataclass(frozen=True)
class PairedDifference:
    """low, high: the interval. p: two-sided. All have the shape of the statistic, NaN where undefined."""

    difference: Floats
    low: Floats
    high: Floats
    p: Floats


@functools.lru_cache(maxsize=2)
def resample(runs: int, samples: int = SAMPLES, seed: int = 0) -> Floats:
    """(samples, runs): how often each run is drawn, with replacement. Read-only, for it is kept."""
    drawn = np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), size=samples).astype(float)
    drawn.flags.writeable = False
    return drawn


def interval(by_run: Floats, statistic: Statistic, *, level: float = 0.95, seed: int = 0) -> Floats | None:
    """Bootstrap interval of ``statistic`` over runs.

    by_run: (R, ...) additive counts of each run.

    Returns (2, ...) lower and upper bound, NaN where every resample leaves the value undefined; None below five runs.

    >>> import numpy as np
    >>> interval(np.ones((5, 1)), lambda total: total / 5)
    array([[1.],
           [1.]])
    >>> interval(np.ones((4, 1)), lambda total: total / 4) is None
    True
    """
    if len(by_run) < FEWEST:
        return None
    return _bounds(_values(resample(len(by_run), seed=seed), by_run, statistic), level)


def paired(
    by_run: Floats, baseline: Floats, statistic: Statistic, *, level: float = 0.95, seed: int = 0
) -> PairedDifference | None:
    """Difference of ``statistic`` between two predictions on the same runs, resampled together.

    by_run, baseline: (R, ...) additive counts of each run.

    p is (k + 1) / (B + 1) with k the resamples whose difference lies at least as far from the observed one as that
    lies from 0 (two-sided; Berg-Kirkpatrick et al., EMNLP 2012). None below five runs.

    >>> import numpy as np
    >>> better, worse = np.full((6, 1), 0.9), np.full((6, 1), 0.6)
    >>> found = paired(better, worse, lambda total: total / 6)
    >>> found.difference.round(3), found.p.round(4)
    (array([0.3]), array([0.0005]))
    """
    if len(by_run) != len(baseline):
        raise ValueError(f"Expected the same runs on both sides, but got {len(by_run)} and {len(baseline)}")
    if len(by_run) < FEWEST:
        return None
    counts = resample(len(by_run), seed=seed)
    resampled = _values(counts, by_run, statistic) - _values(counts, baseline, statistic)
    whole = np.ones((1, len(by_run)))
    observed = (_values(whole, by_run, statistic) - _values(whole, baseline, statistic))[0]
    defined = ~np.isnan(resampled)
    rounding = 1e-12
    extreme = (defined & (np.abs(resampled - observed) >= np.abs(observed) - rounding)).sum(axis=0)
    p = np.where(np.isnan(observed), np.nan, (extreme + 1) / (defined.sum(axis=0) + 1))
    low, high = _bounds(resampled, level)
    return PairedDifference(observed, low, high, p)


def _values(counts: Floats, by_run: Floats, statistic: Statistic) -> Floats:
    return np.asarray(statistic(np.tensordot(counts, np.asarray(by_run, dtype=float), axes=1)), dtype=float)


def _bounds(values: Floats, level: float) -> Floats:
    tail = 100 * (1 - level) / 2
    undefined = np.isnan(values).all(axis=0)
    bounds = np.nanpercentile(np.where(undefined, 0.0, values), [tail, 100 - tail], axis=0)
    return np.asarray(np.where(undefined, np.nan, bounds))
