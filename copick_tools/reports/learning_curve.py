"""Learning curves as sections of a report, and as one chart of several: score over the number of annotated objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from copick_tools.recipes.learning_curve_results import LearningCurveResult, LearningPoint
from copick_tools.recipes.results import Interval
from copick_tools.reports.svg import COLORS, Plot, around
from copick_tools.reports.tables import Cell, Table, interval, number
from copick_tools.reports.words import duration, plural

WIDTH, HEIGHT = 680, 300
APART = 0.05  # between two marks of the axis, of its length

Spot = tuple[int, float, Interval | None, Sequence[float]]  # objects, score, band, single scores
Curves = Mapping[str, Sequence[Spot]]


@dataclass(frozen=True)
class LearningCurveSection:
    """A learning curve."""

    template: ClassVar[str] = "learning_curve.html.jinja"
    kind: ClassVar[str] = "learning-curve"
    name: str
    result: LearningCurveResult
    commands: Sequence[tuple[str, str]] = ()

    @property
    def links(self) -> list[tuple[str, str]]:
        """Parts of the section: id and words."""
        return [("curve", "Curve"), ("points", "Points"), ("again", "Command, versions")]

    @property
    def simulated(self) -> bool:
        """Whether the data are."""
        return self.result.simulated

    @property
    def caption(self) -> str:
        """What was scored, on what, and what an object is."""
        r = self.result
        total = sum(r.total.values())
        return (
            f"Task {r.task}; {r.metric}; {plural(r.runs, 'run')} of split {r.split}; seed {r.seed}. Objects are {r.unit}: "
            f"{total} in {plural(len(r.train_runs), 'training run')}."
        )

    @property
    def repeats(self) -> int:
        """Trainings of each point, at most."""
        return max((len(point.score.values) for point in self.result.points), default=0)

    @property
    def bands(self) -> bool:
        """Whether there are intervals."""
        return any(point.ci95 for point in self.result.points)

    def curve(self) -> Markup | None:
        """Scores over objects; None where no point has one."""
        return curve_chart({"": spots(self.result)}, self.result.metric)

    def by_object(self) -> tuple[Markup | None, list[str]]:
        """The same of each object, and their names by color; nothing for a single one."""
        names = list(self.result.total)
        if len(names) < 2:
            return None, []
        curves = {name: _of_object(self.result, name) for name in names}
        return curve_chart(curves, self.result.metric), names

    def table(self) -> Table:
        """A row for each number of objects."""
        names = list(self.result.total)
        header = ("objects", *names, "runs", "annotated", "score", *(f"score {name}" for name in names), "training")
        rows = [self._row(point, names) for point in self.result.points]
        return Table("Score by number of annotated objects: mean over repeats", header, rows)

    def _row(self, point: LearningPoint, names: Sequence[str]) -> list[Cell]:
        sd = "" if point.score.sd is None else f" ± {point.score.sd:.3f}"
        return [
            Cell(str(point.objects)),
            *(Cell(_range([subset.by_object.get(name, 0) for subset in point.subsets]), kind="soft") for name in names),
            Cell(_range([len(subset.runs) for subset in point.subsets])),
            Cell(f"{_range([round(100 * subset.share, 1) for subset in point.subsets])} %"),
            Cell(number(point.score.mean) + sd, interval(point.ci95), kind="own"),
            *(Cell(number(_mean(point, name)), kind="soft") for name in names),
            Cell(duration(point.train.seconds if point.train else None)),
        ]


def _mean(point: LearningPoint, name: str) -> float | None:
    return point.scores_by_object[name].mean if name in point.scores_by_object else None


def _range(values: Sequence[float]) -> str:
    """A number, or the least and the largest of several.

    >>> _range([3, 3]), _range([12.5, 3, 7])
    ('3', '3–12.5')
    """
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def columns(result: LearningCurveResult) -> list[str]:
    """Titles of the columns of a terminal."""
    return ["objects", "runs", "annotated", "score", "95% interval", *result.total, "training"]


def rows(result: LearningCurveResult) -> list[list[str]]:
    """A row for each number of objects, for a terminal. Of an object: how many were annotated, and its score."""
    found = []
    for point in result.points:
        shares = _range([round(100 * subset.share, 1) for subset in point.subsets])
        low_high = "" if point.ci95 is None else f"{point.ci95[0]:.3f} to {point.ci95[1]:.3f}"
        of_objects = [
            f"{_range([subset.by_object.get(name, 0) for subset in point.subsets])}: {number(_mean(point, name))}"
            for name in result.total
        ]
        runs = _range([len(subset.runs) for subset in point.subsets])
        took = duration(point.train.seconds if point.train else None)
        score = number(point.score.mean)
        found.append([str(point.objects), runs, f"{shares} %", score, low_high, *of_objects, took])
    return found


def spots(result: LearningCurveResult) -> list[Spot]:
    """The points that have a score."""
    return [
        (point.objects, point.score.mean, point.ci95, [value for value in point.score.values if value is not None])
        for point in result.points
        if point.score.mean is not None
    ]


def _of_object(result: LearningCurveResult, name: str) -> list[Spot]:
    means = [(point.objects, _mean(point, name)) for point in result.points]
    return [(objects, mean, None, ()) for objects, mean in means if mean is not None]


def curve_chart(curves: Curves, label: str) -> Markup | None:
    """Scores over the number of objects, which doubles from mark to mark; each curve in a color of its own, with its interval.

    None where nothing has a score.
    """
    every = [spot for found in curves.values() for spot in found]
    if not every:
        return None
    numbers = [value for _, score, band, singles in every for value in (score, *(band or ()), *singles)]
    places = sorted({math.log2(objects) for objects, *_ in every})
    room = 0.04 * (places[-1] - places[0]) or 0.5
    plot = Plot((places[0] - room, places[-1] + room), around(numbers, zero=True), WIDTH, HEIGHT, (52, 10, 18, 40))
    plot.x_axis("annotated objects", marks=_marks(places))
    plot.y_axis(label, 6)
    for index, (name, found) in enumerate(curves.items()):
        plot.parts.append(f'<g class="m{index % COLORS}">')
        _draw(plot, name, found)
        plot.parts.append("</g>")
    said = "; ".join(
        f"{name or label}: {found[0][1]:.3f} to {found[-1][1]:.3f}" for name, found in curves.items() if found
    )
    return plot.svg(f"{label} over the number of annotated objects; {said}")


def _draw(plot: Plot, name: str, found: Sequence[Spot]) -> None:
    banded = [(math.log2(objects), band) for objects, _, band, _ in found if band]
    if len(banded) == len(found) > 1:
        edge = [(x, band[0]) for x, band in banded] + [(x, band[1]) for x, band in reversed(banded)]
        plot.line(edge, "area")
    else:
        for x, band in banded:
            plot.span((x, band[0]), (x, band[1]))
    plot.line([(math.log2(objects), score) for objects, score, _, _ in found])
    for objects, score, _, singles in found:
        for single in singles if len(singles) > 1 else ():
            plot.dot((math.log2(objects), single), f"{single:.3f}", "hollow", 2.6)
        plot.dot((math.log2(objects), score), f"{name}{': ' if name else ''}{objects} objects: {score:.3f}")


def _marks(places: Sequence[float]) -> list[tuple[float, str]]:
    """Places of the axis that can be told apart, first and last among them."""
    kept: list[float] = []
    apart = APART * (places[-1] - places[0])
    for place in places:
        if kept and place - kept[-1] < apart:
            if place != places[-1] or len(kept) == 1:
                continue
            kept.pop()
        kept.append(place)
    return [(place, f"{round(2**place)}") for place in kept]


@dataclass(frozen=True)
class Overlay:
    """Learning curves that compare: of one task, measure and split. names: by color."""

    said: str
    chart: Markup
    names: list[str]


def overlays(curves: Mapping[str, LearningCurveResult]) -> list[Overlay]:
    """A chart for each task, measure and split of which there are several curves."""
    groups: dict[tuple[str, str, str, str], dict[str, LearningCurveResult]] = {}
    for name, result in curves.items():
        groups.setdefault((result.task, result.metric, result.split, result.config), {})[name] = result
    made = []
    for (task, metric, split, _), group in groups.items():
        chart = curve_chart({name: spots(result) for name, result in group.items()}, metric)
        if len(group) > 1 and chart is not None:
            made.append(Overlay(f"Learning curves: task {task}, {metric}, split {split}", chart, list(group)))
    return made
