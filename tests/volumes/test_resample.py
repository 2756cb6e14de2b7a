"""Voxel centers stay where they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.coordinates import binned_origin, to_angstrom, to_voxels
from copick_tools.volumes.paint import heatmaps
from copick_tools.volumes.resample import Resampled, aligned, labels_onto, restored


@pytest.mark.parametrize("target", [5.0, 7.5, 10.0, 13.0, 20.0])
def test_a_blob_stays_at_its_place(target):
    center = np.array([[20.3, 24.8, 27.1]])
    volume = heatmaps(center, np.array([4.0]), np.array([0]), (1, 40, 48, 56))[0]
    resampled = Resampled(volume, 10.0, target)
    moved, origin = resampled[:, :, :], resampled.origin
    grid = np.stack(np.indices(moved.shape), axis=-1)
    found = (grid * moved[..., None]).sum((0, 1, 2)) / moved.sum()
    np.testing.assert_allclose(to_angstrom(found[None], target, origin), to_angstrom(center, 10.0), atol=0.5)


@pytest.mark.parametrize("target", [7.0, 10.1, 23.0])
def test_a_part_equals_the_same_part_of_the_whole(target):
    volume = np.random.default_rng(0).normal(size=(30, 41, 37)).astype(np.float32)
    resampled = Resampled(volume, 10.0, target)
    whole = resampled[:, :, :]
    assert whole.shape == resampled.shape
    for region in ((slice(2, 5), slice(0, 9), slice(7, 12)), (slice(9, 99), slice(11, 13), slice(None))):
        np.testing.assert_allclose(resampled[region], whole[region], atol=1e-4)


def test_voxels_and_angstrom_are_inverse():
    points = np.random.default_rng(0).uniform(0, 5000, (20, 3))
    np.testing.assert_allclose(to_angstrom(to_voxels(points, 9.7, 3.0), 9.7, 3.0), points)


def test_binning_by_means_has_the_origin_that_coordinates_say():
    ramp = np.arange(8.0)
    binned = ramp.reshape(4, 2).mean(1)
    np.testing.assert_allclose(binned, binned_origin(1.0, 2) + 2.0 * np.arange(4))


def test_labels_return_to_their_grid():
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    fine = labels_onto(labels, 2.0, (8, 10, 12))
    np.testing.assert_array_equal(fine, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))


# ---- scale alignment: ids are never mixed, and come back --------------------------------------------------------------
@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10_000), st.floats(4.0, 40.0), st.tuples(*[st.integers(1, 14)] * 3))
def test_ids_at_another_spacing_return_to_their_grid(seed, target, shape):
    ids = np.random.default_rng(seed).integers(0, 5, shape).astype(np.uint32) * 70_001
    moved = aligned(ids, 10.0, target)
    there = moved[:, :, :]
    assert set(np.unique(there)) <= set(np.unique(ids))
    assert there.dtype == ids.dtype
    back = restored(there, 10.0, target, shape)[:, :, :]
    assert back.shape == shape
    if target <= 10.0:  # finer: nothing is lost
        np.testing.assert_array_equal(back, ids)
    else:  # coarser: what is there comes back, all of it
        assert set(np.unique(back)) == set(np.unique(there))


@pytest.mark.parametrize("target", [8.0, 13.3, 20.0, 29.0])
def test_objects_wider_than_a_voxel_survive(target):
    ids = np.zeros((40, 50, 60), np.uint32)
    corners = [(z, y, x) for z in range(2, 36, 8) for y in range(2, 46, 8) for x in range(2, 56, 8)]
    for number, (z, y, x) in enumerate(corners, start=1):
        ids[z : z + 4, y : y + 4, x : x + 4] = 1000 * number
    there = aligned(ids, 10.0, target)
    back = restored(there, 10.0, target, ids.shape)[:, :, :]
    np.testing.assert_array_equal(np.unique(back), np.unique(ids))
    for number in np.unique(ids)[1:]:
        one, other = ids == number, back == number
        assert (one & other).sum() / (one | other).sum() > 0.2
        middles = [np.argwhere(mask).mean(axis=0) for mask in (one, other)]
        assert np.abs(middles[0] - middles[1]).max() * 10.0 <= target
