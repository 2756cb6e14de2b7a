import numpy as np
import pytest

from copick_tools.volumes.normalize import SPREAD, intensity, normalize, percentiles, scale_of


def test_outliers_are_cut_off():
    volume = np.random.default_rng(0).normal(5, 2, (20, 50, 50)).astype(np.float32)
    volume[0, 0, :5] = 1e6
    statistics = intensity(volume, 0.1)
    assert statistics.mean == pytest.approx(5, abs=0.05)
    assert normalize(volume, statistics).max() < 4


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "aren't finite"), (np.inf, "aren't finite")])
def test_non_finite(value, reason):
    volume = np.random.default_rng(0).normal(size=(40, 8, 8))
    volume[33, 1, 1] = value
    with pytest.raises(ValueError, match=f"slices 0 to 39 {reason}"):
        intensity(volume, 0.1)


def test_constant():
    with pytest.raises(ValueError, match="all voxels are 3"):
        intensity(np.full((4, 4, 4), 3), 0.1)


def test_percentiles_are_zero_and_one_as_cellpose_has_them():
    volume = np.random.default_rng(0).gamma(2.0, 3.0, (9, 30, 40)).astype(np.float32)
    low, high = np.percentile(volume, [1, 99])
    scaled = normalize(volume, percentiles(volume)) / (2 * SPREAD) + 0.5
    np.testing.assert_allclose(scaled, (volume - low) / (high - low), atol=1e-5)
    assert scaled.max() > 1  # nothing is clipped
    normal = np.random.default_rng(0).normal(7, 3, (20, 60, 60)).astype(np.float32)
    whole = normalize(normal, scale_of(normal, 0.1, "percentiles"))
    assert (whole.mean(), whole.std()) == pytest.approx((0, 1), abs=0.03)
    assert scale_of(normal, 0.1) == intensity(normal, 0.1)


def test_percentiles_of_nearly_equal_voxels():
    volume = np.full((4, 10, 10), 3.0)
    volume[0, 0, 0] = 9
    with pytest.raises(ValueError, match="nearly all voxels are 3"):
        percentiles(volume)
    volume[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="aren't finite"):
        percentiles(volume)
