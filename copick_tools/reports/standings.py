"""Methods beside each other over several data sets: scores, average rank, change relative to one of them.

A data set is what scores compare on: measure, task, split, runs, objects, project and reference. A method is the user id of a
prediction, with the session where a user has several on one data set, or the folder's name; of a benchmark run, the recipe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from copick_tools.data.uris import picks_uri, segmentation_uri
from copick_tools.errors import NotFoundError, nearest
from copick_tools.metrics.ranks import average_ranks, dataset_ranks, relative_changes
from copick_tools.recipes.instance_results import Scored
from copick_tools.recipes.results import PointsResult
from copick_tools.recipes.study_results import BenchResult
from copick_tools.reports import words
from copick_tools.reports.charts import short
from copick_tools.reports.svg import COLORS, Plot, around
from copick_tools.reports.tables import Cell, Table, number
from copick_tools.types import Floats

LINE = 13  # pixels of a method in the chart


@dataclass(frozen=True)
class DataSet:
    """What scores compare on. place: project and reference, None where a result doesn't say."""

    metric: str
    task: str | None
    split: str | None
    runs: tuple[str, ...] | int | None
    objects: tuple[str, ...]
    place: tuple[str, str] | None

    @property
    def parts(self) -> list[str]:
        """What tells it from others, the most telling first."""
        config, reference = self.place or ("", "")
        folder = Path(config).parent.name
        runs = words.plural(len(self.runs), "run") if isinstance(self.runs, tuple) else ""
        named = [self.task or folder or "no task", self.split or runs, folder if self.task else "", self.metric]
        several = ", ".join(self.runs) if isinstance(self.runs, tuple) else words.plural(self.runs or 0, "run")
        return [*named, reference, ", ".join(self.objects), several, config]


@dataclass(frozen=True)
class Entry:
    """A score. names: of the method, from short to unmistakable."""

    names: tuple[str, ...]
    data: DataSet
    score: float | None


