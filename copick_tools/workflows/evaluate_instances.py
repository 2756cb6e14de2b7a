"""`popsicle evaluate`: score instance and panoptic segmentations of a project against reference segmentations of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri
from copick_tools.errors import NotFoundError, UsageError, nearest
from copick_tools.metrics import semantic
from copick_tools.metrics.bootstrap import FEWEST
from copick_tools.metrics.instances import THRESHOLDS
from copick_tools.recipes.instance_results import InstancesResult
from copick_tools.recipes.results import Comparison, interval, number
from copick_tools.recipes.task import Task
from copick_tools.workflows.instance_numbers import ACCURACY, InstanceTable, error_rate, object_scores, run_score
from copick_tools.workflows.instance_overlap import InstanceOverlap, compare_instances
from copick_tools.workflows.instance_pairs import (
    InstancePairs,
    Objects,
    find_instance_pairs,
    find_objects,
    left_out,
)
from copick_tools.workflows.pairs import Missing, few
from copick_tools.workflows.scoring import PACKAGES, few_runs
from copick_tools.workflows.semantic_numbers import comparison
from copick_tools.workflows.versions import versions

MANY_LABELS = 8  # without an object; more of them are cut short


@dataclass(frozen=True)
class InstanceQuestion:
    """What to score against what; instance or panoptic segmentations.

    resample: bring predictions onto the reference's grid. network: objects that get VOI, adapted Rand error and clDice
    beside those whose shape in the task says so. missing: what a run without any prediction means, ``error`` or ``empty``.
    """

    prediction: SegmentationUri
    reference: SegmentationUri
    task: Task | None = None
    resample: bool = False
    network: tuple[str, ...] = ()
    baseline: SegmentationUri | None = None
    missing: str = "error"
    split: str | None = None


def evaluate_instances(
    project: Project,
    runs: Sequence[str],
    question: InstanceQuestion,
    progress: Callable[[int, int], None] | None = None,
) -> InstancesResult:
    """Score the runs: the numbers of each object and run, each object's mean over runs, the mean of the objects.

    An object that only the prediction has counts 0; a run with objects on neither side is left out and counted apart.
    progress: called with the runs done and their number.

    Raises NotFoundError (a run without reference, no such object), PopsicleError (a run without prediction, grids that
    differ), FormatError, UsageError.
    """
    if not runs:
        raise UsageError("no runs to score")
    runs = sorted(runs)  # so that the bootstrap of the same runs is the same
    uris = [question.prediction, *([question.baseline] if question.baseline else [])]
    objects = find_objects(project, runs, [question.reference, *uris], question.task)
    networks = _networks(question, objects)
    both, missing = [(question.reference, uri) for uri in uris], Missing(question.missing == "empty")
    sides = [find_instance_pairs(project, runs, pair, objects, missing, question.resample) for pair in both]
    overlaps: list[list[InstanceOverlap]] = [[] for _ in sides]
    for done, run in enumerate(runs, start=1):
        for pairs, measured in zip(sides, overlaps):
            measured.append(compare_instances(pairs, run, networks))
        if progress:
            progress(done, len(runs))
    names = _occurring(question, objects, overlaps)
    tables = [InstanceTable.of(measured, names) for measured in overlaps]
    warnings = left_out_warnings(project, runs, (question.prediction, question.reference), objects)
    if question.task and question.task.metric.name != "instances":
        warnings.append(f"task {question.task.name} is scored otherwise: this isn't its official number")
    warnings += empty_warnings(sides) + label_warnings(runs, overlaps[0], objects) + _table_warnings(tables[0])
    return _document(project, runs, question, sides, tables, warnings)


def _networks(question: InstanceQuestion, objects: Objects) -> frozenset[str]:
    for name in question.network:
        if name not in objects.labels:
            raise NotFoundError(f"no object '{name}' is scored", nearest(name, objects.labels))
    shapes = {entry.name: entry.shape for entry in question.task.targets} if question.task else {}
    return frozenset(n for n in objects.labels if n in question.network or shapes.get(n) == "network")


def _occurring(
    question: InstanceQuestion, objects: Objects, overlaps: Sequence[Sequence[InstanceOverlap]]
) -> list[str]:
    """Which objects to report: all of a task or of instance segmentations, else those that occur on any side."""
    if question.task or objects.each:
        return list(objects.labels)
    there = [
        name
        for name in objects.labels
        if any(overlap.objects[name].voxels.any() for measured in overlaps for overlap in measured)
    ]
    return there or list(objects.labels)


def left_out_warnings(
    project: Project, runs: Sequence[str], uris: Sequence[SegmentationUri], objects: Objects
) -> list[str]:
    """Objects that wildcards name and that have nothing to be compared with."""
    found = []
    for uri in uris:
        names = left_out(project, runs, uri, objects.labels)
        found += [f"{', '.join(names)} of {uri} isn't scored: the other side, or the task, lacks it"] if names else []
    return found


def empty_warnings(sides: Sequence[InstancePairs]) -> list[str]:
    """Runs without a prediction."""
    return [
        f"{len(pairs.empty)} runs have no {what} and count as empty: {', '.join(pairs.empty)}"
        for pairs, what in zip(sides, ("prediction", "baseline"))
        if pairs.empty
    ]


def label_warnings(runs: Sequence[str], measured: Sequence[InstanceOverlap], objects: Objects) -> list[str]:
    """What the voxels hold that makes a number mean less than it seems."""
    found = []
    for side in ("reference", "prediction"):
        unknown = sorted({label for overlap in measured for label in overlap.unknown[side]})
        if unknown:
            there = [run for run, overlap in zip(runs, measured) if overlap.unknown[side]]
            names = ["0 (ids without a label)" if label == 0 else str(label) for label in unknown[:MANY_LABELS]]
            some = ", ".join(names) + (" …" if len(unknown) > MANY_LABELS else "")
            found.append(f"labels of the {side} that name no object: {some}; in {len(there)} runs: {few(there)}")
    left = sum(overlap.unannotated for overlap in measured)
    if left:
        share = left / sum(overlap.voxels for overlap in measured)
        found.append(f"{share:.1%} of the voxels aren't annotated (label {objects.ignored}) and left out")
    return found


def _table_warnings(table: InstanceTable) -> list[str]:
    """What the numbers rest on."""
    found, runs = [], len(table.values)
    for index, name in enumerate(table.names):
        reference, prediction = table.sizes[:, index].sum(axis=0).tolist()
        if not reference:
            found.append(
                f"{name} has no object in the reference" + (f", but {prediction} predicted ones" if prediction else "")
            )
        for column, side in ((1, "reference"), (2, "prediction")):
            loose = int(table.loose[:, index, column].sum())
            if loose:
                share = loose / table.voxels[:, index, column].sum()
                found.append(
                    f"{share:.1%} of {name}'s voxels in the {side} have no id: of no object, they count in Dice"
                )
        defined = int(table.sizes[:, index].any(axis=-1).sum())
        if runs >= FEWEST and 0 < defined < FEWEST:
            found.append(f"{name} is in {defined} of {runs} runs: no interval")
    return found + few_runs(runs)


def _document(
    project: Project,
    runs: Sequence[str],
    question: InstanceQuestion,
    sides: Sequence[InstancePairs],
    tables: Sequence[InstanceTable],
    warnings: list[str],
) -> InstancesResult:
    table = tables[0]
    accuracy, (error, error_bounds) = table.values[..., ACCURACY], error_rate(table)
    return InstancesResult(
        task=question.task.name if question.task else None,
        task_file=question.task.file if question.task else None,
        split=question.split,
        score=number(semantic.mean_score(accuracy)),
        ci95=interval(semantic.score_interval(accuracy)),
        error_rate=error,
        error_rate_ci95=error_bounds,
        thresholds=list(THRESHOLDS),
        resampled=sides[0].resampled,
        objects=object_scores(table),
        by_run={run: run_score(table, index) for index, run in enumerate(runs)},
        baseline=_comparison(question, tables),
        runs=len(runs),
        run_names=list(runs),
        config=str(project.config),
        input=[str(question.prediction)],
        reference=[str(question.reference)],
        options=_options(question),
        empty_runs=len(sides[0].empty),
        versions=versions(PACKAGES),
        warnings=warnings,
    )


def _comparison(question: InstanceQuestion, tables: Sequence[InstanceTable]) -> Comparison | None:
    if question.baseline is None:
        return None
    return comparison(question.baseline, tables[0].names, *(table.values[..., ACCURACY] for table in tables))


def _options(question: InstanceQuestion) -> list[str]:
    """As they are typed."""
    found = ["--resample"] if question.resample else []
    found += [part for name in question.network for part in ("--network", name)]
    found += ["--missing", question.missing] if question.missing != "error" else []
    return found + (["--baseline", str(question.baseline)] if question.baseline else [])
