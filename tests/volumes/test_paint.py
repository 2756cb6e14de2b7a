"""Targets are exact at the voxel, whatever the crop and the order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.paint import heatmaps, spheres

SHAPE = (9, 11, 13)


def brute_force(centers, radii, labels):
    grid = np.stack(np.indices(SHAPE), axis=-1).reshape(-1, 1, 3)
    squared = ((grid - centers) ** 2).sum(-1)
    relative = np.where(squared <= radii**2, squared / radii**2, np.inf)
    nearest = relative.argmin(1)
    return np.where(np.isfinite(relative.min(1)), labels[nearest], 0).reshape(SHAPE)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_nearest_center_wins(seed, count):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-2, 14, (count, 3))
    radii = rng.uniform(1, 5, count)
    labels = rng.integers(1, 7, count)
    painted = spheres(centers, radii, labels, SHAPE)
    np.testing.assert_array_equal(painted, brute_force(centers, radii, labels))
    order = rng.permutation(count)
    np.testing.assert_array_equal(painted, spheres(centers[order], radii[order], labels[order], SHAPE))
    crop = spheres(centers, radii, labels, (4, 5, 6), origin=(2, 3, 4))
    np.testing.assert_array_equal(crop, painted[2:6, 3:8, 4:10])


def test_overlap_goes_to_the_nearer_center_not_to_the_higher_label():
    painted = spheres(np.array([[0.0, 0, 2], [0, 0, 6]]), np.array([3.0, 3.0]), np.array([9, 1]), (1, 1, 9))
    assert painted.ravel().tolist() == [9, 9, 9, 9, 1, 1, 1, 1, 1]  # the tie at 4 falls to the lower label


def test_nothing_to_paint():
    assert not spheres(np.empty((0, 3)), np.empty(0), np.empty(0, int), SHAPE).any()


def test_heatmaps_peak_at_the_center_and_crop_alike():
    centers = np.array([[4.0, 5, 6], [4, 5, 8]])
    maps = heatmaps(centers, np.array([1.5, 1.5]), np.array([0, 1]), (2, *SHAPE))
    assert maps[0, 4, 5, 6] == 1
    assert maps[1, 4, 5, 8] == 1
    assert maps[0, 4, 5, 12] == 0  # beyond three sigma
    crop = heatmaps(centers, np.array([1.5, 1.5]), np.array([0, 1]), (2, 3, 4, 5), origin=(3, 3, 4))
    np.testing.assert_array_equal(crop, maps[:, 3:6, 3:7, 4:9])
