"""Which object is picked as which, against plain assignments."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle
from metrics.test_points import DISTANCES, OBJECTS, clusters, rule, table

from copick_tools.metrics.confusion import confusion
from copick_tools.metrics.match import one_to_one
from copick_tools.metrics.points import find_reach
from copick_tools.metrics.table import PointRule, PointTable

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)


def found(reference, prediction, runs):
    left, right = table(reference, runs), table(prediction, runs)
    reach = find_reach(left, right, rule())
    chosen = one_to_one(reach, left.positions, right.positions)
    return confusion(left, right, rule(), (reach.reference[chosen], reach.prediction[chosen]))


@RELAXED
@given(st.integers(0, 10**6))
def test_margins_are_the_picks_and_the_diagonal_the_true_ones(seed):
    runs, reference, prediction = clusters(seed, points=60, width=60)
    counts = found(reference, prediction, runs)
    for k, name in enumerate(OBJECTS):
        assert counts[k].sum() == sum(pick[1] == name for pick in reference)
        assert counts[:, k].sum() == sum(pick[1] == name for pick in prediction)
        totals = oracle.totals(oracle.counts(reference, prediction, "one-to-one", DISTANCES, runs))
        assert counts[k, k] == totals[name][0]
    assert counts[-1, -1] == 0
    assert (counts >= 0).all()


@RELAXED
@given(st.integers(0, 10**6))
def test_as_the_oracle_where_no_two_assignments_are_alike(seed):
    """Places of real numbers, so that lengths are unique, and so are the matchings."""
    rng = np.random.default_rng(seed)
    runs = ["r", "s"]
    sides = [
        [(runs[rng.integers(2)], OBJECTS[rng.integers(3)], tuple(p), 1.0) for p in rng.uniform(0, 50, (n, 3))]
        for n in rng.integers(0, 25, 2)
    ]
    assert found(*sides, runs).tolist() == oracle.confusion(*sides, DISTANCES).tolist()


def test_own_kind_comes_first_and_the_rest_across_kinds():
    reference = [("r", "a", (0, 0, 0)), ("r", "a", (500, 0, 0)), ("r", "b", (900, 0, 0))]
    prediction = [
        ("r", "b", (1, 0, 0), 1.0),  # nearer to the first a than the next, yet a is what it is
        ("r", "a", (10, 0, 0), 1.0),
        ("r", "c", (500, 12, 0), 1.0),
        ("r", "c", (900, 20.1, 0), 1.0),  # out of b's distance, though not of c's
    ]
    assert found(reference, prediction, ["r"]).tolist() == [
        [1, 0, 1, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 1, 1, 0],
    ]


def test_runs_and_empty_sides():
    picks = [("r", "a", (0, 0, 0), 1.0)]
    elsewhere = [("s", "b", (0, 0, 0), 1.0)]
    assert found(picks, elsewhere, ["r", "s"]).tolist() == [[0, 0, 0, 1], [0] * 4, [0] * 4, [0, 1, 0, 0]]
    assert found([], picks, ["r"])[-1].tolist() == [1, 0, 0, 0]
    assert found(picks, [], ["r"])[:, -1].tolist() == [1, 0, 0, 0]
    assert not found([], [], []).any()


def test_coinciding_picks_of_two_objects_in_any_order():
    """Which of them takes the reference point doesn't hang on the order of rows."""
    names = ("a", "b", "c")
    rule = PointRule("one-to-one", 1, dict.fromkeys(names, 75.0), dict.fromkeys(names, 1))
    none = np.empty(0, int), np.empty(0, int)
    truth = PointTable(("r",), names, np.array([0]), np.array([0]), np.zeros((1, 3)), np.ones(1))
    found = []
    for objects in ([1, 2], [2, 1]):
        guess = PointTable(("r",), names, np.zeros(2, int), np.array(objects), np.full((2, 3), 5.0), np.ones(2))
        found.append(confusion(truth, guess, rule, none).tolist())
    assert found[0] == found[1]
