"""A benchmark run as a section of a report: one table of all recipes, beside the paper's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from copick_tools.recipes.study_results import BenchResult, BenchRow, Spread
from copick_tools.reports import charts
from copick_tools.reports.tables import Cell, Table, interval, number
from copick_tools.reports.words import figures, plural, time_unit

MILLION, GIB, KILO = 1e6, 2.0**30, 1e3
Amount = Callable[[BenchRow], float | None]


@dataclass(frozen=True)
class BenchSection:
    """A benchmark run."""

    template: ClassVar[str] = "bench.html.jinja"
    kind: ClassVar[str] = "bench"
    name: str
    result: BenchResult

    @property
    def links(self) -> list[tuple[str, str]]:
        """Parts of the section: id and words."""
        return [("table", "Table"), ("chart", "Chart"), ("notes", "Notes, versions")]

    @property
    def simulated(self) -> bool:
        """Whether the data are."""
        return self.result.simulated

    @property
    def caption(self) -> str:
        """What was measured, on what."""
        return caption(self.result)

    @property
    def legend(self) -> list[str]:
        """Sentences below the table."""
        return legend(self.result)

    @property
    def several_seeds(self) -> bool:
        """Whether a recipe has more than one."""
        return any(len(row.score.values) > 1 for row in self.result.rows)

    def table(self) -> Table:
        """Rows of all recipes, then the paper's."""
        return bench_table(self.result)

    def chart(self) -> Markup | None:
        """Scores with intervals and single seeds; None where no recipe has one."""
        rows = dict(zip(unique([row.name for row in self.result.rows]), self.result.rows))
        if not any(row.score.mean is not None for row in rows.values()):
            return None
        scores = {name: (row.score.mean, row.ci95) for name, row in rows.items()}
        return charts.score_chart(scores, self.result.metric, {name: _singles(row) for name, row in rows.items()})


def _singles(row: BenchRow) -> charts.Singles:
    return [(value, f"{row.name}, {seed}: {value:.3f}") for seed, value in by_seed(row, row.score) if value is not None]


def by_seed(row: BenchRow, spread: Spread) -> list[tuple[str, float | None]]:
    """Words for each seed, and its number."""
    seeds = row.seeds if len(row.seeds) == len(spread.values) else range(len(spread.values))
    return [(f"seed {seed}", value) for seed, value in zip(seeds, spread.values)]


