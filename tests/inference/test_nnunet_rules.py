"""Windows by nnU-Net's rules: its positions, logits averaged, cut to what isn't zero, padded with zeros."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.tiled import Local, noise, tiled, whole
from scipy.ndimage import gaussian_filter

from copick_tools.inference.framing import Frame, occupied_box
from copick_tools.inference.grid import starts


def by_hand(network, volume, patch, overlap, mirrored=False):
    """(C, z, y, x) probabilities, in float64, as nnU-Net's documentation and options describe it."""
    box = occupied_box(volume)
    cut = volume[box].astype(float)
    cut = (cut - cut.mean()) / cut.std()
    missing = [max(0, side - length) for side, length in zip(patch, cut.shape)]
    before = [m // 2 for m in missing]
    padded = np.pad(cut, [(b, m - b) for b, m in zip(before, missing)])
    impulse = np.zeros(patch)
    impulse[tuple(side // 2 for side in patch)] = 1
    weight = gaussian_filter(impulse, [side / 8 for side in patch], mode="constant")
    total, count = 0, np.zeros(padded.shape)
    for corner in itertools.product(*(starts(n, p, overlap, "nnunet") for n, p in zip(padded.shape, patch))):
        place = tuple(slice(c, c + p) for c, p in zip(corner, patch))
        window = torch.from_numpy(padded[place])[None, None]
        axes = [(2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)] if mirrored else []
        with torch.no_grad():
            found = network(window) + sum(network(window.flip(axis)).flip(axis) for axis in axes)
        logits = found[0].numpy() / (len(axes) + 1)
        total = np.zeros((len(logits), *padded.shape)) if count.max() == 0 else total
        total[(slice(None), *place)] += logits * weight
        count[place] += weight
    inner = tuple(slice(b, b + n) for b, n in zip(before, cut.shape))
    logits = torch.from_numpy(total / count)[(slice(None), *inner)]
    out = np.zeros((len(logits), *volume.shape))
    out[0] = 1
    out[(slice(None), *box)] = logits.softmax(0).numpy()
    return out


def shifted(shape):
    """Noise whose mean isn't zero: what is zero is the border."""
    return noise(shape) + 3


def bordered():
    volume = np.zeros((20, 22, 19), np.float32)
    volume[3:17, 1:20, 4:] = shifted((14, 19, 15))
    return volume


VOLUMES = [shifted((20, 24, 28)), shifted((33, 17, 23)), shifted((5, 30, 9)), bordered(), bordered()[:10]]


@pytest.mark.parametrize("volume", VOLUMES, ids=lambda volume: "x".join(map(str, volume.shape)))
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_as_by_hand(volume, overlap):
    network, patch = Local(), (8, 10, 6)
    expected = by_hand(network.double(), volume, patch, overlap)
    exact = tiled(network.float(), patch, overlap, sums="float32", rules="nnunet")
    np.testing.assert_allclose(whole(exact.stitched(volume)), expected, atol=2e-6)
    found = tiled(network, patch, overlap, rules="nnunet")
    np.testing.assert_allclose(whole(found.slabs(volume)), expected, atol=6e-4)


def test_mirrored():
    network, patch, volume = Local(), (8, 10, 6), bordered()
    expected = by_hand(network.double(), volume, patch, 0.5, mirrored=True)
    found = tiled(network.float(), patch, 0.5, sums="float32", rules="nnunet", tta=8)
    np.testing.assert_allclose(whole(found.stitched(volume)), expected, atol=2e-6)


@given(st.integers(1, 90), st.integers(1, 30), st.floats(0, 0.9))
@settings(deadline=None, derandomize=True)
def test_positions_cover_evenly(length, window, overlap):
    first = starts(length, window, overlap, "nnunet")
    assert first[0] == 0
    assert first[-1] == max(0, length - window)
    steps = np.diff(first)
    assert not len(steps) or steps.max() - steps.min() <= 1
    assert not len(steps) or steps.max() <= np.ceil(window * (1 - overlap))


def test_positions_are_nnunets():
    nnunet = pytest.importorskip("nnunetv2.inference.sliding_window_prediction")
    for length, window, step in itertools.product((64, 97, 184, 630), (32, 64), (0.25, 0.5, 0.75, 1.0)):
        theirs = nnunet.compute_steps_for_sliding_window((length,), (window,), step)[0]
        assert starts(length, window, 1 - step, "nnunet") == theirs


class Column:
    """A sample between two z."""

    def rows(self, y, x):
        return (6, 12)


def test_sample_is_where_it_was():
    volume = bordered()
    predictor = tiled(Local(), (8, 10, 6), 0.5, rules="nnunet")
    found = whole(predictor.slabs(volume, Column()))
    every = whole(predictor.slabs(volume))
    outside = np.ones(volume.shape, bool)
    outside[6:12] = False
    assert (found[0][outside] == 1).all()
    np.testing.assert_allclose(found[:, 8:10], every[:, 8:10], atol=0.05)  # fewer windows, elsewhere


def test_frame_reads_what_is_there():
    frame = Frame.around(bordered(), (16, 10, 30))
    assert frame.shape == (16, 19, 30)
    part = frame[2:9, 3:5, 0:30]
    np.testing.assert_array_equal(part, frame[:, :, :][2:9, 3:5])
    np.testing.assert_allclose(frame[0:1, 0:1, 0:1], frame.statistics.mean, rtol=1e-6)
    empty = np.zeros((3, 4, 5))
    assert occupied_box(empty) == (slice(0, 3), slice(0, 4), slice(0, 5))
    with pytest.raises(ValueError, match="all voxels are 0"):
        Frame.around(empty, (2, 2, 2))


class Corner:
    """A sample in one column of cells."""

    def rows(self, y, x):
        return (0, 16) if y.start < 16 and x.start < 16 else (0, 0)


class Nothing(torch.nn.Module):
    """Always background."""

    def forward(self, x):
        return torch.cat([x * 0 + 5, x * 0, x * 0], dim=1)


@pytest.mark.parametrize("rules", ["monai", "nnunet"])
def test_voxels_without_a_window_are_background(rules):
    """Cells of the sample reach beyond the windows that see it."""
    volume = shifted((16, 40, 50))
    found = whole(tiled(Nothing(), (16, 10, 12), 0.0, rules=rules).slabs(volume, Corner()))
    assert (found[0] > 0.98).all()
