"""Slabs equal a plain sliding window, whatever the shape, and thin volumes work."""

import numpy as np
import pytest
import torch

from copick_tools.inference.extract import label_volume
from copick_tools.inference.tiler import Tiled, window
from copick_tools.volumes.normalize import intensity, normalize
from copick_tools.volumes.windows import blending, starts


class Pointwise(torch.nn.Module):
    """Logits that depend on each voxel alone: then tiling must change nothing."""

    def forward(self, x):
        return torch.cat([-x, x, 0.3 * x**2 - 1], dim=1)


class Local(torch.nn.Module):
    """A convolution, so that windows disagree at their edges."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv3d(1, 3, 3, padding=1)

    def forward(self, x):
        return self.convolution(x)


def tiled(network, patch, overlap=0.5):
    return Tiled(network, {"a": 1, "b": 2}, 10.0, 0.0, patch, overlap, batch_size=3)


def whole(predictor, volume):
    slabs = list(predictor.slabs(volume))
    assert [z for z, _ in slabs] == np.cumsum([0, *[p.shape[1] for _, p in slabs[:-1]]]).tolist()
    assert all(p.dtype == np.float16 for _, p in slabs)
    return np.concatenate([p for _, p in slabs], axis=1)


@pytest.mark.parametrize("shape", [(20, 24, 28), (8, 8, 8), (5, 30, 6), (3, 3, 3), (1, 9, 9), (33, 17, 23)])
def test_tiling_changes_nothing_pointwise(shape):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    inputs = torch.from_numpy(normalize(volume, intensity(volume, 0.0)))[None, None]
    expected = Pointwise()(inputs).softmax(1)[0].numpy()
    np.testing.assert_allclose(whole(tiled(Pointwise(), (8, 8, 8)), volume), expected, atol=3e-3)


def test_blending_is_the_weighted_mean_of_the_windows():
    patch, network = (8, 8, 8), Local()
    volume = np.random.default_rng(1).normal(size=(15, 12, 13)).astype(np.float32)
    inputs = normalize(volume, intensity(volume, 0.0))
    expected = np.zeros((3, *volume.shape))
    rows = [starts(n, p, 0.5) for n, p in zip(volume.shape, patch)]
    weights = [dict(zip(first, blending(n, p, 0.5))) for first, n, p in zip(rows, volume.shape, patch)]
    with torch.no_grad():
        for corner in ((z, y, x) for z in rows[0] for y in rows[1] for x in rows[2]):
            box = tuple(slice(c, c + p) for c, p in zip(corner, patch))
            found = network(torch.from_numpy(inputs[box])[None, None]).softmax(1)[0].numpy()
            wz, wy, wx = (axis[c] for axis, c in zip(weights, corner))
            expected[(slice(None), *box)] += found * wz[:, None, None] * wy[:, None] * wx
    np.testing.assert_allclose(whole(tiled(network, patch), volume), expected, atol=3e-3)


@pytest.mark.parametrize(("length", "overlap"), [(8, 0.5), (9, 0.0), (31, 0.25), (100, 0.6)])
def test_weights_sum_to_one(length, overlap):
    total = np.zeros(length)
    for start, weights in zip(starts(length, 8, overlap), blending(length, 8, overlap)):
        total[start : start + 8] += weights
        assert weights.min() > 0
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_windows_reach_both_ends():
    for length in range(1, 60):
        found = starts(length, 8, 0.25)
        assert found[0] == 0
        assert found[-1] == max(0, length - 8)
        assert all(b - a <= 6 for a, b in zip(found, found[1:]))


def test_thin_volumes_are_reflected():
    volume = np.arange(3.0).reshape(3, 1, 1)
    assert window(volume, (0, 0, 0), (5, 1, 1)).ravel().tolist() == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_hopeless_volumes(value):
    with pytest.raises(ValueError, match="finite|equal|all voxels"):
        list(tiled(Pointwise(), (4, 4, 4)).slabs(np.full((6, 6, 6), value)))


def test_labels_follow_the_threshold():
    probabilities = np.array([[0.6, 0.2], [0.3, 0.3], [0.1, 0.5]], np.float16).reshape(3, 1, 1, 2)
    labels, certainty = label_volume(iter([(0, probabilities)]), (1, 1, 2), [4, 9], 0.5)
    assert labels.ravel().tolist() == [0, 9]
    np.testing.assert_allclose(certainty.ravel(), [0, 0.5], atol=1e-3)
    labels, _ = label_volume(iter([(0, probabilities)]), (1, 1, 2), [4, 9], 0.3)
    assert labels.ravel().tolist() == [4, 9]
