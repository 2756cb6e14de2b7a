"""Methods over several data sets: average rank, and change relative to a reference (Archit et al. 2025, figures 1 and 3)."""

from __future__ import annotations

import numpy as np

from copick_tools.types import Floats, Integers


def dataset_ranks(scores: Floats) -> Floats:
    """Ranks (M, D) of M methods on each of D data sets: 1 is the highest score; equal ones share the mean of their ranks.

    scores: (M, D), NaN where a method has no score: it isn't ranked there, and the others are ranked among themselves.

    >>> dataset_ranks(np.array([[0.9, 0.2], [0.9, np.nan], [0.1, 0.3]])).tolist()
    [[1.5, 2.0], [1.5, nan], [3.0, 1.0]]
    """
    _require_finite(scores)
    better = (scores[None] > scores[:, None]).sum(axis=1)
    equal = (scores[None] == scores[:, None]).sum(axis=1)
    return np.where(np.isnan(scores), np.nan, better + (equal + 1) / 2)


def average_ranks(scores: Floats) -> tuple[Floats, Integers]:
    """Mean rank (M,) of each method over the data sets that it has, NaN for none, and how many these are (M,).

    Ranks among few methods are small, so mean ranks compare only where the data sets are the same.

    >>> ranks, counts = average_ranks(np.array([[0.9, 0.2], [0.5, 0.4], [0.1, np.nan]]))
    >>> ranks.tolist(), counts.tolist()
    ([1.5, 1.5, 3.0], [2, 2, 1])
    """
    ranks = dataset_ranks(scores)
    counts = np.isfinite(ranks).sum(axis=1)
    total = np.where(np.isfinite(ranks), ranks, 0.0).sum(axis=1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan), counts


def relative_changes(scores: Floats, reference: int) -> tuple[Floats, Floats]:
    """Percent (M, D) by which each score differs from that of method number ``reference``, and their means (M,).

    scores: (M, D), NaN where there is none. NaN where one of both has none, or the reference's isn't above 0; the mean is over
    the data sets where it is defined, NaN for none.

    >>> relative_changes(np.array([[0.5, 0.2, 0.0], [0.6, 0.1, 0.3]]), 0)[0].round(6).tolist()
    [[0.0, 0.0, nan], [20.0, -50.0, nan]]
    """
    _require_finite(scores)
    base = np.where(scores[reference] > 0, scores[reference], np.nan)
    changes = 100 * (scores - base) / base
    known = np.isfinite(changes)
    counts, total = known.sum(axis=1), np.where(known, changes, 0.0).sum(axis=1)
    return changes, np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _require_finite(scores: Floats) -> None:
    if scores.ndim != 2 or np.isinf(scores).any():
        raise ValueError("scores are (methods, data sets), finite or NaN")
