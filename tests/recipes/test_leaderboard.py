"""The paper's tables, checked against their own parts; what compares with them."""

import itertools

import pytest
from reports.samples import semantic_result

from copick_tools.errors import FormatError
from copick_tools.recipes.leaderboard import Table, compare, leaderboard_names, load_leaderboard
from copick_tools.recipes.load import load_task, parse
from copick_tools.recipes.results import ObjectScore, PointsResult


def points(task, /, **changes):
    """A result exactly as the task wants it."""
    objects = {
        o.name: ObjectScore(
            tp=9, fp=1, fn=1, precision=0.9, recall=0.9, fbeta=0.9, weight=o.weight, distance=task.distance(o.name)
        )
        for o in task.targets
    }
    document = {
        "task": task.name,
        "split": "test",
        "rule": "kaggle",
        "beta": task.metric.beta,
        "score": 0.9,
        "objects": objects,
        "other_rule": None,
        "ci95": None,
        "by_run": {},
        "runs": task.splits["test"].runs,
        "run_names": [],
        "config": None,
        "input": [],
        "reference": [],
        "warnings": [],
    }
    return PointsResult(**{**document, **changes})


def semantic(task, /, **changes):
    score = semantic_result().objects["ribosome"]
    document = {
        "task": task.name,
        "objects": {o.name: score for o in task.targets},
        "runs": task.splits["test"].runs,
        "reference": [task.reference],
    }
    return semantic_result().model_copy(update={**document, **changes})


def row(task, name):
    return next(row for row in load_leaderboard(task).rows if row.name == name)


def test_every_table_of_the_paper():
    assert leaderboard_names() == ["bacterial", "motorbench", "phantom", "yeast"]
    sizes = {
        name: (len(load_leaderboard(name).rows), len(load_leaderboard(name).columns)) for name in leaderboard_names()
    }
    assert sizes == {"bacterial": (5, 5), "motorbench": (5, 2), "phantom": (12, 6), "yeast": (5, 6)}
    assert load_leaderboard("phantom-sim") is None
    assert load_leaderboard("../tasks/phantom") is None


def test_values_as_printed():
    table = load_leaderboard("yeast")
    resenc = dict(zip(table.columns, zip(row("yeast", "nnU-Net ResEnc").values, row("yeast", "nnU-Net ResEnc").sd)))
    assert resenc["nucleus"] == (0.24, 0.27)
    assert resenc["mitochondrion"] == (0.46, 0.46)
    assert row("bacterial", "SwinUNETR").values == (0.91, 0.58, 0.81, 0.72, 0.69)
    assert {r.kind for r in load_leaderboard("motorbench").rows} == {"reference"}
    kinds = [r.kind for r in load_leaderboard("phantom").rows]
    assert kinds == ["baseline"] * 5 + ["reference"] * 7


def test_only_octopi_disagrees():
    found = {(name, r.name): r for name in leaderboard_names() for r in load_leaderboard(name).rows if r.disagrees}
    assert set(found) == {("phantom", "Octopi")}
    octopi = found["phantom", "Octopi"]
    assert octopi.printed == 0.763
    assert round(octopi.recomputed, 3) == 0.717


def test_aggregates():
    assert row("phantom", "nnU-Net").recomputed == pytest.approx((0.706 + 0.803 + 0.940 + 2 * 0.561 + 2 * 0.482) / 7)
    first = row("motorbench", "1st place (3D U-Net)")
    assert first.recomputed == pytest.approx(5 * 0.784 * 0.903 / (4 * 0.784 + 0.903))
    assert round(first.recomputed, 3) == 0.876  # not the printed 0.877, but within the rounding of its parts
    assert first.low < 0.8765 < first.high
    assert row("bacterial", "nnU-Net").recomputed == pytest.approx((0.93 + 0.52 + 0.86 + 0.74 + 0.73) / 5)
    assert row("bacterial", "nnU-Net").printed is None


@pytest.mark.parametrize("name", ["phantom", "motorbench"])
def test_bounds_hold_for_every_corner_of_the_rounding(name):
    table, task = load_leaderboard(name), load_task(name)
    from copick_tools.recipes.leaderboard import _aggregate

    for entry in table.rows:
        corners = itertools.product(*[(max(0.0, v - 0.0005), min(1.0, v + 0.0005)) for v in entry.values])
        found = [_aggregate(table, task, corner) for corner in corners]
        assert entry.low == pytest.approx(min(found))
        assert entry.high == pytest.approx(max(found))


