"""Average ranks and relative changes: ties, gaps, order, and numbers that aren't any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from copick_tools.metrics.ranks import average_ranks, dataset_ranks, relative_changes

TABLES = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, np.nan]), min_size=columns, max_size=columns),
        min_size=1,
        max_size=6,
    ).map(np.array)
)


@given(TABLES)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_ranks_are_scipys_among_those_that_have_a_score(scores):
    found = dataset_ranks(scores)
    for column in range(scores.shape[1]):
        known = np.isfinite(scores[:, column])
        assert np.isnan(found[~known, column]).all()
        np.testing.assert_allclose(found[known, column], rankdata(-scores[known, column]))


@given(TABLES, st.randoms(use_true_random=False))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_the_order_of_methods_and_data_sets_does_not_matter(scores, random):
    rows, columns = list(range(len(scores))), list(range(scores.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    ranks, counts = average_ranks(scores)
    moved, moved_counts = average_ranks(scores[rows][:, columns])
    np.testing.assert_allclose(moved, ranks[rows])
    assert moved_counts.tolist() == counts[rows].tolist()


def test_who_has_nothing_has_no_rank():
    ranks, counts = average_ranks(np.array([[np.nan, np.nan], [0.1, 0.2]]))
    assert np.isnan(ranks[0])
    assert (ranks[1], counts.tolist()) == (1.0, [0, 2])


def test_changes_are_of_the_reference_in_percent():
    scores = np.array([[0.4, 0.5, np.nan, 0.0], [0.6, np.nan, 0.7, 0.4], [0.2, 0.6, 0.1, 0.0]])
    changes, means = relative_changes(scores, 0)
    np.testing.assert_allclose(changes[1], [50, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(changes[2], [-50, 20, np.nan, np.nan])
    np.testing.assert_allclose(means, [0, 50, -15])


def test_a_reference_without_a_score_changes_nothing():
    _, means = relative_changes(np.array([[np.nan], [0.5]]), 0)
    assert np.isnan(means).all()
    changes, _ = relative_changes(np.array([[-0.1], [0.5]]), 0)
    assert np.isnan(changes).all()


@pytest.mark.parametrize("wrong", [np.array([[np.inf]]), np.array([0.1, 0.2])])
def test_what_is_no_table_of_scores(wrong):
    with pytest.raises(ValueError, match="finite or NaN"):
        dataset_ranks(wrong)
    with pytest.raises(ValueError, match="finite or NaN"):
        relative_changes(wrong, 0)
