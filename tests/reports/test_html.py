"""The page: sections come and go with what a result has, nothing escapes, nothing is fetched, the same bytes each time."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from reports.samples import full_result, instances_result, points_result, semantic_result

from copick_tools.recipes.leaderboard import compare, load_leaderboard
from copick_tools.recipes.load import load_task
from copick_tools.reports.html import Board, Gallery, Pictures, Section, Training, render
from copick_tools.reports.numbers import COLUMNS, as_csv
from copick_tools.reports.pictures import Circle, Picture
from copick_tools.reports.svg import Plot, ticks

VOID = {"meta", "link", "br", "img", "hr", "input"}
PARTS = {
    "curves": "Precision and recall by threshold",
    "reliability": "Are the scores probabilities?",
    "localization": "Localization error",
    "confusion": "Which object is picked as which",
    "training": "Training",
    "board": "Beside the paper",
    "gallery": "Gallery",
    "slices": "Central slices",
}


class Checker(HTMLParser):
    """Tags close in order, ids are unique, ids that are pointed to exist."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.targets, self.words = [], [], [], []
        self.feed(page)
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert set(self.targets) <= set(self.ids)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.targets += [found["href"][1:]] if found.get("href", "").startswith("#") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def picture(kind="tp"):
    return Picture(
        "data:image/jpeg;base64,AAAA", 80, 40, "TS_1", "score 0.5", "a crop", (Circle(9, 9, 4, kind),), panels=2
    )


def everything(name="evaluation"):
    task = load_task("phantom")
    result = full_result(task="phantom", config="/p/copick.json", warnings=["fp is negative"])
    leaderboard = load_leaderboard("phantom")
    return Section(
        name=name,
        result=result,
        training=Training([1, 2, 3], [3.0, 2.0, float("nan")], [2], [0.5]),
        pictures=Pictures([picture()], [Gallery("ribosome", {"fp": [picture("fp")]}, {"fp": 1, "fn": 0, "tp": 0})], 3),
        board=Board(leaderboard, compare(leaderboard, result, task)),
        recipe="task: phantom\nmodel: {family: octopi}\n",
        versions={"torch": "2.8"},
        commands=[("score it again", "popsicle evaluate -c /p/copick.json")],
    )


def test_everything_is_there():
    page = render([everything()])
    words = " ".join(Checker(page).words)
    for title in PARTS.values():
        assert title in words
    for said in (
        "0.675",
        "[0.510, 0.790]",
        "+0.075",
        "p = 0.080",
        "fp is negative",
        "AP",
        "−1.2",
        "0.717",
        "disagrees",
    ):
        assert said in words
    assert "3 pictures are left out" in words
    assert "popsicle evaluate -c /p/copick.json" in words
    assert "model: {family: octopi}" in words
    assert "No row is comparable with this result" in words
    assert "nan" not in page.lower().replace("nanometer", "")


def test_sections_without_numbers_are_left_out():
    words = " ".join(Checker(render([Section("old", points_result())])).words)
    for title in PARTS.values():
        assert title not in words
    assert "Objects" in words
    assert "TS_3" in words


@pytest.mark.parametrize("part", ["curves", "reliability", "localization", "confusion"])
def test_one_part_missing(part):
    empty = None if part == "confusion" else {}
    words = " ".join(Checker(render([Section("one", full_result(**{part: empty}))])).words)
    for name, title in list(PARTS.items())[:4]:
        assert (title in words) == (name != part)


def test_a_result_of_nothing():
    empty = points_result(0, score=None, objects={}, ci95=None)
    undefined = {
        name: o.model_copy(update={"fbeta": None, "precision": None}) for name, o in points_result().objects.items()
    }
    for result in (
        empty,
        full_result(objects=undefined, score=None),
        semantic_result(0, objects={}, score=None),
        instances_result(0, objects={}, score=None, ci95=None, error_rate=None, error_rate_ci95=None),
    ):
        words = Checker(render([Section("nothing", result)])).words
        assert "–" in " ".join(words)
        assert not {"None", "nan", "NaN"} & set(" ".join(words).split())


def test_mixed_kinds_and_a_table_of_all():
    page = render([everything("points"), Section("dice", semantic_result())])
    words = " ".join(Checker(page).words)
    assert "2 evaluations" in words
    assert "mean Dice" in words
    assert "0.800 ± 0.100" in words


def test_offline_and_safe():
    page = render([everything()])
    assert "http" not in page
    assert set(re.findall(r'(?:src|href)="([^#"][^"]{0,10})', page)) <= {"data:,", "data:image/"}
    assert "@import" not in page
    assert "url(" not in page


