"""Splits: nobody twice, nobody torn, sizes as asked, and rare objects where chance would leave them out."""

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.metrics.reachable import Room
from copick_tools.metrics.stratify import Unreachable, by_shares, by_sizes, imbalance, rounded

RELAXED = settings(deadline=None, derandomize=True, max_examples=10)
SHARES = [[0.7, 0.1, 0.2], [0.5, 0.5], [0.25] * 4, [0.6, 0.0, 0.4]]


def problem(seed, groups, labels, largest):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2, (groups, labels)) * (rng.random((groups, labels)) < rng.random(labels))
    return counts.astype(float), rng.integers(1, largest + 1, groups)


def naive(counts, sizes, split_of, shares):
    """The definition, loop by loop."""
    total = 0.0
    labels = [k for k in range(counts.shape[1]) if counts[:, k].sum()]
    for split, share in enumerate(shares):
        if share == 0:
            continue
        inside = split_of == split
        total += (sizes[inside].sum() / sizes.sum() - share) ** 2 / share
        parts = [counts[inside, k].sum() / counts[:, k].sum() for k in labels]
        total += sum((part - share) ** 2 for part in parts) / share / max(len(labels), 1)
    return total


def best_of_all(counts, sizes, shares, wanted=None):
    """By trying every way."""
    least = np.inf
    for way in product(range(len(shares)), repeat=len(sizes)):
        split_of = np.array(way)
        got = np.bincount(split_of, weights=sizes, minlength=len(shares))
        if (got[np.array(shares) > 0] > 0).all() and (wanted is None or (got == wanted).all()):
            least = min(least, naive(counts, sizes, split_of, shares))
    return least


@RELAXED
@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(0, 6), st.integers(1, 5), st.sampled_from(SHARES))
def test_every_group_has_one_split_and_every_split_a_group(seed, groups, labels, largest, shares):
    counts, sizes = problem(seed, groups, labels, largest)
    found = by_shares(counts, sizes, shares, seed)
    assert found.shape == (groups,)
    assert set(found.tolist()) == set(np.flatnonzero(shares).tolist())
    assert imbalance(counts, sizes, found, shares) == pytest.approx(naive(counts, sizes, found, shares), abs=1e-12)
    assert np.array_equal(found, by_shares(counts, sizes, shares, seed))
    if largest == 1:
        assert np.bincount(found, minlength=len(shares)).tolist() == rounded(shares, groups).tolist()


@RELAXED
@given(st.integers(0, 10**6), st.integers(3, 30), st.integers(0, 5), st.integers(1, 6), st.integers(1, 4))
def test_exact_sizes(seed, groups, labels, largest, splits):
    counts, sizes = problem(seed, groups, labels, largest)
    hidden = np.random.default_rng(seed + 1).integers(0, splits, groups)
    wanted = np.bincount(hidden, weights=sizes, minlength=splits).astype(int)  # so there is a way
    found = by_sizes(counts, sizes, wanted, seed)
    assert np.bincount(found, weights=sizes, minlength=splits).astype(int).tolist() == wanted.tolist()


@RELAXED
@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(1, 5), st.integers(1, 4), st.sampled_from(SHARES))
def test_the_order_of_groups_changes_nothing(seed, groups, labels, largest, shares):
    counts, sizes = problem(seed, groups, labels, largest)
    order = np.random.default_rng(seed).permutation(groups)

    def rows(counts, sizes, found):
        return sorted((*row, size, split) for row, size, split in zip(counts.tolist(), sizes.tolist(), found.tolist()))

    one = rows(counts, sizes, by_shares(counts, sizes, shares, 3))
    assert one == rows(counts[order], sizes[order], by_shares(counts[order], sizes[order], shares, 3))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shares", [[0.6, 0.4], [0.5, 0.2, 0.3]])
def test_as_good_as_the_best_of_all_ways(seed, shares):
    counts, sizes = problem(seed, 7, 3, 4)
    found = by_shares(counts, sizes, shares)
    assert naive(counts, sizes, found, shares) == pytest.approx(best_of_all(counts, sizes, shares), abs=1e-9)
    wanted = np.bincount(found, weights=sizes, minlength=len(shares)).astype(int)
    exact = by_sizes(counts, sizes, wanted)
    parts = wanted / wanted.sum()
    assert naive(counts, sizes, exact, parts) == pytest.approx(best_of_all(counts, sizes, parts, wanted), abs=1e-9)


