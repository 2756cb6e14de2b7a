"""The section of a search: what it shows of usual and of odd ones, and that nothing escapes."""

import math
import re

import pytest
from reports.studies import LOSSES, search_record, search_result, trial
from reports.test_html import Checker

from copick_tools.reports import search_charts as charts
from copick_tools.reports.html import render
from copick_tools.reports.search import SearchSection
from copick_tools.reports.svg import log_ticks
from copick_tools.reports.words import duration, figures, plural, value

HOSTILE = '<script>alert("x")</script> \x00 \u202e & | `'


def section(result=None, **more):
    return SearchSection("search", result or search_result(), **more)


def words(made):
    return " ".join(" ".join(Checker(render([made])).words).split())


def test_everything_is_there():
    made = section(
        record=search_record(), recipe="task: phantom\n", commands=[("train it", "popsicle train best.yaml")]
    )
    page, said = render([made]), words(made)
    best = made.result.best
    for text in (
        "Search of octopi for task phantom; it maximizes F4 by rule kaggle on split val.",
        "41 trials: 29 complete, 8 pruned, 3 failed, 1 running; 25.3 h of training in all",
        f"trial {best}: {made.result.score:.3f}",
        "The best 10 complete trials, best first",
        "out of memory: batch_size 48 x 128^3",
        "popsicle train best.yaml",
        "task: phantom",
        "0.0001 to 0.001, logarithmic",
        "4 to 48, in steps of 4",
        "64³ | 96³",
        "data/phantom/copick.json",
    ):
        assert text in said
    assert "nan" not in page.lower()
    assert "Simulated data" not in said
    assert "Simulated data" in words(section(search_result(simulated=True)))
    assert page == render([made])


def test_the_chart_of_trials():
    result = search_result()
    svg = str(charts.trials_chart(result))
    complete = sum(t.state == "complete" for t in result.trials)
    pruned = sum(t.state == "pruned" for t in result.trials)
    assert svg.count('class="dot"') == complete - 1  # the best is drawn apart
    assert svg.count('class="dot best"') == 1
    assert svg.count('class="hollow"') == pruned + 1  # and the running one
    assert svg.count('class="cross"') == 3
    assert "trial 4, pruned: " in svg
    assert re.search(r"optimizer.lr: 0\.\d+", svg)
    assert "trial 10, failed\n" in svg
    assert "out of memory" in svg


def test_steps_go_up_alone():
    steps = charts.best_so_far([trial(n, score=s) for n, s in enumerate((0.5, 0.4, 0.6, 0.6))])
    assert steps == [(0, 0.5), (2, 0.5), (2, 0.6), (3, 0.6)]
    pruned = trial(4, state="pruned", score=0.9)
    assert charts.best_so_far([pruned]) == []


def test_pruned_trials_lift_no_steps():
    trials = [trial(0, score=0.5), trial(1, state="pruned", score=0.9)]
    assert charts.best_so_far(trials) == [(0, 0.5), (1, 0.5)]


def test_one_trial():
    made = section(search_result(1))
    assert made.trials_chart()
    assert made.parameter_charts() == []
    assert len(made.best_table().header) == 2
    said = words(made)
    assert "1 trial: 1 complete" in said
    assert "No importances: 1 complete trial, too few" in said
    assert "flattered" not in said


def test_all_failed():
    trials = [trial(n, state="failed", score=None, error=None) for n in range(3)]
    made = section(search_result(3, trials=trials, best=None, score=None, recipe=None, checkpoint=None))
    said = words(made)
    assert "No trial is complete." in said
    assert "for no known reason" in said
    assert str(made.trials_chart()).count('class="cross"') == 3
    assert 'class="steps"' not in str(made.trials_chart())


def test_nothing_begun():
    made = section(search_result(0, trials=[], best=None, score=None))
    assert "No trial has begun." in words(made)


def test_all_the_same():
    trials = [trial(n, state="complete", score=0.5) for n in range(6)]
    made = section(search_result(6, trials=trials, best=0, score=0.5))
    assert "all 6 complete trials have the same score" in words(made)
    assert len(made.parameter_charts()) == 6


def test_importances_are_sorted():
    made = section(search_result(importances={"a": 0.1, "loss.alpha": 0.9}))
    assert list(made.importances) == ["loss.alpha", "a"]
    assert made.names[0] == "loss.alpha"
    assert str(made.importance_chart()).index("loss.alpha") < str(made.importance_chart()).index(">a<")
    assert section(search_result(importances={"a": 0.0})).importance_chart()