def test_hostile_names():
    bad = "<script>alert(1)</script>&\"'\x00\ud800"
    counts = full_result().objects["ribosome"]
    result = full_result(
        objects={bad: counts},
        curves={bad: full_result().curves["ribosome"]},
        localization={bad: full_result().localization["ribosome"]},
        by_run={bad: full_result().by_run["TS_1"]},
        config=bad,
        input=[bad],
        reference=[bad],
        warnings=[bad],
        versions={bad: bad},
        split=bad,
    )
    page = render([Section(bad, result, recipe=bad, versions={bad: bad}, commands=[(bad, bad)])])
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\x00" not in page
    page.encode()
    Checker(page)


def test_the_same_bytes():
    assert render([everything()]) == render([everything()])


def test_outcomes_differ_without_color():
    style = render([everything()])
    dashes = re.findall(r"circle\.(tp|fp|fn) {[^}]*?(stroke-dasharray: [^;]+)?;?[^};]*}", style)
    assert len(re.findall(r"circle\.f[pn] { [^}]*stroke-dasharray", style)) == 2
    assert dashes


def test_themes_and_print():
    page = render([everything()])
    assert '<meta name="color-scheme" content="light dark">' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page


def test_many_runs_fold():
    words = " ".join(Checker(render([Section("many", points_result(40), rows=30)])).words)
    assert "All 40 runs" in words
    assert "10 more runs are in scores.json" in words


class TestNumbers:
    def test_long_form(self):
        rows = list(
            csv.DictReader(io.StringIO(as_csv({"a": full_result(), "b": semantic_result(), "c": instances_result()})))
        )
        assert tuple(rows[0]) == COLUMNS
        found = {(r["evaluation"], r["run"], r["object"], r["number"]): (r["value"], r["low"], r["high"]) for r in rows}
        assert len(found) == len(rows)
        assert found["a", "", "", "score"] == ("0.6754", "0.51", "0.79")
        assert found["a", "", "ribosome", "fbeta"] == ("0.675", "0.5", "0.8")
        assert found["a", "", "ribosome", "average_precision"] == ("", "", "")
        assert found["a", "", "ribosome", "localization.z.bias"] == ("-1.25", "-2.0", "-0.5")
        assert found["a", "", "nothing", "picked as ribosome"] == ("2", "", "")
        assert found["a", "TS_2", "ribosome", "fn"] == ("4", "", "")
        assert found["a", "", "", "baseline.p"] == ("0.08", "", "")
        assert found["b", "TS_1", "ribosome", "dice"] == ("0.8", "", "")
        assert found["b", "", "apo-ferritin", "dice"] == ("0.8", "0.7", "0.9")


class TestSvg:
    def test_places(self):
        plot = Plot((0, 10), (0, 1), 120, 60, (10, 5, 10, 5))
        assert plot.at(0, 0) == (10, 55)
        assert plot.at(10, 1) == (110, 5)
        plot.dot((5, 0.5), "<&>")
        assert 'cx="60" cy="30"' in plot.svg("x")
        assert "&lt;&amp;&gt;" in plot.svg("x")

    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 1e-9), (-3, 1e9), (0, 0), (0.1, 0.7)])
    def test_ticks(self, low, high):
        marks = ticks(low, high)
        assert 1 <= len(marks) <= 12
        assert all(low - 1e-9 <= mark <= high + abs(high) * 1e-9 + 1e-9 for mark in marks)


def test_instances():
    text = render([Section("objects", instances_result())])
    page = Checker(text)
    said = " ".join(page.words)
    assert "Mean segmentation accuracy over 2 objects, on 3 runs of split test." in said
    assert "Error rate, mean over runs: 0.250." in said
    for title in ("mSA", "AP50", "error rate", "matched IoU", "PQ", "VOI split", "Rand error", "clDice"):
        assert f'<th scope="col">{title}</th>' in text
    assert "2 more without any" in text
    assert text.count("IoU 0.95: 0.300") == 2
    assert 'id="s1-thresholds"' in text


def test_undefined_instances():
    numbers = dict.fromkeys(instances_result().objects["ribosome"].model_dump(), None)
    kept = {"n_reference": 0, "n_prediction": 0, "runs": 0, "absent_runs": 3, "unreferenced_runs": 0, "ci95": {}}
    score = instances_result().objects["ribosome"].model_copy(update={**numbers, **kept, "accuracy": [None] * 10})
    text = render([Section("none", instances_result(objects={"ribosome": score}, score=None, ci95=None, by_run={}))])
    words = Checker(text).words
    assert "–" in " ".join(words)
    assert not {"None", "nan", "NaN"} & set(" ".join(words).split())
