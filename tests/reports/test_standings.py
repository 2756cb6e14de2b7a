"""Methods over data sets: who is who, what compares with what, ranks and changes in the table, the chart and the CSV."""

import csv

import numpy as np
import pytest
from reports.samples import instances_result, points_result, semantic_result, write
from reports.studies import bench_result, bench_row, curve_result

from copick_tools.errors import NotFoundError
from copick_tools.reports.standings import standings

CONFIGS = {"a": "/data/a/copick.json", "b": "/data/b/copick.json"}


def points(user, project, score, session="1", **changes):
    document = {"task": "toy", "split": "test", "config": CONFIGS[project], "input": [f"*:{user}/{session}"]}
    return points_result(score=score, **{**document, **changes})


def four(**changes):
    """Three methods on two projects, one of them on one alone."""
    return {
        "x/a": points("octopi", "a", 0.5, **changes),
        "x/b": points("octopi", "b", 0.8, "2", **changes),
        "y/a": points("slices", "a", 0.6, **changes),
        "y/b": points("slices", "b", 0.4, **changes),
        "z": points("nnunet", "a", 0.1, **changes),
    }


def test_methods_are_users_and_data_sets_are_projects():
    found = standings(four())
    assert found.methods == ["octopi", "slices", "nnunet"]
    assert found.data == ["toy, test, a", "toy, test, b"]
    np.testing.assert_allclose(found.scores, [[0.5, 0.8], [0.6, 0.4], [0.1, np.nan]])
    numbers = found.numbers()
    assert list(numbers) == ["octopi", "slices", "nnunet"]
    assert (numbers["octopi"]["average_rank"], numbers["slices"]["rank.toy, test, a"]) == (1.5, 1.0)
    assert (numbers["nnunet"]["average_rank"], numbers["nnunet"]["data_sets"]) == (3.0, 1)
    assert "number of data sets is the same" in " ".join(found.said)
    assert found.chart() is None


def test_projects_in_folders_of_one_name_are_two_data_sets():
    """Nothing but the path tells them apart, and none hides the other."""
    paths = ["/data/a/sim/copick.json", "/data/b/sim/copick.json"]
    found = standings(
        {
            f"{user}{number}": points(user, "a", score + number / 10, config=path)
            for user, score in (("octopi", 0.5), ("slices", 0.6))
            for number, path in enumerate(paths)
        },
        "octopi",
    )
    assert len(found.data) == len(set(found.data)) == 2
    assert {score for name, score in found.numbers()["octopi"].items() if name.startswith("score.")} == {0.5, 0.6}
    assert str(found.chart()).count("<title>slices") == 3  # both, and their mean


def test_changes_are_relative_to_the_baseline():
    found = standings(four(), "octopi")
    slices = found.numbers()["slices"]
    assert slices["relative_change.toy, test, a"] == pytest.approx(20)
    assert slices["relative_change.toy, test, b"] == pytest.approx(-50)
    assert slices["relative_change"] == pytest.approx(-15)
    header, rows = found.table().header, {row[0].text: row for row in found.table().rows}
    assert header[:3] == ("method", "average rank", "mean change")
    assert [cell.text for cell in rows["slices"]] == ["slices", "1.50", "−15.0 %", "0.600", "0.400"]
    assert rows["slices"][3].below == "rank 1, +20.0 %"
    assert rows["octopi"][3].below == "rank 2"
    assert rows["nnunet"][4].text == "–"
    assert found.compared == ["slices", "nnunet"]
    assert "slices, mean: −15.0 %" in found.chart()


def test_a_method_that_is_not_there():
    with pytest.raises(NotFoundError, match="--baseline octopy") as failed:
        standings(four(), "octopy")
    assert "octopi" in failed.value.hint


