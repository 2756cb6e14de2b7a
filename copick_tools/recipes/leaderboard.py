"""The paper's tables: what they print, what their parts give, and whether a result of ours compares with a row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from copick_tools.errors import FormatError
from copick_tools.recipes.base import Strict
from copick_tools.recipes.load import configs, load_task, parse, read_yaml
from copick_tools.recipes.results import PointsResult, SemanticResult
from copick_tools.recipes.task import Task

Result = PointsResult | SemanticResult
SLACK = 1e-9  # decimal fractions aren't exact in binary


class PrintedRow(Strict):
    """One row as the paper prints it. values, sd: in the order of the table's columns."""

    name: str
    kind: Literal["baseline", "reference"] = Field(
        description="baseline: trained by the paper's authors under the shared protocol; reference: anything else"
    )
    group: str
    values: tuple[float, ...]
    sd: tuple[float, ...] | None = Field(None, description="over tomograms")
    printed: float | None = Field(None, description="the aggregate; null where the table has none")


class Row(PrintedRow):
    """A row and what its values give. low, high: what the aggregate may be, the values being rounded."""

    recomputed: float
    low: float
    high: float
    disagrees: bool = Field(description="the printed aggregate can't be the rounded one of these values")


class Table(Strict):
    """One YAML of configs/leaderboard."""

    task: str
    title: str
    source: str
    split: str
    aggregate: Literal["weighted-fbeta", "fbeta", "mean"]
    decimals: int = Field(ge=1, le=6, description="digits that the paper prints")
    columns: dict[str, str] = Field(min_length=1, description="our name of a column: the paper's heading")
    rows: tuple[PrintedRow, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> Table:
        for row in self.rows:
            if any(side is not None and len(side) != len(self.columns) for side in (row.values, row.sd)):
                raise ValueError(f"row {row.name} needs {len(self.columns)} values, one for each column")
        if self.aggregate == "fbeta" and list(self.columns) != ["precision", "recall"]:
            raise ValueError("the aggregate fbeta needs the columns precision and recall")
        return self


class Leaderboard(Table):
    """A table with each aggregate recomputed from the row's own values."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Standing:
    """A row beside a result. reasons: why the two don't compare; none: they do. difference: result - recomputed."""

    row: Row
    reasons: tuple[str, ...]
    difference: float | None

    @property
    def comparable(self) -> bool:
        """Whether the difference means something."""
        return not self.reasons


def leaderboard_names() -> list[str]:
    """The tasks that have a leaderboard."""
    return sorted(path.stem for path in (configs() / "leaderboard").glob("*.yaml"))


def load_leaderboard(task_name: str) -> Leaderboard | None:
    """The paper's table of a shipped task, with aggregates recomputed; None for a task that is in no table.

    Raises FormatError (not a valid table, or one that doesn't fit its task).
    """
    if task_name not in leaderboard_names():
        return None
    path = configs() / "leaderboard" / f"{task_name}.yaml"
    table, task = parse(Table, read_yaml(path), where=str(path)), load_task(task_name)
    names = {entry.name for entry in task.targets}
    if table.task != task_name or table.split not in task.splits:
        raise FormatError(f"{path}: there is no task {table.task} with a split {table.split} behind {task_name}")
    if table.aggregate != "fbeta" and set(table.columns) != names:
        raise FormatError(f"{path}: its columns aren't the objects of task {task_name}: {', '.join(sorted(names))}")
    rows = tuple(_row(table, task, row) for row in table.rows)
    return Leaderboard(**{**dict(table), "rows": rows})


def _row(table: Table, task: Task, row: PrintedRow) -> Row:
    """Recompute one row. Every aggregate grows with each of its values, so rounding moves it between two bounds."""
    half = 0.5 * 10**-table.decimals
    low = _aggregate(table, task, [max(0.0, value - half) for value in row.values])
    high = _aggregate(table, task, [min(1.0, value + half) for value in row.values])
    apart = row.printed is not None and not (low - half - SLACK <= row.printed <= high + half + SLACK)
    return Row(**dict(row), recomputed=_aggregate(table, task, row.values), low=low, high=high, disagrees=bool(apart))


def _aggregate(table: Table, task: Task, values: Sequence[float]) -> float:
    if table.aggregate == "fbeta":
        precision, recall = values
        below = task.metric.beta**2 * precision + recall
        return (1 + task.metric.beta**2) * precision * recall / below if below else 0.0
    weights = {entry.name: entry.weight if table.aggregate == "weighted-fbeta" else 1.0 for entry in task.targets}
    weighted = sum(weights[name] * value for name, value in zip(table.columns, values))
    return weighted / sum(weights[name] for name in table.columns)


def compare(leaderboard: Leaderboard, result: Result, task: Task) -> list[Standing]:
    """Each row beside a result: comparable, or why not. A row of another making is always but a reference point."""
    own = _obstacles(leaderboard, result, task)
    standings = []
    for row in leaderboard.rows:
        outside = (f"reference point: {row.group}, not trained under the paper's protocol",)
        reasons = (outside if row.kind == "reference" else ()) + own
        difference = None if result.score is None else result.score - row.recomputed
        standings.append(Standing(row, reasons, difference))
    return standings


def _obstacles(leaderboard: Leaderboard, result: Result, task: Task) -> tuple[str, ...]:
    """What keeps this result from being compared with any row."""
    if result.task != leaderboard.task:
        return (f"reference point: another task, {result.task or 'none'} instead of {leaderboard.task}",)
    if isinstance(result, PointsResult) != (task.metric.name == "fbeta"):
        return (f"another kind of score than the task's {task.metric.name}",)
    found = []
    if result.config is not None and not any(_same_uri(uri, task.reference) for uri in result.reference):
        found.append(f"another reference, {' '.join(result.reference)} instead of {task.reference}")
    if result.empty_runs:
        found.append(f"{result.empty_runs} runs have no prediction")
    if result.score is None:
        found.append("this result has no score")
    if result.split is None:
        found.append(f"reference point: this result names no split, the table is of split {leaderboard.split}")
    elif result.split != leaderboard.split:
        found.append(f"reference point: another split, {result.split} instead of {leaderboard.split}")
    expected = task.splits[leaderboard.split].runs
    if expected is not None and result.runs != expected:
        found.append(f"{result.runs} runs instead of the {expected} of split {leaderboard.split}")
    lacking = [entry.name for entry in task.targets if entry.name not in result.objects]
    if lacking:
        found.append(f"not scored: {', '.join(lacking)}")
    return (*found, *(_other_rule(result, task) if isinstance(result, PointsResult) else _other_dice(result)))


def _same_uri(text: str, wanted: str) -> bool:
    """Whether two URIs say the same, 20.0 and 20 alike."""
    parts = [re.sub(r"(@\d+)\.0+(?=$|\?)", r"\1", uri) for uri in (text, wanted)]
    return parts[0] == parts[1]


def _other_rule(result: PointsResult, task: Task) -> list[str]:
    found = []
    if result.rule != task.metric.rule:
        found.append(f"rule {result.rule} instead of {task.metric.rule}")
    if not math.isclose(result.beta, task.metric.beta):
        found.append(f"beta {result.beta:g} instead of {task.metric.beta:g}")
    entries = {entry.name: entry for entry in task.targets}
    for name, score in result.objects.items():
        if name not in entries:
            found.append(f"scored beyond the task: {name}")
            continue
        if not math.isclose(score.distance, task.distance(name), rel_tol=1e-6):
            found.append(f"matching distance of {name} {score.distance:g} A instead of {task.distance(name):g} A")
        if not math.isclose(score.weight, entries[name].weight):
            found.append(f"weight of {name} {score.weight:g} instead of {entries[name].weight:g}")
    return found


def _other_dice(result: SemanticResult) -> list[str]:
    found = ["an object absent on both sides counts as 1 instead of being skipped"] if result.absent == "one" else []
    return [*found, "the prediction was resampled to another grid"] if result.resampled else found
