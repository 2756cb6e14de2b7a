"""Class probabilities, kept as far as they matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.probabilities import Probabilities, bits_of


def random(seed, shape=(5, 6, 7), objects=3, nasty=False):
    rng = np.random.default_rng(seed)
    weights = rng.random((objects + 1, *shape)) ** 4
    weights[0] *= 3
    made = (weights / weights.sum(axis=0)).astype(np.float16)
    if nasty:
        at = rng.random(made.shape) < 0.2
        made[at] = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.5, -0.0, 1.5], np.float16), at.sum())
    return made


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.integers(1, 5))
def test_it_is_the_argmax_where_the_floor_is_reached(seed, floor, depth):
    given_ = random(seed)
    scores = Probabilities(given_.shape[1:], [4, 2, 9], floor, maps=[2], map_floor=floor)
    for z0 in range(0, 5, depth):
        scores.add(z0, given_[:, z0 : z0 + depth])
    objectness = (1 - given_[0].astype(np.float32)).astype(np.float16)
    kept = (objectness.astype(float) >= max(floor, 1e-7)) & (given_[1:].max(axis=0) > 0)
    likeliest = np.array([4, 2, 9])[given_[1:].argmax(axis=0)]
    np.testing.assert_array_equal(scores.likeliest[:, :, :], np.where(kept, likeliest, 0))
    np.testing.assert_array_equal(scores.certainty[:, :, :], np.where(kept, given_[1:].max(axis=0), 0))
    np.testing.assert_array_equal(scores.objectness[:, :, :], np.where(kept, objectness, 0))
    own = given_[2]
    np.testing.assert_array_equal(scores.maps[2][:, :, :], np.where(own.astype(float) >= floor, own, 0))


def test_thresholds_by_label():
    given_ = random(3)
    scores = Probabilities(given_.shape[1:], [1, 2, 3], 0.2)
    scores.add(0, given_)
    labels = scores.labels({1: 0.9, 2: 0.4})
    objectness = scores.objectness[:, :, :].astype(float)
    likeliest = scores.likeliest[:, :, :]
    wanted = ((likeliest == 1) & (objectness >= 0.9)) | ((likeliest == 2) & (objectness >= 0.4))
    np.testing.assert_array_equal(labels[:, :, :], np.where(wanted, likeliest, 0))
    np.testing.assert_array_equal(labels[1:3, 2:, :4], np.where(wanted, likeliest, 0)[1:3, 2:, :4])
    np.testing.assert_array_equal(scores.labels(0.7)[:, :, :], np.where(objectness >= 0.7, likeliest, 0))


def test_reduced_slabs_give_the_same():
    given_ = random(5)
    one, other = (Probabilities(given_.shape[1:], [1, 2, 3], 0.3) for _ in range(2))
    one.add(0, given_)
    objectness = (1 - given_[0].astype(np.float32)).astype(np.float16)
    labels = (1 + given_[1:].argmax(axis=0)).astype(np.uint8)
    for z0 in (0, 2):
        part = slice(z0, z0 + 2 if z0 == 0 else 5)
        other.add_likeliest(z0, labels[part], given_[1:].max(axis=0)[part], objectness[part])
    for name in ("likeliest", "certainty", "objectness"):
        np.testing.assert_array_equal(getattr(one, name)[:, :, :], getattr(other, name)[:, :, :])


def test_what_is_no_probability_counts_as_none():
    values = np.array([np.nan, np.inf, -np.inf, -0.5, 1.5, 0.75, -0.0], np.float16)
    given_ = np.zeros((2, 1, 1, 7), np.float16)
    given_[1] = values
    scores = Probabilities((1, 1, 7), [1], 0.5, maps=[1])
    scores.add(0, given_)
    assert scores.certainty[:, :, :].ravel().tolist() == [0, 0, 0, 0, 1, 0.75, 0]
    assert scores.likeliest[:, :, :].ravel().tolist() == [0, 0, 0, 0, 1, 1, 0]
    assert scores.maps[1][:, :, :].ravel().tolist() == [0, 0, 0, 0, 1, 0.75, 0]
    background = Probabilities((1, 1, 7), [1], 0.2)
    given_ = np.ones((2, 1, 1, 7), np.float16)
    given_[0] = values
    background.add(0, given_)
    assert background.objectness[:, :, :].ravel().tolist() == [0, 0, 0, 0, 0, 0.25, 1]


def test_memory_follows_the_foreground():
    given_ = np.zeros((2, 2, 100, 100), np.float16)
    given_[0] = 1
    given_[:, 0, 3, 4:9] = np.array([0.1, 0.9], np.float16)[:, None]
    scores = Probabilities((2, 100, 100), [1], 0.5)
    scores.add(0, given_)
    assert np.count_nonzero(scores.likeliest[:, :, :]) == 5
    assert scores.likeliest.nbytes + scores.certainty.nbytes + scores.objectness.nbytes < 200


def test_refusals():
    scores = Probabilities((4, 2, 2), [1, 2], 0.5, maps=[2])
    with pytest.raises(ValueError, match="starts at 0"):
        scores.add(1, np.zeros((3, 1, 2, 2), np.float16))
    with pytest.raises(ValueError, match="doesn't fit"):
        scores.add(0, np.zeros((2, 1, 2, 2), np.float16))
    with pytest.raises(ValueError, match="own|each object"):
        scores.add_likeliest(0, *[np.zeros((1, 2, 2))] * 3)
    with pytest.raises(ValueError, match="within 1 to 255"):
        Probabilities((1, 1, 1), [0], 0.5)
    with pytest.raises(ValueError, match="among"):
        Probabilities((1, 1, 1), [1], 0.5, maps=[2])


@settings(deadline=None, derandomize=True)
@given(st.floats(-1, 2))
def test_bits_of_is_the_least_that_reaches(probability):
    level = np.array(bits_of(probability), np.uint16).view(np.float16)
    assert float(level) >= min(max(probability, 0), 1)
    below = np.array(max(bits_of(probability), 1) - 1, np.uint16).view(np.float16)
    assert float(below) < probability or bits_of(probability) == 0


@pytest.mark.parametrize("label", [-1, 0, 256, 300])
def test_thresholds_of_labels_that_cannot_be(label):
    with pytest.raises(ValueError, match=f"1 to 255, but got {label}$"):
        Probabilities((1, 1, 1), [1], 0.5).labels({1: 0.5, label: 0.5})
