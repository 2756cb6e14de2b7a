import numpy as np
import pytest

from copick_tools.metrics import semantic

VALUES = np.array([[1.0, np.nan, 0.2], [0.5, np.nan, np.nan], [0.0, np.nan, 0.4]])


def test_means_deviations_and_score():
    assert semantic.object_means(VALUES).tolist() == pytest.approx([0.5, np.nan, 0.3], nan_ok=True)
    assert semantic.object_deviations(VALUES).tolist() == pytest.approx([np.std([1, 0.5, 0]), np.nan, 0.1], nan_ok=True)
    assert semantic.mean_score(VALUES) == pytest.approx(0.4)
    assert np.isnan(semantic.mean_score(np.full((2, 2), np.nan)))


def test_intervals_need_five_runs_of_each_object():
    assert semantic.mean_intervals(VALUES) is None
    assert semantic.score_interval(VALUES) is None
    rng = np.random.default_rng(0)
    values = rng.random((9, 2))
    values[:5, 1] = np.nan
    low, high = semantic.mean_intervals(values)
    assert low[0] < semantic.object_means(values)[0] < high[0]
    assert np.isnan([low[1], high[1]]).all()
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * values[:, 0].std() / 3, rel=0.2)
    bounds = semantic.score_interval(values)
    assert bounds[0] < semantic.mean_score(values) < bounds[1]


def test_paired_differences():
    rng = np.random.default_rng(0)
    baseline = rng.random((12, 2)) / 2
    ours = baseline + 0.1 + rng.normal(0, 0.01, baseline.shape)
    found = semantic.paired_means(ours, baseline)
    assert found.difference == pytest.approx(0.1, abs=0.01)
    assert (found.low > 0.08).all()
    assert (found.high < 0.12).all()
    assert (found.p < 0.001).all()
    assert semantic.paired_score(ours, baseline).p < 0.001
    assert semantic.paired_score(ours, ours).p == 1
    assert semantic.paired_means(ours[:4], baseline[:4]) is None
    with pytest.raises(ValueError, match="differ in shape"):
        semantic.paired_means(ours, baseline[:, :1])
