import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes import blocks as blocks_module
from copick_tools.volumes.sample import THINNEST, Sample, between, box, from_mask

quick = settings(deadline=None, derandomize=True, max_examples=40)
SHAPE, SPACING = (180, 300, 400), 10.0


def plane(bottom, tilt_y=0.0, tilt_x=0.0):
    """z in voxels at y, x."""
    return lambda y, x: bottom + tilt_y * (y - SHAPE[1] / 2) + tilt_x * (x - SHAPE[2] / 2)


def clicks(surface, count, rng, noise=0.0):
    """xyz in angstrom, anywhere on a surface."""
    y, x = rng.random((2, count)) * np.array(SHAPE[1:])[:, None]
    return np.column_stack([x, y, surface(y, x) + rng.normal(0, noise, count)]) * SPACING


def heights(surface):
    return surface(np.arange(SHAPE[1])[:, None], np.arange(SHAPE[2])[None, :])


@quick
@given(st.integers(0, 10**6), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.booleans())
def test_two_sets_in_any_order_give_the_planes(seed, tilt_y, tilt_x, swapped):
    rng = np.random.default_rng(seed)
    bottom, top = plane(40, tilt_y, tilt_x), plane(120, tilt_y, tilt_x)
    sets = [clicks(bottom, 12, rng), clicks(top, 9, rng)]
    sample = between(sets[::-1] if swapped else sets, SHAPE, SPACING)
    assert np.abs(sample.low - heights(bottom)).max() < 0.01
    assert np.abs(sample.high - heights(top)).max() < 0.01


@quick
@given(st.integers(0, 10**6), st.floats(-0.25, 0.25), st.floats(-0.25, 0.25))
def test_one_set_is_split(seed, tilt_y, tilt_x):
    rng = np.random.default_rng(seed)
    bottom, top = plane(50, tilt_y, tilt_x), plane(110, tilt_y, tilt_x)
    mixed = rng.permutation(np.vstack([clicks(bottom, 14, rng, 1.5), clicks(top, 14, rng, 1.5)]))
    sample = between([mixed], SHAPE, SPACING)
    assert np.median(np.abs(sample.low - heights(bottom))) < 3
    assert np.median(np.abs(sample.high - heights(top))) < 3


def test_the_origin_counts():
    sets = [np.array([[0.0, 0, 305.0]]), np.array([[0.0, 0, 905.0]])]
    sample = between(sets, SHAPE, SPACING, origin=5.0)
    assert (sample.low == 30).all()
    assert (sample.high == 90).all()


def test_margins_grow_and_shrink():
    sets = [np.array([[0.0, 0, 300]]), np.array([[0.0, 0, 900], [9, 9, 900]])]
    everywhere = slice(0, 300), slice(0, 400)
    assert between(sets, SHAPE, SPACING).rows(*everywhere) == (30, 91)
    assert between(sets, SHAPE, SPACING, margin=100.0).rows(*everywhere) == (20, 101)
    assert between(sets, SHAPE, SPACING, margin=-100.0).rows(*everywhere) == (40, 81)
    assert between(sets, SHAPE, SPACING, margin=5000.0).rows(*everywhere) == (0, 180)


def test_rows_follow_a_tilt():
    rng = np.random.default_rng(0)
    sample = between([clicks(plane(60, 0, 0.2), 6, rng), clicks(plane(100, 0, 0.2), 6, rng)], SHAPE, SPACING)
    assert sample.rows(slice(0, 300), slice(0, 10)) == (20, 62)
    assert sample.rows(slice(0, 300), slice(390, 400)) == (98, 140)
    assert 0.2 < sample.share < 0.24


def test_inside():
    rng = np.random.default_rng(0)
    bottom, top = plane(40, 0.1, 0), plane(120, 0.1, 0)
    sample = between([clicks(bottom, 8, rng), clicks(top, 8, rng)], SHAPE, SPACING)
    centers = rng.random((500, 3)) * (np.array(SHAPE) - 1)
    y, x = np.rint(centers[:, 1:]).T
    z = centers[:, 0]
    assert (sample.inside(centers) == ((z >= bottom(y, x) - 1e-4) & (z <= top(y, x) + 1e-4))).all()
    outside = np.array([[80.0, -1, 5], [80, 300, 5], [80, 5, 400], [-0.1, 5, 5], [180, 5, 5]])
    assert not sample.inside(outside).any()
    assert sample.inside(np.empty((0, 3))).shape == (0,)


@quick
@given(st.integers(0, 10**6))
def test_every_center_inside_is_in_the_rows_of_its_column(seed):
    rng = np.random.default_rng(seed)
    sample = between(
        [clicks(plane(30, *rng.uniform(-0.1, 0.1, 2)), 9, rng, 2), clicks(plane(140), 9, rng, 2)], SHAPE, 10.0
    )
    for center in rng.random((50, 3)) * (np.array(SHAPE) - 1):
        y, x = np.rint(center[1:]).astype(int)
        first, last = sample.rows(slice(y, y + 1), slice(x, x + 1))
        if sample.inside(center[None])[0]:
            assert first - 1 < center[0] < last