class TestCompare:
    task = load_task("phantom")

    def standing(self, **changes):
        return compare(load_leaderboard("phantom"), points(self.task, **changes), self.task)

    def test_the_same_question_compares_with_baselines_only(self):
        standings = self.standing()
        assert [s.comparable for s in standings] == [True] * 5 + [False] * 7
        assert standings[0].difference == pytest.approx(0.9 - 0.64785714)
        assert standings[-1].reasons == (
            "reference point: CZII Kaggle challenge, not trained under the paper's protocol",
        )

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"split": "val"}, "reference point: another split, val instead of test"),
            ({"split": None}, "reference point: this result names no split, the table is of split test"),
            ({"runs": 363}, "363 runs instead of the 364 of split test"),
            ({"rule": "one-to-one"}, "rule one-to-one instead of kaggle"),
            ({"beta": 1.0}, "beta 1 instead of 4"),
            ({"score": None}, "this result has no score"),
            ({"task": None}, "reference point: another task, none instead of phantom"),
        ],
    )
    def test_one_thing_is_different(self, changes, reason):
        standings = self.standing(**changes)
        assert standings[0].reasons == (reason,)
        assert not any(s.comparable for s in standings)

    def test_objects(self):
        objects = points(self.task).objects
        fewer = {name: entry for name, entry in objects.items() if name != "ribosome"}
        assert self.standing(objects=fewer)[0].reasons == ("not scored: ribosome",)
        wider = {**objects, "ribosome": objects["ribosome"].model_copy(update={"distance": 120.0})}
        assert self.standing(objects=wider)[0].reasons == ("matching distance of ribosome 120 A instead of 75 A",)
        lighter = {**objects, "ribosome": objects["ribosome"].model_copy(update={"weight": 3.0})}
        assert self.standing(objects=lighter)[0].reasons == ("weight of ribosome 3 instead of 1",)

    def test_segmentations(self):
        task = load_task("bacterial")
        table = load_leaderboard("bacterial")
        assert all(s.comparable for s in compare(table, semantic(task), task))
        assert not any(s.comparable for s in compare(table, semantic(task, absent="one"), task))
        assert not any(s.comparable for s in compare(table, semantic(task, resampled=True), task))
        assert all(
            s.comparable for s in compare(table, semantic(task, reference=[task.reference.replace(".0", "")]), task)
        )
        itself = compare(table, semantic(task, reference=["mine:u/1@20?multilabel=true"]), task)
        assert "another reference" in itself[0].reasons[0]
        assert compare(table, semantic(task, empty_runs=3), task)[0].reasons == ("3 runs have no prediction",)
        other = points(self.task, task="bacterial", runs=12)
        assert "another kind of score" in compare(table, other, task)[0].reasons[-1]


def test_a_table_with_a_short_row():
    document = {
        "task": "phantom",
        "title": "t",
        "source": "s",
        "split": "test",
        "aggregate": "mean",
        "decimals": 2,
        "columns": {"a": "A", "b": "B"},
        "rows": [{"name": "x", "kind": "baseline", "group": "g", "values": [0.1]}],
    }
    with pytest.raises(FormatError, match="row x needs 2 values"):
        parse(Table, document, where="t.yaml")


class TestCommand:
    def test_table(self, popsicle):
        lines = popsicle("tasks", "show", "phantom", "--leaderboard").stdout.splitlines()
        assert len(lines) == 13
        assert [line for line in lines if "disagrees" in line][0].split()[:2] == ["Octopi", "baseline"]
        assert "0.93±0.04" in popsicle("tasks", "show", "bacterial", "--leaderboard").stdout

    def test_json(self, popsicle):
        document = popsicle.json("tasks", "show", "phantom", "--leaderboard")
        assert [r["name"] for r in document["rows"] if r["disagrees"]] == ["Octopi"]

    def test_none(self, popsicle):
        result = popsicle("tasks", "show", "phantom-sim", "--leaderboard", code=1)
        assert "no leaderboard of task phantom-sim" in result.stderr
