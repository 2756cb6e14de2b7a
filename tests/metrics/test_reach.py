"""Who reaches whom: exact ties, groups that never meet, and a clear end before memory runs out."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle

from copick_tools.metrics import reach as module
from copick_tools.metrics.reach import TooDense, in_reach, nearest

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)


def reached(*arguments):
    """Which reference points have any prediction in reach."""
    return nearest(*arguments)[0] >= 0


def naive(reference, prediction, radii, groups):
    return {
        (i, j)
        for i in range(len(reference))
        for j in range(len(prediction))
        if groups[0][i] == groups[1][j] and oracle.within(reference[i], prediction[j], radii[j])
    }


@RELAXED
@given(st.integers(0, 10**6), st.integers(0, 25), st.integers(0, 25), st.booleans())
def test_pairs_are_those_of_a_double_loop(seed, n, m, whole):
    rng = np.random.default_rng(seed)
    reference, prediction = rng.uniform(-30, 30, (n, 3)), rng.uniform(-30, 30, (m, 3))
    if whole:  # whole numbers: many exact ties
        reference, prediction = reference.round(), prediction.round()
    radii = rng.choice([5.0, 13.0, 25.0], m)
    groups = rng.integers(0, 4, n), rng.integers(0, 4, m)
    found = in_reach(reference, prediction, radii, groups)
    pairs = list(zip(found.reference.tolist(), found.prediction.tolist()))
    assert len(set(pairs)) == len(pairs) == len(found)
    assert set(pairs) == naive(reference, prediction, radii, groups)
    offsets = reference[found.reference] - prediction[found.prediction]
    assert found.squared == pytest.approx((offsets**2).sum(axis=1), abs=0)
    # `nearest` has the distances on the reference's side
    own = rng.choice([5.0, 13.0, 25.0], n)
    wanted = {i for _, i in naive(prediction, reference, own, groups[::-1])}
    assert set(np.flatnonzero(reached(reference, prediction, own, groups))) == wanted


TIES = [
    ([3, 4, 0], 5.0),
    ([0, 3, 4], 5.0),
    ([4, 0, -3], 5.0),
    ([2, 3, 6], 7.0),
    ([19.5, 26, 0], 32.5),  # beta-amylase
    ([32.5, 0, 0], 32.5),
    ([0, -12.5, 30], 32.5),
    ([18, 24, 0], 30.0),
    ([27, 36, 0], 45.0),
    ([45, 60, 0], 75.0),
    ([39, 52, 0], 65.0),
    ([40.5, 54, 0], 67.5),
]


@pytest.mark.parametrize(("offset", "distance"), TIES)
@pytest.mark.parametrize("origin", [(0, 0, 0), (6300, 6300, 1840), (-512, 0.5, 4096)])
@pytest.mark.parametrize("group", [0, 1, 499])
def test_exact_ties_are_in_reach_and_the_next_number_is_not(offset, distance, origin, group):
    here = np.array([origin], dtype=float)
    there = here + offset
    groups = np.array([group]), np.array([group])
    assert len(in_reach(here, there, distance, groups)) == 1
    assert reached(here, there, distance, groups).all()
    less = np.nextafter(distance, 0)
    assert not len(in_reach(here, there, less, groups))
    assert not reached(here, there, less, groups).any()


def test_groups_never_meet():
    """The same places, and places at the edge of the ball, in five hundred groups."""
    groups = np.arange(500)
    here = np.zeros((500, 3))
    for offset in ([0, 0, 0], [5, 0, 0], [3, 4, 0]):
        there = here + offset
        found = in_reach(here, there, 5.0, (groups, groups))
        assert (found.reference == found.prediction).all()
        assert len(found) == 500
        assert not len(in_reach(here, there, 5.0, (groups, groups + 500)))
        assert not reached(here, there, 5.0, (groups, groups + 500)).any()
        assert not reached(here[:250], there, 5.0, (groups[:250] * 2, groups * 2 + 1)).any()


def test_distances_of_one_do_not_widen_the_others():
    here = np.zeros((1, 3))
    there = np.array([[9.0, 0, 0], [9, 0, 0]])
    assert in_reach(here, there, np.array([10.0, 8.0])).prediction.tolist() == [0]
    assert reached(np.zeros((2, 3)), there[:1], np.array([8.0, 10.0])).tolist() == [False, True]


@pytest.mark.parametrize("sides", [(0, 3), (3, 0), (0, 0)])
def test_empty_sides(sides):
    here, there = np.zeros((sides[0], 3)), np.zeros((sides[1], 3))
    assert len(in_reach(here, there, 5.0)) == 0
    assert reached(here, there, 5.0).tolist() == [False] * sides[0]


@pytest.mark.parametrize("spread", [0.0, 5.0])
def test_a_million_points_in_one_ball_are_refused_at_once(spread):
    """All alike, or as close together as that: in voxels, say, under a distance in angstrom."""
    points = np.random.default_rng(0).uniform(0, 1, (1_000_000, 3)) * spread
    before, start = tracemalloc.is_tracing(), time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(TooDense, match="in angstrom"):
            in_reach(points, points, 75.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        if not before:
            tracemalloc.stop()
    assert peak < 300e6
    assert time.process_time() - start < 15
    assert reached(points, points[:1000], 75.0).all()


def test_a_dense_blob_that_a_sample_may_miss_is_refused(monkeypatch):
    """Few predictions hold nearly all pairs."""
    monkeypatch.setattr(module, "PAIRS", 10_000)
    rng = np.random.default_rng(0)
    blob, far = np.zeros((150, 3)), rng.uniform(1e4, 1e6, (5000, 3))
    points = rng.permutation(np.concatenate([blob, far]))
    with pytest.raises(TooDense):
        in_reach(points, points, 1.0)
    assert len(in_reach(far, far, 1.0)) == 5000


def test_a_hundred_thousand_duplicates_are_reached_quickly():
    points = np.zeros((100_000, 3))
    start = time.process_time()
    assert reached(points, points, 1.0).all()
    assert time.process_time() - start < 5
