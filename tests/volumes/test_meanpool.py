"""Mean pooling: what whole volumes give that are averaged over and over, whatever the blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import peak
from torch.nn import functional

from copick_tools.volumes.extraction import Extraction, Particle, from_labels, from_probabilities
from copick_tools.volumes.instances import instances
from copick_tools.volumes.meanpool import LEAST, Pooling, passes, pooled_peaks
from copick_tools.volumes.near import best
from copick_tools.volumes.paint import spheres
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.sparse import Sparse

BALLS = [Particle("bead", 1, 60.0, 30.0), Particle("ring", 2, 100.0, 50.0)]
POOL = {particle.name: Extraction("mean-pool", 0.5, 0.5, 0.25) for particle in BALLS}


def blobs(seed, shape=(26, 34, 40), count=8):
    """Probabilities of ragged balls that may touch, float16."""
    rng = np.random.default_rng(seed)
    balls = spheres(rng.random((count, 3)) * shape, rng.uniform(3, 6, count), np.ones(count, int), shape)
    return np.where(balls > 0, rng.uniform(0.35, 1, shape), rng.uniform(0, 0.1, shape)).astype(np.float16)


def whole(probability, pooling):
    """Heights of the whole volume, zeros around it, as single precision; and which voxels are the highest of their 5^3."""
    around = 2 * pooling.passes
    pooled = torch.from_numpy((probability >= pooling.least).astype(float))[None, None]
    pooled = functional.pad(pooled, (around,) * 6)
    for _ in range(pooling.passes):
        pooled = functional.avg_pool3d(pooled, 5, 1, 2)
    pooled = pooled[0, 0, around:-around, around:-around, around:-around].float()
    highest = functional.max_pool3d(pooled[None, None], 5, 1, 2)[0, 0]
    return pooled.numpy(), ((pooled == highest) & (pooled > LEAST)).numpy()


def plateaus(top):
    """Middle voxels, in raster order, of the connected parts of a mask."""
    from scipy.ndimage import label

    parts, number = label(top, np.ones((3, 3, 3)))
    voxels = [np.argwhere(parts == part) for part in range(1, number + 1)]
    return np.array(sorted(own[len(own) // 2].tolist() for own in voxels)).reshape(-1, 3)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_the_kernel_is_all_passes_together(count):
    line = torch.zeros(1, 1, 4 * count + 1)
    line[..., 2 * count] = 1
    line = line.double()
    for _ in range(count):
        line = functional.avg_pool1d(line, 5, 1, 2)
    np.testing.assert_allclose(Pooling(3.0, 0.5, 0.0, count).kernel, line[0, 0].numpy(), atol=1e-15)


def test_passes():
    assert [passes(d) for d in (0.0, 3.9, 4.0, 12.0, 29.96)] == [1, 1, 2, 4, 8]


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([9, 16, 37, 256]))
def test_peaks_are_those_of_the_whole_volume(seed, count, chunk):
    probability = blobs(seed)
    pooling = Pooling(4.5, 0.5, 0.0, count)
    heights, top = whole(probability, pooling)
    expected = plateaus(top)
    found = pooled_peaks(probability, pooling, chunk)
    order = np.lexsort(found.at.T[::-1])
    np.testing.assert_array_equal(found.at[order], expected)
    near = replace(pooling, apart=7.0)
    kept = best(expected.astype(float), heights[tuple(expected.T)].astype(float), 7.0)
    fewer = pooled_peaks(probability, near, chunk)
    assert sorted(fewer.at.tolist()) == sorted(expected[kept].tolist())


@settings(deadline=None, derandomize=True, max_examples=12)
@given(st.integers(0, 10_000), st.integers(4, 30), st.integers(1, 4))
def test_blocks_and_storage_change_nothing(seed, chunk, count):
    rng = np.random.default_rng(seed)
    made = blobs(seed, (18, 20, 24), 5)
    made[rng.random(made.shape) < 0.01] = rng.choice(np.array([np.nan, 1, np.inf, -1], np.float16))
    pooling, stored = Pooling(4.5, 0.4, 3.0, count), Sparse(made.shape, np.float16)
    stored.append(made)
    one = pooled_peaks(made, pooling, 256)
    for volume in (made, stored):
        again = pooled_peaks(volume, pooling, chunk)
        for name in ("centers", "scores", "volumes", "at"):
            np.testing.assert_array_equal(getattr(again, name), getattr(one, name))


def test_a_plateau_is_one_peak():
    for shape in ((9, 9, 9), (40, 41, 42), (5, 5, 5), (1, 20, 30)):
        found = pooled_peaks(np.ones(shape, np.float16), Pooling(2.0, 0.5, 0.0, 1), 256)
        assert len(found.scores) == 1
        assert found.scores.tolist() == [1.0]


def test_specks_are_no_peaks_and_touching_balls_are_two():
    made = np.zeros((24, 24, 44), np.float16)
    made[3, 3, 3:5] = 1
    balls = spheres(np.array([[12.0, 12, 14], [12, 12, 25]]), np.array([6.0, 6.0]), np.array([1, 1]), made.shape)
    made[balls > 0] = 0.75
    found = pooled_peaks(made, Pooling(6.0, 0.5, 3.0, 4), 256)
    assert len(found.scores) == 2
    np.testing.assert_allclose(found.scores, 0.75, atol=1e-4)
    np.testing.assert_allclose(np.sort(found.centers[:, 2]), [14, 25], atol=0.6)


def test_a_peak_without_voxels_scores_nothing():
    z, y, x = np.indices((31, 31, 31)) - 15
    away = np.sqrt(z**2 + y**2 + x**2)
    shell = ((away > 3) & (away < 6)).astype(np.float16)
    found = pooled_peaks(shell, Pooling(2.0, 0.5, 0.0, 6), 256)
    assert found.at.tolist() == [[15, 15, 15]]
    assert (found.scores.tolist(), found.volumes.tolist()) == ([0.0], [1])


def test_how_often_goes_by_the_largest_particle_whatever_its_method():
    """So that an object's candidates are the same alone and among others that are picked otherwise."""
    source = Probabilities((26, 34, 40), [1, 2], 0.3, maps=[1, 2], map_floor=0.05)
    one, other = blobs(1), blobs(2)
    total = np.maximum(1, one + other)
    source.add(0, np.stack([1 - (one + other) / total, one / total, other / total]).astype(np.float16))
    both = from_probabilities(source, BALLS, 10.0, POOL)
    mixed = from_probabilities(source, BALLS, 10.0, {**POOL, "ring": Extraction("peaks", 0.3, 0.5, 0.25)})
    np.testing.assert_array_equal(both["bead"].centers, mixed["bead"].centers)
    pooling = Pooling(3.0, 0.5, 3.0, passes(20.0))
    expected = pooled_peaks(source.maps[1], pooling, 256)
    assert set(both["bead"].seeds.tolist()) <= set(np.ravel_multi_index(expected.at.T, source.shape).tolist())
    assert len(both["bead"])


