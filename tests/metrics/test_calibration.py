"""Calibrated scores are probabilities and keep their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.metrics.calibration import apply_isotonic, apply_temperature, fit_isotonic, fit_temperature


def overconfident(count, seed=0):
    """Scores s of which s^2 are true."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    return scores, rng.random(count) < scores**2


@pytest.mark.parametrize("kind", ["isotonic", "temperature"])
def test_they_come_close_to_the_chance_of_being_true(kind):
    scores, true = overconfident(5000)
    if kind == "isotonic":
        calibrated = apply_isotonic(scores, *fit_isotonic(scores, true))
    else:
        calibrated = apply_temperature(scores, *fit_temperature(scores, true))
    assert np.abs(scores - scores**2).mean() > 0.15
    assert np.abs(calibrated - scores**2).mean() < 0.04


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_they_stay_in_range_and_in_order(rows):
    scores, true = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    raw, knots = fit_isotonic(scores, true)
    assert (raw[0], raw[-1]) == (0, 1)
    assert (np.diff(raw) > 0).all()
    grid = np.linspace(0, 1, 101)
    for calibrated in (apply_isotonic(grid, raw, knots), apply_temperature(grid, *fit_temperature(scores, true))):
        assert ((calibrated >= 0) & (calibrated <= 1)).all()
        assert (np.diff(calibrated) > 0).all()


def test_all_true_and_all_false_are_no_case_for_infinity():
    for true in (True, False):
        temperature, bias = fit_temperature(np.array([0.3, 0.6]), np.array([true, true]))
        assert np.isfinite([temperature, bias]).all()
        raw, knots = fit_isotonic(np.array([0.3, 0.6]), np.array([true, true]))
        assert np.isfinite(knots).all()


@pytest.mark.parametrize("count", [6, 80, 4000])
def test_separable_scores_keep_their_order(count):
    """Where a threshold tells true from false without error, the fit would like to be infinitely sure."""
    scores = np.linspace(0.05, 0.999, count)
    calibrated = apply_temperature(scores, *fit_temperature(scores, scores > 0.5))
    assert (np.diff(calibrated) > 0).all()
    assert 0 < calibrated.min() < calibrated.max() < 1


def test_few_picks_make_it_careful():
    calibrated = apply_temperature(np.array([0.1, 0.6]), *fit_temperature(np.full(10, 0.6), np.ones(10, bool)))
    assert 0.02 < calibrated[0] < 0.6
    assert 0.6 < calibrated[1] < 0.98


def test_low_scores_are_not_pulled_below_what_was_seen():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 1.0, 400)
    calibrated = apply_isotonic(scores, *fit_isotonic(scores, rng.random(400) < 0.75))
    assert calibrated[scores < 0.3].mean() > 0.6
