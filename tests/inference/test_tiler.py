"""Tiling equals MONAI's sliding window, whatever the shape; thin volumes work; the sample bounds the work."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.tiled import Local, Pointwise, noise, tiled, whole
from monai.inferers import SlidingWindowInferer

from copick_tools.inference import tiler
from copick_tools.inference.grid import CELL, starts, together
from copick_tools.inference.sums import MOST, kind_of_sums
from copick_tools.inference.tiler import window
from copick_tools.volumes.normalize import intensity, normalize

SHAPES = [(20, 24, 28), (8, 8, 8), (33, 17, 23), (9, 31, 8), (50, 8, 11)]


def monai(network, volume, patch, overlap):
    """(C, z, y, x) probabilities by MONAI, of the normalized volume."""
    inputs = torch.from_numpy(normalize(volume, intensity(volume, 0.0)))[None, None]
    with torch.no_grad():
        return SlidingWindowInferer(patch, 2, overlap, mode="gaussian")(inputs, lambda x: network(x).softmax(1))[
            0
        ].numpy()


class Slab:
    """A sample between two z, and away from one side of x."""

    def __init__(self, low, high, left=0):
        self.low, self.high, self.left = low, high, left

    def rows(self, y, x):
        return (self.low, self.high) if x.stop > self.left else (0, 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.6])
def test_equals_monai(shape, overlap):
    volume, patch, network = noise(shape), (8, 8, 6), Local()
    expected = monai(network, volume, patch, overlap)
    exact = tiled(network, patch, overlap, sums="float32")
    np.testing.assert_allclose(whole(exact.stitched(volume)), expected, atol=2e-6)
    found = whole(tiled(network, patch, overlap).slabs(volume))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=4e-3)


@pytest.mark.parametrize("overlap", [0.85, pytest.param(0.9, marks=pytest.mark.slow)])
def test_sums_of_many_windows_are_exact(overlap):
    """In float16 they would be off by 0.02 and 0.06, here."""
    volume, patch, network = noise((33, 25, 25)), (16, 16, 16), Local()
    exact = whole(tiled(network, patch, overlap, sums="float32").stitched(volume))
    np.testing.assert_array_equal(whole(tiled(network, patch, overlap).stitched(volume)), exact)
    np.testing.assert_allclose(whole(tiled(network, patch, overlap).slabs(volume)), exact, atol=5e-4)
    assert np.abs(whole(tiled(network, patch, overlap, sums="float16").stitched(volume)) - exact).max() > 0.012


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.66])
def test_sums_of_few_windows_take_half_the_memory(overlap):
    volume, patch, network = noise((32, 32, 32)), (16, 16, 16), Local()
    assert kind_of_sums(volume.shape, patch, overlap) is torch.float16
    exact = whole(tiled(network, patch, overlap, sums="float32").stitched(volume))
    np.testing.assert_allclose(whole(tiled(network, patch, overlap).stitched(volume)), exact, atol=0.01)


def test_sums_depend_on_the_windows_over_a_voxel():
    patch = (96, 96, 96)
    kinds = [kind_of_sums((184, 630, 630), patch, overlap) for overlap in (0.25, 0.5, 0.65, 0.75, 0.9)]
    assert kinds == [torch.float16] * 3 + [torch.float32] * 2
    assert kind_of_sums((30, 96, 630), patch, 0.9) is torch.float16  # a single row of windows
    assert kind_of_sums((30, 630, 630), patch, 0.9) is torch.float32
    assert MOST == 4**3


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0, 0.99))
@settings(deadline=None, derandomize=True)
def test_windows_together(length, window_length, overlap):
    counts = np.zeros(max(length, window_length), int)
    for start in starts(length, window_length, overlap):
        counts[start : start + window_length] += 1
    assert together(length, window_length, overlap) == counts.max()


@given(
    st.tuples(*[st.integers(6, 20)] * 3), st.tuples(*[st.integers(2, 6)] * 3), st.floats(0, 0.85), st.integers(0, 99)
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_equals_monai_anywhere(shape, patch, overlap, seed):
    volume, network = noise(shape, seed), Local()
    found = whole(tiled(network, patch, overlap, sums="float32").stitched(volume))
    np.testing.assert_allclose(found, monai(network, volume, patch, overlap), atol=2e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (5, 30, 6), (3, 3, 3), (1, 9, 9)])
def test_tiling_changes_nothing_pointwise(shape):
    volume = noise(shape)
    inputs = torch.from_numpy(normalize(volume, intensity(volume, 0.0)))[None, None]
    expected = Pointwise()(inputs).softmax(1)[0].numpy()
    np.testing.assert_allclose(whole(tiled(Pointwise(), (8, 8, 8)).slabs(volume)), expected, atol=4e-3)


def test_thin_volumes_are_reflected():
    volume, network = noise((5, 20, 9)), Local()
    padded = np.pad(volume, ((0, 3), (0, 0), (0, 0)), mode="reflect")
    found = whole(tiled(network, (8, 8, 8), sums="float32").stitched(volume))
    inputs = torch.from_numpy(normalize(padded, intensity(volume, 0.0)))[None, None]
    inferer = SlidingWindowInferer((8, 8, 8), 1, 0.5, mode="gaussian")
    with torch.no_grad():
        expected = inferer(inputs, lambda x: network(x).softmax(1))[0].numpy()
    np.testing.assert_allclose(found, expected[:, :5], atol=2e-6)
    assert window(np.arange(3.0).reshape(3, 1, 1), (0, 0, 0), (5, 1, 1)).ravel().tolist() == [0, 1, 2, 1, 0]
    assert window(np.arange(4.0).reshape(4, 1, 1), (1, 0, 0), (2, 1, 1)).ravel().tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int16, np.uint8, ">f4"])
def test_volumes_of_any_type(dtype):
    volume = (100 + 30 * noise((9, 10, 11))).astype(dtype)
    expected = monai(Local(), volume.astype(np.float32), (8, 8, 8), 0.5)
    np.testing.assert_allclose(whole(tiled(Local(), (8, 8, 8)).slabs(volume)), expected, atol=4e-3)


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_hopeless_volumes(value):
    with pytest.raises(ValueError, match="finite|equal|all voxels"):
        list(tiled(Pointwise(), (4, 4, 4)).slabs(np.full((6, 6, 6), value)))


@pytest.mark.parametrize("tta", [1, 2])
def test_damaged_networks(tta):
    network = Local()
    torch.nn.init.constant_(network.second.bias, float("nan"))
    with pytest.raises(ValueError, match=r"weights damaged\?$"):
        list(tiled(network, (8, 8, 8), tta=tta).slabs(noise((9, 9, 9))))
    with pytest.raises(ValueError, match="weights damaged, or its numbers too large for mixed precision.* bf16=False"):
        list(tiled(network, (8, 8, 8), tta=tta, bf16=True).slabs(noise((9, 9, 9))))


@pytest.mark.parametrize("floor", [0.0, 0.7, 1.0])
def test_likeliest_says_what_the_probabilities_say(floor):
    volume, predictor = noise((11, 20, 13)), tiled(Local(), (8, 8, 8))
    predictor.objects = {"a": 7, "b": 3}
    probabilities = whole(predictor.slabs(volume))
    parts = list(predictor.likeliest(volume, floor=floor))
    assert [part.dtype for part in parts[0][1:]] == [np.uint8, np.float16, np.float16]
    labels, certainty, objectness = (np.concatenate([part[n] for part in parts]) for n in (1, 2, 3))
    np.testing.assert_array_equal(objectness, (1 - probabilities[0].astype(np.float32)).astype(np.float16))
    kept = objectness >= floor
    assert 0 < kept.mean() <= 1 or floor == 1
    assert (labels == np.where(probabilities[2] > probabilities[1], 3, 7) * kept).all()
    np.testing.assert_array_equal(certainty, probabilities[1:].max(axis=0) * kept)


def test_probabilities_are_probabilities():
    found = whole(tiled(Local(), (8, 8, 8), 0.7).stitched(noise((30, 21, 22))))
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=2e-3)


class TestSample:
    SHAPE, PATCH = (40, 24, 60), (8, 8, 8)

    def both(self, sample):
        network, volume = Local(), noise(self.SHAPE)
        everywhere = whole(tiled(network, self.PATCH, sums="float32").stitched(volume))
        network.calls.clear()
        return (
            everywhere,
            whole(tiled(network, self.PATCH, sums="float32").stitched(volume, sample)),
            len(network.calls),
        )

    def test_inside_nothing_changes_and_outside_is_background(self):
        everywhere, found, windows = self.both(Slab(13, 21, left=20))
        left = 20 // CELL * CELL  # cells that the sample touches belong to it
        np.testing.assert_array_equal(found[:, 13:21, :, left + 8 :], everywhere[:, 13:21, :, left + 8 :])
        outside = np.ones(self.SHAPE, bool)
        outside[13:21, :, left:] = False
        assert (found[0][outside] == 1).all()
        assert (found[1:, outside] == 0).all()
        assert windows == 4 * 5 * 10  # of 9 x 5 x 14: z from 8 to 20, x from 16 on

    def test_nothing(self):
        _, found, windows = self.both(Slab(0, 0))
        assert windows == 0
        assert (found[0] == 1).all()
        assert (found[1:] == 0).all()

    def test_everything(self):
        everywhere, found, _ = self.both(Slab(-5, 99))
        np.testing.assert_array_equal(found, everywhere)

    def test_only_planes_with_windows_are_read(self):
        volume = Counted(noise(self.SHAPE))
        list(tiled(Local(), self.PATCH).slabs(volume, Slab(13, 21)))
        assert volume.read[1:] == [(8, 12), (12, 16), (16, 20), (20, 24), (24, 28)]  # after the statistics


class Counted:
    """A volume that notes which planes are read, and fails at one."""

    def __init__(self, array, bad=None):
        self.array, self.shape, self.bad = array, array.shape, bad
        self.read, self.threads = [], set()

    def __getitem__(self, region):
        z = region[0]
        if self.read:
            self.threads.add(threading.current_thread().name)
        self.read.append((z.start, z.stop))
        if self.bad is not None and len(self.read) > 1 and z.stop > self.bad:
            raise OSError("a chunk is damaged")
        return self.array[region]


def test_every_plane_is_read_once_and_beside_the_network():
    volume = Counted(noise((20, 9, 9)))
    list(tiled(Local(), (8, 8, 8), 0.25).slabs(volume))
    assert sorted(volume.read[1:]) == [(0, 6), (6, 8), (8, 12), (12, 14), (14, 20)]
    assert threading.main_thread().name not in volume.threads


def test_reading_errors_arrive():
    slabs = tiled(Local(), (8, 8, 8)).slabs(Counted(noise((30, 9, 9)), bad=20))
    with pytest.raises(OSError, match="damaged"):
        list(slabs)
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_closing_early_ends_the_thread():
    slabs = tiled(Local(), (8, 8, 8)).slabs(noise((40, 9, 9)))
    next(slabs)
    assert any(thread.name.startswith("ahead") for thread in threading.enumerate())
    slabs.close()
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


@pytest.mark.parametrize(("tta", "flips"), [(2, [(), (2, 3)]), (4, [(), (2, 3), (2,), (3,)]), (8, None)])
def test_orientations_are_averaged(tta, flips):
    flips = flips or [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    volume, network, patch = noise((10, 12, 14)), Local(), (10, 12, 14)
    inputs = torch.from_numpy(normalize(volume, intensity(volume, 0.0)))[None]
    with torch.no_grad():
        expected = sum(network(inputs.flip(axes)[None])[0].softmax(0).flip(axes) for axes in flips) / tta
    found = whole(tiled(network, patch, tta=tta, sums="float32").stitched(volume))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_orientations_are_few():
    with pytest.raises(ValueError, match="tta"):
        tiled(Local(), (8, 8, 8), tta=3)


def test_weights_of_two_dimensions_are_let_be():
    class Plane(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 3, 1)

        def forward(self, x):
            return torch.stack([self.layer(plane) for plane in x.unbind(2)], dim=2)

    assert whole(tiled(Plane(), (4, 8, 8)).slabs(noise((6, 9, 9)))).shape == (3, 6, 9, 9)


def test_validation_and_inference_agree_with_sums_elsewhere(monkeypatch):
    """The sums may be on another device than the network: here it counts as one, so that the moves are made."""
    seen = []
    monkeypatch.setattr(tiler, "home_of_sums", lambda device, size: seen.append(size) or torch.device("cpu", 0))
    volume = noise((12, 20, 13))
    found = whole(tiled(Local(), (8, 8, 8), sums="float32").stitched(volume))
    np.testing.assert_allclose(found, monai(Local(), volume, (8, 8, 8), 0.5), atol=2e-6)
    assert seen[0] > 2 * 8 * 20 * 13 * 4
