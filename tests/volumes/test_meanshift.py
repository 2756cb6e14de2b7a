"""Mean shift: scikit-learn's to the bit, whatever the blocks; each cluster's object by vote."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak
from sklearn.cluster import MeanShift

from copick_tools.errors import PopsicleError
from copick_tools.volumes import meanshift
from copick_tools.volumes.extraction import Extraction, Particle, from_labels, from_probabilities
from copick_tools.volumes.instances import instances
from copick_tools.volumes.meanshift import clusters, mean_shift
from copick_tools.volumes.paint import spheres
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.runs import Grid, true_runs
from copick_tools.volumes.sparse import Sparse

SPACING = 10.0
BALLS = [Particle("bead", 1, 60.0, 30.0), Particle("ring", 2, 100.0, 50.0)]
SHIFT = {particle.name: Extraction("mean-shift", 0.5, 0.5, 0.25) for particle in BALLS}


def scene(seed, shape=(30, 44, 50), count=14, specks=0.002):
    """Labels of balls that may touch, ragged, with specks between them."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(1, 3, count)
    made = spheres(rng.random((count, 3)) * shape, np.array([0, 3.0, 5.0])[kinds], kinds, shape)
    made[rng.random(shape) < 0.1] = 0
    holes = rng.random(shape) < specks
    made[holes] = rng.integers(1, 3, np.count_nonzero(holes))
    return made