@dataclass(frozen=True)
class Standings:
    """scores, ranks, changes: (M, D) by method and data set, NaN where there is none. baseline: number of a method."""

    methods: list[str]
    data: list[str]
    metrics: list[str]
    scores: Floats
    baseline: int | None

    @property
    def order(self) -> list[int]:
        """Numbers of the methods, the best average rank first."""
        means, counts = average_ranks(self.scores)
        return sorted(range(len(self.methods)), key=lambda m: (np.isnan(means[m]), means[m], -counts[m]))

    @property
    def said(self) -> list[str]:
        """Sentences below the table."""
        found = ["Rank 1 is the best on a data set; equal scores share the mean of their ranks."]
        if np.isnan(self.scores).any():
            found.append(
                "A method is ranked among those that have a score on the data set: "
                "average ranks compare only where the number of data sets is the same."
            )
        if self.baseline is not None:
            name = self.methods[self.baseline]
            found.append(
                f"Changes are relative to {name}: (score − {name}) / {name}; the mean is over those that both have."
            )
        return found

    def table(self) -> Table:
        """A row for each method, the best average rank first."""
        means, counts = average_ranks(self.scores)
        ranks, changes = dataset_ranks(self.scores), self._changes()
        mean_changes = None if self.baseline is None else relative_changes(self.scores, self.baseline)[1]
        rows = []
        for m in self.order:
            cells = [Cell(self.methods[m], "baseline" if m == self.baseline else "")]
            cells.append(Cell(number(_known(means[m]), 2), f"{counts[m]} of {len(self.data)}", kind="own"))
            if mean_changes is not None:
                cells.append(Cell("" if m == self.baseline else percent(_known(mean_changes[m]))))
            for d in range(len(self.data)):
                cells.append(self._cell(m, d, ranks, changes))
            rows.append(cells)
        change = ["mean change"] if self.baseline is not None else []
        same = len(set(self.metrics)) == 1
        titles = self.data if same else [f"{name}: {metric}" for name, metric in zip(self.data, self.metrics)]
        said = "Methods by average rank over data sets" + (f"; {self.metrics[0]}" if same else "")
        return Table(said, ("method", "average rank", *change, *titles), rows)

    def _cell(self, m: int, d: int, ranks: Floats, changes: Floats | None) -> Cell:
        if np.isnan(self.scores[m, d]):
            return Cell("–")
        below = f"rank {ranks[m, d]:g}"
        if changes is not None and m != self.baseline:
            below += f", {percent(_known(changes[m, d]))}"
        return Cell(number(float(self.scores[m, d])), below)

    def _changes(self) -> Floats | None:
        return None if self.baseline is None else relative_changes(self.scores, self.baseline)[0]

    def numbers(self) -> dict[str, dict[str, float | None]]:
        """By method, the best first: all numbers by name, those of a data set as ``rank.DATA SET``."""
        means, counts = average_ranks(self.scores)
        ranks, changes = dataset_ranks(self.scores), self._changes()
        found: dict[str, dict[str, float | None]] = {}
        for m in self.order:
            mine: dict[str, float | None] = {"average_rank": _known(means[m]), "data_sets": int(counts[m])}
            if self.baseline is not None and changes is not None:
                mine["relative_change"] = _known(relative_changes(self.scores, self.baseline)[1][m])
            for d, data in enumerate(self.data):
                mine |= {f"score.{data}": _known(self.scores[m, d]), f"rank.{data}": _known(ranks[m, d])}
                mine |= {} if changes is None else {f"relative_change.{data}": _known(changes[m, d])}
            found[self.methods[m]] = mine
        return found

    @property
    def compared(self) -> list[str]:
        """Methods of the chart, by color."""
        return [self.methods[m] for m in self.order if m != self.baseline]

    def chart(self) -> Markup | None:
        """Relative changes, a row for each data set and one for their mean; None where there is no baseline or no change."""
        if self.baseline is None:
            return None
        changes, means = relative_changes(self.scores, self.baseline)
        rows = {**{name: changes[:, d] for d, name in enumerate(self.data)}, "mean": means}
        methods = [m for m in self.order if m != self.baseline]
        values = [float(row[m]) for row in rows.values() for m in methods if np.isfinite(row[m])]
        if not values:
            return None
        left = min(260, 30 + 7 * max(len(name) for name in rows))
        tall = LINE * len(methods) + 12
        plot = Plot(around([0.0, *values]), (len(rows) - 0.5, -0.5), 680, tall * len(rows) + 52, (left, 6, 14, 46))
        plot.x_axis(f"change relative to {self.methods[self.baseline]} (%)")
        plot.line([(0.0, -0.5), (0.0, len(rows) - 0.5)], "ideal")
        for index, (name, row) in enumerate(rows.items()):
            plot.text(left - 10, plot.at(0, index)[1] + 4, short(name, 34), "name", "end")
            for place, m in enumerate(methods):
                if np.isfinite(row[m]):
                    y = index + (place - (len(methods) - 1) / 2) * LINE / tall
                    plot.parts.append(f'<g class="m{place % COLORS}">')
                    plot.span((0.0, y), (float(row[m]), y))
                    plot.dot((float(row[m]), y), f"{self.methods[m]}, {name}: {percent(float(row[m]))}")
                    plot.parts.append("</g>")
        return plot.svg(f"change of {', '.join(self.compared)} relative to {self.methods[self.baseline]} by data set")


