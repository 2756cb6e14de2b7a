"""Matching against brute force, and how it fails."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from copick_tools.metrics.byu import byu
from copick_tools.metrics.match import match

RELAXED = settings(deadline=None, derandomize=True, max_examples=60)


def brute_force(reference, prediction, distance):
    """Most pairs, then least total distance, over all assignments."""
    gaps = np.linalg.norm(reference[:, None] - prediction[None], axis=2)
    if len(reference) > len(prediction):
        gaps = gaps.T
    best = (0, 0.0)
    for columns in permutations(range(gaps.shape[1]), gaps.shape[0]):
        chosen = gaps[np.arange(gaps.shape[0]), columns]
        chosen = chosen[chosen <= distance]
        best = max(best, (len(chosen), -chosen.sum()))
    return best


@RELAXED
@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 5))
def test_one_to_one_is_maximal_and_shortest_in_any_order(seed, n, m):
    rng = np.random.default_rng(seed)
    reference, prediction = rng.uniform(0, 40, (n, 3)), rng.uniform(0, 40, (m, 3))
    found = match(reference, prediction, 18.0)
    pairs, negative = brute_force(reference, prediction, 18.0)
    assert (found.tp, found.fp, found.fn) == (pairs, m - pairs, n - pairs)
    assert found.distances.sum() == pytest.approx(-negative)
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == pairs
    order = rng.permutation(m)
    again = match(reference, prediction[order], 18.0)
    assert again.distances.sum() == pytest.approx(found.distances.sum())
    assert [order[j] for _, j in again.pairs] == found.pairs[:, 1].tolist()


def test_the_ball_is_closed():
    origin = np.zeros((1, 3))
    for rule in ("one-to-one", "czii"):
        assert match(origin, np.array([[30.0, 0, 0]]), 30.0, rule).tp == 1
        assert match(origin, np.array([[30.0001, 0, 0]]), 30.0, rule).tp == 0


def test_duplicates_and_coinciding_points():
    twice = np.zeros((2, 3))
    found = match(twice[:1], twice, 10)
    assert (found.tp, found.fp, found.fn) == (1, 1, 0)
    found = match(twice, twice, 10)
    assert (found.tp, found.fp, found.fn) == (2, 0, 0)


@pytest.mark.parametrize("sides", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("rule", ["one-to-one", "czii"])
def test_empty_sides(sides, rule):
    found = match(np.zeros((sides[0], 3)), np.zeros((sides[1], 3)), 10, rule)
    assert (found.tp, found.fp, found.fn) == (0, sides[1], sides[0])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((np.full((1, 3), np.nan), np.zeros((1, 3)), 1.0), "finite coordinates in `reference`"),
        ((np.zeros((1, 3)), np.full((1, 3), np.inf), 1.0), "finite coordinates in `prediction`"),
        ((np.zeros((1, 2)), np.zeros((1, 3)), 1.0), "shape"),
        ((np.zeros((1, 3)), np.zeros((1, 3)), 0.0), "positive"),
        ((np.zeros((1, 3)), np.zeros((1, 3)), 1.0, "hungarian"), "one of"),
    ],
)
def test_what_it_refuses(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        match(*arguments)


def test_thousands_of_points_have_the_cardinality_that_scipy_finds():
    rng = np.random.default_rng(0)
    reference, prediction = rng.uniform(0, 3000, (2, 2000, 3))
    near = cKDTree(reference).sparse_distance_matrix(cKDTree(prediction), 150.0, output_type="coo_matrix").tocsr()
    assert match(reference, prediction, 150.0).tp == (maximum_bipartite_matching(near) >= 0).sum()


@pytest.mark.parametrize(
    ("reference", "prediction", "counts"),
    [
        ([[0, 0, 0]], [[1000, 0, 0]], (1, 0, 0)),
        ([[0, 0, 0]], [[1000.1, 0, 0]], (0, 0, 1)),
        ([[0, 0, 0]], [], (0, 0, 1)),
        ([], [[5, 5, 5]], (0, 1, 0)),
        ([], [], (0, 0, 0)),
    ],
)
def test_byu(reference, prediction, counts):
    truth, found = (np.array(points, dtype=float).reshape(-1, 3) for points in (reference, prediction))
    outcome = byu(truth, found, np.ones(len(found)), 1000)
    assert (outcome.tp, outcome.fp, outcome.fn) == counts


def test_byu_takes_the_best_of_several_and_knows_one_motor():
    near_but_worse = np.array([[0.0, 0, 0], [9000, 0, 0]])
    assert byu(np.zeros((1, 3)), near_but_worse, np.array([0.4, 0.9]), 1000).fn == 1
    assert byu(np.zeros((2, 3)), near_but_worse, np.ones(2), 1000) is None
