"""`popsicle evaluate`: score segmentations of a project against reference segmentations of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from copick_tools.data.project import Project, check_objects
from copick_tools.data.uris import SegmentationUri
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.metrics import semantic
from copick_tools.metrics.bootstrap import FEWEST
from copick_tools.recipes import results
from copick_tools.recipes.recipe import IGNORED
from copick_tools.recipes.results import interval, number
from copick_tools.recipes.task import Task
from copick_tools.workflows.overlap import Overlap, Wanted, compare
from copick_tools.workflows.pairs import Pairs, few, find_pairs
from copick_tools.workflows.scoring import PACKAGES, few_runs
from copick_tools.workflows.semantic_numbers import Table, comparison, object_scores, run_score
from copick_tools.workflows.versions import versions

WIDEST = 1e5  # angstrom
MANY_LABELS = 8  # without an object; more of them are listed in one line


@dataclass(frozen=True)
class SegmentationQuestion:
    """What to score against what.

    absent: an object on neither side of a run is skipped, or counts ``one``. tolerance: angstrom, of surface Dice;
    None: two voxels of the reference, of the largest where runs differ. resample: bring predictions onto the
    reference's grid. surface, centerline: objects that get these numbers beside those whose shape in the task says so.
    missing: what a run without any prediction means, ``error`` or ``empty``.
    """

    prediction: SegmentationUri
    reference: SegmentationUri
    task: Task | None = None
    absent: Literal["skip", "one"] = "skip"
    tolerance: float | None = None
    resample: bool = False
    surface: tuple[str, ...] = ()
    centerline: tuple[str, ...] = ()
    baseline: SegmentationUri | None = None
    missing: str = "error"
    split: str | None = None


def evaluate_segmentations(
    project: Project,
    runs: Sequence[str],
    question: SegmentationQuestion,
    progress: Callable[[int, int], None] | None = None,
) -> results.SemanticResult:
    """Score the runs: Dice and IoU of each object and run, each object's mean over runs, the mean Dice of the objects.

    An object that only the prediction has counts 0. Standard deviations are the population's (ddof 0), as the paper's
    Table 2 suggests: see `metrics.semantic`. progress: called with the runs done and their number.

    Raises NotFoundError (a run without reference, no such object), PopsicleError (a run without prediction, grids
    that differ), UsageError.
    """
    if not runs:
        raise UsageError("no runs to score")
    runs = sorted(runs)  # so that the bootstrap of the same runs is the same
    uris = [question.prediction, *([question.baseline] if question.baseline else [])]
    empty = question.missing == "empty"
    sides = [find_pairs(project, runs, question.reference, uri, empty, question.resample) for uri in uris]
    wanted = _wanted(project, question, sides)
    overlaps: list[dict[str, Overlap]] = [{} for _ in sides]
    for done, run in enumerate(runs, start=1):
        for pairs, measured in zip(sides, overlaps):
            spacing = pairs.references[run].voxel_spacing
            measured[run] = compare(*pairs.sides(run, wanted), spacing, wanted)
        if progress:
            progress(done, len(runs))
    if sides[0].reference_binary:
        _check_annotated(overlaps[0], question.reference)
    chosen = _occurring(project, question, wanted, overlaps)
    tables = [_table(measured, wanted, chosen, question.absent) for measured in overlaps]
    warnings = _warnings(question, wanted, sides, overlaps[0]) + _table_warnings(tables[0])
    return _document(project, question, wanted, sides, tables, warnings)


def _wanted(project: Project, question: SegmentationQuestion, sides: Sequence[Pairs]) -> Wanted:
    """The objects and what to measure of each. Raises NotFoundError, UsageError."""
    objects = _objects(project, question, sides)
    shapes = {entry.name: entry.shape for entry in question.task.targets} if question.task else {}
    for name in (*question.surface, *question.centerline):
        if name not in objects:
            raise NotFoundError(f"no object '{name}' is scored", nearest(name, objects))
    surface = frozenset(name for name in objects if name in question.surface or shapes.get(name) == "membrane")
    lines = {name for name, shape in shapes.items() if shape in ("filament", "network")} | set(question.centerline)
    centerline = frozenset(name for name in objects if name in lines)
    spacings = [volume.voxel_spacing for volume in sides[0].references.values()]
    tolerance = 2 * max(spacings) if question.tolerance is None else question.tolerance
    if not 0 <= tolerance < WIDEST:
        raise UsageError(f"the tolerance is {tolerance:g} A", f"it is a number of angstrom from 0 up, below {WIDEST:g}")
    entries = [*project.objects.values(), *(question.task.objects if question.task else ())]
    others = frozenset(entry.label for entry in entries if entry.label) - frozenset(objects.values())
    return Wanted(objects, others, surface, centerline, tolerance)


def _objects(project: Project, question: SegmentationQuestion, sides: Sequence[Pairs]) -> dict[str, int]:
    """Labels by name of the objects that may be scored; the one of a binary segmentation, if either side is one."""
    named = [sides[0].reference_binary, *(pairs.prediction_binary for pairs in sides)]
    binary = [name for name in named if name is not None]
    known = {name: entry.label for name, entry in project.objects.items() if entry.label}
    where = f"in {project.config}"
    if question.task:
        known, where = {entry.name: entry.label for entry in question.task.targets}, f"in task {question.task.name}"
    if not known:
        raise NotFoundError(f"no object {where} has a label", "give objects labels, or name a --task")
    if not binary:
        if question.task:
            check_objects(project, question.task)
        twice = [label for label, count in Counter(known.values()).items() if count > 1]
        if twice:
            raise UsageError(f"several objects {where} have label {twice[0]}", "give each its own, or name a --task")
        return known
    name = next((name for name in binary if name in known), binary[0])
    if name not in known and (question.task or len(binary) < len(named)):
        raise NotFoundError(f"no object '{name}' {where}, as a binary segmentation is named", nearest(name, known))
    return {name: known.get(name, 1)}


def _occurring(
    project: Project, question: SegmentationQuestion, wanted: Wanted, overlaps: Sequence[Mapping[str, Overlap]]
) -> list[int]:
    """Which objects to report: all of a task or of binary segmentations, else those that occur on any side."""
    if question.task or len(wanted.objects) == 1:
        return list(range(len(wanted.objects)))
    total = sum(overlap.counts.sum(axis=1) for measured in overlaps for overlap in measured.values())
    if not np.any(total):
        raise NotFoundError(
            f"neither side holds any object of {project.config}", "objects: " + ", ".join(wanted.objects)
        )
    return np.flatnonzero(total).tolist()


def _check_annotated(measured: Mapping[str, Overlap], uri: SegmentationUri) -> None:
    """Raise FormatError where a binary reference has 255 for its object: that value means that nobody annotated."""
    objects = sum(int(overlap.counts[:, 1].sum()) for overlap in measured.values())
    if not objects and any(overlap.unannotated for overlap in measured.values()):
        raise FormatError(
            f"{uri} holds 0 and {IGNORED} alone, and {IGNORED} means not annotated", "store the object as 1"
        )


def _table(measured: Mapping[str, Overlap], wanted: Wanted, chosen: list[int], absent: str) -> Table:
    fill = 1.0 if absent == "one" else math.nan
    values = np.stack([overlap.values(wanted, fill) for overlap in measured.values()])
    counts = np.stack([overlap.counts for overlap in measured.values()])
    return Table(tuple(list(wanted.objects)[index] for index in chosen), counts[:, chosen], values[:, chosen])


def _warnings(
    question: SegmentationQuestion, wanted: Wanted, sides: Sequence[Pairs], measured: Mapping[str, Overlap]
) -> list[str]:
    """What the data hold that makes a score mean less than it seems."""
    found = []
    for pairs, what in zip(sides, ("prediction", "baseline")):
        if pairs.empty:
            found.append(f"{len(pairs.empty)} runs have no {what} and count as empty: {', '.join(pairs.empty)}")
    for side in ("reference", "prediction"):
        runs_of: dict[int, list[str]] = {}
        for run, overlap in measured.items():
            for label in overlap.unknown[side]:
                runs_of.setdefault(label, []).append(run)
        if len(runs_of) > MANY_LABELS:
            found.append(
                f"{len(runs_of)} labels of the {side} name no object: {few([str(k) for k in sorted(runs_of)])}"
            )
            continue
        for label, runs in sorted(runs_of.items()):
            found.append(f"label {label} of the {side} names no object; it is in {len(runs)} runs: {few(runs)}")
    left_out = sum(overlap.unannotated for overlap in measured.values())
    if left_out:
        share = left_out / sum(overlap.voxels for overlap in measured.values())
        found.append(f"{share:.1%} of the voxels aren't annotated (label {wanted.ignored}) and left out")
    spacings = {volume.voxel_spacing for volume in sides[0].references.values()}
    if wanted.surface and question.tolerance is None and len(spacings) > 1:
        found.append(
            f"runs differ in voxel spacing ({min(spacings):g} to {max(spacings):g} A): "
            f"the surfaces' tolerance is two voxels of the largest, {wanted.tolerance:g} A"
        )
    if question.task and len(wanted.objects) < len(question.task.targets):
        names = ", ".join(wanted.objects)
        found.append(f"only {names} scored: this isn't the official number of task {question.task.name}")
    return found


def _table_warnings(table: Table) -> list[str]:
    """What the numbers rest on."""
    found, runs = [], len(table.values)
    for index, name in enumerate(table.names):
        _, reference, prediction = (table.counts[:, index] > 0).sum(axis=0)
        if not reference:
            found.append(
                f"{name} is nowhere in the reference" + (f", but predicted in {prediction} runs" if prediction else "")
            )
        defined = int((~np.isnan(table.values[:, index, 0])).sum())
        if runs >= FEWEST and 0 < defined < FEWEST:
            found.append(f"{name} is in {defined} of {runs} runs: no interval")
    return found + few_runs(runs)


def _document(
    project: Project,
    question: SegmentationQuestion,
    wanted: Wanted,
    sides: Sequence[Pairs],
    tables: Sequence[Table],
    warnings: list[str],
) -> results.SemanticResult:
    table, names = tables[0], list(sides[0].references)
    dices = table.values[..., 0]
    return results.SemanticResult(
        task=question.task.name if question.task else None,
        task_file=question.task.file if question.task else None,
        split=question.split,
        score=number(semantic.mean_score(dices)),
        ci95=interval(semantic.score_interval(dices)),
        absent=question.absent,
        tolerance=wanted.tolerance if wanted.surface else None,
        resampled=any(pairs.resampled for pairs in sides),
        objects=object_scores(table),
        by_run={run: run_score(table, index) for index, run in enumerate(names)},
        baseline=_comparison(question, tables),
        runs=len(names),
        run_names=names,
        config=str(project.config),
        input=[str(question.prediction)],
        reference=[str(question.reference)],
        options=_options(question),
        empty_runs=len(sides[0].empty),
        versions=versions(PACKAGES),
        warnings=warnings,
    )


def _comparison(question: SegmentationQuestion, tables: Sequence[Table]) -> results.Comparison | None:
    if question.baseline is None:
        return None
    return comparison(question.baseline, tables[0].names, *(table.values[..., 0] for table in tables))


def _options(question: SegmentationQuestion) -> list[str]:
    """As they are typed."""
    found = ["--absent", question.absent] if question.absent != "skip" else []
    found += ["--tolerance", f"{question.tolerance:.10g}"] if question.tolerance is not None else []
    found += ["--resample"] if question.resample else []
    for option, names in (("--surface", question.surface), ("--centerline", question.centerline)):
        found += [part for name in names for part in (option, name)]
    found += ["--missing", question.missing] if question.missing != "error" else []
    return found + (["--baseline", str(question.baseline)] if question.baseline else [])
