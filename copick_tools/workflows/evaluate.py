"""`popsicle evaluate`: score picks of a project against reference picks of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project, write_text
from copick_tools.data.uris import PicksUri
from copick_tools.errors import NotFoundError, PopsicleError, UsageError
from copick_tools.metrics.fbeta import precision_recall
from copick_tools.metrics.points import Picks, PointRule, PointScores, match_rows, score_points
from copick_tools.recipes.results import ObjectScore, OtherRule, PointCounts, PointsResult, RunScore
from copick_tools.recipes.rules import Overrides, point_rule, public_name
from copick_tools.recipes.task import Task
from copick_tools.types import Floats

FEW = 5  # runs; a bootstrap over fewer says little
MATCH_COLUMNS = ("run", "object", "x", "y", "z", "score", "outcome", "partner", "distance")


@dataclass(frozen=True)
class Question:
    """What to score against what. missing: what a run without any prediction means, ``error`` or ``empty``."""

    prediction: tuple[PicksUri, ...]
    reference: tuple[PicksUri, ...]
    task: Task | None = None
    overrides: Overrides = Overrides()
    missing: str = "error"


@dataclass(frozen=True)
class Answer:
    """The document, and a row per pick and per missed reference point (MATCH_COLUMNS)."""

    result: PointsResult
    matches: list[tuple[object, ...]]

    def write(self, folder: Path) -> None:
        """scores.json and matches.csv."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(MATCH_COLUMNS)
        writer.writerows(self.matches)
        write_text(folder / "matches.csv", text.getvalue())
        write_text(folder / "scores.json", self.result.model_dump_json(indent=2) + "\n")


def evaluate(project: Project, runs: Sequence[str], question: Question) -> Answer:
    """Score the runs under the task's rule, or one-to-one without a task.

    A run without reference picks is a negative. Raises NotFoundError (nothing matches), PopsicleError (a run without
    prediction), UsageError (no radius, no such rule).
    """
    reference = {run: read.read_picks(project, run, question.reference) for run in runs}
    prediction = {run: read.read_picks(project, run, question.prediction) for run in runs}
    read.require_picks(project, project.run_names, question.reference, "reference")  # the chosen may all be negatives
    read.require_picks(project, runs, question.prediction, "prediction")
    lacking = [run for run in runs if not prediction[run]]
    if lacking and question.missing != "empty":
        raise PopsicleError(
            f"{len(lacking)} of {len(runs)} runs have no prediction: {', '.join(lacking[:5])}",
            "choose runs with --split or -r; --missing empty scores them as empty",
        )
    radii = _radii(project, question, reference, prediction)
    rule = point_rule(question.task, radii, question.overrides)
    scores = score_points(reference, prediction, rule)
    warnings = [f"{len(lacking)} runs have no prediction and count as empty: {', '.join(lacking)}"] if lacking else []
    if question.task and rule.rule != "one-to-one" and len(radii) < len(question.task.targets):
        warnings.append(f"only {', '.join(radii)} scored: this isn't the official number of task {question.task.name}")
    warnings += _warnings(scores, reference, prediction)
    result = _document(project, question, scores, _other(question, radii, rule, reference, prediction), warnings)
    rows = [_match_row(row) for row in match_rows(scores, reference, prediction)]
    return Answer(result, rows)


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
    if bare and question.overrides.distance is None and question.task is None:
        raise UsageError(f"{bare[0]} has no radius in {project.config}", "give --distance in angstrom, or --task")
    return wanted


def _other(
    question: Question,
    radii: Mapping[str, float],
    rule: PointRule,
    reference: Mapping[str, Picks],
    prediction: Mapping[str, Picks],
) -> OtherRule | None:
    """The task's official score beside one-to-one, or the reverse; None where there is no other."""
    if question.task is None or question.task.metric.official is None:
        return None
    name = "kaggle" if rule.rule == "one-to-one" else "one-to-one"
    other = point_rule(question.task, radii, replace(question.overrides, rule=name))
    return OtherRule(rule=name, score=_number(score_points(reference, prediction, other).score()))


