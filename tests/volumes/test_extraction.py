"""Candidates from label volumes and probabilities: the same for any blocks, inside of the volume, whatever comes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.volumes.extraction import Extraction, Particle, from_labels, from_probabilities
from copick_tools.volumes.instances import instances
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.sparse import Sparse

PARTICLES = [Particle("bead", 1, 40.0), Particle("ring", 2, 60.0, ball=35.0), Particle("rod", 5, 30.0)]
METHODS = ["components", "watershed", "mean-shift", "peaks", "mean-pool"]
OF_LABELS = METHODS[:3]


def settings_for(method, threshold=0.5, merge=0.5):
    return {particle.name: Extraction(method, threshold, merge, 0.25) for particle in PARTICLES}


def scene(seed, count=25, shape=(30, 40, 50)):
    """Labels of balls that may touch and are cut by the faces, and probabilities (4, z, y, x)."""
    rng = np.random.default_rng(seed)
    labels, nearest = np.zeros(shape, np.uint8), np.full(shape, np.inf)
    for _ in range(count):
        which = rng.integers(3)
        radius = (2.8, 3.5, 2.2)[which]
        center = rng.random(3) * shape
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(map(slice, shape))], center)))
        ball = (away + rng.uniform(-0.5, 0.5, shape) <= radius) & (away / radius < nearest)
        labels[ball], nearest[ball] = (1, 2, 5)[which], (away / radius)[ball]
    labels[rng.random(shape) < 0.002] = 1
    probabilities = rng.random((4, *shape)) * 0.05
    for channel, label in enumerate((0, 1, 2, 5)):
        probabilities[channel][labels == label] += rng.uniform(0.6, 0.9, np.count_nonzero(labels == label))
    return labels, (probabilities / probabilities.sum(axis=0)).astype(np.float16)


def collected(probabilities, floor=0.3, depth=7):
    scores = Probabilities(probabilities.shape[1:], [1, 2, 5], floor, maps=[1, 2, 5])
    for z0 in range(0, probabilities.shape[1], depth):
        scores.add(z0, probabilities[:, z0 : z0 + depth])
    return scores


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].expected == other[name].expected
        for field in ("centers", "scores", "volumes", "seeds"):
            np.testing.assert_array_equal(getattr(one[name], field), getattr(other[name], field))


def assert_sound(found, shape, how):
    for particle in PARTICLES:
        own = found[particle.name]
        assert np.isfinite(own.centers).all()
        assert ((own.centers >= 0) & (own.centers <= np.array(shape) - 1)).all()
        assert ((own.scores >= 0) & (own.scores <= 1)).all()
        assert (np.diff(own.scores) <= 0).all()
        assert (own.volumes >= 1).all()
        assert own.expected > 0
        for index, center in enumerate(own.centers):
            away = np.linalg.norm(own.centers[:index] - center, axis=1)
            assert (away >= how[particle.name].merge * particle.radius / 10 - 1e-9).all()


@settings(deadline=None, derandomize=True, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([7, 13, 16, 25, 40]), st.sampled_from(OF_LABELS))
def test_labels_whole_and_in_blocks(seed, chunk, method):
    labels, _ = scene(seed)
    how = settings_for(method)
    whole = from_labels(labels, PARTICLES, 10.0, how)
    assert_sound(whole, labels.shape, how)
    stored = Sparse(labels.shape, np.uint8)
    stored.append(labels)
    assert_same(from_labels(labels, PARTICLES, 10.0, how, chunk=chunk), whole)
    assert_same(from_labels(stored, PARTICLES, 10.0, how, chunk=chunk), whole)


@settings(deadline=None, derandomize=True, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([7, 13, 16, 25, 40]), st.sampled_from(METHODS), st.integers(1, 30))
def test_probabilities_whole_and_in_blocks(seed, chunk, method, depth):
    _, probabilities = scene(seed)
    how = settings_for(method)
    whole = from_probabilities(collected(probabilities), PARTICLES, 10.0, how)
    assert_sound(whole, probabilities.shape[1:], how)
    assert_same(from_probabilities(collected(probabilities, depth=depth), PARTICLES, 10.0, how, chunk=chunk), whole)


@pytest.mark.parametrize("method", METHODS)
def test_separate_balls_are_found_once_each(method):
    shape = (24, 60, 60)
    centers = np.array([(12, y, x) for y in (10, 25, 40) for x in (10, 25, 40)], float) + 0.3
    probabilities = np.zeros((4, *shape), np.float16)
    for center in centers:
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), center)))
        probabilities[2] = np.maximum(probabilities[2], 0.8 * (away <= 3.5))
    probabilities[0] = 1 - probabilities[2]
    found = from_probabilities(collected(probabilities), PARTICLES, 10.0, settings_for(method))
    ring = found["ring"]
    assert (len(found["bead"]), len(ring), len(found["rod"])) == (0, 9, 0)
    order = np.lexsort((ring.centers[:, 2].round(), ring.centers[:, 1].round()))
    np.testing.assert_allclose(ring.centers[order], centers, atol=0.15)
    np.testing.assert_allclose(ring.scores, 0.8, atol=0.04)
    np.testing.assert_allclose(ring.volumes, ring.expected, rtol=0.1)


def test_each_object_has_its_own_settings():
    labels, probabilities = scene(3)
    scores = collected(probabilities)
    mixed = {"bead": Extraction("peaks", 0.4, 0.5, 0.25), "ring": Extraction("watershed", 0.6, 0.2, 0.25)}
    mixed["rod"] = Extraction("components", 0.9, 0.0, 0.25)
    found = from_probabilities(scores, PARTICLES, 10.0, mixed)
    assert list(found) == ["bead", "ring", "rod"]
    for particle in PARTICLES:
        alone = from_probabilities(scores, [particle], 10.0, mixed)
        assert_same(alone, {particle.name: found[particle.name]})


def test_scores_of_labels_compare_volumes():
    labels, _ = scene(4)
    found = from_labels(labels, PARTICLES, 10.0, settings_for("components"))["bead"]
    np.testing.assert_allclose(found.scores, np.minimum(found.volumes / found.expected, found.expected / found.volumes))


def nasty(rng):
    """A small probability volume of any kind; (4, z, y, x) float16."""
    shape = tuple(int(side) for side in rng.choice([1, 1, 2, 3, 7, 12], 3))
    kind = rng.integers(8)
    made = rng.random((4, *shape)) ** rng.integers(1, 6)
    if kind == 0:
        made[:] = 0
    elif kind == 1:
        made[:] = 0
        made[rng.integers(4)] = 1
    elif kind == 2:
        made[:] = np.nan
    elif kind == 3:
        made[0], made[1:] = 1, 0
        voxel = tuple(rng.integers(0, side) for side in shape)
        made[(rng.integers(1, 4), *voxel)] = 1
        made[(0, *voxel)] = 0
    elif kind == 4:
        made[rng.random(made.shape) < 0.3] = rng.choice([np.nan, np.inf, -np.inf, -1, 2, 0])
    elif kind == 5:
        made[1:, 1:-1, 1:-1, 1:-1] = 0
        made[0] = 1 - made[1:].max(axis=0)
    elif kind == 6:
        made = np.round(made)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (made / made.sum(axis=0) if kind > 6 else made).astype(np.float16)


def assert_shown(source, found, how):
    """Each pick from labels owns its seed, unless an object before it does; each pick from a peak claims it.

    That of a pooled peak may lie outside of the mask.
    """
    dense = instances(source, found, PARTICLES, 10.0, how)[:, :, :].ravel()
    total = sum(map(len, found.values()))
    assert dense.max(initial=0) <= total
    by_peaks = [particle.name for particle in PARTICLES if how[particle.name].method not in OF_LABELS]
    first = 1
    for name, own in found.items():
        shown, numbers = dense[own.seeds], np.arange(first, first + len(own))
        before = (shown > 0) & (shown < first)
        if name in by_peaks:
            assert (shown > 0).all() or how[name].method == "mean-pool"
        else:
            np.testing.assert_array_equal(shown[~before], numbers[~before])
            assert by_peaks or not before.any()
        first += len(own)


def test_random_volumes():
    rng = np.random.default_rng(0)
    for round_ in range(400):
        probabilities = nasty(rng)
        floor, threshold = rng.choice([0.0, 0.2, 0.5]), rng.choice([0.0, 0.2, 0.5, 0.9, 1.0])
        how = {
            p.name: Extraction(rng.choice(METHODS), threshold, rng.choice([0.0, 0.5, 1.0]), rng.choice([0.25, 0.5]))
            for p in PARTICLES
        }
        shape = probabilities.shape[1:]
        scores = collected(probabilities, floor, depth=int(rng.integers(1, 5)))
        found = from_probabilities(scores, PARTICLES, 10.0, how, chunk=int(rng.integers(3, 20)))
        assert_sound(found, shape, how)
        if round_ % 10 == 0:
            assert_same(from_probabilities(scores, PARTICLES, 10.0, how), found)
            assert_shown(scores, found, how)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunk", [11, 256])
def test_instances_are_the_voxels_of_the_picks(method, chunk):
    _, probabilities = scene(6)
    scores, how = collected(probabilities), settings_for(method, merge=0.0)
    found = from_probabilities(scores, PARTICLES, 10.0, how)
    chosen = {name: own.take(own.volumes >= 0.2 * own.expected) for name, own in found.items()}
    volume = instances(scores, chosen, PARTICLES, 10.0, how, chunk=chunk)
    dense = volume[:, :, :]
    assert dense.dtype == np.uint32
    first = 1
    for own in chosen.values():
        sizes = np.bincount(dense.ravel(), minlength=first + len(own))[first : first + len(own)]
        if method not in OF_LABELS:
            assert (sizes >= 0.5 * own.volumes).all()
        else:
            np.testing.assert_array_equal(sizes, own.volumes)
            np.testing.assert_array_equal(dense.ravel()[own.seeds], np.arange(first, first + len(own)))
        first += len(own)
    assert dense.max() < first
    rng = np.random.default_rng(0)
    for _ in range(20):
        region = tuple(slice(*sorted(rng.integers(0, n + 1, 2))) for n in dense.shape)
        np.testing.assert_array_equal(volume[region], dense[region])


def test_instances_of_labels():
    labels, _ = scene(7)
    how = settings_for("components")
    found = from_labels(labels, PARTICLES, 10.0, how)
    dense = instances(labels, found, PARTICLES, 10.0, how)[:, :, :]
    start = 1
    for particle in PARTICLES:
        own = (dense >= start) & (dense < start + len(found[particle.name]))
        assert set(np.unique(labels[own])) <= {particle.label}
        start += len(found[particle.name])


@pytest.mark.parametrize("region", [0, ..., (0, 0, 0), (slice(None),) * 4])
def test_instances_are_read_by_slices(region):
    labels, _ = scene(7)
    how = settings_for("components")
    volume = instances(labels, from_labels(labels, PARTICLES, 10.0, how), PARTICLES, 10.0, how)
    with pytest.raises(IndexError, match="read by slices"):
        volume[region]
    with pytest.raises(IndexError, match="without steps"):
        volume[::2]
    assert volume[3:1].shape == (0, 40, 50)


def large(kind):
    """Labels with a component that is too large to be separated, for one reason each, between ones that aren't."""
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 210, 220), np.uint8)
    if kind == "huge":  # more voxels than particles that touch have
        labels[5:35, 60:150, 60:160] = 1
    elif kind == "spread":  # a thread through a large box
        labels[np.arange(200) // 5, np.arange(200), np.arange(200)] = 1
    elif kind == "noise":
        labels[:, :80, 140:] = rng.random((40, 80, 80)) < 0.02
    else:  # all of it
        labels[:] = 1
    for y, x in ((10, 170), (10, 175), (190, 20), (150, 12)):
        z = np.indices((7, 7, 7)) - 3
        labels[7:14, y - 3 : y + 4, x - 3 : x + 4][(z**2).sum(axis=0) <= 9] = 1
    return labels


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["huge", "spread", "noise", "full"])
def test_large_volumes(kind, method):
    labels, how = large(kind), settings_for(method)
    if method == "mean-shift":  # with few seeds and voxels
        labels, how = (
            labels[: 8 if kind == "full" else 16],
            {name: replace(each, bandwidth=80.0) for name, each in how.items()},
        )
    probabilities = np.zeros((4, *labels.shape), np.float16)
    probabilities[0], probabilities[1] = labels == 0, labels == 1
    source = collected(probabilities, 0.5, depth=16)
    found = from_probabilities(source, PARTICLES, 10.0, how, chunk=64)
    assert_sound(found, labels.shape, how)
    assert_same(from_probabilities(source, PARTICLES, 10.0, how), found)
    assert_shown(source, found, how)
    if method == "components" and kind in ("huge", "spread"):  # the one whole, and the two that touch apart
        assert len(found["bead"]) == 5
        assert {"huge": 30 * 90 * 100, "spread": 200}[kind] in found["bead"].volumes


def test_refusals():
    labels, probabilities = scene(8)
    with pytest.raises(ValueError, match="needs probabilities"):
        from_labels(labels, PARTICLES, 10.0, settings_for("peaks"))
    with pytest.raises(ValueError, match="needs the own probability of bead, ring"):
        from_probabilities(Probabilities((1, 1, 1), [1, 2, 5], 0.5, maps=[5]), PARTICLES, 10.0, settings_for("peaks"))
    with pytest.raises(ValueError, match="radii above 0"):
        Particle("x", 1, 0.0)


@pytest.mark.parametrize("stretch", [1.0, 1.5])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_lone_particle_whose_ball_is_unknown_is_whole(count, stretch):
    """Flagellar motors: one in a tomogram, and nothing to learn its volume from but itself."""
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    one = (z**2 + y**2 + (x / stretch) ** 2 <= 11**2).astype(np.uint8)
    volume = np.concatenate([one] * count, axis=2)
    motor = Particle("motor", 1, 120.0)
    found = from_labels(volume, [motor], 10.0, {"motor": Extraction("components", 0.5, 0.5, 0.25)})["motor"]
    assert len(found) == count
    assert found.expected == one.sum()
    np.testing.assert_allclose(found.scores, 1.0)
