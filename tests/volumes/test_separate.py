"""Touching particles come apart, single ones stay whole, and the expected volume is that of one."""

import numpy as np
import pytest
from memory import peak

from copick_tools.volumes.components import components
from copick_tools.volumes.expected import ball, ball_radius, expected_volume, typical
from copick_tools.volumes.parts import Crops, divisible, taken_apart
from copick_tools.volumes.separate import separate


def balls(centers, radius, shape=(30, 30, 60), ragged=0.0, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for center in centers:
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), center)))
        mask |= away + rng.uniform(-ragged, ragged, shape) <= radius
    return mask


@pytest.mark.parametrize("overlap", [1.0, 0.85, 0.7])
@pytest.mark.parametrize("radius", [4.2, 7.0, 10.5])
def test_two_balls_come_apart(radius, overlap):
    away = 2 * radius * overlap
    centers = [(15, 15, 12.3), (15, 15, 12.3 + away)]
    parts = separate(balls(centers, radius), radius)
    assert parts.max() == 2
    for number, center in zip(parts[15, 15, [12, round(12.3 + away)]], centers):
        assert np.linalg.norm(np.argwhere(parts == number).mean(axis=0) - center) < 0.2 * radius


@pytest.mark.parametrize("stretch", [1.0, 1.6, 2.2])
def test_an_elongated_particle_stays_whole(stretch):
    z, y, x = np.indices((30, 30, 60))
    rod = ((z - 15) / 7) ** 2 + ((y - 15) / 7) ** 2 + ((x - 30) / (7 * stretch)) ** 2 <= 1
    assert separate(rod, 7.0).max() == 1
    capsule = ((z - 15) ** 2 + (y - 15) ** 2 + np.maximum(abs(x - 30) - 7 * (stretch - 1), 0) ** 2) <= 49
    assert separate(capsule, 7.0).max() == 1


def test_every_voxel_gets_a_part():
    mask = balls([(15, 15, 10), (15, 15, 20), (15, 15, 45)], 7.0)
    parts = separate(mask, 7.0)
    np.testing.assert_array_equal(parts > 0, mask)
    assert sorted(np.unique(parts)) == [0, 1, 2, 3]


def scene(seed, centers, radius, specks=200, shape=(60, 200, 200)):
    """Ragged balls at the centers and specks of up to 30 voxels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for _ in range(specks):
        z, y, x = (int(rng.integers(0, n - 3)) for n in shape)
        labels[z : z + rng.integers(1, 4), y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = 1
    for center in centers:
        low = np.maximum(np.array(center) - radius - 2, 0).astype(int)
        high = (np.array(center) + radius + 3).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        size = tuple(min(b, n) - a for a, b, n in zip(low, high, shape))
        labels[box][balls([np.array(center) - low], radius, size, 1.0, seed)] = 1
    return labels


def grid(step, away=None):
    """Places in rows, each with a partner ``away`` voxels off along x if that is given."""
    places = [(z, y, x) for z in (15.0, 43.0) for y in np.arange(15, 190, step) for x in np.arange(15, 175, step)]
    return places if away is None else [p for z, y, x in places for p in ((z, y, x), (z, y, x + away))]


@pytest.mark.parametrize("painted", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("known", [None, 0.5, 0.8])
def test_the_expected_volume_whatever_was_painted(painted, known):
    radius = 8.0
    r = painted * radius
    for centers in (grid(30), grid(45, 1.7 * r)):
        labels = scene(1, centers, r)
        found = components(labels)
        ball_told = None if known is None else known * radius
        expected = expected_volume(found, radius, ball_told, Crops(labels, None).mask)
        assert expected == pytest.approx(ball(r) + ball(1) * r, rel=0.12)
        apart = taken_apart(found, expected, False, Crops(labels, None))
        assert (apart.count > 0.3 * expected).sum() == len(centers)


def test_with_too_few_particles_the_ball_decides_or_else_the_largest():
    labels = scene(2, grid(30)[:2], 5.0, specks=0)
    found = components(labels)
    assert expected_volume(found, 8.0, 6.0, Crops(labels, None).mask) == ball(6.0)
    assert expected_volume(found, 8.0, None, Crops(labels, None).mask) == found.count.max()
    nothing = components(np.zeros((4, 4, 4), np.uint8))
    assert expected_volume(nothing, 8.0, None, Crops(labels, None).mask) == ball(4.0)


def test_one_large_blob_is_no_particle():
    volumes = np.array([10.0] * 5 + [1000.0])
    assert typical(volumes, volumes, 3.0) == 10.0
    assert typical(np.empty(0), np.empty(0), 3.0) == 3.0


def test_huge_components_are_never_cut():
    labels = np.zeros((20, 100, 100), np.uint8)
    labels[2:18, 2:98, 2:98] = 1
    found = components(labels)
    assert len(divisible(found, 1000.0, False)) == 0
    assert len(divisible(found, 2000.0, False)) == 1
    assert taken_apart(found, 1000.0, True, Crops(labels, None)).centers.tolist() == [[9.5, 49.5, 49.5]]
    thread = np.zeros((100, 100, 100), np.uint8)
    thread[range(100), range(100), range(100)] = 1
    assert len(divisible(components(thread), 20.0, False)) == 0


def test_parts_are_scored_by_themselves():
    mask = balls([(15, 15, 12), (15, 15, 24)], 6.5)
    certainty = np.where(np.indices(mask.shape)[2] <= 17, 0.5, 0.75) * mask
    parts = taken_apart(components(mask, certainty=certainty), ball(6.5), False, Crops(mask, certainty))
    np.testing.assert_allclose(sorted(parts.scores), [0.5, 0.75], atol=0.02)
    assert parts.count.sum() == mask.sum()


def test_ball_radius_is_the_inverse():
    assert ball_radius(ball(7.5)) == pytest.approx(7.5)


def test_a_sparse_component_with_a_large_box_is_never_read():
    thread = np.zeros((400, 400, 400), np.uint8)
    thread[range(400), range(400), range(400)] = 1
    found = components(thread)

    def never(_found, _index):
        raise AssertionError("it was read")

    assert peak(lambda: expected_volume(found, 10.0, None, never)) < 1 << 20
    for expected in (400.0, 100_000.0):  # the box is too large for the particle, or for the memory
        assert len(divisible(found, expected, True)) == 0


class Counted:
    """A volume that counts how often it is read."""

    def __init__(self, labels):
        self.labels, self.shape, self.reads = labels, labels.shape, 0

    def __getitem__(self, region):
        self.reads += 1
        return self.labels[region]


def test_components_are_read_back_block_by_block():
    mask = balls([(15, y, x) for y in (15, 45, 75) for x in (12, 24, 60, 72, 282, 294)], 6.5, (30, 90, 310))
    counted = Counted(mask.astype(np.uint8))
    found = components(mask)
    parts = taken_apart(found, ball(6.5), False, Crops(counted, None))
    assert len(found) == 9
    assert len(parts) == 18
    assert counted.reads == 2
    certain = np.ones(mask.shape)
    one_by_one = taken_apart(found, ball(6.5), False, Crops(mask, certain))
    np.testing.assert_array_equal(parts.first, one_by_one.first)
