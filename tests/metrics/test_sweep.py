"""Thresholds are chosen from exact counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.metrics.choose import choose, fold_of_runs
from copick_tools.metrics.points import score_points
from copick_tools.metrics.sweep import Candidates, best_level, sweep
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.types import Points

RUNS = ("TS_1", "TS_2", "TS_3")


def tables(seed, most=12):
    """Crowded truths and guesses, so that the rules differ."""
    rng = np.random.default_rng(seed)

    def side():
        counts = rng.integers(0, most, len(RUNS))
        return {
            run: {"bead": Points.at(rng.random((n, 3)) * 60, rng.random(n).round(1))} for run, n in zip(RUNS, counts)
        }

    return [PointTable.of(side(), RUNS, ("bead",)) for _ in range(2)]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(["one-to-one", "czii"]))
def test_counts_at_each_level_are_those_of_scoring_the_picks_that_reach_it(seed, rule):
    reference, prediction = tables(seed)
    rng = np.random.default_rng(seed)
    rules = PointRule(rule, 2.0, {"bead": 25.0}, {"bead": 1.0})
    found = Candidates.of(reference, prediction, rng.random(len(prediction)), rules)
    kept, levels = found.within(0.2, 0.9), found.levels()
    counts = sweep(found, kept, levels, np.arange(3))
    for place, level in enumerate(levels):
        taken = prediction.take(kept & (prediction.scores >= level))
        np.testing.assert_array_equal(counts[:, place], score_points(reference, taken, rules).counts[:, 0])


@pytest.mark.parametrize("seed", range(30))
def test_motors_count_as_the_challenge_counts_them(seed):
    rng = np.random.default_rng(seed)
    truth = {run: {"motor": Points.at(rng.random((rng.integers(0, 2), 3)))} for run in RUNS}
    guess = {
        run: {"motor": Points.at(rng.random((n, 3)), rng.random(n))} for run, n in zip(RUNS, rng.integers(0, 4, 3))
    }
    reference, prediction = (PointTable.of(side, RUNS, ("motor",)) for side in (truth, guess))
    rules = PointRule("byu", 2.0, {"motor": 0.5}, {"motor": 1.0})
    found = Candidates.of(reference, prediction, np.ones(len(prediction)), rules)
    levels = found.levels()
    counts = sweep(found, np.ones(len(prediction), bool), levels, np.arange(3))
    for place, level in enumerate(levels):
        taken = prediction.take(prediction.scores >= level)
        np.testing.assert_array_equal(counts[:, place], score_points(reference, taken, rules).counts[:, 0])


def test_the_middle_of_equally_good_thresholds_is_taken():
    counts = np.array([[2.0, 4, 0], [2, 0, 0], [2, 0, 0], [2, 0, 0], [1, 0, 1]])
    assert best_level(counts, 1.0) == (2, 1.0)
    assert best_level(counts[1:4], 1.0)[0] == 1
    assert best_level(counts[:1], 4.0)[0] == 0


def test_what_is_held_out_takes_no_part():
    """In the last run alone low scores are true; the choice without it takes high ones only."""
    truth = {run: {"bead": Points.at([[0, 0, 0]])} for run in RUNS}
    guess = {run: {"bead": Points.at([[0, 0, 0], [500, 0, 0]], [0.9, 0.2])} for run in RUNS[:2]}
    guess[RUNS[2]] = {"bead": Points.at([[0, 0, 0]], [0.1])}
    rules = PointRule("one-to-one", 1.0, {"bead": 10.0}, {"bead": 1.0})
    reference, prediction = (PointTable.of(side, RUNS, ("bead",)) for side in (truth, guess))
    found = Candidates.of(reference, prediction, np.ones(len(prediction)), rules)
    chosen = choose([found], fold_of_runs(3), beta=1.0)
    assert chosen.without[2].level > 0.2
    assert chosen.without[2].taken([found]).sum() == 2
    assert chosen.without[2].fbeta == 1.0


def test_the_better_way_is_chosen_and_the_first_of_equals():
    truth = {"TS_1": {"bead": Points.at([[0, 0, 0], [100, 0, 0]])}}
    reference = PointTable.of(truth, ("TS_1",), ("bead",))
    rules = PointRule("one-to-one", 1.0, {"bead": 10.0}, {"bead": 1.0})

    def way(*x):
        table = PointTable.of({"TS_1": {"bead": Points.at([[v, 0, 0] for v in x])}}, ("TS_1",), ("bead",))
        return Candidates.of(reference, table, np.ones(len(x)), rules)

    folds = np.zeros(1, int)
    assert choose([way(0), way(0, 100), way(0, 100)], folds, 1.0).all.way == 1
    assert choose([way(0), way(100)], folds, 1.0).all.way == 0
    assert choose([way(50), way()], folds, 1.0).all is None
    assert choose([way(0)], folds, 1.0).without == ()


def test_volume_bounds_are_chosen_where_they_help():
    truth = {"TS_1": {"bead": Points.at([[0, 0, 0]])}}
    guess = {"TS_1": {"bead": Points.at([[0, 0, 0], [300, 0, 0], [600, 0, 0]], [0.5, 0.8, 0.9])}}
    reference, prediction = (PointTable.of(side, ("TS_1",), ("bead",)) for side in (truth, guess))
    rules = PointRule("one-to-one", 1.0, {"bead": 10.0}, {"bead": 1.0})
    found = Candidates.of(reference, prediction, np.array([1.0, 0.01, 40.0]), rules)
    best = choose([found], np.zeros(1, int), 1.0).all
    assert best.fbeta == 1.0
    assert 0.01 < best.low <= 1.0 <= best.high < 40.0