def test_instances_share_voxels_out_among_the_chosen():
    source = Probabilities((26, 34, 40), [1, 2], 0.3, maps=[1, 2], map_floor=0.05)
    own = blobs(3)
    source.add(0, np.stack([1 - own, own, 0 * own]))
    found = from_probabilities(source, BALLS, 10.0, POOL)
    dense = instances(source, found, BALLS, 10.0, POOL)[:, :, :]
    sizes = np.bincount(dense.ravel(), minlength=1 + len(found["bead"]))[1:]
    some = found["bead"].scores > 0
    assert some.any()
    assert (sizes[some] >= found["bead"].volumes[some]).all()  # nobody shares with those that were too near
    assert (np.asarray(source.maps[1][:, :, :])[dense > 0] >= 0.5).all()


def test_refusals():
    with pytest.raises(ValueError, match="Method mean-pool needs probabilities"):
        from_labels(np.zeros((3, 3, 3), np.uint8), BALLS, 10.0, POOL)
    with pytest.raises(ValueError, match="Method mean-pool needs the own probability of bead, ring"):
        from_probabilities(Probabilities((1, 1, 1), [1, 2], 0.5), BALLS, 10.0, POOL)


def test_memory_of_a_saturated_map():
    made = np.ones((100, 100, 100), np.float16)
    assert peak(lambda: pooled_peaks(made, Pooling(4.0, 0.5, 2.0, 8), 256)) < 20 * made.size
