"""Tables of picks, scored under every rule: the official vectors, the oracle, and a row per outcome."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics import oracle

from copick_tools.metrics.match import one_to_one
from copick_tools.metrics.outcomes import outcomes
from copick_tools.metrics.points import find_reach, score_points
from copick_tools.metrics.reach import Reach
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.recipes.load import load_task
from copick_tools.types import Points

RELAXED = settings(deadline=None, derandomize=True, max_examples=50)
SEEDS = st.integers(0, 10**6)
CASES = json.loads((Path(__file__).parents[1] / "data" / "czii_cases.json").read_text())["cases"]
VALID = [
    case
    for case in CASES
    if not case["expected"].get("error") and not any(v in ("nan", "inf") for row in case["submission"] for v in row)
]
OBJECTS = ("a", "b", "c")
DISTANCES = {"a": 13.0, "b": 20.0, "c": 30.0}
WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.0}


def table(picks, runs, objects=OBJECTS):
    """Rows of picks, as the oracle takes them, as a table."""
    mapping = {}
    for run, name, position, *score in picks:
        mapping.setdefault(run, {}).setdefault(name, []).append((position, *score))
    points = {
        run: {
            name: Points.at([row[0] for row in rows], [row[1] if len(row) > 1 else 1.0 for row in rows])
            for name, rows in sets.items()
        }
        for run, sets in mapping.items()
    }
    return PointTable.of(points, runs, objects)


def rule(name="one-to-one", beta=4.0, **changes):
    return PointRule(name, beta, DISTANCES, WEIGHTS, **changes)


def clusters(seed, runs=3, points=25, width=80):
    """Dense, whole coordinates (exact ties), both sides: runs, reference, prediction with scores."""
    rng = np.random.default_rng(seed)
    names = [f"run{r}" for r in range(runs)]
    sides = []
    for _ in range(2):
        count = int(rng.integers(0, points + 1))
        sides.append(
            [
                (names[rng.integers(runs)], OBJECTS[rng.integers(3)], tuple(rng.integers(0, width, 3).tolist()), s)
                for s in rng.random(count).round(2).tolist()
            ]
        )
    return names, sides[0], sides[1]


def as_cells(scores):
    return {
        (run, name): tuple(scores.counts[r, k].astype(int).tolist())
        for r, run in enumerate(scores.runs)
        for k, name in enumerate(scores.objects)
    }


@pytest.mark.parametrize("case", VALID, ids=[case["name"] for case in VALID])
def test_official_and_one_to_one_counts(case):
    task = load_task("phantom")
    columns = [case["submission_columns"].index(c) for c in ("experiment", "particle_type", "x", "y", "z")]
    runs = list(dict.fromkeys(row[0] for row in case["solution"]))
    distances = {o.name: case["distance_multiplier"] * o.radius for o in task.targets}
    weights = {o.name: o.weight for o in task.targets}
    reference, prediction = (
        [(run, name, tuple(map(float, xyz))) for run, name, *xyz in rows]
        for rows in (case["solution"], [[row[c] for c in columns] for row in case["submission"]])
    )
    prediction = [pick for pick in prediction if pick[0] in runs]
    sides = table(reference, runs, tuple(distances)), table(prediction, runs, tuple(distances))
    expected = case["expected"]
    for name, wanted in (("czii", expected), ("one-to-one", expected["one_to_one_max_cardinality"])):
        by_cell = oracle.counts(reference, prediction, name, distances, runs)
        found = score_points(*sides, PointRule(name, case["beta"], distances, weights, present_only=False))
        assert found.score() == pytest.approx(wanted["score"], abs=1e-9)
        assert oracle.aggregate(oracle.totals(by_cell), weights, case["beta"]) == pytest.approx(wanted["score"])
        assert as_cells(found) == by_cell
        for index, key in enumerate(found.objects):
            if key in wanted["counts"]:
                counts = wanted["counts"][key]
                assert found.counts[:, index].sum(axis=0).tolist() == [counts["tp"], counts["fp"], counts["fn"]]


@RELAXED
@given(SEEDS, st.sampled_from(["one-to-one", "czii"]), st.sampled_from([0.0, 0.5, 1.0, 4.0]), st.booleans())
def test_dense_clusters_as_the_oracle(seed, name, beta, present_only):
    runs, reference, prediction = clusters(seed)
    left, right = table(reference, runs), table(prediction, runs)
    found = score_points(left, right, rule(name, beta, present_only=present_only))
    by_cell = oracle.counts(reference, prediction, name, DISTANCES, runs)
    assert as_cells(found) == by_cell
    assert as_cells(score_points(left, right, found.rule, find_reach(left, right, found.rule))) == by_cell
    totals = oracle.totals(by_cell)
    wanted = oracle.aggregate(totals, WEIGHTS, beta, "skip" if present_only else "zero")
    assert found.score() == pytest.approx(np.nan if wanted is None else wanted, nan_ok=True, abs=1e-12)
    for value, key in zip(np.nan_to_num(found.fbeta()), OBJECTS):
        assert value == pytest.approx(oracle.fbeta(*totals[key], beta), abs=1e-12)
    for value, run in zip(found.run_scores(), runs):
        alone = {key: counts for (other, key), counts in by_cell.items() if other == run}
        wanted = oracle.aggregate(alone, WEIGHTS, beta, "skip")
        assert value == pytest.approx(np.nan if wanted is None else wanted, nan_ok=True, abs=1e-12)


@RELAXED
@given(SEEDS, st.sampled_from(["one-to-one", "czii"]))
def test_order_and_place_do_not_matter(seed, name):
    runs, reference, prediction = clusters(seed)
    wanted = as_cells(score_points(table(reference, runs), table(prediction, runs), rule(name)))
    rng = np.random.default_rng(seed)
    away = rng.integers(-3000, 3000, 3)
    moved = [
        [(run, key, tuple((np.array(xyz) + away).tolist()), s) for run, key, xyz, s in (side[i] for i in order)]
        for side, order in ((s, rng.permutation(len(s))) for s in (reference, prediction))
    ]
    again = score_points(table(moved[0], runs[::-1]), table(moved[1], runs[::-1]), rule(name))
    assert as_cells(again) == wanted


@RELAXED
@given(SEEDS)
def test_identity_gives_one_for_every_object_present(seed):
    runs, reference, _ = clusters(seed)
    side = table(reference, runs)
    found = score_points(side, side, rule())
    present = {name for _, name, *_ in reference}
    for value, name in zip(found.fbeta(), OBJECTS):
        assert value == 1 if name in present else np.isnan(value)
    assert found.score() == 1 or not present & {"a", "b"}
    assert not found.counts[..., 1:].any()


@RELAXED
@given(SEEDS)
def test_no_run_gains_more_than_either_side_has_and_none_loses_with_distance(seed):
    runs, reference, prediction = clusters(seed)
    left, right = table(reference, runs), table(prediction, runs)
    before = np.zeros((3, 3))
    for factor in (0.2, 0.5, 1, 2, 10):
        wide = PointRule("one-to-one", 4, {k: factor * d for k, d in DISTANCES.items()}, WEIGHTS)
        tp = score_points(left, right, wide).counts[..., 0]
        assert (tp >= before).all()
        assert (tp <= np.minimum(left.counts(), right.counts())).all()
        before = tp


@RELAXED
@given(SEEDS)
def test_both_rules_agree_where_reference_points_of_an_object_are_far_apart(seed):
    rng = np.random.default_rng(seed)
    runs = ["r", "s"]
    places = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * 61.0
    reference = [(run, name, tuple(p), 1.0) for run in runs for name in OBJECTS for p in rng.permutation(places)[:9]]
    prediction = [
        (runs[rng.integers(2)], OBJECTS[rng.integers(3)], tuple(p), 1.0) for p in rng.uniform(-20, 140, (80, 3))
    ]
    one, other = (
        score_points(table(reference, runs), table(prediction, runs), rule(name)) for name in ("one-to-one", "czii")
    )
    assert (one.counts == other.counts).all()


def test_a_row_for_every_prediction_and_every_missed_point():
    reference = [("r", "a", (0, 0, 0)), ("r", "a", (100, 0, 0)), ("s", "b", (5, 5, 5))]
    prediction = [("r", "a", (1, 0, 0), 0.5), ("r", "a", (2, 0, 0), 0.9), ("s", "c", (5, 5, 5), 0.2)]
    left, right = table(reference, ["r", "s"]), table(prediction, ["r", "s"])
    reach = find_reach(left, right, rule())
    chosen = one_to_one(reach, left.positions, right.positions)
    rows = list(outcomes(left, right, (reach.reference[chosen], reach.prediction[chosen])))
    assert [(row.run, row.object, row.outcome, row.score, row.partner, row.distance) for row in rows] == [
        ("r", "a", "tp", 0.5, 0, 1.0),
        ("r", "a", "fp", 0.9, None, None),
        ("r", "a", "fn", None, None, None),
        ("s", "b", "fn", None, None, None),
        ("s", "c", "fp", 0.2, None, None),
    ]
    assert rows[2].position.tolist() == [100, 0, 0]


@RELAXED
@given(SEEDS)
def test_outcomes_add_up(seed):
    runs, reference, prediction = clusters(seed)
    left, right = table(reference, runs), table(prediction, runs)
    reach = find_reach(left, right, rule())
    chosen = one_to_one(reach, left.positions, right.positions)
    rows = list(outcomes(left, right, (reach.reference[chosen], reach.prediction[chosen])))
    found = score_points(left, right, rule())
    for k, what in enumerate(("tp", "fp", "fn")):
        assert sum(row.outcome == what for row in rows) == found.counts[..., k].sum()
    here = oracle.cells(reference)
    for row in rows:
        if row.outcome == "tp":
            assert row.distance <= DISTANCES[row.object]
            assert oracle.gap(here[row.run, row.object][row.partner], row.position) == pytest.approx(row.distance)


def test_an_object_that_is_nowhere_is_undefined_or_zero_in_the_challenge():
    side = table([("r", "a", (0, 0, 0))], ["r"])
    assert score_points(side, side, rule()).score() == 1
    assert score_points(side, side, rule("czii", present_only=False)).score() == pytest.approx(1 / 3)
    nothing = table([], ["r"])
    assert np.isnan(score_points(nothing, nothing, rule()).score())
    assert score_points(nothing, nothing, rule("czii", present_only=False)).score() == 0
    weightless = table([("r", "c", (0, 0, 0))], ["r"])
    assert np.isnan(score_points(weightless, weightless, rule()).score())


def test_no_runs_no_objects():
    empty = PointTable.of({}, (), ())
    found = score_points(empty, empty, PointRule("one-to-one", 1, {}, {}))
    assert found.counts.shape == (0, 0, 3)
    assert np.isnan(found.score())
    assert found.score_interval() is None


def motors(picks, runs, unit=10.0):
    found = table(picks, runs, ("motor",))
    return PointTable(
        found.runs, found.objects, found.run, found.object, found.positions, found.scores, np.full(len(runs), unit)
    )


BYU = PointRule("byu", 2, {"motor": 1000.0}, {"motor": 1.0}, present_only=False)


def test_byu_counts_in_voxels_and_takes_the_best_of_several():
    runs = ["near", "far", "none", "missed", "two"]
    reference = [(run, "motor", (50, 50, 50)) for run in ("near", "far", "missed", "two")]
    prediction = [
        ("near", "motor", (150, 50, 50), 1.0),  # 1000 angstrom
        ("far", "motor", (150.1, 50, 50), 1.0),
        ("none", "motor", (0, 0, 0), 1.0),
        ("two", "motor", (50, 50, 50), 0.4),
        ("two", "motor", (900, 50, 50), 0.9),
    ]
    found = score_points(motors(reference, runs), motors(prediction, runs), BYU)
    assert found.counts[:, 0].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert found.score() == pytest.approx(oracle.fbeta(1, 1, 3, 2))
    exact = score_points(
        motors(reference, runs), motors(prediction, runs), PointRule("one-to-one", 2, BYU.distances, BYU.weights)
    )
    assert exact.counts[:, 0].tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_byu_has_no_score_where_a_tomogram_holds_two_motors():
    side = motors([("r", "motor", (0, 0, 0)), ("r", "motor", (5000, 0, 0))], ["r"])
    found = score_points(side, side, BYU)
    assert np.isnan(found.score())
    assert found.score_interval() is None
    assert "run r holds 2 motor" in found.undefined
    assert "one or none" in found.undefined


def test_what_it_refuses():
    one, other = table([("r", "a", (0, 0, 0))], ["r"]), table([("r", "a", (0, 0, 0))], ["s"])
    with pytest.raises(ValueError, match="same runs"):
        score_points(one, other, rule())
    for name in ("czii", "one-to-one", "byu"):
        with pytest.raises(ValueError, match=r"`prediction.positions`, but row 0"):
            score_points(one, table([("r", "a", (0, np.nan, 0))], ["r"]), rule(name))
        with pytest.raises(ValueError, match=r"`prediction.scores`"):
            score_points(one, table([("r", "a", (0, 0, 0), np.inf)], ["r"]), rule(name))
        with pytest.raises(ValueError, match=r"`reference.positions`"):
            score_points(table([("r", "a", (np.inf, 0, 0))], ["r"]), one, rule(name))


def test_a_table_of_a_mapping():
    picks = {"r": {"a": Points.at([[1, 2, 3], [4, 5, 6]], [0.5, 0.6]), "z": Points.at([[9, 9, 9]])}, "t": {}}
    made = PointTable.of(picks, ["s", "r"], ["b", "a"])
    assert (made.run.tolist(), made.object.tolist()) == ([1, 1], [1, 1])
    assert made.positions.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert made.counts().tolist() == [[0, 0], [0, 2]]
    assert len(made) == 2
    assert made.distances(PointRule("czii", 1, {"a": 7, "b": 3}, {})).tolist() == [7, 7]
    assert isinstance(find_reach(made, made, PointRule("czii", 1, {"a": 7, "b": 3}, {})), Reach)
