import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import skeletonize

from copick_tools.metrics.centerline import centerline, centerline_dice

quick = settings(deadline=None, derandomize=True, max_examples=30)


def tube(radius=1, length=40, shape=(12, 12, 50), start=5, at=(6, 6)):
    """A straight tube of square section and odd width along x."""
    volume = np.zeros(shape, bool)
    z, y = at
    volume[z - radius : z + radius + 1, y - radius : y + radius + 1, start : start + length] = True
    return volume


def naive(reference, prediction):
    """Topology precision and sensitivity, voxel by voxel, with plain scikit-image."""
    shares = []
    for own, other in ((prediction, reference), (reference, prediction)):
        voxels = [tuple(v) for v in np.argwhere(skeletonize(own))]
        shares.append(sum(bool(other[v]) for v in voxels) / len(voxels))
    return 2 * shares[0] * shares[1] / (sum(shares) or 1)


def test_thickness_does_not_matter_but_place_does():
    thin, thick = tube(1), tube(2)
    assert centerline_dice(thin, thick) == pytest.approx(1, abs=0.03)
    assert centerline_dice(thin, tube(1, at=(6, 9))) == 0
    assert centerline_dice(thin, tube(1, at=(6, 7))) == 1


def test_a_gap_and_a_branch_cost():
    whole = tube()
    gap = whole.copy()
    gap[:, :, 20:30] = False
    branch = whole | tube(start=5, length=3) | np.moveaxis(tube(shape=(12, 50, 12), length=6), 1, 2)
    assert centerline_dice(whole, gap) == pytest.approx(naive(whole, gap))
    assert 0.8 < centerline_dice(whole, gap) < 0.9
    assert centerline_dice(whole, branch) == pytest.approx(naive(whole, branch))


@quick
@given(st.integers(0, 10**6), st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)))
def test_identity_symmetry_and_translation(seed, by):
    rng = np.random.default_rng(seed)
    one, other = (ndimage.gaussian_filter(rng.random((8, 9, 10)), 1) > 0.49 for _ in range(2))
    score = centerline_dice(one, other)
    assert centerline_dice(one, one) == 1
    assert centerline_dice(other, one) == pytest.approx(score)
    assert 0 <= score <= 1
    padded = [np.pad(side, [(step, 3) for step in by]) for side in (one, other)]
    assert centerline_dice(*padded) == pytest.approx(score)


@quick
@given(st.integers(0, 10**6), st.floats(0.4, 0.6))
def test_centerlines_lie_inside_and_lose_no_component(seed, level):
    volume = ndimage.gaussian_filter(np.random.default_rng(seed).random((8, 9, 10)), 1) > level
    found = centerline(volume)
    components, count = cc3d.connected_components(volume, connectivity=26, return_N=True)
    assert not (found & ~volume).any()
    assert len(np.unique(components[found])) == count


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 2, 30), (4, 4, 30), (6, 6, 30), (1, 2, 30), (4, 6, 30)])
def test_even_widths_keep_a_centerline(shape):
    """Plain scikit-image erases most of these: issue 3757."""
    found = centerline(np.pad(np.ones(shape, bool), 1))
    assert shape[2] - max(shape[:2]) < found.any(axis=(0, 1)).sum() <= shape[2]
    assert centerline_dice(np.ones(shape, bool), np.ones(shape, bool)) == 1


def test_empty_sides():
    nothing, something = np.zeros((12, 12, 50), bool), tube()
    assert np.isnan(centerline_dice(nothing, nothing))
    assert centerline_dice(nothing, something) == centerline_dice(something, nothing) == 0
    assert not centerline(nothing).any()


@pytest.mark.parametrize(
    ("one", "other"),
    [(np.zeros((2, 2), bool), np.zeros((2, 2), bool)), (tube(), tube()[1:]), (tube().astype(int), tube())],
)
def test_wrong_arguments(one, other):
    with pytest.raises(ValueError, match="Expected"):
        centerline_dice(one, other)