def test_what_does_not_compare_is_another_data_set():
    found = standings(
        {
            "one": points("u", "a", 0.5),
            "other beta": points("v", "a", 0.5, beta=1.0),
            "other truth": points("w", "a", 0.5, reference=["*:other/0"]),
            "other split": points("x", "a", 0.5, split="val"),
            "other runs": points("y", "a", 0.5, split=None, run_names=["TS_9"], runs=1),
            "dice": semantic_result(task="toy", config=CONFIGS["a"], input=["cells:z/1@10.0?multilabel=true"]),
            "instances": instances_result(task="toy", config=CONFIGS["a"], input=["cells:i/1@10.0?panoptic=true"]),
        }
    )
    assert len(found.methods) == len(found.data) == len(set(found.data)) == 7
    assert (np.isfinite(found.scores) == np.eye(7, dtype=bool)).all()


def test_two_of_one_user_go_by_session_and_then_by_folder():
    found = standings({"one": points("u", "a", 0.5), "two": points("u", "a", 0.6, "2"), "b": points("v", "b", 0.1)})
    assert found.methods == ["u/1", "u/2", "v"]
    found = standings({"one": points("u", "a", 0.5), "two": points("u", "a", 0.6), "b": points("v", "b", 0.1)})
    assert found.methods == ["one", "two", "v"]
    files = {name: points_result(score=0.5, task="toy", split=split) for name, split in (("p", "test"), ("q", "val"))}
    assert standings(files).methods == ["p", "q"]


def test_benchmarks_of_several_tasks():
    rows = {
        name: [bench_row("octopi", one), bench_row("slices", other)]
        for name, one, other in (("p", 0.5, 0.4), ("q", 0.2, 0.3))
    }
    found = standings({name: bench_result(made, task=name) for name, made in rows.items()}, "octopi")
    assert found.methods == ["octopi", "slices"]
    assert found.data == ["p, test", "q, test"]
    np.testing.assert_allclose(found.scores, [[0.5, 0.2], [0.4, 0.3]])


def test_a_benchmark_and_an_evaluation_share_the_only_data_set_that_fits():
    row = bench_row("slices", 0.7)
    names = tuple(row.objects)
    entry = next(iter(points("x", "a", 0.1).objects.values()))
    same = {"objects": dict.fromkeys(names, entry), "rule": "kaggle", "runs": 3}
    bench = bench_result([row], task="toy", runs=3)
    found = standings({"bench": bench, "mine": points("mine", "a", 0.5, **same)}, "slices")
    assert (found.methods, len(found.data)) == (["slices", "mine"], 1)
    two = standings({"bench": bench, "1": points("m", "a", 0.5, **same), "2": points("m", "b", 0.5, **same)})
    assert len(two.data) == 3


def test_nothing_to_rank():
    assert standings({"x": points("octopi", "a", 0.5), "y": points("slices", "a", 0.6)}) is None
    assert standings({"x": points("octopi", "a", 0.5), "y": points("octopi", "b", 0.6)}) is None
    assert standings({"x": curve_result()}) is None
    only = standings({"x": points("octopi", "a", 0.5), "y": points("slices", "a", None)}, "octopi")
    assert only.numbers()["slices"]["average_rank"] is None
    assert only.table().rows[1][1].text == "–"


def test_the_command(tmp_path, popsicle):
    folders = [write(tmp_path / name, result) for name, result in four().items()]
    popsicle("report", *folders, "--out", tmp_path / "r.html", "--csv", tmp_path / "r.csv", "--baseline", "octopi")
    page = (tmp_path / "r.html").read_text()
    assert "Methods over data sets" in page
    assert "change relative to octopi" in page
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    values = {row["number"]: row["value"] for row in rows if row["evaluation"] == "method slices"}
    assert float(values["relative_change"]) == pytest.approx(-15)
    assert values["data_sets"] == "2"
    said = popsicle("report", *folders, "--out", tmp_path / "r.html", "--baseline", "octop", code=1).stderr
    assert "did you mean octopi" in said
