"""Precision-recall curves against matching anew at every threshold; reliability against a plain count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle

from copick_tools.metrics import curves
from copick_tools.metrics.augment import credited
from copick_tools.metrics.bootstrap import resample
from copick_tools.metrics.curves import ScoredPicks
from copick_tools.metrics.reach import in_reach

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)
SEEDS = st.integers(0, 10**6)


def scene(seed, runs=4, points=20, levels=None):
    """Dense points of one object: reference and prediction as the oracle takes them, and as `ScoredPicks`."""
    rng = np.random.default_rng(seed)
    run = [np.sort(rng.integers(0, runs, int(rng.integers(1, points)))) for _ in range(2)]
    xyz = [rng.integers(0, 60, (len(side), 3)).astype(float) for side in run]
    scores = rng.random(len(run[1])) if levels is None else rng.integers(0, levels + 1, len(run[1])) / levels
    reach = in_reach(*xyz, 20.0, (run[0], run[1]))
    true = credited(reach, len(run[0]), len(run[1]), np.argsort(-scores, kind="stable"))
    picks = ScoredPicks(scores, true, run[1], np.bincount(run[0], minlength=runs))
    reference = [(int(r), "a", tuple(p)) for r, p in zip(run[0], xyz[0])]
    prediction = [(int(r), "a", tuple(p), float(s)) for r, p, s in zip(run[1], xyz[1], scores)]
    return reference, prediction, picks


@RELAXED
@given(SEEDS, st.sampled_from([None, 1, 3, 10]))
def test_the_curve_is_exact_at_every_threshold(seed, levels):
    reference, prediction, picks = scene(seed, levels=levels)
    rows = oracle.curve(reference, prediction, 20.0, "a")
    found = curves.precision_recall_curve(picks)
    assert np.column_stack(found) == pytest.approx(np.array(rows))
    assert curves.average_precision(*found[1:]) == pytest.approx(oracle.average_precision(rows))


def test_curves_without_picks_or_reference():
    nothing = ScoredPicks(np.empty(0), np.empty(0, bool), np.empty(0, int), np.array([3]))
    assert [len(part) for part in curves.precision_recall_curve(nothing)] == [0, 0, 0]
    assert curves.average_precision(np.empty(0), np.empty(0)) == 0
    free = ScoredPicks(np.array([0.5]), np.array([False]), np.zeros(1, int), np.array([0]))
    assert np.isnan(curves.precision_recall_curve(free)[2]).all()


def test_perfect_and_worst_ranking():
    true = np.array([True, True, False, False])
    for scores, area in (([0.9, 0.8, 0.2, 0.1], 1.0), ([0.1, 0.2, 0.8, 0.9], (1 / 3 + 2 / 4) / 2)):
        picks = ScoredPicks(np.array(scores), true, np.zeros(4, int), np.array([2]))
        assert curves.average_precision(*curves.precision_recall_curve(picks)[1:]) == pytest.approx(area)


@RELAXED
@given(SEEDS, st.sampled_from([None, 1, 10]))
def test_reliability_and_calibration_error(seed, levels):
    _, prediction, picks = scene(seed, levels=levels)
    rows = oracle.reliability([pick[3] for pick in prediction], picks.true.tolist())
    bins = curves.reliability(picks)
    assert bins.shape == (4, curves.BINS, 3)
    total = bins.sum(axis=0)
    full = total[total[:, 0] > 0]
    assert full[:, 0].tolist() == [row[2] for row in rows]
    assert full[:, 1] / full[:, 0] == pytest.approx([row[3] for row in rows])
    assert full[:, 2] / full[:, 0] == pytest.approx([row[4] for row in rows])
    assert curves.calibration_error(total) == pytest.approx(oracle.calibration_error(rows))


def test_bins_are_closed_above():
    scores = np.array([0.0, 0.1, 0.1000001, 0.3, 0.7, 0.9999, 1.0])
    picks = ScoredPicks(scores, np.zeros(7, bool), np.zeros(7, int), np.array([1]))
    assert curves.reliability(picks)[0, :, 0].tolist() == [2, 1, 1, 0, 0, 0, 1, 0, 0, 2]
    assert np.isnan(curves.calibration_error(np.zeros((10, 3))))
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            curves.reliability(ScoredPicks(np.array([wrong]), np.zeros(1, bool), np.zeros(1, int), np.array([1])))


@pytest.mark.slow
def test_the_interval_of_average_precision_is_that_of_resampled_runs():
    """Every draw of runs again from the start, with the same draws; runs that repeat are told apart."""
    reference, prediction, picks = scene(5, runs=8, points=200)
    assert len(set(picks.scores)) < curves.THRESHOLDS
    draws = resample(8)[:200]
    by_run = [[[(r, *rest) for r, *rest in side if r == run] for side in (reference, prediction)] for run in range(8)]

    def number(chosen):
        left, right = ([(k, *pick[1:]) for k, pair in enumerate(chosen) for pick in pair[side]] for side in (0, 1))
        return oracle.average_precision(oracle.curve(left, right, 20.0, "a")) if left else None

    wanted = oracle.percentile_interval(oracle.bootstrap(by_run, number, draws[:60]))
    low, high = curves.average_precision_interval(picks)
    point = curves.average_precision(*curves.precision_recall_curve(picks)[1:])
    assert low < point < high
    assert (low, high) == pytest.approx(wanted, abs=0.05)
    few = ScoredPicks(picks.scores, picks.true, picks.run % 4, picks.references[:4])
    assert curves.average_precision_interval(few) is None


def test_the_interval_on_fewer_thresholds_is_nearly_the_same(monkeypatch):
    _, _, picks = scene(7, runs=8, points=200)
    exact = curves.average_precision_interval(picks)
    monkeypatch.setattr(curves, "THRESHOLDS", 40)
    assert curves.average_precision_interval(picks) == pytest.approx(exact, abs=0.02)
