"""Percentile intervals by resampling runs: picks of one tomogram aren't independent, tomograms are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from copick_tools.types import Floats


def interval(
    by_run: Floats, statistic: Callable[[Floats], Floats], *, samples: int = 2000, level: float = 0.95, seed: int = 0
) -> Floats | None:
    """Bootstrap interval of ``statistic`` over runs.

    by_run: (R, ...) additive counts of each run.
    statistic: maps summed counts, (samples, ...), to values, (samples, ...).

    Returns (2, ...) lower and upper bound, NaN where some resample left the value undefined everywhere; None for
    fewer than two runs.

    >>> import numpy as np
    >>> interval(np.array([[1.0], [1.0], [1.0]]), lambda total: total / 3)
    array([[1.],
           [1.]])
    """
    runs = len(by_run)
    if runs < 2:
        return None
    draws = np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), size=samples)
    totals = np.tensordot(draws.astype(float), np.asarray(by_run, dtype=float), axes=1)
    values = np.asarray(statistic(totals), dtype=float)
    tail = 100 * (1 - level) / 2
    undefined = np.isnan(values).all(axis=0)
    bounds = np.nanpercentile(np.where(undefined, 0.0, values), [tail, 100 - tail], axis=0)
    return np.where(undefined, np.nan, bounds)
