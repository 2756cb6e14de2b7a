"""Peaks of a probability map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.near import best, neighbors
from copick_tools.volumes.peaks import Scale, peaks
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