def _warnings(scores: PointScores, reference: Mapping[str, Picks], prediction: Mapping[str, Picks]) -> list[str]:
    """Whatever makes a score mean less than it seems."""
    found = [scores.undefined] if scores.undefined else []
    for index, name in enumerate(scores.objects):
        counts = scores.counts[:, index]
        if (counts[:, 1] < 0).any():
            found.append(f"{name}: fp is negative in some runs, for one prediction reaches several reference points")
        if counts.sum(axis=0)[[0, 2]].sum() == 0:
            guesses = sum(len(picks[name]) for picks in prediction.values() if name in picks)
            found.append(f"{name} is nowhere in the reference" + (f"; {guesses} predictions of it" if guesses else ""))
        partly = [run for run, picks in prediction.items() if picks and name not in picks]
        if partly and len(partly) < len(scores.runs):
            found.append(
                f"{name} has no prediction in {len(partly)} runs, counted as none found: {', '.join(partly[:5])}"
            )
    if 1 < len(scores.runs) < FEW:
        found.append(f"the intervals rest on {len(scores.runs)} runs, too few to trust them")
    rows = sum(len(picks[name]) for picks in prediction.values() for name in scores.objects if name in picks)
    counted = scores.counts[..., :2].sum()
    if rows != counted:
        found.append(f"matches.csv lists {rows} predictions, the official code counts {counted:g} (tp + fp)")
    stray = sorted({name for picks in prediction.values() for name in picks} - set(scores.objects))
    return found + ([f"predictions of objects that aren't scored: {', '.join(stray)}"] if stray else [])


def _document(
    project: Project, question: Question, scores: PointScores, other: OtherRule | None, warnings: list[str]
) -> PointsResult:
    bounds = scores.score_interval()
    return PointsResult(
        task=question.task.name if question.task else None,
        rule="one-to-one" if public_name(scores.rule) == "one-to-one" else "kaggle",
        beta=scores.rule.beta,
        score=_number(scores.score()),
        objects=_objects(scores),
        other_rule=other,
        ci95=None if bounds is None else _interval(bounds),
        by_run={run: _run_score(scores, index) for index, run in enumerate(scores.runs)},
        runs=len(scores.runs),
        run_names=list(scores.runs),
        config=str(project.config),
        input=[str(uri) for uri in question.prediction],
        reference=[str(uri) for uri in question.reference],
        warnings=warnings,
    )


def _objects(scores: PointScores) -> dict[str, ObjectScore]:
    totals = scores.counts.sum(axis=0)
    precision, recall = precision_recall(totals)
    fbeta, bounds = scores.fbeta(), scores.fbeta_interval()
    rows = {}
    for index, name in enumerate(scores.objects):
        interval = None if bounds is None else _interval(bounds[:, index])
        rows[name] = ObjectScore(
            **_counts(totals[index]).model_dump(),
            precision=_number(precision[index]),
            recall=_number(recall[index]),
            fbeta=_number(fbeta[index]),
            weight=scores.rule.weights[name],
            distance=scores.rule.distances[name],
            ci95={} if interval is None else {"fbeta": interval},
        )
    return rows


def _run_score(scores: PointScores, index: int) -> RunScore:
    alone = replace(scores, runs=scores.runs[index : index + 1], counts=scores.counts[index : index + 1])
    return RunScore(
        score=_number(alone.score()),
        objects={name: _counts(row) for name, row in zip(scores.objects, scores.counts[index])},
    )


def _counts(row: Floats) -> PointCounts:
    tp, fp, fn = (int(value) for value in row)
    return PointCounts(tp=tp, fp=fp, fn=fn)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _interval(bounds: Floats) -> tuple[float, float] | None:
    return (float(bounds[0]), float(bounds[1])) if np.isfinite(bounds).all() else None


def _match_row(row: tuple[str, str, Floats, float, str, int | None, float | None]) -> tuple[object, ...]:
    run, name, position, score, outcome, partner, distance = row
    return (
        run,
        name,
        *(f"{value:.3f}" for value in position),
        "" if math.isnan(score) else f"{score:.6g}",
        outcome,
        "" if partner is None else partner,
        "" if distance is None else f"{distance:.3f}",
    )
