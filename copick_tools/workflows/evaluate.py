"""`popsicle evaluate`: score picks of a project against reference picks of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from copick_tools.data import read
from copick_tools.data.project import Project, write_text
from copick_tools.data.uris import PicksUri
from copick_tools.errors import NotFoundError, UsageError
from copick_tools.metrics.outcomes import Outcome, outcomes
from copick_tools.metrics.table import Picks, PointRule, PointTable
from copick_tools.recipes.results import PointsResult
from copick_tools.recipes.rules import Overrides, point_rule
from copick_tools.recipes.task import Task
from copick_tools.workflows.predictions import read_predictions
from copick_tools.workflows.scoring import Baseline, Source, points_result, write_scores
from copick_tools.workflows.sides import Sides

MATCH_COLUMNS = ("run", "object", "x", "y", "z", "score", "outcome", "partner", "distance")


@dataclass(frozen=True)
class Question:
    """What to score against what.

    missing: what a run without any prediction means, ``error`` or ``empty``. split: its name, where it was all scored.
    """

    prediction: tuple[PicksUri, ...]
    reference: tuple[PicksUri, ...]
    task: Task | None = None
    overrides: Overrides = Overrides()
    missing: str = "error"
    baseline: tuple[PicksUri, ...] = ()
    split: str | None = None


@dataclass(frozen=True)
class Answer:
    """The document, and a row per pick and per missed reference point, one-to-one (MATCH_COLUMNS); None: too dense."""

    result: PointsResult
    matches: list[tuple[object, ...]] | None

    def write(self, folder: Path) -> None:
        """scores.json and matches.csv."""
        if self.matches is not None:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(MATCH_COLUMNS)
            writer.writerows(self.matches)
            write_text(folder / "matches.csv", text.getvalue())
        write_scores(self.result, folder)


def evaluate(project: Project, runs: Sequence[str], question: Question) -> Answer:
    """Score the runs under the task's rule, or one-to-one without a task.

    A run without reference picks is a negative. Raises NotFoundError (nothing matches), PopsicleError (a run without
    prediction), UsageError (no radius, no such rule).
    """
    question.overrides.check()
    runs = sorted(runs)  # so that the bootstrap of the same runs is the same
    reference = {run: read.read_picks(project, run, question.reference) for run in runs}
    read.require_picks(project, project.run_names, question.reference, "reference")  # the chosen may all be negatives
    prediction, lacking = read_predictions(project, runs, question.prediction, question.missing)
    warnings = _lacking(lacking, "prediction")
    radii = _radii(project, question, reference, prediction)
    rule = point_rule(question.task, radii, question.overrides)
    tables = [PointTable.of(picks, runs, tuple(radii)) for picks in (reference, prediction)]
    sides = Sides(*tables, rule, _other(question, radii, rule))
    if question.task and rule.rule != "one-to-one" and len(radii) < len(question.task.targets):
        warnings.append(f"only {', '.join(radii)} scored: this isn't the official number of task {question.task.name}")
    warnings += _warnings(sides, prediction)
    baseline = None
    if question.baseline:
        picks, without = read_predictions(project, runs, question.baseline, question.missing, "baseline")
        baseline = Baseline(_texts(question.baseline), PointTable.of(picks, runs, tuple(radii)))
        warnings += _lacking(without, "baseline")
    source = Source(
        str(project.config),
        _texts(question.prediction),
        _texts(question.reference),
        question.task,
        question.split,
        _options(question),
        len(lacking),
    )
    result = points_result(sides, source, warnings, baseline)
    matches = None if sides.pairs is None else [_match_row(row) for row in outcomes(*tables, sides.pairs)]
    return Answer(result, matches)


def _texts(uris: Sequence[PicksUri]) -> tuple[str, ...]:
    return tuple(str(uri) for uri in uris)


def _lacking(runs: Sequence[str], what: str) -> list[str]:
    return [f"{len(runs)} runs have no {what} and count as empty: {', '.join(runs)}"] if runs else []


def _options(question: Question) -> tuple[str, ...]:
    """As they are typed."""
    baseline = [part for uri in question.baseline for part in ("--baseline", str(uri))]
    missing = ["--missing", question.missing] if question.missing != "error" else []
    return (*question.overrides.options(), *missing, *baseline)


def _radii(
    project: Project, question: Question, reference: Mapping[str, Picks], prediction: Mapping[str, Picks]
) -> dict[str, float]:
    """The objects to score, with their radius in angstrom: the task's, else those that have picks."""
    if question.task:
        entries = {o.name: o.radius or 0.0 for o in question.task.targets}
    else:
        named = {name for side in (reference, prediction) for picks in side.values() for name in picks}
        entries = {name: project.object(name).radius or 0.0 for name in sorted(named)}
    wanted = {name: radius for name, radius in entries.items() if any(uri.names(name) for uri in question.reference)}
    if not wanted:
        raise NotFoundError(
            f"the reference names no object of task {question.task.name}" if question.task else "no object to score",
            "objects: " + ", ".join(entries),
        )
    bare = [name for name, radius in wanted.items() if not radius]
    if bare and question.overrides.radius_needed(question.task):
        raise UsageError(f"{bare[0]} has no radius in {project.config}", "give --distance in angstrom, or --task")
    return wanted


def _other(question: Question, radii: Mapping[str, float], rule: PointRule) -> PointRule | None:
    """The task's official rule beside one-to-one, or the reverse; None where there is no other."""
    if question.task is None or question.task.metric.official is None:
        return None
    name = "kaggle" if rule.rule == "one-to-one" else "one-to-one"
    return point_rule(question.task, radii, replace(question.overrides, rule=name))


def _warnings(sides: Sides, prediction: Mapping[str, Picks]) -> list[str]:
    """What the pick sets of a project have that a table of picks hasn't."""
    found, objects = [], sides.prediction.objects
    for name in objects:
        partly = [run for run, picks in prediction.items() if picks and name not in picks]
        if partly:
            found.append(
                f"{name} has no prediction in {len(partly)} runs, counted as none found: {', '.join(partly[:5])}"
            )
    stray = sorted({name for picks in prediction.values() for name in picks} - set(objects))
    return found + ([f"predictions of objects that aren't scored: {', '.join(stray)}"] if stray else [])


def _match_row(row: Outcome) -> tuple[object, ...]:
    return (
        row.run,
        row.object,
        *(f"{value:.3f}" for value in row.position),
        "" if row.score is None else f"{row.score:.6g}",
        row.outcome,
        "" if row.partner is None else row.partner,
        "" if row.distance is None else f"{row.distance:.3f}",
    )