class TestParameters:
    def chart(self, values, name="x"):
        trials = [trial(n, state="complete", score=0.5 + n / 100, values={name: v}) for n, v in enumerate(values)]
        return charts.parameter_chart(name, search_result(trials=trials, best=len(trials) - 1, score=0.5))

    def test_logarithmic_where_the_range_is_wide(self):
        svg, said = self.chart([1e-4, 1e-3, 1e-2])
        assert said == "logarithmic"
        assert ">0.001<" in str(svg)
        assert self.chart([1.0, 20.0])[1] == ""
        assert self.chart([0.0, 20.0])[1] == ""
        assert self.chart([-5, 200])[1] == ""

    def test_categories(self):
        svg, said = self.chart([[96, 96, 96], [64, 64, 64], [64, 96, 96]])
        assert said == ""
        assert str(svg).index(">64, 96, 96<") < str(svg).index(">96³<")
        assert "trial 1: 0.5100 at 64³" in str(svg)

    def test_long_categories_are_numbered(self):
        svg, said = self.chart(LOSSES * 4)
        assert said == "#1 focal; #2 focal-tversky; #3 tversky; #4 tversky-focal"
        assert ">#4<" in str(svg)

    def test_many_categories(self):
        _, said = self.chart([f"a rather long name {n}" for n in range(40)])
        assert said.endswith("#12 a rather long name 19 …")

    def test_mixed_kinds(self):
        assert self.chart([None, 3, "x", True, {"a": [1, 2]}, [[2, 1], [1]]])

    def test_one_value_has_no_chart(self):
        assert self.chart([3, 3, 3]) is None
        assert self.chart([]) is None

    @pytest.mark.parametrize("odd", [math.nan, math.inf, 10**400], ids=["nan", "inf", "huge"])
    def test_numbers_that_cannot_be_drawn(self, odd):
        svg, _ = self.chart([1.0, odd, 2.0])
        assert "nan" not in str(svg)

    def test_values_that_some_trials_lack(self):
        trials = [trial(0, values={"a": 1}), trial(1, values={"a": 2, "b": 3}), trial(2, values={"b": 4})]
        made = section(search_result(3, trials=trials, best=1))
        assert [name for name, _, _ in made.parameter_charts()] == ["a", "b"]
        assert "–" in {cell.text for row in made.best_table().rows for cell in row}


def test_hostile_text():
    values = {HOSTILE: HOSTILE, "b": [HOSTILE]}
    trials = [
        trial(n, values={**values, "b": n}, error=HOSTILE, state="failed" if n == 2 else "complete") for n in range(3)
    ]
    made = SearchSection(
        HOSTILE,
        search_result(task=HOSTILE, family=HOSTILE, metric=HOSTILE, trials=trials, importances={HOSTILE: 1.0}, best=0),
        search_record(space={HOSTILE: {"choices": [HOSTILE]}, "n": 3, "m": {"choices": 4}}, project=HOSTILE),
        HOSTILE,
        [(HOSTILE, HOSTILE)],
    )
    page = render([made])
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\x00" not in page
    assert "\u202e" not in page
    Checker(page)


def test_odd_documents():
    wrong = section(search_result(3, best=99, trials=[trial(7), trial(7), trial(3, score=None)]))
    Checker(render([wrong]))


def test_a_thousand_trials_stay_small():
    made = section(search_result(2000))
    assert len(render([made])) < 800_000
    assert str(made.trials_chart()).count("<title>") <= charts.DOTS + 1


def test_words():
    assert [plural(1, "search"), plural(2, "search"), plural(2, "run")] == ["1 search", "2 searches", "2 runs"]
    assert [figures(v) for v in (0.01234, 3.2593, 12345.6, 0, None)] == ["0.0123", "3.26", "12346", "0.00", "–"]
    assert [duration(v) for v in (4.2, 600, 86400, None)] == ["4.2 s", "10.0 min", "24.0 h", "–"]
    assert [value(v) for v in (0.00031234, [96, 96, 96], [32, 64], True, None, math.nan, {"a": [math.inf]})] == [
        "0.0003123",
        "96³",
        "32, 64",
        "true",
        "none",
        "–",
        "a: –",
    ]
    assert value("x" * 50) == "x" * 39 + "…"


@pytest.mark.parametrize(("low", "high"), [(1e-5, 3e-5), (1e-4, 1e-2), (1, 1e9), (0.5, 60), (1, 21)])
def test_log_ticks(low, high):
    marks = log_ticks(low, high)
    assert 1 <= len(marks) <= 12
    assert marks == sorted(marks)
    assert all(low * 0.99 <= mark <= high * 1.01 for mark in marks)
