"""Components measured block by block are those of the whole volume."""

from dataclasses import fields

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak

from copick_tools.volumes import components as module
from copick_tools.volumes.components import SCORE, components, quantized, traced
from copick_tools.volumes.sparse import Sparse


def random(seed, shape=(9, 10, 11), density=0.3, objects=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, objects + 1, shape).astype(np.uint8)
    labels[rng.random(shape) >= density] = 0
    return labels, rng.random(shape).astype(np.float16)


def assert_equal(one, other):
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.1, 0.3, 0.7, 1.0]), st.sampled_from([1, 3]))
def test_they_are_what_cc3d_finds(seed, density, objects):
    labels, certainty = random(seed, density=density, objects=objects)
    found = components(labels, certainty=certainty)
    numbers, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    assert len(found) == count
    for index in range(count):
        number = numbers.ravel()[found.first[index]]
        where = np.argwhere(numbers == number)
        score = quantized(certainty[numbers == number])
        assert found.first[index] == np.flatnonzero(numbers == number)[0]
        assert found.labels[index] == labels.ravel()[found.first[index]]
        assert found.count[index] == len(where)
        assert found.squares[index] == (where**2).sum()
        assert found.score[index] == score.sum()
        np.testing.assert_array_equal(found.moments[index], where.sum(axis=0))
        np.testing.assert_array_equal(found.weighted[index], (where * score[:, None]).sum(axis=0))
        np.testing.assert_array_equal(found.low[index], where.min(axis=0))
        np.testing.assert_array_equal(found.high[index], where.max(axis=0) + 1)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.5, 1.0]), st.integers(3, 12), st.sampled_from([1, 3]))
def test_blocks_and_storage_change_nothing(seed, density, chunk, objects):
    labels, certainty = random(seed, density=density, objects=objects)
    whole = components(labels, certainty=certainty)
    assert_equal(components(labels, certainty=certainty, chunk=chunk), whole)
    stored, sure = Sparse(labels.shape, np.uint8), Sparse(labels.shape, np.float16)
    stored.append(labels)
    sure.append(certainty)
    assert_equal(components(stored, certainty=sure, chunk=chunk), whole)
    wide = components(labels.astype(np.int64), certainty=certainty, chunk=chunk)
    np.testing.assert_array_equal(wide.weighted, whole.weighted)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10_000), st.integers(3, 12), st.sampled_from([0.1, 0.4]))
def test_runs_know_their_component(seed, chunk, density):
    labels, _ = random(seed, density=density)
    found, runs, owner = traced(labels, None, None, chunk, keep_runs=True)
    assert (np.diff(runs.first) > 0).all()
    np.testing.assert_array_equal(np.bincount(owner, runs.last - runs.first + 1, len(found)), found.count)
    np.testing.assert_array_equal(found.labels[owner], runs.labels)


def test_a_full_volume_is_one():
    for chunk in (3, 8, 100):
        found = components(np.ones((7, 8, 9), bool), chunk=chunk)
        assert found.count.tolist() == [504]
        assert found.centers.tolist() == [[3, 3.5, 4]]


def test_only_what_is_wanted():
    labels = np.array([[[1, 2, 0, 300, 7]]])
    assert components(labels, wanted=[2, 300, 5]).labels.tolist() == [2, 300]
    assert components(labels.astype(np.uint8), wanted=[2, 300]).labels.tolist() == [2]
    assert len(components(labels, wanted=[])) == 0


def test_background_is_never_wanted():
    assert components(np.array([[[0, 1]]], np.uint8), wanted=[0, 1]).count.tolist() == [1]


def test_centers_are_weighted_unless_all_is_certain_to_be_nothing():
    labels = np.array([[[1, 1, 0, 2, 2]]], np.uint8)
    found = components(labels, certainty=np.array([[[0.9, 0.3, 0.7, 0, 0]]]))
    np.testing.assert_allclose(found.centers, [[0, 0, 0.25], [0, 0, 3.5]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.6, 0], atol=1e-4)


def test_compactness_tells_one_from_two():
    z, y, x = np.indices((13, 13, 30))
    one = (z - 6) ** 2 + (y - 6) ** 2 + (x - 6) ** 2 <= 36
    two = one | ((z - 6) ** 2 + (y - 6) ** 2 + (x - 17) ** 2 <= 36)
    assert components(one).compactness[0] > 0.95
    assert components(two).compactness[0] < 0.6
    assert components(np.ones((1, 1, 1), bool)).compactness[0] > 0.5


def test_scores_that_are_no_numbers():
    assert quantized(np.array([np.nan, np.inf, -np.inf, -1, 2], np.float16)).tolist() == [0, SCORE, 0, 0, SCORE]


def test_refusals():
    with pytest.raises(ValueError, match="integer labels"):
        components(np.zeros((1, 1, 1)))
    with pytest.raises(ValueError, match="three axes"):
        components(np.zeros((1, 1), int))


def test_no_voxels_no_components():
    for shape in ((0, 3, 3), (3, 0, 3), (3, 3, 0), (1, 1, 1)):
        assert len(components(np.zeros(shape, np.uint8))) == 0


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 0.7]), st.integers(3, 20), st.integers(0, 60))
def test_many_runs_are_put_together_part_by_part(seed, density, chunk, runs):
    labels, certainty = random(seed, (17, 12, 13), density)
    whole = traced(labels, None, certainty, 256, keep_runs=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RUNS", runs)
        patch.setattr(module, "SLAB", 1 + 3 * runs)
        parts = traced(labels, None, certainty, chunk, keep_runs=True)
    assert_equal(parts[0], whole[0])
    voxels = [np.repeat(owner, found.last - found.first + 1) for _, found, owner in (whole, parts)]
    np.testing.assert_array_equal(*voxels)


def test_memory_of_noise(monkeypatch):
    rng = np.random.default_rng(0)
    dense = (rng.random((64, 256, 256)) < 0.5).astype(np.uint8)
    assert peak(lambda: components(dense)) < 48 * dense.size
    specks = (rng.random((100, 256, 256)) < 0.02).astype(np.uint8)
    monkeypatch.setattr(module, "SLAB", 1 << 16)
    monkeypatch.setattr(module, "RUNS", 1 << 12)
    assert peak(lambda: components(specks)) < 220 * len(components(specks))
