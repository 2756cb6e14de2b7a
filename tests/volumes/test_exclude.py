import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes import blocks as blocks_module
from copick_tools.volumes import exclude
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.exclude import near_border, near_mask

quick = settings(deadline=None, derandomize=True, max_examples=80)


class Watched:
    """A volume that remembers what was read of it."""

    def __init__(self, labels):
        self.labels, self.shape, self.read = labels, labels.shape, []

    def __getitem__(self, region):
        self.read.append(region)
        return self.labels[region]


def by_hand(centers, mask, labels, distance, factor):
    """Distance of each center to each labelled cube, one after another."""
    wanted = mask != 0 if labels is None else np.isin(mask, list(labels))
    cubes = np.argwhere(wanted)
    near = []
    for center in centers:
        off = np.maximum(np.abs(cubes - ((center + 0.5) / factor - 0.5)) - 0.5, 0)
        near.append(bool((np.linalg.norm(off, axis=1) * factor <= distance).any()))
    return np.array(near, bool)


@quick
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.7, 2.3, 5.1]),
    st.sampled_from([0.5, 1.0, 2.0, 1.37]),
    st.sampled_from([None, (1,), (2, 3)]),
    st.sampled_from([3, 5, 256]),
)
def test_the_same_as_by_hand_for_any_block(seed, distance, factor, labels, size):
    rng = np.random.default_rng(seed)
    mask = rng.integers(1, 4, (9, 7, 11)) * (rng.random((9, 7, 11)) < 0.01)
    centers = rng.random((20, 3)) * np.array(mask.shape) * factor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module.blocks, "__defaults__", (0, size))
        patch.setattr(exclude, "PART", min(4, size))
        found = near_mask(centers, mask, labels, distance, factor)
    assert found.dtype == bool
    assert (found == by_hand(centers, mask, labels, distance, factor)).all()


def test_distance_is_inclusive_and_measured_to_the_cube():
    mask = np.zeros((1, 1, 20), np.uint8)
    mask[0, 0, 10] = 1
    centers = np.array([[0.0, 0, 10], [0, 0, 13.5], [0, 0, 13.6], [0, 0, 6.5]])
    assert near_mask(centers, mask, None, 3.0).tolist() == [True, True, False, True]
    assert near_mask(centers, mask, None, 0.0).tolist() == [True, False, False, False]
    assert near_mask(centers, mask, [2], 3.0).tolist() == [False] * 4


def test_a_coarse_mask_says_what_it_says_on_the_fine_grid():
    coarse = np.random.default_rng(0).random((5, 6, 7)) < 0.1
    fine = OnGrid(coarse, 4.0, (20, 24, 28))[:, :, :]
    inside = np.argwhere(np.ones_like(fine))
    assert (near_mask(inside.astype(float), coarse, None, 0.0, 4.0) == fine.ravel()).all()


def test_blocks_are_read_once_and_only_where_centers_are():
    mask = Watched(np.zeros((256, 512, 768), np.uint8))
    mask.labels[100, 300, 256] = 1
    rng = np.random.default_rng(0)
    lonely = rng.uniform((20, 20, 20), (230, 230, 230), (50, 3))
    at_the_seam = np.array([[100.0, 300, 254], [100.0, 300, 240]])
    found = near_mask(np.vstack([lonely, at_the_seam]), mask, None, 5.0)
    assert found.tolist() == [False] * 50 + [True, False]
    assert len(mask.read) == 3
    assert len({tuple((s.start, s.stop) for s in region) for region in mask.read}) == 3


def test_no_centers_read_nothing():
    mask = Watched(np.ones((8, 8, 8), np.uint8))
    assert near_mask(np.empty((0, 3)), mask, None, 5.0).shape == (0,)
    assert mask.read == []
    assert near_border(np.empty((0, 3)), (8, 8, 8), 2.0).shape == (0,)


@pytest.mark.parametrize("arguments", [(-1.0,), (float("nan"),), (1.0, 0.0), (1.0, float("inf"))])
def test_wrong_distances_and_factors(arguments):
    with pytest.raises(ValueError, match="Expected argument"):
        near_mask(np.zeros((1, 3)), np.zeros((2, 2, 2)), None, *arguments)


def test_borders():
    shape = (11, 21, 31)
    centers = np.array([[5.0, 10, 15], [0, 10, 15], [10, 10, 15], [5, 20, 15], [5, 10, 30], [5, 3, 15], [5, 17, 27]])
    assert near_border(centers, shape, 3.0).tolist() == [False, True, True, True, True, False, False]
    assert not near_border(centers, shape, 0.0).any()
    assert near_border(centers, shape, 6.0).all()


def test_many_picks_and_a_far_reach_take_no_time():
    z, y, x = np.ogrid[:160, :160, :160]
    mask = abs(np.sqrt((z - 80) ** 2 + (y - 80) ** 2 + (x - 80) ** 2) - 60) < 2
    centers = np.random.default_rng(0).random((10_000, 3)) * 160
    started = time.process_time()
    near = near_mask(centers, mask, None, 30.0)
    assert time.process_time() - started < 5
    away = abs(np.linalg.norm(centers - 80, axis=1) - 60)
    assert near[away < 31].all()
    assert not near[away > 33.5].any()


def test_inside_of_a_thick_mask_all_is_near():
    mask = np.zeros((20, 20, 20), bool)
    mask[2:18, 2:18, 2:18] = True
    centers = np.random.default_rng(0).random((200, 3)) * 22 - 1
    for distance in (0.0, 1.3):
        assert (near_mask(centers, mask, None, distance) == by_hand(centers, mask, None, distance, 1.0)).all()
