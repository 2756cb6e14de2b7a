"""The official CZII scores, and one-to-one beside them, on every valid vector."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from copick_tools.metrics.points import PointRule, match_rows, score_points
from copick_tools.recipes.load import load_task
from copick_tools.types import Points

CASES = json.loads((Path(__file__).parents[1] / "data" / "czii_cases.json").read_text())["cases"]
VALID = [case for case in CASES if not case["expected"].get("error")]


def by_run(rows, runs):
    points = {run: defaultdict(list) for run in runs}
    for run, name, *xyz in rows:
        if run in points:
            points[run][name].append([float(value) for value in xyz])
    return {run: {name: Points.at(xyz) for name, xyz in objects.items()} for run, objects in points.items()}


def scores(case, rule):
    task = load_task("phantom")
    columns = [case["submission_columns"].index(c) for c in ("experiment", "particle_type", "x", "y", "z")]
    runs = list(dict.fromkeys(row[0] for row in case["solution"]))
    distances = {o.name: case["distance_multiplier"] * o.radius for o in task.targets}
    submission = [[row[c] for c in columns] for row in case["submission"]]
    return score_points(
        by_run(case["solution"], runs),
        by_run(submission, runs),
        PointRule(rule, case["beta"], distances, {o.name: o.weight for o in task.targets}),
    )


@pytest.mark.parametrize("case", VALID, ids=[case["name"] for case in VALID])
def test_official_and_one_to_one_counts(case):
    if any(value in ("nan", "inf") for row in case["submission"] for value in row):
        with pytest.raises(ValueError, match="finite"):
            scores(case, "czii")
        return
    official = scores(case, "czii")
    assert official.score() == pytest.approx(case["expected"]["score"], abs=1e-9)
    for index, name in enumerate(official.objects):
        if name in case["expected"]["counts"]:
            wanted = case["expected"]["counts"][name]
            assert official.counts[:, index].sum(axis=0).tolist() == [wanted["tp"], wanted["fp"], wanted["fn"]]
    exact = scores(case, "one-to-one")
    for index, name in enumerate(exact.objects):
        wanted = case["expected"]["one_to_one_max_cardinality"]["counts"].get(name)
        if wanted:
            assert exact.counts[:, index].sum(axis=0).tolist() == [wanted["tp"], wanted["fp"], wanted["fn"]]


def test_match_rows_name_every_prediction_and_every_missed_point():
    reference = {"r": {"a": Points.at([[0, 0, 0], [100, 0, 0]])}}
    prediction = {"r": {"a": Points.at([[1, 0, 0], [2, 0, 0]], [0.5, 0.9])}}
    found = score_points(reference, prediction, PointRule("one-to-one", 1, {"a": 10}, {"a": 1}))
    rows = list(match_rows(found, reference, prediction))
    assert [row[4] for row in rows] == ["tp", "fp", "fn"]
    assert rows[0][5:] == (0, 1.0)
    assert rows[2][2].tolist() == [100, 0, 0]


def test_interval_holds_the_score_and_needs_two_runs():
    reference = {f"r{i}": {"a": Points.at(np.eye(3) * 1000)} for i in range(4)}
    prediction = {run: {"a": Points.at(np.eye(3)[: 1 + i % 3] * 1000)} for i, run in enumerate(reference)}
    found = score_points(reference, prediction, PointRule("one-to-one", 1, {"a": 10}, {"a": 1}))
    low, high = found.score_interval()
    assert low < found.score() < high
    alone = score_points({"r0": reference["r0"]}, {"r0": prediction["r0"]}, found.rule)
    assert alone.score_interval() is None


def test_an_object_that_is_nowhere_is_undefined_one_to_one_and_zero_in_the_challenge():
    reference = {"r": {"a": Points.at([[0, 0, 0]])}}
    rule = {"beta": 4, "distances": {"a": 10, "b": 10}, "weights": {"a": 1, "b": 1}}
    assert score_points(reference, reference, PointRule("one-to-one", **rule)).score() == 1
    assert score_points(reference, reference, PointRule("czii", **rule)).score() == 0.5


def test_byu_has_no_score_where_a_tomogram_holds_two_motors():
    reference = {"r": {"motor": Points.at([[0, 0, 0], [5000, 0, 0]])}}
    found = score_points(reference, reference, PointRule("byu", 2, {"motor": 1000}, {"motor": 1}))
    assert np.isnan(found.score())
    assert "one or none" in found.undefined