def test_rare_objects_get_everywhere_they_can():
    rng = np.random.default_rng(0)
    counts = np.zeros((100, 3))
    counts[:, 0] = rng.poisson(20, 100)
    counts[rng.choice(100, 3, replace=False), 1] = 1
    counts[rng.choice(100, 6, replace=False), 2] = 4
    sizes, shares = np.ones(100, int), [0.7, 0.1, 0.2]
    found = by_shares(counts, sizes, shares)
    assert np.bincount(found[counts[:, 1] > 0], minlength=3).tolist() == [2, 0, 1]  # of 2.1, 0.3, 0.6
    assert np.bincount(found[counts[:, 2] > 0], minlength=3).tolist() == [4, 1, 1]  # of 4.2, 0.6, 1.2
    chance = [imbalance(counts, sizes, rng.permutation(found), shares) for _ in range(200)]
    assert imbalance(counts, sizes, found, shares) < min(chance)
    missed = [len(set(rng.permutation(found)[counts[:, 2] > 0].tolist())) < 3 for _ in range(200)]
    assert np.mean(missed) > 0.5  # what chance does


def test_folds_are_even():
    counts, sizes = problem(1, 53, 4, 1)
    found = by_shares(counts, sizes, [0.2] * 5)
    assert sorted(np.bincount(found).tolist()) == [10, 10, 11, 11, 11]


def test_seeds_differ_where_nothing_else_decides():
    nothing, sizes = np.zeros((30, 0)), np.ones(30, int)
    found = {tuple(by_sizes(nothing, sizes, [20, 10], seed).tolist()) for seed in range(5)}
    assert len(found) == 5


def test_eighty_runs_in_thirteen_groups():
    sizes = np.array([5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7])
    counts = np.random.default_rng(0).poisson(5, (13, 3)) * sizes[:, None]
    found = by_sizes(counts, sizes, [68, 12])
    assert sizes[found == 1].sum() == 12
    with pytest.raises(Unreachable) as caught:
        by_sizes(counts, sizes, [77, 3])
    assert caught.value.nearest == (75, 5)


@RELAXED
@given(st.integers(0, 10**6), st.integers(3, 6), st.integers(2, 3))
def test_the_nearest_sizes_are_the_nearest(seed, groups, splits):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, groups)
    wanted = rng.multinomial(sizes.sum() - splits, np.full(splits, 1 / splits)) + 1
    ways = [np.bincount(way, weights=sizes, minlength=splits) for way in product(range(splits), repeat=groups)]
    least = min(np.abs(got - wanted).sum() for got in ways if (got > 0).all())
    if least == 0:
        by_sizes(np.zeros((groups, 0)), sizes, wanted)
        return
    with pytest.raises(Unreachable) as caught:
        by_sizes(np.zeros((groups, 0)), sizes, wanted)
    assert any(np.array_equal(got, caught.value.nearest) for got in ways)
    assert np.abs(np.array(caught.value.nearest) - wanted).sum() == least


def test_too_many_exact_splits_of_tied_runs_end_clearly():
    with pytest.raises(Unreachable, match="too many") as caught:
        Room.of(np.full(50, 2), np.full(10, 10))
    assert caught.value.nearest is None


def test_one_split_takes_all():
    assert by_shares(np.ones((4, 1)), np.array([2, 1, 1, 3]), [1.0]).tolist() == [0] * 4
    assert by_sizes(np.ones((4, 1)), np.array([2, 1, 1, 3]), [7]).tolist() == [0] * 4
    assert by_sizes(np.ones((4, 1)), np.array([2, 1, 1, 3]), [0, 7]).tolist() == [1] * 4


@pytest.mark.parametrize(
    ("counts", "sizes", "shares", "words"),
    [
        (np.ones((3, 1)), [1, 1, 1], [0.7, 0.7], "sum to 1"),
        (np.ones((3, 1)), [1, 1, 1], [1.5, -0.5], "sum to 1"),
        (np.ones((3, 1)), [1, 1, 1], [np.nan, 1], "sum to 1"),
        (np.ones((2, 1)), [1, 1], [0.4, 0.3, 0.3], "a group for each of 3"),
        (np.ones((2, 1)), [2, 3], [0.4, 0.3, 0.3], "a group for each of 3"),
        (np.ones((2, 1)), [1, 1, 1], [0.5, 0.5], r"\(G,\)"),
        (np.array([[np.nan], [1]]), [1, 1], [0.5, 0.5], "finite"),
        (np.array([[-1.0], [1]]), [1, 1], [0.5, 0.5], "finite"),
        (np.ones((2, 1)), [0, 1], [0.5, 0.5], "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(counts, sizes, shares, words):
    with pytest.raises(ValueError, match=words):
        by_shares(counts, np.array(sizes), shares)


def test_sizes_have_to_sum():
    with pytest.raises(ValueError, match="sum to 3"):
        by_sizes(np.ones((3, 1)), np.ones(3, int), [1, 1])


@pytest.mark.parametrize("largest", [1, 5])
def test_two_thousand_runs(largest):
    counts, sizes = problem(0, 2000 // (1 + largest // 2), 10, largest)
    before = time.process_time()
    found = by_shares(counts, sizes, [0.7, 0.1, 0.2])
    by_sizes(counts, sizes, np.bincount(found, weights=sizes).astype(int))
    assert time.process_time() - before < 10  # both together; measured: 1
    assert imbalance(counts, sizes, found, [0.7, 0.1, 0.2]) < 1e-3
