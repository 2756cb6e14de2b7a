"""Scores on degraded tomograms as a section of a report: a curve for each kind of degradation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from copick_tools.recipes.robustness_results import RobustnessLevel, RobustnessResult
from copick_tools.reports.svg import Plot, around
from copick_tools.reports.tables import Cell, Table, interval, number, signed

WIDTH, HEIGHT = 300, 200


@dataclass(frozen=True)
class RobustnessSection:
    """Scores of a model on tomograms that were made worse."""

    template: ClassVar[str] = "robustness.html.jinja"
    kind: ClassVar[str] = "robustness"
    name: str
    result: RobustnessResult
    commands: Sequence[tuple[str, str]] = ()

    @property
    def links(self) -> list[tuple[str, str]]:
        """Parts of the section: id and words."""
        return [("curves", "Curves"), ("levels", "Levels"), ("again", "Command, versions")]

    @property
    def simulated(self) -> bool:
        """Whether the data are."""
        return self.result.simulated

    @property
    def caption(self) -> str:
        """What was scored, on what."""
        r = self.result
        split = f" of split {r.split}" if r.split else ""
        return f"Task {r.task}; {r.metric}; {r.runs} run{'s' if r.runs != 1 else ''}{split}; seed {r.seed}."

    def curves(self) -> list[tuple[str, Markup, str]]:
        """Kind, chart and meaning of its levels."""
        return [(kind, self._curve(kind), meaning) for kind, meaning in self.result.meaning.items()]

    def table(self) -> Table:
        """A row for each level."""
        names = list(self.result.identity.objects)
        header = ("degradation", "level", "score", "95% interval", "difference", "95% interval", *names)
        rows = [self._row(level, names) for level in (self.result.identity, *self.result.levels)]
        return Table("Scores, and their paired differences from the undegraded tomograms", header, rows)

    def _row(self, level: RobustnessLevel, names: Sequence[str]) -> list[Cell]:
        change = level.difference
        return [
            Cell(level.kind),
            Cell("" if level.level is None else f"{level.level:g}"),
            Cell(number(level.score), kind="own"),
            Cell(interval(level.ci95), kind="soft"),
            Cell("" if change is None else signed(change.difference)),
            Cell("" if change is None else interval(change.ci95), kind="soft"),
            *(Cell(number(level.objects.get(name)), kind="soft") for name in names),
        ]

    def _curve(self, kind: str) -> Markup:
        levels = [self.result.identity, *(level for level in self.result.levels if level.kind == kind)]
        scored = [(place, level) for place, level in enumerate(levels) if level.score is not None]
        numbers = [level.score for _, level in scored if level.score is not None]
        numbers += [bound for _, level in scored for bound in level.ci95 or ()]
        plot = Plot((-0.4, max(1, len(levels) - 1) + 0.4), around(numbers or [0.0, 1.0], zero=True), WIDTH, HEIGHT)
        marks = [(float(place), _mark(level)) for place, level in enumerate(levels)]
        plot.x_axis(kind, marks=marks)
        plot.y_axis("score")
        plot.line([(place, level.score or 0.0) for place, level in scored])
        for place, level in scored:
            if level.ci95:
                plot.span((place, level.ci95[0]), (place, level.ci95[1]))
            plot.dot((place, level.score or 0.0), f"{kind} {_mark(level)}: {number(level.score)}")
        return plot.svg(f"{self.result.metric} by level of {kind}")


def _mark(level: RobustnessLevel) -> str:
    if level.kind == "identity":
        return "none"
    return "yes" if level.level is None else f"{level.level:g}"
