"""Peaks of a probability map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak

from copick_tools.volumes.components import zyx
from copick_tools.volumes.near import best, neighbors
from copick_tools.volumes.peaks import SLOPE, Scale, _maxima, peaks, voxels
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.sparse import Sparse

SCALE = Scale(ball=4.0, threshold=0.5, apart=2.0, smoothing=0.25)


def blobs(centers, radius=4.0, shape=(24, 26, 40), height=1.0):
    made = np.zeros(shape, np.float32)
    for center in centers:
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), center)))
        made = np.maximum(made, np.clip(radius + 0.5 - away, 0, 1) * height)
    return made.astype(np.float16)


def test_centers_scores_and_volumes_of_separate_balls():
    centers = np.array([(8.3, 9.1, 8.6), (12.0, 14.5, 22.2)])
    found = peaks(blobs(centers), SCALE, 256)
    order = np.argsort(found.centers[:, 2])
    np.testing.assert_allclose(found.centers[order], centers, atol=0.06)
    assert (found.scores > 0.95).all()
    np.testing.assert_allclose(found.volumes, 4.19 * 4.2**3, rtol=0.15)


def test_the_score_is_like_the_probability():
    for height in (0.55, 0.8):
        assert peaks(blobs([(12, 12, 20)], height=height), SCALE, 256).scores[0] == pytest.approx(height, abs=0.04)
    assert len(peaks(blobs([(12, 12, 20)], height=0.45), SCALE, 256).scores) == 0


@pytest.mark.parametrize("overlap", [1.0, 0.8, 0.65])
def test_balls_that_overlap_are_two(overlap):
    centers = [(12, 12, 12), (12, 12, 12 + 8 * overlap)]
    found = peaks(blobs(centers), SCALE, 256)
    assert len(found.centers) == 2
    np.testing.assert_allclose(found.centers[np.argsort(found.centers[:, 2])], centers, atol=0.8)


def test_specks_are_no_peaks():
    made = np.zeros((20, 20, 20), np.float16)
    made[10, 10, 10:12] = 1
    assert len(peaks(made, SCALE, 256).scores) == 0


def test_a_plateau_is_one_peak():
    for shape in ((9, 9, 9), (30, 31, 32), (1, 1, 1), (1, 20, 30), (1, 1, 50)):
        found = peaks(np.ones(shape, np.float16), Scale(2.0, 0.05, 0.0, 0.25), 256)
        assert len(found.scores) == 1
        assert ((found.at >= 0) & (found.at < shape)).all()


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(0, 10_000), st.integers(4, 30), st.sampled_from([1.0, 2.5]))
def test_blocks_and_storage_change_nothing(seed, chunk, ball):
    rng = np.random.default_rng(seed)
    made = blobs(rng.random((6, 3)) * (12, 20, 22), radius=ball, shape=(12, 20, 22))
    made = (made * rng.random(made.shape)).astype(np.float16)
    made[rng.random(made.shape) < 0.01] = rng.choice(np.array([np.nan, 1, np.inf, -1], np.float16))
    scale = Scale(ball, 0.2, ball, 0.25)
    whole = peaks(made, scale, 256)
    stored = Sparse(made.shape, np.float16)
    stored.append(made)
    for volume in (made, stored):
        again = peaks(volume, scale, chunk)
        for name in ("centers", "scores", "volumes", "at"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(0, 60), st.floats(0, 0.5), st.integers(1, 5))
def test_the_best_of_near_points_stay(seed, count, distance, levels):
    rng = np.random.default_rng(seed)
    centers, scores = rng.random((count, 3)), rng.integers(0, levels, count) / levels
    order = sorted(range(count), key=lambda i: (-scores[i], *centers[i]))
    kept = []
    for index in order:
        if all(np.linalg.norm(centers[index] - centers[other]) >= distance for other in kept):
            kept.append(index)
    assert best(centers, scores, distance).tolist() == kept


def test_many_points_are_compared_batch_by_batch():
    rng = np.random.default_rng(0)
    centers, scores = rng.random((6000, 3)), rng.random(6000)
    kept = best(centers, scores, 0.05)
    assert all(not near for near in neighbors(centers[kept], 0.05 - 1e-9))
    stays = set(kept.tolist())
    for index, near in enumerate(neighbors(centers, 0.05 - 1e-9)):
        assert (index in stays) != any(other in stays and scores[other] > scores[index] for other in near)


@pytest.mark.parametrize("chunk", [16, 37, 256])
def test_the_peak_of_a_plateau_is_its_middle_voxel(chunk):
    made = np.zeros((40, 44, 50), np.float16)
    made[3:30, 5:33, 4:47] = 1
    made[10:20, 10:20, 20:25] = 0
    scale = Scale(4.0, 0.5, 0.0, 0.25)
    at, scores = _maxima(made, scale, chunk)
    assert (scores == 1).all()
    reached = [tuple(place) for place in at]
    assert reached == sorted(reached)
    flat = Scale(4.0, 0.5, 0.0, 0.01)  # hardly smoothed: the plateau is what is 1 in its window, and so all of it
    box = np.zeros((40, 44, 50), np.float16)
    box[3:31, 5:32, 4:46] = 1
    middle, _ = _maxima(box, flat, chunk)
    inside = np.argwhere(_plateau(box, flat))
    assert middle.tolist() == [inside[len(inside) // 2].tolist()]


def _plateau(made, scale):
    """By hand: the voxels that are highest in their window, of the smoothed map."""
    from scipy.ndimage import correlate1d, maximum_filter

    smooth = made.astype(np.float32)
    for axis in range(3):
        smooth = correlate1d(smooth, scale.kernel, axis=axis, mode="constant")
    return (smooth == maximum_filter(smooth, 2 * scale.half + 1, mode="constant")) & (made > 0)


def test_memory_of_a_saturated_map():
    made = np.ones((100, 100, 100), np.float16)
    assert peak(lambda: peaks(made, SCALE, 256)) < 20 * made.size


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.45, 0.9]), st.floats(0, 1))
def test_what_else_was_kept_changes_no_peak(seed, threshold, share):
    rng = np.random.default_rng(seed)
    made = blobs(rng.random((8, 3)) * (20, 24, 30), radius=3.0, shape=(20, 24, 30)) * rng.random((20, 24, 30))
    slab = np.stack([1 - made, made]).astype(np.float16)
    scale = Scale(3.0, threshold, 2.0, 0.25)
    kept = []
    for floor in (SLOPE * threshold, share * SLOPE * threshold):
        scores = Probabilities(zyx(made), [1], 0.5, maps=[1], map_floor=floor)
        scores.add(0, slab)
        found = peaks(scores.maps[1], scale, 16)
        kept.append((found, [(mine, weights) for _, mine, weights in voxels(scores.maps[1], found.at, scale)]))
    (one, its), (other, others) = kept
    for name in ("centers", "scores", "volumes", "at"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for pair in zip(its, others, strict=True):
        for first, second in zip(*pair, strict=True):
            np.testing.assert_array_equal(first, second)


def test_single_precision_is_cut_like_half_precision():
    rng = np.random.default_rng(0)
    made = (blobs([(12, 12, 12), (12, 12, 24)]) * rng.random((24, 26, 40))).astype(np.float16)
    one, other = peaks(made, SCALE, 256), peaks(made.astype(np.float32), SCALE, 256)
    for name in ("centers", "scores", "volumes", "at"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
