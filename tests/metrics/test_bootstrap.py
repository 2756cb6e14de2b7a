"""Intervals and p values against drawing runs one by one."""

import numpy as np
import pytest
from metrics import oracle

from copick_tools.metrics.bootstrap import FEWEST, SAMPLES, interval, paired, resample
from copick_tools.metrics.fbeta import fbeta
from copick_tools.metrics.points import PointScores
from copick_tools.metrics.table import PointRule

WEIGHTS = {"a": 1.0, "b": 2.0}
RULE = PointRule("one-to-one", 4, {"a": 10, "b": 10}, WEIGHTS)
RUNS = 9


def random_scores(seed=0, runs=RUNS, share=0.7):
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 12, (runs, 2))
    tp = rng.binomial(truths, share)
    counts = np.stack([tp, rng.poisson(2, (runs, 2)), truths - tp], axis=-1).astype(float)
    return PointScores(RULE, tuple(f"r{k}" for k in range(runs)), ("a", "b"), counts)


def score_of(chosen):
    """The aggregate of a list of runs' counts (2, 3), each as often as it is listed."""
    totals = {name: tuple(sum(counts[k][c] for counts in chosen) for c in range(3)) for k, name in enumerate("ab")}
    return oracle.aggregate(totals, WEIGHTS, 4, "skip")


def test_draws():
    draws = resample(RUNS)
    assert draws.shape == (SAMPLES, RUNS)
    assert (draws.sum(axis=1) == RUNS).all()
    assert draws.mean(axis=0) == pytest.approx(1, abs=0.1)
    assert draws.var(axis=0) == pytest.approx(1 - 1 / RUNS, abs=0.15)
    assert (resample(RUNS) == np.random.default_rng(0).multinomial(RUNS, np.full(RUNS, 1 / RUNS), SAMPLES)).all()


def test_the_interval_is_that_of_resampled_runs():
    scores = random_scores()
    wanted = oracle.percentile_interval(oracle.bootstrap(scores.counts.tolist(), score_of, resample(RUNS)))
    assert scores.score_interval() == pytest.approx(wanted)
    assert scores.score_interval()[0] < scores.score() < scores.score_interval()[1]
    numbers = scores.number_intervals()
    assert numbers.shape == (2, 2, 6)  # tp, fp, fn, precision, recall, F
    for k in range(2):
        drawn = oracle.bootstrap(
            scores.counts.tolist(),
            lambda chosen, k=k: oracle.fbeta(*(sum(c[k][n] for c in chosen) for n in range(3)), 4),
            resample(RUNS),
        )
        assert numbers[:, k, 5] == pytest.approx(oracle.percentile_interval(drawn))
        missed = oracle.bootstrap(
            scores.counts.tolist(), lambda chosen, k=k: sum(c[k][2] for c in chosen), resample(RUNS)
        )
        assert numbers[:, k, 2] == pytest.approx(oracle.percentile_interval(missed))


def test_runs_are_the_unit_not_picks():
    """A hundred copies of a pick in each run don't narrow the interval."""
    scores = random_scores()
    many = PointScores(RULE, scores.runs, scores.objects, scores.counts * 100)
    assert many.score_interval() == pytest.approx(scores.score_interval())


@pytest.mark.parametrize("runs", [0, 1, 4])
def test_none_below_five_runs(runs):
    scores = random_scores(runs=runs)
    assert runs < FEWEST
    assert scores.score_interval() is None
    assert scores.number_intervals() is None
    assert scores.against(scores) is None


def test_values_that_no_resample_defines_are_nan():
    bounds = interval(np.array([[1.0, 0.0]] * 6), lambda total: np.where(total == 0, np.nan, total / 6))
    assert bounds[:, 0].tolist() == [1, 1]
    assert np.isnan(bounds[:, 1]).all()


def test_an_object_of_one_run_is_left_out_where_that_run_is_not_drawn():
    counts = np.zeros((6, 1, 3))
    counts[0, 0] = [3, 1, 0]
    scores = PointScores(RULE, tuple("abcdef"), ("a",), counts)
    assert scores.score_interval() == pytest.approx([scores.score()] * 2)
    assert scores.runs_with().tolist() == [1]
    assert np.isnan(scores.number_intervals()).all()
    score, objects = scores.against(scores)
    assert score.p == 1
    assert np.isnan(objects.p).all()


def test_paired_differences():
    ours, theirs = random_scores(1, share=0.8), random_scores(1, share=0.4)
    score, objects = ours.against(theirs)
    assert score.difference == pytest.approx(ours.score() - theirs.score())
    pairs = list(zip(ours.counts.tolist(), theirs.counts.tolist()))
    drawn = oracle.bootstrap(
        pairs, lambda chosen: score_of([a for a, _ in chosen]) - score_of([b for _, b in chosen]), resample(RUNS)
    )
    assert (score.low, score.high) == pytest.approx(oracle.percentile_interval(drawn))
    far = sum(abs(value - score.difference) >= abs(score.difference) - 1e-12 for value in drawn)
    assert score.p == pytest.approx((far + 1) / (SAMPLES + 1))
    assert objects.difference == pytest.approx(fbeta(ours.counts.sum(0), 4) - fbeta(theirs.counts.sum(0), 4))


def test_p_of_the_same_of_a_clear_and_of_a_mirrored_difference():
    ours, theirs = random_scores(1, share=0.95), random_scores(1, share=0.2)
    same = ours.against(ours)[0]
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    clear, mirrored = ours.against(theirs)[0], theirs.against(ours)[0]
    assert clear.p == mirrored.p == pytest.approx(1 / (SAMPLES + 1))
    assert clear.low == pytest.approx(-mirrored.high)


def test_p_is_uniform_or_shy_where_there_is_no_difference():
    """Two predictions of equal worth: a test at 5% cries wolf about as often as that."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(200):
        one, other = rng.normal(size=(2, 25, 1))
        values.append(float(paired(one, other, lambda total: total / 25).p[0]))
    assert np.mean(np.array(values) < 0.05) < 0.11


def test_paired_needs_the_same_runs():
    with pytest.raises(ValueError, match="same runs"):
        paired(np.ones((6, 1)), np.ones((7, 1)), lambda total: total)