def test_crossing_at_an_edge_keeps_what_lies_between():
    rng = np.random.default_rng(0)
    low, high = plane(60, 0, 0), plane(90, 0, 0.2)
    sample = between([clicks(low, 9, rng), clicks(high, 9, rng)], SHAPE, SPACING)
    assert (sample.high >= sample.low).all()
    assert sample.rows(slice(0, 300), slice(0, 1)) == (50, 61)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([[[0, 0, 500], [3000, 0, 500], [0, 3000, 500]], [[0, 0, 100], [4000, 0, 900], [0, 3000, 100]]], "cross"),
        ([[[0, 0, 5000]], [[0, 0, 7000]]], "nothing of the volume"),
        ([[[0, 0, -900]], [[0, 0, -500]]], "nothing of the volume"),
        ([[[0, 0, 500]], [[0, 0, 505]]], "only 5 angstrom apart"),
        ([[[0, 0, 500]]], "where it begins|can't show"),
        ([[[0, 0, 500], [100, 0, 530]]], "angstrom apart"),
        ([[], [[0, 0, 500]]], "shape"),
        ([[[0, 0, 500]], [[0, float("nan"), 900]]], "finite"),
        ([], "one or two sets"),
        ([[[0, 0, 500]]] * 3, "one or two sets"),
    ],
)
def test_clicks_that_would_lose_the_sample_are_refused(sets, words):
    with pytest.raises(ValueError, match=words):
        between([np.array(points, dtype=float) for points in sets], SHAPE, SPACING)


def test_the_thinnest_sample_is_allowed():
    sets = [np.array([[0.0, 0, 500]]), np.array([[0.0, 0, 500 + THINNEST]])]
    assert between(sets, SHAPE, SPACING).share == pytest.approx(11 / 180)


def test_box():
    sample = box((20, 30, 40), (2, 3, 4))
    inside = np.zeros((20, 30, 40), bool)
    inside[2:18, 3:27, 4:36] = True
    everywhere = np.argwhere(np.ones_like(inside)).astype(float)
    assert (sample.inside(everywhere) == inside.ravel()).all()
    assert sample.share == pytest.approx(inside.mean())
    assert sample.rows(slice(0, 3), slice(0, 40)) == (0, 0)


def test_a_turned_box():
    turned, upright = box((5, 41, 41), (0, 0, 10), 90.0), box((5, 41, 41), (0, 10, 0))
    assert (turned.low == upright.low).all()
    sample = box((5, 101, 101), (0, 45, 0), 30.0)  # a strip along x, turned from x to y
    along = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    on, off = 50 + 40 * along, 50 + 40 * along * [1, -1]
    assert sample.inside(np.array([[2.0, on[1], on[0]], [2, off[1], off[0]]])).tolist() == [True, False]


@pytest.mark.parametrize("margin", [(3, 0, 0), (0, 5, 0), (0, 0, 9)])
def test_a_box_without_anything(margin):
    with pytest.raises(ValueError, match="leave nothing"):
        box((5, 6, 7), margin)


@quick
@given(st.integers(0, 10**6), st.sampled_from([1.0, 2.0, 4.0, 0.5]), st.sampled_from([2, 3, 256]))
def test_masks_give_the_range_of_each_column_for_any_block(seed, factor, size):
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 5, 7)) < 0.15
    mask[3, 2, 2] = True
    shape = tuple(round(length * factor) for length in mask.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module.blocks, "__defaults__", (0, size))
        sample = from_mask(mask.astype(np.uint8), factor, shape)
    fine = blocks_module.OnGrid(mask, factor, shape)[:, :, :]
    for y in range(shape[1]):
        for x in range(shape[2]):
            z = np.flatnonzero(fine[:, y, x])
            rows = sample.rows(slice(y, y + 1), slice(x, x + 1))
            if factor >= 1:
                assert rows == ((z[0], z[-1] + 1) if len(z) else (0, 0))
            elif len(z):
                assert rows[0] <= z[0]
                assert z[-1] < rows[1]


def test_a_mask_with_a_margin_and_an_empty_one():
    mask = np.zeros((10, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="empty"):
        from_mask(mask, 1.0, mask.shape)
    mask[5, 1, 1] = 1
    sample = from_mask(mask, 1.0, mask.shape, margin=2.0)
    assert sample.rows(slice(0, 4), slice(0, 4)) == (3, 8)
    assert sample.share == 5 / mask.size
    with pytest.raises(ValueError, match="`factor`"):
        from_mask(mask, 0.0, mask.shape)


def test_a_sample_of_nothing_has_no_rows():
    empty = Sample(np.full((3, 3), np.inf, np.float32), np.full((3, 3), -np.inf, np.float32), 10)
    assert empty.rows(slice(0, 3), slice(0, 3)) == (0, 0)
    assert empty.share == 0
    assert not empty.inside(np.array([[5.0, 1, 1]])).any()


def test_centers_that_are_no_numbers_are_outside():
    sample = box((10, 4, 4), (0, 0, 0))
    inside = np.array([5.0, 1, 1])
    for axis in range(3):
        for value in (np.nan, np.inf, -np.inf, 1e300):
            center = inside.copy()
            center[axis] = value
            assert sample.inside(np.array([center, inside])).tolist() == [False, True]
    assert sample.inside(np.empty((0, 3))).shape == (0,)
