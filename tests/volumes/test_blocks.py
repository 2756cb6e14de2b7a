import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.blocks import SIZE, OnGrid, blocks, bounding_box
from copick_tools.volumes.resample import labels_onto

quick = settings(deadline=None, derandomize=True, max_examples=60)
lengths = st.tuples(*(st.integers(1, 12) for _ in range(3)))


@quick
@given(lengths, st.integers(0, 5), st.integers(1, 7))
def test_inner_parts_cover_the_volume_once(shape, halo, size):
    volume = np.arange(np.prod(shape)).reshape(shape)
    seen = np.zeros(shape, int)
    for block in blocks(shape, halo, size):
        seen[block.inner] += 1
        assert (volume[block.outer][block.local] == volume[block.inner]).all()
        for outer, inner, length in zip(block.outer, block.inner, shape):
            assert inner.start % size == 0
            assert outer.start == max(0, inner.start - halo)
            assert outer.stop == min(length, inner.stop + halo)
    assert (seen == 1).all()


def test_blocks_are_chunks():
    found = list(blocks((184, 630, 630)))
    assert len(found) == 9
    assert all(part.start % 256 == 0 for block in found for part in block.inner)
    assert SIZE == 256


def test_an_empty_volume_has_no_blocks():
    assert list(blocks((0, 5, 5))) == []


@pytest.mark.parametrize("arguments", [((3, 3),), ((3, 3, 3), -1), ((3, 3, 3), 0, 0)])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="Expected"):
        list(blocks(*arguments))


@quick
@given(lengths, st.integers(0, 10**6))
def test_bounding_boxes_are_tight(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.05
    box = bounding_box(mask)
    where = np.argwhere(mask)
    if not len(where):
        assert box is None
        return
    assert [part.start for part in box] == where.min(axis=0).tolist()
    assert [part.stop - 1 for part in box] == where.max(axis=0).tolist()


@pytest.mark.parametrize("factor", [0.5, 2.0, 4.0, 1.0, 10.012 / 13.48, 1.5])
def test_labels_on_another_grid_equal_those_of_the_whole(factor):
    labels = np.random.default_rng(0).integers(0, 9, (7, 8, 9))
    shape = tuple(round(length * factor) for length in labels.shape)
    whole, lazy = labels_onto(labels, factor, shape), OnGrid(labels, factor, shape)
    assert (lazy[:, :, :] == whole).all()
    for block in blocks(shape, 1, 3):
        assert (lazy[block.outer] == whole[block.outer]).all()
    assert lazy[0:0, :, :].shape == (0, *shape[1:])


def test_centers_stay_where_they_are():
    fine = np.zeros((8, 8, 8), np.uint8)
    fine[2:4, 4:6, 0:2] = 5
    coarse = np.zeros((4, 4, 4), np.uint8)
    coarse[1, 2, 0] = 5
    assert (OnGrid(fine, 0.5, (4, 4, 4))[:, :, :] == coarse).all()
    assert (OnGrid(coarse, 2.0, (8, 8, 8))[:, :, :] == fine).all()


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_is_positive(factor):
    with pytest.raises(ValueError, match="`factor`"):
        OnGrid(np.zeros((2, 2, 2), int), factor, (2, 2, 2))