def percent(value: float | None) -> str:
    """A change with its sign.

    >>> percent(12.34), percent(-0.5), percent(None)
    ('+12.3 %', '−0.5 %', '–')
    """
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def standings(results: Mapping[str, object], baseline: str | None = None) -> Standings | None:
    """The standings of evaluations and benchmark runs by the name of their folder; others have no part in it.

    None for fewer than two methods, or a single data set where no baseline is asked for. Raises NotFoundError: no such method.
    """
    entries = _placed([entry for name, result in results.items() for entry in _entries(name, result)])
    data = list(dict.fromkeys(entry.data for entry in entries))
    named = _named(entries)
    methods = list(dict.fromkeys(named))
    if baseline is not None and baseline not in methods:
        raise NotFoundError(f"--baseline {baseline}: no such method in the report", nearest(baseline, methods))
    if len(methods) < 2 or (len(data) < 2 and baseline is None):
        return None
    scores = np.full((len(methods), len(data)), np.nan)
    for entry, name in zip(entries, named):
        if entry.score is not None:
            scores[methods.index(name), data.index(entry.data)] = entry.score
    number = None if baseline is None else methods.index(baseline)
    return Standings(methods, _labels(data), [found.metric for found in data], scores, number)


def _entries(name: str, result: object) -> list[Entry]:
    if isinstance(result, BenchResult):
        objects = tuple(sorted({entry for row in result.rows for entry in row.objects}))
        data = DataSet(result.metric, result.task, result.split, result.runs, objects, None)
        return [Entry((row.name, f"{name}: {row.name}"), data, row.score.mean) for row in result.rows]
    if not isinstance(result, Scored):
        return []
    metric = f"F{result.beta:g}, rule {result.rule}" if isinstance(result, PointsResult) else words.measure(result)
    runs = result.runs if result.split else tuple(sorted(result.run_names))
    place = (result.config or "", ", ".join(result.reference))
    data = DataSet(metric, result.task, result.split, runs, tuple(sorted(result.objects)), place)
    return [Entry((*_users(result), name), data, result.score)]


def _users(result: Scored) -> tuple[str, ...]:
    """User id, and user and session, of a prediction; nothing where it has none, or several."""
    if result.config is None:
        return ()
    read = picks_uri if isinstance(result, PointsResult) else segmentation_uri
    ids = {(uri.user, uri.session) for uri in map(read, result.input)}
    user, session = next(iter(ids)) if len(ids) == 1 else ("*", "*")
    if set("*?[") & set(user):
        return ()
    return (user,) if set("*?[") & set(session) else (user, f"{user}/{session}")


def _placed(entries: Sequence[Entry]) -> list[Entry]:
    """Entries that don't say which project they are of belong to the only one that fits."""
    known: dict[DataSet, set[tuple[str, str] | None]] = {}
    for entry in entries:
        known.setdefault(_anywhere(entry.data), set()).add(entry.data.place)
    found = []
    for entry in entries:
        places = known[_anywhere(entry.data)] - {None}
        if entry.data.place is None and len(places) == 1:
            data = DataSet(**{**vars(entry.data), "place": next(iter(places))})
            entry = Entry(entry.names, data, entry.score)
        found.append(entry)
    return found


def _anywhere(data: DataSet) -> DataSet:
    return DataSet(**{**vars(data), "place": None})


def _named(entries: Sequence[Entry]) -> list[str]:
    """The shortest name of each entry's method under which no data set has two scores, for all entries of that name alike."""
    chosen = [0] * len(entries)
    while True:
        names = [entry.names[level] for entry, level in zip(entries, chosen)]
        counts = Counter(zip((entry.data for entry in entries), names))
        twice = {name for (_, name), count in counts.items() if count > 1}
        more = [
            level + (name in twice and level + 1 < len(entry.names))
            for entry, name, level in zip(entries, names, chosen)
        ]
        if more == chosen:
            return names
        chosen = more


def _labels(data: Sequence[DataSet]) -> list[str]:
    """Names that tell the data sets apart: task and split, and as many parts as it takes."""
    labels = [", ".join(part for part in found.parts[:2] if part) for found in data]
    for place in range(2, max((len(found.parts) for found in data), default=2)):
        twice = {label for label, count in Counter(labels).items() if count > 1}
        labels = [
            f"{label}, {found.parts[place]}" if label in twice and found.parts[place] else label
            for label, found in zip(labels, data)
        ]
    return labels