def unique(names: Sequence[str]) -> list[str]:
    """Names that can be told apart.

    >>> unique(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    found: list[str] = []
    for name in names:
        others = (f"{name} ({count})" for count in range(2, len(names) + 2))
        found.append(name if name not in found else next(other for other in others if other not in found))
    return found


def caption(result: BenchResult) -> str:
    """Task, metric, split, runs, and whether the data are simulated."""
    parts = [f"task {result.task}", result.metric, f"split {result.split}"]
    parts += [plural(result.runs, "run")] if result.runs is not None else []
    return "; ".join([*parts, *(["simulated data"] if result.simulated else [])])


def legend(result: BenchResult) -> list[str]:
    """What the columns are, and what is claimed."""
    words = ["Score and objects: mean ± standard deviation over seeds."]
    if any(row.ci95 for row in result.rows):
        words.append("In brackets: 95% interval of the mean score, by bootstrap over runs.")
    words += _ranking(result)
    used = list(dict.fromkeys(row.train.device for row in result.rows if row.train and row.train.device))
    if len(used) == 1:
        words.append(f"Trained on {used[0]}.")
    elif used:
        words.append("Trained on several devices: times, memory and energy compare only on the same one.")
    if result.paper:
        words.append(
            "The paper's rows are of real tomograms: other data, not comparable with the simulated ones here."
            if result.simulated
            else "The paper's rows are as printed there, scores recomputed from their parts."
        )
    return words


def _ranking(result: BenchResult) -> list[str]:
    scored = [row for row in result.rows if row.score.mean is not None]
    ranked = [row for row in scored if row.rank is not None]
    words = []
    if ranked:
        words.append(
            "Rank: one more than there are rows whose worst seed beats this one's best; equal ranks aren't told apart."
        )
    if len(ranked) < len(scored):
        words.append("Fewer than 3 seeds claim no ranking.")
    return words


@dataclass(frozen=True)
class Column:
    """A column of amounts: of a title with its unit, a number of each row, and what it is divided by."""

    title: str
    amount: Amount
    unit: float = 1.0

    def cell(self, row: BenchRow) -> Cell:
        """The amount of a row."""
        found = self.amount(row)
        return Cell(figures(None if found is None else found / self.unit))


def _seconds(row: BenchRow) -> float | None:
    return row.train.seconds if row.train else None


def _energy(row: BenchRow) -> float | None:
    return row.train.energy if row.train else None


def _gpu_memory(row: BenchRow) -> float | None:
    return row.train.gpu_memory if row.train else None


def _memory(row: BenchRow) -> float | None:
    return row.train.memory if row.train else None


def columns(rows: Sequence[BenchRow]) -> list[Column]:
    """The columns of amounts that a row has. Memory of the process stands in where nobody used a GPU."""
    unit, length = time_unit(max((_seconds(row) or 0.0 for row in rows), default=0.0))
    on_gpu = any(_gpu_memory(row) is not None for row in rows)
    found = [
        Column("parameters (M)", lambda row: row.parameters, MILLION),
        Column(f"training ({unit})", _seconds, length),
        Column("GPU memory (GiB)", _gpu_memory, GIB) if on_gpu else Column("memory (GiB)", _memory, GIB),
        Column("per tomogram (s)", lambda row: row.seconds_per_run),
        Column("energy (kJ)", _energy, KILO),
    ]
    return [column for column in found if any(column.amount(row) is not None for row in rows)]


def object_names(result: BenchResult) -> list[str]:
    """Objects of all rows, and what else the paper has numbers of."""
    ours = [name for row in result.rows for name in row.objects]
    papers = [name for values in result.paper.values() for name in values if name != "score"]
    return list(dict.fromkeys([*ours, *papers]))


def bench_table(result: BenchResult) -> Table:
    """A row for each recipe, then for each of the paper's."""
    names, amounts = object_names(result), columns(result.rows)
    ranked = any(row.rank is not None for row in result.rows)
    devices = len({row.train.device for row in result.rows if row.train and row.train.device}) > 1
    header = ["recipe", "seeds", "score", *(["rank"] if ranked else []), *names, *(column.title for column in amounts)]
    rows = []
    for row in result.rows:
        cells = [Cell(row.name), Cell(str(len(row.seeds))), _spread(row.score, interval(row.ci95))]
        cells += [Cell("–" if row.rank is None else str(row.rank))] if ranked else []
        cells += [_spread(row.objects.get(name)) for name in names]
        cells += [column.cell(row) for column in amounts]
        cells += [Cell((row.train.device if row.train else None) or "–")] if devices else []
        rows.append(cells)
    header += ["device"] if devices else []
    groups = {len(rows): "paper: other data" if result.simulated else "paper"} if result.paper else {}
    for name, values in result.paper.items():
        texts = [name, "paper", number(values.get("score")), *([""] if ranked else [])]
        texts += [number(values.get(column)) for column in names]
        texts += [""] * (len(header) - len(texts))
        rows.append([Cell(text, kind="paper") for text in texts])
    return Table(f"Benchmark: {caption(result)}", tuple(header), rows, groups=groups)


def _spread(spread: Spread | None, below: str = "") -> Cell:
    """Mean ± sd, and what stands below."""
    if spread is None or spread.mean is None:
        return Cell("–")
    sd = "" if spread.sd is None else f"± {spread.sd:.3f}"
    return Cell(f"{number(spread.mean)} {sd}".strip(), below) if below else Cell(number(spread.mean), sd)
