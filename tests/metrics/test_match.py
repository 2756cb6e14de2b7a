"""Matching against brute force, and how it fails."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from copick_tools.metrics.byu import byu
from copick_tools.metrics.match import match

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)
SEEDS = st.integers(0, 10**6)
module = importlib.import_module("copick_tools.metrics.match")  # the package exports a function of that name
RULES = ("one-to-one", "czii")


def cloud(seed, n, m, width=40.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, width, (n, 3)), rng.uniform(0, width, (m, 3))


def counts(found):
    return found.tp, found.fp, found.fn


@RELAXED
@given(SEEDS, st.integers(0, 5), st.integers(0, 5))
def test_one_to_one_is_maximal_and_shortest_in_any_order(seed, n, m):
    reference, prediction = cloud(seed, n, m)
    found = match(reference, prediction, 18.0)
    pairs, length = oracle.every_assignment(reference.tolist(), prediction.tolist(), 18.0)
    assert counts(found) == (pairs, m - pairs, n - pairs)
    assert found.distances.sum() == pytest.approx(length)
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == pairs
    order = np.random.default_rng(seed).permutation(m)
    again = match(reference, prediction[order], 18.0)
    assert [order[j] for _, j in again.pairs] == found.pairs[:, 1].tolist()


@RELAXED
@given(SEEDS, st.integers(0, 40), st.integers(0, 40), st.sampled_from(RULES))
def test_counts_are_those_of_the_oracle_in_any_order_and_anywhere(seed, n, m, rule):
    reference, prediction = (points.round() for points in cloud(seed, n, m, 60))  # whole numbers: ties, duplicates
    count = oracle.one_to_one_counts if rule == "one-to-one" else oracle.czii_counts
    wanted = count(reference.tolist(), prediction.tolist(), 13.0)
    rng = np.random.default_rng(seed)
    assert counts(match(reference, prediction, 13.0, rule)) == wanted
    assert counts(match(rng.permutation(reference), rng.permutation(prediction), 13.0, rule)) == wanted
    away = rng.integers(-4000, 4000, 3)
    assert counts(match(reference + away, prediction + away, 13.0, rule)) == wanted


@RELAXED
@given(SEEDS, st.integers(1, 30), st.integers(1, 30))
def test_larger_distances_never_lose_a_pair_and_no_side_is_used_twice(seed, n, m):
    reference, prediction = cloud(seed, n, m)
    for rule in RULES:
        found = [match(reference, prediction, distance, rule).tp for distance in (1, 5, 10, 15, 25, 80)]
        assert found == sorted(found)
        assert max(found) <= (min(n, m) if rule == "one-to-one" else n)
        assert found[-1] == (min(n, m) if rule == "one-to-one" else n)


@RELAXED
@given(SEEDS, st.integers(1, 30), st.integers(0, 60))
def test_both_rules_agree_where_reference_points_are_more_than_two_distances_apart(seed, n, m):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 3), -1).reshape(-1, 3) * 20.5
    reference = rng.permutation(grid)[:n]
    prediction = rng.uniform(-10, 100, (m, 3))
    assert counts(match(reference, prediction, 10.0)) == counts(match(reference, prediction, 10.0, "czii"))


@RELAXED
@given(SEEDS, st.integers(1, 30))
def test_a_side_against_itself(seed, n):
    reference, _ = cloud(seed, n, 0)
    found = match(reference, reference, 15.0)
    assert counts(found) == (n, 0, 0)
    assert (found.pairs[:, 0] == found.pairs[:, 1]).all()
    assert not found.distances.any()


def test_the_ball_is_closed():
    origin = np.zeros((1, 3))
    for rule in RULES:
        assert match(origin, np.array([[30.0, 0, 0]]), 30.0, rule).tp == 1
        assert match(origin, np.array([[30.0001, 0, 0]]), 30.0, rule).tp == 0


def test_duplicates_and_coinciding_points():
    twice = np.zeros((2, 3))
    assert counts(match(twice[:1], twice, 10)) == (1, 1, 0)
    assert counts(match(twice, twice, 10)) == (2, 0, 0)
    assert counts(match(twice, twice[:1], 10)) == (1, 0, 1)
    assert counts(match(twice, twice[:1], 10, "czii")) == (2, -1, 0)
    many = np.zeros((300, 3))
    assert counts(match(many, many[:200], 10)) == (200, 0, 100)


def test_a_chain_keeps_every_pair():
    """The nearest first, or an assignment without a gate, would lose one."""
    reference, prediction = np.array([[0.0, 0, 0], [100, 0, 0]]), np.array([[70.0, 0, 0], [170, 0, 0]])
    found = match(reference, prediction, 75.0)
    assert counts(found) == (2, 0, 0)
    assert found.pairs.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("sides", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("rule", RULES)
def test_empty_sides(sides, rule):
    found = match(np.zeros((sides[0], 3)), np.zeros((sides[1], 3)), 10, rule)
    assert counts(found) == (0, sides[1], sides[0])
    assert found.pairs.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((np.full((1, 3), np.nan), np.zeros((1, 3)), 1.0), "finite numbers in `reference`, but row 0"),
        ((np.zeros((1, 3)), np.full((1, 3), np.inf), 1.0), "finite numbers in `prediction`"),
        ((np.zeros((1, 3)), np.array([[0, 0, 0], [0, -np.inf, 0]]), 1.0), "row 1 holds"),
        ((np.zeros((1, 2)), np.zeros((1, 3)), 1.0), "shape"),
        ((np.zeros((1, 3)), np.zeros(3), 1.0), "shape"),
        ((np.zeros((1, 3)), np.zeros((1, 3)), 0.0), "positive"),
        ((np.zeros((1, 3)), np.zeros((1, 3)), -1.0), "positive"),
        ((np.zeros((1, 3)), np.zeros((1, 3)), np.nan), "positive"),
        ((np.zeros((1, 3)), np.zeros((1, 3)), 1.0, "hungarian"), "one of"),
    ],
)
def test_what_it_refuses(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        match(*arguments)


def test_thousands_of_points_have_the_cardinality_that_scipy_finds():
    reference, prediction = np.random.default_rng(0).uniform(0, 3000, (2, 2000, 3))
    near = cKDTree(reference).sparse_distance_matrix(cKDTree(prediction), 150.0, output_type="coo_matrix").tocsr()
    assert match(reference, prediction, 150.0).tp == (maximum_bipartite_matching(near) >= 0).sum()


def test_small_batches_and_large_clusters_have_as_many_pairs(monkeypatch):
    reference, prediction = np.random.default_rng(1).uniform(0, 300, (2, 250, 3))
    wanted = match(reference, prediction, 30.0)
    monkeypatch.setattr(module, "BATCH", 3)
    again = match(reference, prediction, 30.0)
    assert again.pairs.tolist() == wanted.pairs.tolist()
    monkeypatch.setattr(module, "CLUSTER", 4)
    rough = match(reference, prediction, 30.0)
    assert rough.tp == wanted.tp
    assert rough.distances.sum() >= wanted.distances.sum()
    assert len(set(rough.pairs[:, 0])) == len(set(rough.pairs[:, 1])) == rough.tp


NONE = [np.nan] * 3


@pytest.mark.parametrize(
    ("reference", "prediction", "counts"),
    [
        ([0, 0, 0], [1000, 0, 0], (1, 0, 0)),
        ([0, 0, 0], [1000.1, 0, 0], (0, 0, 1)),
        ([0, 0, 0], [600, 0, 800], (1, 0, 0)),
        ([0, 0, 0], NONE, (0, 0, 1)),
        (NONE, [5, 5, 5], (0, 1, 0)),
        (NONE, NONE, (0, 0, 0)),
    ],
)
def test_byu(reference, prediction, counts):
    truth, found = (np.array([point], dtype=float) for point in (reference, prediction))
    assert byu(truth, found, 1000)[0].tolist() == list(counts)


@RELAXED
@given(SEEDS, st.integers(0, 30))
def test_byu_is_the_oracles(seed, tomograms):
    rng = np.random.default_rng(seed)
    spacing = rng.choice([10.0, 13.1, 20.0], tomograms)
    motors = rng.integers(0, 300, (tomograms, 3)).astype(float)
    guesses = motors + rng.integers(-60, 60, (tomograms, 3))
    exists, said = rng.random((2, tomograms)) < 0.6
    wanted = oracle.byu_counts(
        {t: (*motors[t], spacing[t], exists[t]) for t in range(tomograms)},
        {t: tuple(guesses[t]) if said[t] and -1 not in guesses[t] else (-1, -1, -1) for t in range(tomograms)},
        1000.0,
    )
    motors[~exists] = np.nan
    guesses[~said | (guesses == -1).any(axis=1)] = np.nan
    assert byu(motors, guesses, 1000.0 / spacing).tolist() == [list(map(float, row)) for row in wanted.values()]


def test_byu_refuses_shapes_and_infinity():
    with pytest.raises(ValueError, match="shapes"):
        byu(np.zeros((2, 3)), np.zeros((1, 3)), 1000)
    with pytest.raises(ValueError, match="shapes"):
        byu(np.zeros((2, 2)), np.zeros((2, 2)), 1000)
    with pytest.raises(ValueError, match="finite"):
        byu(np.zeros((1, 3)), np.full((1, 3), np.inf), 1000)
    assert byu(np.zeros((0, 3)), np.zeros((0, 3)), 1000).shape == (0, 3)
