"""Objects in few runs, picks that crowd, scores that are skewed: where a number could say more than is known."""

import numpy as np
import pytest

from copick_tools.metrics import PointRule, PointTable, ScoredPicks, average_precision, match, precision_recall_curve
from copick_tools.metrics.curves import average_precision_interval
from copick_tools.metrics.localization import localization_intervals
from copick_tools.metrics.points import score_points
from copick_tools.metrics.reach import PAIRS, TooDense, in_reach
from copick_tools.types import Points


def test_the_interval_of_average_precision_holds_it_where_true_picks_are_few():
    """40 true picks on top of 36 400, as in motor-free tomograms: quantiles of all scores would see one step."""
    rng = np.random.default_rng(0)
    run = np.repeat(np.arange(364), 100)
    scores = rng.uniform(0, 0.5, len(run))
    true = np.zeros(len(run), bool)
    true[::100][:40] = True
    scores[true] = rng.uniform(0.9, 1, 40)
    picks = ScoredPicks(scores, true, run, np.bincount(run[true], minlength=364))
    _, precision, recall = precision_recall_curve(picks)
    assert average_precision(precision, recall) == 1
    assert average_precision_interval(picks) == pytest.approx([1, 1])


def test_the_interval_of_average_precision_on_many_thresholds_is_near_that_on_all():
    rng = np.random.default_rng(1)
    run = np.repeat(np.arange(30), 60)
    scores = rng.beta(1, 4, len(run))
    true = rng.random(len(run)) < scores
    picks = ScoredPicks(scores, true, run, np.bincount(run[true], minlength=30) + 2)
    counts = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=300)
    values = []
    for drawn in counts:
        rows = np.concatenate([np.flatnonzero(run == r) for r, times in enumerate(drawn) for _ in range(times)])
        once = ScoredPicks(scores[rows], true[rows], run[rows], drawn * picks.references)
        values.append(average_precision(*precision_recall_curve(once)[1:]))
    low, high = average_precision_interval(picks)
    assert (low, high) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.02)


def table(picks, objects=("a", "b")):
    return PointTable.of(picks, tuple(picks), objects)


def test_an_object_in_fewer_than_five_runs_has_no_interval_and_no_p():
    truth = {f"r{i}": {"a": Points.at(np.eye(3) * 1000)} for i in range(20)}
    truth["r0"]["b"] = Points.at([[0, 0, 0], [500, 0, 0]])
    guess = {run: {"a": Points.at(np.eye(3)[: 1 + i % 3] * 1000)} for i, run in enumerate(truth)}
    guess["r0"]["b"] = Points.at([[0, 0, 0]])
    rule = PointRule("one-to-one", 1, {"a": 10, "b": 10}, {"a": 1, "b": 1})
    scores = score_points(table(truth), table(guess), rule)
    assert scores.runs_with().tolist() == [20, 1]
    bounds = scores.number_intervals()
    assert np.isfinite(bounds[:, 0]).all()
    assert np.isnan(bounds[:, 1]).all()
    _, objects = scores.against(score_points(table(truth), table(truth), rule))
    assert objects.difference[1] == pytest.approx(2 / 3 - 1)
    assert np.isnan(objects.p[1])
    assert objects.p[0] < 0.05
    assert localization_intervals(np.ones((9, 3)), np.arange(9) % 4, 20) == {}


def test_many_small_clusters_get_the_shortest_matching():
    """1000 reference points with 21 predictions each: none of the clusters is large, all of them together are."""
    truth = np.arange(1000)[:, None] * [1000.0, 0, 0]
    gaps = np.random.default_rng(0).permuted(np.tile(np.linspace(2, 40, 21), (1000, 1)), axis=1)
    guess = (truth[:, None, :] + gaps[..., None] * [0, 1, 0]).reshape(-1, 3)
    found = match(truth, guess, 75.0)
    assert found.tp == 1000
    assert found.distances == pytest.approx(np.full(1000, 2.0))


def test_both_czii_paths_count_alike_where_picks_crowd():
    rng = np.random.default_rng(0)
    truth, guess = rng.uniform(0, 300, (2, 400, 3))
    tables = [table({"r": {"a": Points.at(points)}}, ("a",)) for points in (truth, guess)]
    rule = PointRule("czii", 4, {"a": 40.0}, {"a": 1})
    alone = match(truth, guess, 40.0, "czii")
    assert score_points(*tables, rule).counts[0, 0].tolist() == [alone.tp, alone.fp, alone.fn]
    near = np.linalg.norm(truth[:, None] - guess[None], axis=2) <= 40
    assert alone.tp == near.any(axis=1).sum()


def test_too_dense_is_said_before_memory_runs_out():
    points = np.random.default_rng(0).uniform(0, 60, (60_000, 3))
    assert len(points) ** 2 / 2 > PAIRS
    with pytest.raises(TooDense, match="angstrom"):
        in_reach(points, points, 75.0)


def test_sides_in_different_units_do_not_meet():
    sides = [
        PointTable(("r",), ("a",), np.array([0]), np.array([0]), np.zeros((1, 3)), np.ones(1), unit)
        for unit in (1, 13.1)
    ]
    with pytest.raises(ValueError, match="same unit"):
        score_points(*sides, PointRule("one-to-one", 1, {"a": 10}, {"a": 1}))


def test_a_star_too_large_for_the_shortest_matching_still_takes_the_nearest():
    gaps = np.random.default_rng(0).uniform(2, 70, 20_500)
    found = match(np.zeros((1, 3)), gaps[:, None] * [0, 0, 1], 75.0)
    assert found.tp == 1
    assert found.distances[0] == gaps.min()
