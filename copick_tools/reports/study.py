"""The table of a benchmark run as Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from copick_tools.recipes.study_results import BenchResult, BenchRow
from copick_tools.reports.bench import BenchSection, bench_table, by_seed, caption, legend
from copick_tools.reports.html import clean, render
from copick_tools.reports.tables import Table

_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_NUMBERS = str.maketrans({"–": "-", "−": "-"})


def bench_markdown(result: BenchResult) -> str:
    """A caption, the table, its legend, notes, errors and versions."""
    parts = [
        f"**Benchmark.** {plain(caption(result))}.",
        markdown(bench_table(result)),
        plain(" ".join(legend(result))),
    ]
    parts += ["\n".join(f"- {plain(note)}" for note in result.notes)] if result.notes else []
    errors = [f"- {plain(row.name)}: {plain(error)}" for row in result.rows for error in row.errors]
    parts += ["\n".join(["Errors:", "", *errors])] if errors else []
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in result.versions.items())
    parts += [f"Versions: {versions}."] if versions else []
    return clean("\n\n".join(parts) + "\n")


def markdown(table: Table) -> str:
    """A table with aligned columns; groups are rows of their own. Undefined numbers are ``-``."""
    lines = [[plain(title) for title in table.header]]
    for index, row in enumerate(table.rows):
        if index in table.groups:
            lines.append([f"*{plain(table.groups[index])}*", *[""] * (len(row) - 1)])
        numbers = [f"{cell.text} {cell.below}".strip().translate(_NUMBERS) for cell in row[1:]]
        lines.append([plain(row[0].text), *map(plain, numbers)])
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(table.header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(line, widths) for line in (lines[0], rule, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths)
    return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])} |"


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line.

    >>> plain("a|b <i> *x* snake_case _x_"), plain("[0.1, 0.2]")
    ('a\\|b &lt;i> \\*x\\* snake_case \\_x\\_', '[0.1, 0.2]')
    """
    line = " ".join(text.split())
    if re.fullmatch(r"[-\d. ±\[\],]*", line):
        return line
    return _MARKUP.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;"))


def bench_csv(result: BenchResult) -> str:
    """A row for each recipe and for each of the paper's, all numbers in full. Undefined ones are empty.

    Seconds, bytes and joules; ``score.seed 0`` is the score of seed 0.
    """
    rows = [_row(row) for row in result.rows]
    for name, values in result.paper.items():
        numbers = {key if key == "score" else f"object.{key}": value for key, value in values.items()}
        rows.append({"recipe": name, "source": "paper", **numbers})
    header = list(dict.fromkeys([*_HEADER, *(key for row in rows for key in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return clean(text.getvalue())


_HEADER = ("recipe", "source", "family", "seeds", "score", "score.sd", "score.low", "score.high", "rank")


def _row(row: BenchRow) -> dict[str, object]:
    low, high = row.ci95 or (None, None)
    found: dict[str, object] = {"recipe": row.name, "source": "bench", "family": row.family}
    found |= {"seeds": " ".join(map(str, row.seeds)), "score": row.score.mean, "score.sd": row.score.sd}
    found |= {"score.low": low, "score.high": high, "rank": row.rank}
    found |= {f"score.{seed}": value for seed, value in by_seed(row, row.score)}
    for name, spread in row.objects.items():
        found |= {f"object.{name}": spread.mean, f"object.{name}.sd": spread.sd}
        found |= {f"object.{name}.{seed}": value for seed, value in by_seed(row, spread)}
    used = row.train.model_dump() if row.train else {}
    found |= {"parameters": row.parameters, **{f"train.{key}": value for key, value in used.items()}}
    found |= {"seconds_per_run": row.seconds_per_run, "budget": row.budget, "errors": "; ".join(row.errors)}
    return found


def bench_html(result: BenchResult) -> str:
    """The table as a page of its own."""
    return render([BenchSection(f"Benchmark of {result.task}", result)])
