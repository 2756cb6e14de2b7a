"""What is annotated after so many objects: nested, exact, and no object is cut."""

import numpy as np
import pytest
from volumes.blobs import touching

from copick_tools.volumes.annotating import (
    Sweep,
    annotated_instances,
    annotated_particles,
    connected_parts,
    numbered,
)

SHAPE = (12, 40, 50)
SWEEPS = [Sweep(axis, backward) for axis in (1, 2) for backward in (False, True)]


def in_order(sweep, count=25, seed=0):
    centers = np.random.default_rng(seed).uniform(0, np.array(SHAPE) - 1, (count, 3))
    return centers[sweep.order(centers)]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_so_many_centers_are_annotated_and_more_hold_fewer(sweep):
    centers = in_order(sweep)
    radii = np.full(len(centers), 5.0)
    voxels = tuple(np.round(centers).astype(int).T)
    before = np.zeros(SHAPE, bool)
    for count in range(len(centers) + 1):
        mask = annotated_particles(SHAPE, centers, radii, count, sweep)
        assert mask[voxels].tolist() == [index < count for index in range(len(centers))]
        assert not (before & ~mask).any()
        before = mask
    assert before.all()


def test_balls_belong_to_the_nearest_center():
    centers = np.array([[5.0, 20, 10], [5, 20, 16]])
    mask = annotated_particles(SHAPE, centers, np.array([5.0, 5.0]), 1, Sweep(2, False))
    assert mask[5, 20, 12]
    assert not mask[5, 20, 14:22].any()  # of the one that wasn't reached, inside the slab as well
    assert not mask[5, 0, 14:].any()
    assert mask[:, :5, :13].all()


@pytest.mark.parametrize("sweep", SWEEPS)
def test_instances_are_annotated_whole_or_not_at_all(sweep):
    ids = touching(SHAPE, 9, 8.0, 0)
    labels = np.where(ids > 0, 1 + ids % 2, 0)
    numbers, centers, kinds = numbered(labels, ids, sweep)
    assert len(centers) == len(np.unique(ids)) - 1
    assert (np.diff(centers[:, sweep.axis]) * (-1 if sweep.backward else 1) >= 0).all()
    for number in range(1, len(centers) + 1):
        own = numbers == number
        assert len(np.unique(ids[own])) == 1
        assert set(labels[own]) == {kinds[number - 1]}
        np.testing.assert_allclose(np.argwhere(own).mean(0), centers[number - 1], atol=1e-3)
    before = np.zeros(SHAPE, bool)
    for count in range(len(centers) + 1):
        mask = annotated_instances(numbers, centers, count, sweep)
        assert mask[(numbers > 0) & (numbers <= count)].all()
        assert not mask[numbers > count].any()
        assert not (before & ~mask).any()
        before = mask
    assert before.all()


def test_an_id_of_two_labels_is_two_objects():
    labels, ids = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    labels[:, :5, :5], labels[:, 20:25, :5], labels[:, 30:, 30:] = 1, 2, 2
    ids[:, :30] = 7
    numbers, _, kinds = numbered(labels, ids, Sweep(1, False))
    assert kinds.tolist() == [1, 2]
    assert not numbers[:, 30:].any()


def test_nothing_there():
    numbers, centers, kinds = numbered(np.zeros(SHAPE, int), np.zeros(SHAPE, int), Sweep(1, False))
    assert (numbers.max(), centers.shape, len(kinds)) == (0, (0, 3), 0)
    assert annotated_particles(SHAPE, centers, np.empty(0), 0, Sweep(1, True)).all()


def test_the_share_is_that_of_the_slab():
    for sweep in SWEEPS:
        centers = in_order(sweep)
        for count in (0, 1, 7, 24, 25):
            slab = sweep.slab(SHAPE, centers, count)
            share = sweep.share(SHAPE, centers, count)
            assert slab.mean() == pytest.approx(share, abs=1 / SHAPE[sweep.axis])


def test_connected_parts_have_one_label():
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0, :3], labels[0, 0, 3:6], labels[5, 5, 5] = 1, 2, 1
    assert connected_parts(labels).max() == 3
