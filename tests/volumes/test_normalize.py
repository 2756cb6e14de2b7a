import numpy as np
import pytest

from copick_tools.volumes.normalize import intensity, normalize


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
