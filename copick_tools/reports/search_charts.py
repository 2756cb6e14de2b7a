"""The charts of a search: its trials in order, the importances, the score over one parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from copick_tools.recipes.study_results import SearchResult, TrialResult
from copick_tools.reports.charts import ROW, short, thin
from copick_tools.reports.svg import Plot, around, log_ticks, ticks
from copick_tools.reports.words import is_number, value

DOTS = 600  # of the chart of trials
FEWER = 200  # of the chart of a parameter
BARS = 16
DECADES = 20  # largest over smallest value, beyond which an axis is logarithmic
LETTER = 6.1  # pixels
GOLDEN = (math.sqrt(5) - 1) / 2

Trials = Sequence[TrialResult]


def scored(trials: Trials) -> list[tuple[TrialResult, float]]:
    """The trials that ended with a score, complete or pruned."""
    return [(t, t.score) for t in trials if t.score is not None and t.state in ("complete", "pruned")]


def trials_chart(result: SearchResult) -> Markup | None:
    """Scores in the order of the trials, with the best so far as steps; at the bottom those without a score.

    None where there are no trials.
    """
    if not result.trials:
        return None
    ended = scored(result.trials)
    low, high = around([score for _, score in ended] or [0.0, 1.0])
    bottom = low - 0.09 * (high - low)
    numbers = [trial.number for trial in result.trials]
    first, last = min(numbers), max(numbers)
    room = 0.5 + 0.01 * (last - first)
    plot = Plot((first - room, last + room), (bottom - 0.03 * (high - low), high), 680, 300, (52, 26, 20, 44))
    plot.x_axis("trial", marks=[(mark, f"{mark:.0f}") for mark in ticks(first, last, 8) if mark == round(mark)])
    plot.y_axis("score")
    plot.line(best_so_far(result.trials), "steps")
    for trial in shown(result.trials, result.best, DOTS):
        if trial.state == "failed":
            plot.cross((trial.number, bottom), told(trial))
        elif trial.score is None or trial.state == "running":
            plot.dot((trial.number, bottom), told(trial), "hollow", 3)
        else:
            kind = "dot" if trial.state == "complete" else "hollow"
            plot.dot((trial.number, trial.score), told(trial), kind)
    _mark_best(plot, result)
    return plot.svg(f"scores of {len(ended)} of {len(result.trials)} trials")


def _mark_best(plot: Plot, result: SearchResult) -> None:
    best = next((trial for trial, _ in scored(result.trials) if trial.number == result.best), None)
    if best is None or best.score is None:
        return
    plot.dot((best.number, best.score), told(best), "dot best", 5.5)
    x, y = plot.at(best.number, best.score)
    right = x > (plot.box[0] + plot.box[2]) / 2
    plot.text(
        x + (-10 if right else 10),
        y - 11,
        f"trial {best.number}: {best.score:.3f}",
        "value",
        "end" if right else "start",
    )


def shown(trials: Trials, best: int | None, most: int) -> list[TrialResult]:
    """At most so many trials, evenly spread, without the best one, which is drawn apart."""
    return thin([trial for trial in trials if trial.number != best or trial.score is None], most)


def best_so_far(trials: Trials) -> list[tuple[float, float]]:
    """Corners of the steps of the best complete score, up to the last trial."""
    corners: list[tuple[float, float]] = []
    for trial, score in sorted(scored(trials), key=lambda pair: pair[0].number):
        if trial.state == "complete" and (not corners or score > corners[-1][1]):
            corners += [(trial.number, corners[-1][1])] if corners else []
            corners.append((trial.number, score))
    return [*corners, (max(trial.number for trial in trials), corners[-1][1])] if corners else []


def told(trial: TrialResult) -> str:
    """All of a trial, a line for each value."""
    said = "" if trial.score is None else f": {trial.score:.4f}"
    lines = [f"trial {trial.number}, {trial.state}{said}"]
    lines += [f"{short(name, 60)}: {value(content)}" for name, content in trial.values.items()]
    return "\n".join(lines + ([short(trial.error, 200)] if trial.error else []))


def importance_chart(importances: Mapping[str, float]) -> Markup:
    """A bar for each parameter, the most important first."""
    rows = list(importances.items())[:BARS]
    left = min(230, 30 + 7 * max((len(name) for name, _ in rows), default=0))
    top = max((share for _, share in rows), default=1.0)
    plot = Plot((0.0, top if top > 0 else 1.0), (len(rows) - 0.5, -0.5), 680, ROW * len(rows) + 52, (left, 6, 58, 46))
    plot.x_axis("share of the scores' spread")
    for index, (name, share) in enumerate(rows):
        x, y = plot.at(max(share, 0.0), index)
        plot.text(left - 10, y + 4, short(name), "name", "end")
        plot.span((0.0, index), (max(share, 0.0), index), "bar")
        plot.text(x + 8, y + 4, f"{share:.2f}", "value")
    return plot.svg(f"importances of {', '.join(name for name, _ in rows)}")


def parameter_chart(name: str, result: SearchResult) -> tuple[Markup, str] | None:
    """The score over the values of a parameter, and words to it; None where they don't differ."""
    trials = [trial for trial, _ in scored(result.trials) if name in trial.values]
    contents = [trial.values[name] for trial in trials]
    if len({value(content, 400) for content in contents}) < 2:
        return None
    bounds = around([score for _, score in scored(result.trials)])
    if all(map(is_number, contents)):
        places, plot, words = _numbers(contents, bounds)
    else:
        places, plot, words = _categories(trials, contents, bounds)
    plot.y_axis("score")
    kinds = {"complete": "dot", "pruned": "hollow"}
    where = {trial.number: place for trial, place in zip(trials, places)}
    best = [trial for trial in trials if trial.number == result.best]
    for trial in [*shown(trials, result.best, FEWER), *best]:
        said = f"trial {trial.number}: {trial.score:.4f} at {value(trial.values[name], 120)}"
        kind, radius = ("dot best", 5) if trial in best else (kinds[trial.state], 3.2)
        plot.dot((where[trial.number], trial.score or 0.0), said, kind, radius)
    return plot.svg(f"score over {name}"), words