def of_sklearn(voxels, bandwidth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that each voxel is a bin of its own
        return MeanShift(bandwidth=bandwidth, bin_seeding=True).fit(voxels)


def shifted(labels, bandwidth):
    mask = labels > 0
    return mean_shift(true_runs(mask, np.zeros(3, int), Grid(mask.shape)), Grid(mask.shape), bandwidth)


@settings(deadline=None, derandomize=True, max_examples=8)
@given(
    st.integers(0, 10_000),
    st.sampled_from([np.pi * part for part in (0.35, 0.5, 0.7, 1.0, 1.35, 2.5)]),
    st.integers(0, 4),
)
def test_centers_are_those_of_scikit_learn(seed, bandwidth, count):
    """No mean of voxels is at the distance of these bandwidths from a voxel."""
    labels = scene(seed, (14, 20, 26), count, 0.01)
    labels[7, 7, 7] = 1
    np.testing.assert_array_equal(
        shifted(labels, bandwidth), of_sklearn(np.argwhere(labels), bandwidth).cluster_centers_
    )


@pytest.mark.parametrize("bandwidth", [3.0, 5.0])
def test_clusters_of_a_whole_scene_are_those_of_scikit_learn(bandwidth):
    """One global run, though it is computed block by block: centers, sizes, votes and certainties."""
    labels, rng = scene(0), np.random.default_rng(1)
    certainty = (rng.random(labels.shape) * (labels > 0)).astype(np.float16)
    found, voxels = clusters(labels, [1, 2], certainty, bandwidth, 17), np.argwhere(labels)
    whole = of_sklearn(voxels, bandwidth)
    np.testing.assert_array_equal(found.centers, whole.cluster_centers_)
    away = np.linalg.norm(voxels[:, None] - found.centers[None], axis=2)
    two = np.partition(away, 1, axis=1)
    clear = two[:, 1] - two[:, 0] > 1e-9  # of equally near centers either may be the owner
    own = owners(found, labels.shape)[tuple(voxels.T)]
    np.testing.assert_array_equal(own[clear], whole.labels_[clear])
    for index in range(len(found.centers)):
        mine = tuple(voxels[own == index].T)
        votes = np.bincount(labels[mine], minlength=3)
        assert found.labels[index] == votes.argmax()
        assert found.count[index] == votes.sum()
        assert found.scores[index] == pytest.approx(certainty[mine].astype(float).mean(), abs=1e-5)
        assert found.first[index] == np.ravel_multi_index(mine, labels.shape).min()


def owners(found, shape):
    """The cluster of each voxel, -1 where there is none."""
    made, grid = np.full(shape, -1), Grid(shape)
    row = {first: index for index, first in enumerate(found.first.tolist())}
    for first, last, label in zip(found.runs.first, found.runs.last, found.runs.labels.tolist()):
        made[grid.place(np.arange(first, last + 1))] = row[label]
    return made


@settings(deadline=None, derandomize=True, max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([7, 13, 25, 64]))
def test_blocks_and_storage_change_nothing(seed, chunk):
    labels = scene(seed)
    whole, stored = clusters(labels, [1, 2], None, 4.0), Sparse(labels.shape, np.uint8)
    stored.append(labels)
    again = clusters(stored, [2, 1], None, 4.0, chunk)
    for name in ("centers", "labels", "count", "scores", "first"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    np.testing.assert_array_equal(owners(again, labels.shape), owners(whole, labels.shape))


def test_nothing_and_single_voxels():
    empty = np.zeros((3, 4, 5), np.uint8)
    assert len(clusters(empty, [1], None, 2.0).centers) == 0
    empty[1, 2, 3] = 1
    found = clusters(empty, [1], None, 2.0)
    assert found.centers.tolist() == [[1, 2, 3]]
    assert (found.count.tolist(), found.labels.tolist(), found.first.tolist()) == ([1], [1], [33])
    assert len(clusters(empty, [2], None, 2.0).centers) == 0


def test_objects_are_clustered_together_and_the_most_common_one_counts():
    labels = spheres(np.array([[8.0, 8, 8]]), np.array([4.0]), np.array([2]), (16, 16, 16))
    labels[:, :, :7][labels[:, :, :7] > 0] = 1
    found = from_labels(labels, BALLS, SPACING, SHIFT)
    assert (len(found["bead"]), len(found["ring"])) == (0, 1)
    assert found["ring"].volumes.tolist() == [np.count_nonzero(labels)]
    np.testing.assert_allclose(found["ring"].centers, [[8, 8, 8]], atol=1e-6)
    alone = from_labels(labels, BALLS[:1], SPACING, SHIFT)["bead"]
    assert len(alone) == 1
    assert alone.volumes[0] < np.count_nonzero(labels)
    apart = {**SHIFT, "ring": replace(SHIFT["ring"], bandwidth=41.0)}  # of another bandwidth: by itself
    assert {name: len(own) for name, own in from_labels(labels, BALLS, SPACING, apart).items()} == {
        "bead": 1,
        "ring": 1,
    }


def test_the_bandwidth_is_the_largest_balls_unless_given():
    labels = scene(3)
    bare = from_labels(labels, BALLS, SPACING, SHIFT)
    given = {name: replace(each, bandwidth=50.0) for name, each in SHIFT.items()}
    for name, own in from_labels(labels, BALLS, SPACING, given).items():
        np.testing.assert_array_equal(own.centers, bare[name].centers)
    small = from_labels(labels, BALLS, SPACING, {n: replace(each, bandwidth=20.0) for n, each in SHIFT.items()})
    assert sum(map(len, small.values())) > sum(map(len, bare.values()))
    with pytest.raises(PopsicleError, match="a bandwidth of 9 A is below a voxel, 10 A"):
        from_labels(labels, BALLS, SPACING, {n: replace(each, bandwidth=9.0) for n, each in SHIFT.items()})


def test_balls_apart_are_found_in_their_middle():
    rng, shape = np.random.default_rng(0), (40, 80, 80)
    grid = np.array([(z, y, x) for z in (10, 30) for y in (12, 40, 66) for x in (12, 40, 66)], float)
    centers, kinds = grid + rng.uniform(-1, 1, grid.shape), rng.integers(1, 3, len(grid))
    labels = spheres(centers, np.array([0, 3.0, 5.0])[kinds], kinds, shape)
    for name, label in (("bead", 1), ("ring", 2)):
        own, truth = from_labels(labels, BALLS, SPACING, SHIFT)[name], centers[kinds == label]
        assert len(own) == len(truth)
        away = np.linalg.norm(own.centers[:, None] - truth[None], axis=2)
        assert (away.min(axis=0) < 0.3).all()
        assert (own.scores > 0.8).all()


def test_scores_are_certainties():
    shape = (20, 20, 40)
    one = spheres(np.array([[10.0, 10, 10], [10, 10, 30]]), np.array([5.0, 5.0]), np.array([2, 2]), shape)
    given = np.zeros((3, *shape), np.float16)
    given[2] = np.where(one > 0, np.where(np.arange(40) < 20, 0.9, 0.6), 0)
    given[0] = 1 - given[2]
    source = Probabilities(shape, [1, 2], 0.5)
    source.add(0, given)
    ring = from_probabilities(source, BALLS, SPACING, SHIFT)["ring"]
    np.testing.assert_allclose(ring.scores, [0.9, 0.6], atol=1e-3)
    assert ring.centers[:, 2].round().tolist() == [10, 30]


@pytest.mark.parametrize("merge", [0.0, 0.5])
def test_instances_are_clusters(merge):
    labels = scene(5)
    how = {name: replace(each, merge=merge) for name, each in SHIFT.items()}
    every = from_labels(labels, BALLS, SPACING, how)
    chosen = {name: own.take(own.volumes > 10) for name, own in every.items()}
    dense = instances(labels, chosen, BALLS, SPACING, how)[:, :, :]
    together = np.concatenate([own.volumes for own in chosen.values()])
    np.testing.assert_array_equal(np.bincount(dense.ravel(), minlength=len(together) + 1)[1:], together)
    seeds = np.concatenate([own.seeds for own in chosen.values()])
    np.testing.assert_array_equal(dense.ravel()[seeds], np.arange(1, len(seeds) + 1))
    ring = instances(labels, {"ring": chosen["ring"]}, BALLS[1:], SPACING, how)[:, :, :]
    np.testing.assert_array_equal(ring > 0, dense > len(chosen["bead"]))


def test_what_is_no_particle_is_refused_or_cheap(monkeypatch):
    """Whole compartments: seeds and memory go with the bandwidth, not with the voxels; too many seeds are an error."""
    volume = np.ones((40, 128, 128), np.uint8)
    assert peak(lambda: clusters(volume, [1], None, 16.0)) < 300 * volume.size
    monkeypatch.setattr(meanshift, "SEEDS", 100)
    with pytest.raises(PopsicleError, match="the foreground isn't particles") as raised:
        clusters(volume, [1], None, 4.0)
    assert "method components" in raised.value.hint
