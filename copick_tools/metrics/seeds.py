"""Several trainings of one recipe: the interval of their mean, and which recipes the seeds tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from copick_tools.metrics.bootstrap import interval
from copick_tools.metrics.points import PointScores
from copick_tools.metrics.semantic import aggregated, sums
from copick_tools.types import Floats

ENOUGH = 3  # seeds of each; then complete separation has a chance of 1 in 20 by luck


def mean_points_interval(seeds: Sequence[PointScores]) -> Floats | None:
    """seeds: scores of the same runs and objects. Returns (2,) bootstrap bounds over runs of the mean over seeds.

    A resample takes the same runs of every seed. None below five runs.
    """
    counts = np.stack([scores.counts for scores in seeds], axis=1)  # (R, S, K, 3)
    return interval(counts, lambda totals: seeds[0].aggregated(totals).mean(axis=-1))


def mean_dice_interval(seeds: Sequence[Floats]) -> Floats | None:
    """seeds: (R, K) of run and object each, NaN where undefined. As `mean_points_interval`."""
    by_run = np.stack([sums(values) for values in seeds], axis=1)
    return interval(by_run, lambda totals: aggregated(totals).mean(axis=-1))


def ranks(scores: Sequence[Sequence[float]]) -> list[int | None]:
    """scores: of each recipe by seed. Rank 1, and one more for every recipe whose worst seed beats one's best.

    None for recipes with fewer than three seeds, which neither have nor give a rank: of two recipes that are equally
    good the one has its three seeds above all of the other's with a chance of 1 in 20.

    >>> ranks([[0.5, 0.6, 0.7], [0.55, 0.6, 0.65], [0.1, 0.2, 0.3], [0.9]])
    [1, 1, 3, None]
    """
    able = [values for values in scores if len(values) >= ENOUGH]
    return [1 + sum(min(other) > max(values) for other in able) if len(values) >= ENOUGH else None for values in scores]
