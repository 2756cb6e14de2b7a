"""The table of a benchmark run: what the seeds of each recipe give together, beside the paper's rows."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np

from copick_tools.data.documents import read_document
from copick_tools.errors import PopsicleError
from copick_tools.metrics.points import PointScores
from copick_tools.metrics.seeds import mean_dice_interval, mean_points_interval, ranks
from copick_tools.recipes.instance_results import InstancesResult, Scored
from copick_tools.recipes.leaderboard import load_leaderboard
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.results import Evaluation, Interval, PointsResult, SemanticResult, interval
from copick_tools.recipes.rules import Overrides, point_rule
from copick_tools.recipes.study_results import BenchResult, BenchRow, Spread, StepOutcome, Usage
from copick_tools.recipes.task import Task
from copick_tools.workflows.bench_job import Job, read_scores
from copick_tools.workflows.versions import versions

log = logging.getLogger("copick_tools")
PACKAGES = ("torch", "monai", "nnunetv2", "numpy", "scipy", "copick")


def table(task: Task, split: str, jobs: Sequence[Job], steps: Sequence[StepOutcome]) -> BenchResult:
    """The rows of all recipes, the best first; those without a score at the end."""
    names = list(dict.fromkeys([*(job.name for job in jobs), *(step.name for step in steps)]))
    done: dict[str, dict[Job, Evaluation]] = {name: {} for name in names}
    steps = list(steps)
    for job in jobs:
        try:
            scores = read_scores(job)
        except PopsicleError as error:
            steps += _damaged(job, error, steps)
            continue
        if scores is not None:
            done[job.name][job] = scores
    ranking = dict(zip(names, ranks([_numbers(done[name].values()) for name in names])))
    rows = [_row(task, name, done[name], ranking[name], steps, jobs) for name in names]
    rows.sort(key=lambda row: -1.0 if row.score.mean is None else row.score.mean, reverse=True)
    runs = {len(job.runs) for job in jobs}
    return BenchResult(
        task=task.name,
        metric=_metric(task),
        split=split,
        runs=runs.pop() if runs else None,
        simulated=task.simulated,
        rows=rows,
        paper=_paper(task),
        notes=_notes(rows, [job for some in done.values() for job in some]),
        steps=list(steps),
        versions={name: version for name, version in versions(PACKAGES).items() if name != "platform"},
    )


def _damaged(job: Job, error: PopsicleError, steps: Sequence[StepOutcome]) -> list[StepOutcome]:
    """A failure more, where none is known of the job."""
    if any(step.status == "failed" and (step.name, step.seed) == (job.name, job.seed) for step in steps):
        return []
    words = error.message + (f" ({error.hint})" if error.hint else "")
    log.error("%s, seed %d: %s", job.name, job.seed, words)
    return [StepOutcome(name=job.name, seed=job.seed, step="evaluate", status="failed", error=words)]


KEYS = {"fbeta": "fbeta", "dice": "dice", "instances": "mean_segmentation_accuracy"}  # of an object's number, by metric


def _metric(task: Task) -> str:
    named = {"dice": "mean Dice", "instances": "mean segmentation accuracy"}
    return named.get(task.metric.name) or f"F{task.metric.beta:g}, rule {task.metric.rule}"


def _numbers(results: Iterable[Evaluation]) -> list[float]:
    return [result.score for result in results if result.score is not None]


def _row(
    task: Task,
    name: str,
    done: Mapping[Job, Evaluation],
    rank: int | None,
    steps: Sequence[StepOutcome],
    jobs: Sequence[Job],
) -> BenchRow:
    mine = [job for job in jobs if job.name == name]
    key = KEYS[task.metric.name]
    seconds = [value for job in done for value in job.record().predicted.values()]
    failed = [step for step in steps if step.name == name and step.status == "failed"]
    return BenchRow(
        name=name,
        family=mine[0].training.recipe.family if mine else name,
        seeds=[job.seed for job in done],
        score=spread([result.score for result in done.values()]),
        ci95=_interval(task, list(done.values())),
        rank=rank,
        objects={
            entry.name: spread([_object(result, entry.name, key) for result in done.values()]) for entry in task.targets
        },
        parameters=next((job.parameters for job in done), None),
        train=_usage(job for job in done),
        seconds_per_run=statistics.fmean(seconds) if seconds else None,
        budget=_budget(mine[0].training.recipe) if mine else None,
        errors=[f"seed {step.seed}, {step.step}: {step.error}" for step in failed],
    )


def spread(values: Sequence[float | None]) -> Spread:
    """Mean and sample standard deviation over seeds, of those that have a value.

    >>> spread([0.5, 0.7]).mean
    0.6
    """
    known = [value for value in values if value is not None]
    return Spread(
        mean=statistics.fmean(known) if known else None,
        sd=statistics.stdev(known) if len(known) > 1 else None,
        values=list(values),
    )


def _object(result: Evaluation, name: str, key: str) -> float | None:
    entry = cast(Scored, result).objects.get(name)
    return None if entry is None else getattr(entry, key)


def _interval(task: Task, results: Sequence[Evaluation]) -> Interval | None:
    """95% bootstrap interval over runs of the mean over seeds."""
    points = [_points(task, result) for result in results if isinstance(result, PointsResult)]
    if points:
        return interval(mean_points_interval(points))
    means = [_by_run(result, KEYS[task.metric.name]) for result in results if not isinstance(result, PointsResult)]
    return interval(mean_dice_interval(means)) if means else None


def _points(task: Task, result: PointsResult) -> PointScores:
    radii = {entry.name: entry.radius or 0.0 for entry in task.targets if entry.name in result.objects}
    rule = point_rule(task, radii, Overrides(rule=result.rule))
    counts = [[[c.tp, c.fp, c.fn] for c in map(result.by_run[run].objects.get, radii) if c] for run in result.run_names]
    return PointScores(rule, tuple(result.run_names), tuple(radii), np.array(counts, dtype=float))


def _by_run(result: Evaluation, key: str) -> np.ndarray:
    """(R, K) a number of each run and object, NaN where undefined."""
    found = cast(SemanticResult | InstancesResult, result)
    rows = [[getattr(found.by_run[run].objects[name], key) for name in found.objects] for run in found.run_names]
    return np.array(rows, dtype=float)


def _usage(jobs: Iterable[Job]) -> Usage | None:
    """The mean over the trainings; of memory the peak."""
    found = [used for job in jobs if (used := _used(job))]
    if not found:
        return None
    joules = [used.energy for used in found if used.energy is not None]
    return Usage(
        seconds=statistics.fmean(used.seconds for used in found),
        memory=max(used.memory or 0 for used in found) or None,
        gpu_memory=max(used.gpu_memory or 0 for used in found) or None,
        energy=statistics.fmean(joules) if len(joules) == len(found) else None,
        device=", ".join(dict.fromkeys(used.device for used in found if used.device)) or None,
        starts=max(used.starts for used in found),
    )


def _used(job: Job) -> Usage | None:
    try:
        return read_document(job.folder / "usage.json", Usage, "remove it")
    except PopsicleError as error:
        log.warning("%s", error.message)
        return None


def _budget(recipe: Recipe) -> str:
    """What a training sees."""
    train = recipe.train
    patch = "planned size" if train.patch is None else f"{'x'.join(map(str, train.patch))} voxels"
    return f"{train.epochs * train.steps_per_epoch} steps of {train.batch_size} x {patch}"


def _paper(task: Task) -> dict[str, dict[str, float]]:
    board = load_leaderboard(task.name)
    if board is None:
        return {}
    return {row.name: {"score": row.recomputed, **dict(zip(board.columns, row.values))} for row in board.rows}


def _notes(rows: Sequence[BenchRow], jobs: Sequence[Job]) -> list[str]:
    found = []
    if seen := sorted({run for job in jobs for run in job.seen}):
        more = " …" if len(seen) > 4 else ""
        found.append(f"Scored on runs that were trained or validated on, too: {', '.join(seen[:4])}{more}.")
    budgets = list(dict.fromkeys(row.budget for row in rows if row.budget))
    if len(budgets) == 1:
        found.append(f"Each training: {budgets[0]}.")
    elif budgets:
        found.append("Budgets differ: " + "; ".join(f"{row.name}: {row.budget}" for row in rows if row.budget) + ".")
    lacking = [row.name for row in rows if not row.seeds]
    if lacking:
        found.append(f"Without a score: {', '.join(lacking)}.")
    return found
