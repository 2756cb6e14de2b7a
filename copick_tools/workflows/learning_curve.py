"""`popsicle learning-curve`: how a score grows with the number of annotated objects (Pachitariu et al. 2025, figure 4)."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data import splits
from copick_tools.data.project import Project, write_text
from copick_tools.errors import UsageError
from copick_tools.recipes.learning_curve_results import (
    AnnotatedSubset,
    LearningCurvePlan,
    LearningCurveResult,
    LearningPoint,
)
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.study_results import BenchResult, BenchRow, StepOutcome
from copick_tools.workflows.bench_job import Job
from copick_tools.workflows.bench_runner import work
from copick_tools.workflows.bench_table import table
from copick_tools.workflows.children import require_devices
from copick_tools.workflows.learning_curve_subsets import USER, Annotations, Subset, powers
from copick_tools.workflows.train import plan_training

log = logging.getLogger("copick_tools")
FILE = "learning-curve.json"
RESERVED = {"train.seed": "--seed and --repeats set it", "train_runs": "the subsets set it"}


@dataclass(frozen=True)
class Asked:
    """objects: numbers of annotated objects, None for all that there are; empty: powers of two, and all. seed: of the subsets and
    of the trainings, one more for each of the ``repeats``. split: the runs to score.
    """

    recipe: str
    out: Path
    objects: tuple[int | None, ...] = ()
    repeats: int = 1
    seed: int = 0
    settings: tuple[str, ...] = ()
    split: str = "test"


@dataclass(frozen=True)
class Point:
    """One training: what is annotated, and the job that trains, predicts and scores."""

    subset: Subset
    job: Job


@dataclass(frozen=True)
class Plan:
    """A learning curve: trainings by number of objects, then by seed."""

    asked: Asked
    recipe: Recipe
    annotations: Annotations
    runs: tuple[str, ...]
    points: tuple[Point, ...]


def plan_curve(project: Project, asked: Asked) -> Plan:
    """Count the annotated objects, choose the subsets. Nothing is written.

    Raises NotFoundError, FormatError; UsageError for numbers that there aren't, PopsicleError where nothing is annotated.
    """
    from copick_tools.training.data import TrainingData

    for setting in asked.settings:
        if why := RESERVED.get(setting.partition("=")[0].strip()):
            raise UsageError(f"-s {setting}: {why}", "leave it away")
    training = plan_training(project, asked.recipe, asked.settings, asked.out / "all")
    runs = tuple(sorted(splits.runs(project, asked.split)))
    annotations = Annotations(TrainingData.resolve(project, training.recipe))
    numbers = _numbers(asked.objects, sum(annotations.counts.values()), annotations.unit)
    points = []
    for number, seed in itertools.product(numbers, range(asked.seed, asked.seed + asked.repeats)):
        subset = annotations.subset(number, seed)
        points.append(Point(subset, _job(project, asked, annotations, subset, runs)))
    if seen := points[0].job.seen if points else []:
        log.warning("split %s holds runs that are trained or validated on, such as %s", asked.split, seen[0])
    return Plan(asked, training.recipe, annotations, runs, tuple(points))


def _numbers(asked: Sequence[int | None], total: int, unit: str) -> list[int]:
    """From few to many, each once. Raises UsageError."""
    if not asked:
        return powers(total)
    if large := [number for number in asked if number is not None and number > total]:
        raise UsageError(f"--objects {large[0]}: the training runs hold {total} {unit}", f"at most {total}, or all")
    return sorted({total if number is None else number for number in asked})


def _job(project: Project, asked: Asked, annotations: Annotations, subset: Subset, runs: tuple[str, ...]) -> Job:
    """The job of a subset; all of the training set is the recipe as it is."""
    settings = [*asked.settings, f"train.seed={subset.seed}"]
    if subset.runs != sorted(annotations.data.train):
        settings.append(f"train_runs={json.dumps(subset.runs)}")
    if region := annotations.region(subset):
        settings.append(f"target.region={json.dumps(str(region))}")
    folder = asked.out / f"objects-{subset.objects}" / f"seed-{subset.seed}"
    training = plan_training(project, asked.recipe, tuple(settings), folder)
    typed = (asked.recipe, *(part for setting in settings for part in ("-s", setting)))
    name = f"{USER}-{subset.objects}"
    return Job(name, subset.seed, training, project, annotations.data.task, asked.split, runs, typed)


def left(plan: Plan, device: str) -> LearningCurvePlan:
    """What would be done."""
    commands = []
    for point in plan.points:
        job = point.job
        finished = list(itertools.takewhile(job.finished, job.steps))
        commands += [["popsicle", *job.typed(step, device)] for step in job.steps[len(finished) :]]
    annotations = plan.annotations
    return LearningCurvePlan(
        unit=annotations.unit,
        total=annotations.counts,
        subsets=[_described(annotations, point.subset) for point in plan.points],
        commands=commands,
    )


def learning_curve(
    plan: Plan, progress: Callable[[int, int], None], devices: Sequence[str] = ("auto",)
) -> LearningCurveResult:
    """Do what isn't done, one training at a time on each of the devices, and write learning-curve.json of what is.

    A training that fails stops none of the others; started again, it is tried again. Raises UsageError for a device that isn't
    here.
    """
    require_devices(devices)
    for point in plan.points:
        if not point.job.finished("train"):
            plan.annotations.write(point.subset)

    def made(outcomes: Sequence[StepOutcome]) -> LearningCurveResult:
        result = _result(plan, outcomes)
        write_text(plan.asked.out / FILE, result.model_dump_json(indent=2) + "\n")
        return result

    return work([point.job for point in plan.points], made, progress, devices)


def _result(plan: Plan, outcomes: Sequence[StepOutcome]) -> LearningCurveResult:
    data, asked = plan.annotations.data, plan.asked
    jobs = [point.job for point in plan.points]
    found = table(data.task, asked.split, jobs, outcomes)
    rows = {row.name: row for row in found.rows}
    points = [
        _point(rows[name], [_described(plan.annotations, point.subset) for point in same])
        for name, same in itertools.groupby(plan.points, key=lambda point: point.job.name)
    ]
    return LearningCurveResult(
        task=data.task.name,
        metric=found.metric,
        simulated=data.task.simulated,
        recipe=asked.recipe,
        family=plan.recipe.family,
        unit=plan.annotations.unit,
        total=plan.annotations.counts,
        train_runs=sorted(data.train),
        split=asked.split,
        runs=len(plan.runs),
        run_names=list(plan.runs),
        config=str(data.project.config),
        seed=asked.seed,
        budget=next((row.budget for row in found.rows if row.budget), None),
        command=_typed(plan),
        points=points,
        notes=_notes(plan, found),
        steps=found.steps,
        versions=found.versions,
    )


def _point(row: BenchRow, subsets: list[AnnotatedSubset]) -> LearningPoint:
    return LearningPoint(
        objects=subsets[0].objects,
        subsets=subsets,
        repeats=row.seeds,
        score=row.score,
        ci95=row.ci95,
        scores_by_object=row.objects,
        train=row.train,
        errors=row.errors,
    )


def _described(annotations: Annotations, subset: Subset) -> AnnotatedSubset:
    region = annotations.region(subset)
    return AnnotatedSubset(
        seed=subset.seed,
        objects=subset.objects,
        by_object=subset.by_object,
        runs=subset.runs,
        share=subset.share,
        region=None if region is None else str(region),
    )


def _notes(plan: Plan, found: BenchResult) -> list[str]:
    notes = [note for note in found.notes if note.startswith("Scored on runs")]
    if held_out := plan.annotations.data.validation:
        notes.append(
            f"Weights{' and thresholds' if plan.points[0].job.calibrates else ''} are chosen on all that is annotated in "
            f"{len(held_out)} validation run{'s' if len(held_out) != 1 else ''}, which are not among the objects counted."
        )
    return notes


def _typed(plan: Plan) -> list[str]:
    """As arguments of `popsicle`."""
    asked = plan.asked
    found: list[Any] = ["learning-curve", asked.recipe, "-c", plan.annotations.data.project.config, "--out", asked.out]
    found += [part for setting in asked.settings for part in ("-s", setting)]
    if asked.objects:
        found += ["--objects", ",".join("all" if number is None else str(number) for number in asked.objects)]
    found += ["--repeats", asked.repeats] if asked.repeats > 1 else []
    found += ["--seed", asked.seed] if asked.seed else []
    return [str(part) for part in [*found, "--split", asked.split]]
