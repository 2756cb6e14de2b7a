"""A search as a section of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from copick_tools.recipes.study_results import SearchRecord, SearchResult, TrialResult
from copick_tools.reports import search_charts as charts
from copick_tools.reports.tables import Cell, Table, number
from copick_tools.reports.words import duration, plural, value

BEST = 10  # trials of the table
CHARTS = 6  # parameters with a chart
FAILED = 10
STATES = ("complete", "pruned", "failed", "running")


@dataclass(frozen=True)
class SearchSection:
    """A search. record: what it searches, where search.json is there. recipe: the best one. commands: (what, command line)."""

    template: ClassVar[str] = "search.html.jinja"
    kind: ClassVar[str] = "search"
    name: str
    result: SearchResult
    record: SearchRecord | None = None
    recipe: str | None = None
    commands: Sequence[tuple[str, str]] = ()

    @property
    def links(self) -> list[tuple[str, str]]:
        """Parts of the section: id and words."""
        return [
            ("trials", "Trials"),
            ("parameters", "Parameters"),
            ("best", "Best trials"),
            ("again", "Commands, recipe"),
        ]

    @property
    def simulated(self) -> bool:
        """Whether the data are."""
        return self.result.simulated

    @property
    def counts(self) -> str:
        """How many trials there are of each state, and how long they took."""
        trials = self.result.trials
        found = Counter[str](trial.state for trial in trials)
        seconds = sum(trial.seconds or 0.0 for trial in trials)
        spent = f"; {duration(seconds)} of training in all" if seconds else ""
        return f"{plural(len(trials), 'trial')}: {', '.join(f'{found[state]} {state}' for state in STATES)}{spent}"

    @property
    def names(self) -> list[str]:
        """What is searched, the most important first."""
        known = dict.fromkeys(name for trial in self.result.trials for name in trial.values)
        shares = self.result.importances or {}
        return sorted(known, key=lambda name: -shares.get(name, -1.0))

    @property
    def importances(self) -> dict[str, float]:
        """Sorted, the most important first."""
        return dict(sorted((self.result.importances or {}).items(), key=lambda pair: -pair[1]))

    @property
    def no_importances(self) -> str:
        """Why there are none."""
        scores = [trial.score for trial in self.result.trials if trial.state == "complete"]
        if len(scores) > 1 and len(set(scores)) == 1:
            return f"No importances: all {len(scores)} complete trials have the same score."
        return f"No importances: {plural(len(scores), 'complete trial')}, too few to tell them."

    def trials_chart(self) -> Markup | None:
        """All trials in order."""
        return charts.trials_chart(self.result)

    def importance_chart(self) -> Markup | None:
        """Importances as bars."""
        return charts.importance_chart(self.importances) if self.importances else None

    def parameter_charts(self) -> list[tuple[str, Markup, str]]:
        """Name, chart and words of the most important parameters."""
        drawn = ((name, charts.parameter_chart(name, self.result)) for name in self.names)
        return [(name, *chart) for name, chart in drawn if chart][:CHARTS]

    def best_table(self) -> Table | None:
        """The best complete trials side by side, a row for each parameter; None where no trial is complete."""
        complete = [trial for trial in self.result.trials if trial.state == "complete" and trial.score is not None]
        best = sorted(complete, key=lambda trial: (-(trial.score or 0.0), trial.number))[:BEST]
        if not best:
            return None
        rows = [
            self._row("score", best, [number(trial.score, 4) for trial in best]),
            self._row("time", best, [duration(trial.seconds) for trial in best]),
        ]
        for name in self.names:
            rows.append(self._row(name, best, [value(t.values[name], 24) if name in t.values else "–" for t in best]))
        header = ("trial", *(str(trial.number) for trial in best))
        said = "The best complete trial" if len(best) == 1 else f"The best {len(best)} complete trials, best first"
        return Table(said, header, rows)

    def _row(self, name: str, trials: Sequence[TrialResult], texts: Sequence[str]) -> list[Cell]:
        kinds = ("own soft" if trial.number == self.result.best else "soft" for trial in trials)
        return [Cell(name), *(Cell(text, kind=kind) for text, kind in zip(texts, kinds))]

    @property
    def failed(self) -> list[tuple[int, str]]:
        """The first trials that failed, and why."""
        failed = [trial for trial in self.result.trials if trial.state == "failed"]
        return [(trial.number, trial.error or "for no known reason") for trial in failed[:FAILED]]

    @property
    def space(self) -> list[tuple[str, str]]:
        """Names and ranges of what is searched."""
        found = self.record.space if self.record else {}
        return [(name, _range(content)) for name, content in found.items()]


def _range(content: object) -> str:
    """A parameter of search.json in words."""
    if not isinstance(content, dict):
        return value(content, 200)
    if isinstance(content.get("choices"), list):
        return " | ".join(value(choice) for choice in content["choices"])
    words = f"{value(content.get('low'))} to {value(content.get('high'))}"
    words += ", logarithmic" if content.get("log") else ""
    return words + (f", in steps of {value(content['step'])}" if content.get("step") is not None else "")
