"""How far off matched picks are: against plain quantiles, and against resampled runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle

from copick_tools.metrics.bootstrap import resample
from copick_tools.metrics.localization import localization, localization_intervals

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)


def naive(offsets):
    points = [("r", "a", (0.0, 0.0, 1e6 * i)) for i in range(len(offsets))]
    guesses = [("r", "a", (x, y, 1e6 * i + z)) for i, (x, y, z) in enumerate(offsets)]
    return oracle.localization(points, guesses, {"a": 1e4}, "a")[1]


@RELAXED
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_quantiles_and_bias(seed, pairs):
    offsets = np.random.default_rng(seed).integers(-40, 40, (pairs, 3)).astype(float)
    found = localization(offsets)
    assert found == pytest.approx(naive(offsets.tolist()))
    turned = localization(-offsets[::-1])
    assert turned["median"] == pytest.approx(found["median"])
    assert turned["z.bias"] == pytest.approx(-found["z.bias"])


def test_a_missing_wedge_shows_along_z():
    offsets = np.random.default_rng(0).normal(size=(2000, 3)) * [5, 5, 15] + [0, 0, 4]
    found = localization(offsets)
    assert found["z.median"] > 2.5 * found["x.median"]
    assert found["z.bias"] == pytest.approx(4, abs=1)
    assert found["x.p90"] == pytest.approx(5 * 1.645, rel=0.1)


def test_no_pairs():
    with pytest.raises(ValueError, match="at least one pair"):
        localization(np.empty((0, 3)))


@pytest.mark.parametrize("runs", [6, 25])
def test_intervals_are_those_of_resampled_runs(runs):
    rng = np.random.default_rng(runs)
    run = np.repeat(np.arange(runs), rng.integers(5, 30, runs))
    offsets = rng.normal(size=(len(run), 3)) * [5, 6, 12] + rng.normal(size=(runs, 3))[run] * 4
    found = localization_intervals(offsets, run, runs)
    numbers = localization(offsets)
    assert found.keys() == numbers.keys()
    by_run = [offsets[run == r] for r in range(runs)]
    drawn = oracle.bootstrap(by_run, lambda chosen: localization(np.concatenate(chosen)), resample(runs)[:600])
    off = []
    for key, (low, high) in found.items():
        wanted = np.array(oracle.percentile_interval([row[key] for row in drawn]))
        off.append(((low, high) - wanted) / (wanted[1] - wanted[0]))
        assert low <= numbers[key] <= high
    assert np.abs(off).max() < 0.4  # shares of the interval; quantiles of few pairs come in steps
    assert np.mean(off, axis=0) == pytest.approx([0, 0], abs=0.08)


def test_intervals_need_five_runs_and_survive_runs_without_pairs():
    offsets = np.random.default_rng(0).normal(size=(8, 3))
    assert localization_intervals(offsets, np.arange(8) % 4, 4) == {}
    assert localization_intervals(offsets, np.zeros(8, int), 6) == {}
    assert localization_intervals(offsets, np.arange(8) % 4, 6) == {}
    found = localization_intervals(offsets, np.arange(8) % 5, 9)
    assert found.keys() == localization(offsets).keys()
    same = localization_intervals(np.ones((10, 3)), np.arange(10) % 5, 5)
    assert same["x.bias"] == pytest.approx((1, 1))
    assert same["p90"] == pytest.approx((3**0.5, 3**0.5))
