"""Trues among the first k picks: as many as the largest matching of these k has, for every k and every order."""

import time
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from copick_tools.metrics.augment import credited, isolated
from copick_tools.metrics.augment import largest as largest_matching
from copick_tools.metrics.match import one_to_one
from copick_tools.metrics.reach import Reach, in_reach

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)


def graph(edges):
    """edges: (reference point, prediction)."""
    pairs = np.array(edges, dtype=int).reshape(-1, 2)
    return Reach(pairs[:, 0], pairs[:, 1], np.arange(len(pairs), dtype=float))


def largest(edges, taken):
    """Pairs of the largest matching of some predictions, by trying (Kuhn)."""
    partner = {}

    def place(prediction, seen):
        for point in sorted({i for i, j in edges if j == prediction} - seen):
            seen.add(point)
            if point not in partner or place(partner[point], seen):
                partner[point] = prediction
                return True
        return False

    return sum(place(prediction, set()) for prediction in taken)


def check(edges, n, m, order):
    true = credited(graph(edges), n, m, np.array(order, dtype=int))
    for k in range(m + 1):
        assert true[list(order[:k])].sum() == largest(edges, order[:k]), (edges, order, k)


CHAINS = {
    "nothing": ([], 2, 2),
    "pair": ([(0, 0)], 1, 1),
    "two on one": ([(0, 0), (0, 1)], 1, 2),
    "one on two": ([(0, 0), (1, 0)], 2, 1),
    "chain": ([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)], 3, 3),
    "chain, one short": ([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)], 3, 4),
    "cycle": ([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)], 3, 3),
    "star and tail": ([(0, 0), (0, 1), (0, 2), (1, 2), (1, 3), (2, 3)], 3, 4),
    "complete": ([(i, j) for i in range(2) for j in range(4)], 2, 4),
    "two clusters and a loner": ([(0, 0), (0, 1), (1, 1), (2, 3), (3, 3)], 4, 5),
    "dead end first": ([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (3, 3)], 4, 5),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_order_of_every_small_chain(name):
    edges, n, m = CHAINS[name]
    for order in permutations(range(m)):
        check(edges, n, m, order)
    assert credited(graph(edges), n, m).sum() == largest(edges, range(m))


@RELAXED
@given(
    st.integers(1, 7),
    st.integers(1, 8),
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 7)), max_size=22),
    st.randoms(use_true_random=False),
)
def test_every_prefix_of_random_graphs(n, m, pairs, random):
    edges = sorted((i % n, j % m) for i, j in pairs)
    edges = sorted(set(edges))
    order = list(range(m))
    random.shuffle(order)
    check(edges, n, m, order)
    random.shuffle(edges)
    true = credited(graph(edges), n, m)
    assert true.sum() == largest(edges, range(m))


@RELAXED
@given(st.integers(0, 10**6))
def test_by_falling_score_as_the_oracle_that_matches_anew(seed):
    rng = np.random.default_rng(seed)
    reference, prediction = rng.uniform(0, 60, (12, 3)), rng.uniform(0, 60, (18, 3))
    scores = rng.permutation(18) / 18
    wanted = oracle.true_picks(
        [("r", "a", tuple(p)) for p in reference],
        [("r", "a", tuple(p), s) for p, s in zip(prediction, scores)],
        {"a": 22.0},
    )
    reach = in_reach(reference, prediction, 22.0)
    assert credited(reach, 12, 18, np.argsort(-scores)).tolist() == wanted


def test_a_chain_of_a_hundred_thousand_is_no_recursion_and_not_quadratic():
    count = 100_000
    links = np.arange(count)
    # prediction j reaches points j - 1 and j: whoever comes last shifts the whole chain
    edges = np.concatenate([np.column_stack([links, links]), np.column_stack([links[:-1], links[1:]])])
    reach = Reach(edges[:, 0], edges[:, 1], np.concatenate([np.ones(count), np.zeros(count - 1)]))
    for order in (links, links[::-1], np.random.default_rng(0).permutation(count)):
        assert credited(reach, count, count, order).all()


def test_dense_clusters_have_the_cardinality_that_scipy_finds():
    reference, prediction = np.random.default_rng(3).uniform(0, 1000, (2, 1500, 3))
    reach = in_reach(reference, prediction, 120.0)
    near = csr_array((np.ones(len(reach)), (reach.reference, reach.prediction)), shape=(1500, 1500))
    wanted = (maximum_bipartite_matching(near) >= 0).sum()
    assert credited(reach, 1500, 1500).sum() == wanted
    assert credited(reach, 1500, 1500, np.random.default_rng(0).permutation(1500)).sum() == wanted


def test_isolated_pairs():
    reach = graph([(0, 0), (1, 1), (1, 2), (2, 3)])
    assert isolated(reach, 4, 5).tolist() == [True, False, False, True]


@RELAXED
@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 30))
def test_the_largest_matching_in_any_order_of_edges(seed, n, m):
    rng = np.random.default_rng(seed)
    reach = in_reach(rng.uniform(0, 60, (n, 3)), rng.uniform(0, 60, (m, 3)), 18.0)
    i, j = reach.reference, reach.prediction
    chosen = largest_matching(i, j, reach.squared)
    assert len(chosen) == largest(list(zip(i.tolist(), j.tolist())), range(m))
    assert len(set(i[chosen])) == len(set(j[chosen])) == len(chosen)
    order = rng.permutation(len(i))
    again = order[largest_matching(i[order], j[order], reach.squared[order])]
    assert sorted(again) == chosen.tolist()


def test_a_large_cluster_of_sorted_points_is_quick():
    """Where scipy's maximum matching took minutes: 30 000 points that hang together, in order along x."""
    start = time.process_time()
    rng = np.random.default_rng(0)
    reference = np.sort(rng.uniform(0, 1, (30_000, 3)), axis=0) * [30_000, 0, 0] + rng.uniform(0, 2, (30_000, 3))
    prediction = reference + rng.normal(0, 1, reference.shape)
    reach = in_reach(reference, prediction, 4.0)
    chosen = one_to_one(reach, reference, prediction)
    assert len(chosen) == credited(reach, len(reference), len(prediction)).sum()
    assert time.process_time() - start < 20
