"""Several seeds: intervals against a plain bootstrap, and rankings that three seeds carry."""

import numpy as np
import pytest

from copick_tools.metrics.bootstrap import resample
from copick_tools.metrics.points import PointScores
from copick_tools.metrics.seeds import mean_dice_interval, mean_points_interval, ranks
from copick_tools.metrics.semantic import mean_score, score_interval
from copick_tools.metrics.table import PointRule

RULE = PointRule("one-to-one", 4.0, {"a": 10.0, "b": 10.0}, {"a": 1.0, "b": 2.0})
RUNS = tuple(f"TS_{number}" for number in range(7))


def made(seed):
    counts = np.random.default_rng(seed).integers(1, 20, (len(RUNS), 2, 3)).astype(float)
    return PointScores(RULE, RUNS, ("a", "b"), counts)


def test_interval_of_points_resamples_all_seeds_together():
    seeds = [made(0), made(1), made(2)]
    low, high = mean_points_interval(seeds)
    drawn = resample(len(RUNS)).astype(int)
    means = []
    for times in drawn:
        rows = np.repeat(np.arange(len(RUNS)), times)
        means.append(np.mean([PointScores(RULE, RUNS, ("a", "b"), s.counts[rows]).score() for s in seeds]))
    assert np.percentile(means, [2.5, 97.5]) == pytest.approx([low, high])


def test_one_seed_has_the_usual_interval():
    assert mean_points_interval([made(0)]) == pytest.approx(made(0).score_interval())
    values = np.random.default_rng(0).random((6, 3))
    assert mean_dice_interval([values]) == pytest.approx(score_interval(values))


def test_interval_of_dice():
    rng = np.random.default_rng(1)
    seeds = [np.where(rng.random((8, 2)) < 0.2, np.nan, rng.random((8, 2))) for _ in range(3)]
    low, high = mean_dice_interval(seeds)
    means = [
        np.mean([mean_score(values[np.repeat(np.arange(8), times)]) for values in seeds])
        for times in resample(8).astype(int)
    ]
    assert np.nanpercentile(means, [2.5, 97.5]) == pytest.approx([low, high], abs=0.01)


def test_too_few_runs_have_none():
    few = PointScores(RULE, RUNS[:4], ("a", "b"), made(0).counts[:4])
    assert mean_points_interval([few]) is None
    assert mean_dice_interval([np.ones((4, 1))]) is None


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([], []),
        ([[0.1, 0.2, 0.3]], [1]),
        ([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [2, 1]),
        ([[0.1, 0.2, 0.4], [0.4, 0.5, 0.6]], [1, 1]),
        ([[0.1, 0.2], [0.4, 0.5, 0.6], []], [None, 1, None]),
        ([[0.9], [0.1, 0.1, 0.1]], [None, 1]),
    ],
)
def test_ranks_need_three_seeds_apart(scores, wanted):
    assert ranks(scores) == wanted