def _numbers(contents: Sequence[Any], bounds: tuple[float, float]) -> tuple[list[float], Plot, str]:
    """Places, the plot, words."""
    values = [float(content) for content in contents]
    low, high = min(values), max(values)
    if low > 0 and high > DECADES * low:
        places = [math.log10(number) for number in values]
        plot = _plot(around(places), bounds)
        marks = thin(log_ticks(10 ** plot.x[0], 10 ** plot.x[1]), 6)
        plot.x_axis("", marks=[(math.log10(mark), f"{mark:g}") for mark in marks])
        return places, plot, "logarithmic"
    plot = _plot(around(values), bounds)
    plot.x_axis("", 4)
    return values, plot, ""


def _categories(trials: Trials, contents: Sequence[Any], bounds: tuple[float, float]) -> tuple[list[float], Plot, str]:
    """Places, side by side within a category; the plot; the categories where they are too long for the axis."""
    names = sorted({value(content, 400) for content in contents}, key=_natural)
    plot = _plot((-0.5, len(names) - 0.5), bounds)
    width = (plot.box[2] - plot.box[0]) / len(names)
    fits = all(LETTER * len(name) < width for name in names)
    labels = names if fits else [f"#{index + 1}" for index in range(len(names))]
    plot.x_axis("", marks=thin(list(enumerate(labels)), 8))
    places = [
        names.index(value(content, 400)) + 0.5 * (trial.number * GOLDEN % 1 - 0.5)
        for trial, content in zip(trials, contents)
    ]
    legend = [f"#{index + 1} {short(name, 60)}" for index, name in enumerate(names[:12])]
    return places, plot, "" if fits else "; ".join(legend) + (" …" if len(names) > 12 else "")


def _natural(text: str) -> tuple[float, str]:
    """Sorts texts by the number that they begin with, then by themselves."""
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    return (float(digits) if digits and len(digits) < 16 else math.inf, text)


def _plot(x: tuple[float, float], y: tuple[float, float]) -> Plot:
    return Plot(x, y, 310, 190, (48, 8, 10, 26))
