"""`popsicle split`: which runs to train on, choose by and score on, so that none leaks into another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from copick_tools.data.groups import NONE, Groups, Known, known_of_runs, read_groups, write_groups
from copick_tools.data.lists import shown
from copick_tools.data.project import Project
from copick_tools.data.published import published_splits
from copick_tools.data.splits import read_splits, write_splits
from copick_tools.errors import NotFoundError, PopsicleError, UsageError
from copick_tools.metrics.stratify import Unreachable, by_shares, by_sizes
from copick_tools.recipes.data_results import SplitResult
from copick_tools.recipes.task import Task
from copick_tools.types import Floats, Integers
from copick_tools.workflows.content import Content, count, find_reference
from copick_tools.workflows.split_groups import Tied, check_leaks, choose_groups
from copick_tools.workflows.split_table import parts

FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.1, "test": 0.2})
ROUNDING = 0.002  # of fractions that sum to 1, as 0.333 three times
Splits = dict[str, list[str]]


@dataclass(frozen=True)
class SplitRequest:
    """How to split: by counts, folds, a published list or a task's counts, one of them, else by fractions.

    partial: the list may name other runs than the project has. group_by: keys that tie runs; empty: what is known of
    them. metadata: CSV of what is known of runs. reference: URIs of what to balance; empty: found. seed: of the draw.
    """

    fractions: Mapping[str, float] = field(default_factory=lambda: FRACTIONS)
    counts: Mapping[str, int] | None = None
    folds: int | None = None
    source: Path | None = None
    task: Task | None = None
    partial: bool = False
    group_by: tuple[str, ...] = ()
    metadata: Path | None = None
    reference: tuple[str, ...] = ()
    seed: int = 0

    @property
    def way(self) -> Literal["fractions", "counts", "folds", "list", "task"]:
        """Which of the ways is asked for. Raises UsageError for two."""
        given = {"counts": self.counts, "folds": self.folds, "list": self.source, "task": self.task}
        chosen = [name for name, value in given.items() if value is not None]
        if len(chosen) > 1:
            raise UsageError(f"split by {' or '.join(chosen)}, not both")
        return next((way for way in ("counts", "folds", "list", "task") if way in chosen), "fractions")

    def check(self) -> None:
        """Raise UsageError for what no project could make right."""
        if abs(sum(self.fractions.values()) - 1) > ROUNDING or not all(0 <= f <= 1 for f in self.fractions.values()):
            said = ",".join(f"{name}={value:g}" for name, value in self.fractions.items())
            raise UsageError(f"fractions {said} don't sum to 1", "for example train=0.8,test=0.2")
        if any(number < 0 for number in (self.counts or {}).values()):
            raise UsageError("a split can't have fewer than 0 runs")
        if self.folds is not None and self.folds < 2:
            raise UsageError(f"can't make {self.folds} fold{'s' if self.folds != 1 else ''}", "2 at least; 5 is usual")
        if self.partial and self.way != "list":
            raise UsageError("--partial is for --from")
        if NONE in self.group_by and len(self.group_by) > 1:
            raise UsageError(f"--group-by {NONE} goes with no other")

    def wanted(self, runs: int) -> Mapping[str, float] | Mapping[str, int]:
        """Fraction of each split, or its exact number of runs. Raises PopsicleError where the numbers don't fit."""
        if self.folds is not None:
            return {f"fold-{number + 1}": 1 / self.folds for number in range(self.folds)}
        counts, whose = self.counts, "the counts"
        if self.task is not None:
            counts = {name: split.runs for name, split in self.task.splits.items() if split.runs is not None}
            whose = f"the counts of task {self.task.name}"
            if len(counts) < len(self.task.splits):
                raise PopsicleError(f"task {self.task.name} doesn't say how many runs each split has", "give --counts")
        if counts is None:
            return {name: part / sum(self.fractions.values()) for name, part in self.fractions.items()}
        if sum(counts.values()) != runs:
            total = max(sum(counts.values()), 1)
            alike = ",".join(f"{name}={number / total:.4g}" for name, number in counts.items())
            raise PopsicleError(
                f"{whose} are {_said(counts)}, {sum(counts.values())} in all, but the project has {runs} runs",
                f"in these proportions: --fractions {alike}",
            )
        return counts


def split(
    project: Project,
    request: SplitRequest,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SplitResult:
    """Split the runs of a project, write DIR/.popsicle/splits.json and groups.json, and say what each split holds.

    Splits that are there already are kept, unless ``overwrite``. The same project, request and seed give the same
    splits. progress: called with the runs counted and their number.

    Raises UsageError, NotFoundError, FormatError, PopsicleError (numbers that can't be met, a leak).
    """
    request.check()
    way, runs = request.way, project.run_names
    if not runs:
        raise NotFoundError(f"{project.config} has no runs")
    known = known_of_runs(project, request.metadata)
    existing = read_splits(project)
    kept = any(existing.values()) and not overwrite
    plan = _kept(project, existing, runs) if kept else _prepare(project, request, known)
    content = count(project, runs, find_reference(project, runs, request.reference, request.task), workers, progress)
    plan.notes.append(f"{'counted' if content.unit else 'not balanced by objects'}: {content.reference.why}")
    if not kept and way != "list":
        plan = _draw(project, request, plan, content, known)
    if not kept and not dry_run:
        write_groups(project, plan.tied.groups)
        write_splits(project, plan.splits)
    species = known.get("species", {})
    assigned = {run for members in plan.splits.values() for run in members}
    return SplitResult(
        config=str(project.config),
        status="kept" if kept else "planned" if dry_run else "written",
        way=None if kept else way,
        seed=None if kept or way == "list" else request.seed,
        group_by=None if plan.tied.unknown else list(plan.tied.groups.by),
        groups=plan.tied.groups.groups,
        reference=content.reference.texts,
        unit=content.unit,
        splits=parts(plan.splits, runs, content, {} if plan.tied.unknown else plan.tied.groups.groups, species),
        unassigned=[run for run in runs if run not in assigned],
        notes=[*([plan.tied.why] if plan.tied.why else []), *plan.notes],
        warnings=plan.warnings,
    )


@dataclass
class _Plan:
    """splits: empty until they are drawn. notes, warnings: for a person."""

    tied: Tied
    splits: Splits = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _kept(project: Project, existing: Splits, runs: Sequence[str]) -> _Plan:
    """What is there."""
    groups = read_groups(project)
    tied = Tied(Groups(by=(), groups={}), "", unknown=True) if groups is None else Tied(groups, "")
    plan = _Plan(tied, existing, ["the project has splits and they are kept; --overwrite makes new ones"])
    listed = {run for members in existing.values() for run in members}
    missing = sorted(set(runs) - listed)
    if missing:
        plan.warnings.append(f"in no split: {shown(missing)}; --overwrite splits all runs anew")
    strays = sorted(listed - set(runs))
    if strays:
        plan.warnings.append(f"the splits name what the project lacks: {shown(strays)}; --overwrite makes new ones")
    return plan


def _prepare(project: Project, request: SplitRequest, known: Known) -> _Plan:
    """All that can be said before anything is counted: the list, or what is tied and how many go where."""
    runs = project.run_names
    if request.source is None:
        wanted = request.wanted(len(runs))
        tied = choose_groups(runs, known, request.group_by, sum(1 for part in wanted.values() if part > 0))
        plan = _Plan(tied)
        if request.task is not None:
            plan.notes.append(
                f"these are the counts that the paper states for {request.task.name}, not the paper's lists, "
                "which are in the suite's Croissant: --from metadata.json"
            )
        return plan
    splits = published_splits(request.source, project, partial=request.partial)
    tied = choose_groups(runs, known, request.group_by, 1)
    leak = check_leaks(splits, tied.groups)
    if leak and request.group_by:
        raise PopsicleError(f"{request.source} leaks: {leak}", "without --group-by the list is taken as it is")
    plan = _Plan(tied, splits)
    if leak:
        plan.tied = Tied.nothing(runs, "runs not tied: the list is taken as it is")
        (plan.notes if tied.assumed else plan.warnings).append(f"{request.source}: {leak}")
    missing = sorted(set(runs) - {run for members in splits.values() for run in members})
    if missing:
        plan.warnings.append(f"in no split: {shown(missing)}")
    return plan


def _draw(project: Project, request: SplitRequest, plan: _Plan, content: Content, known: Known) -> _Plan:
    """Divide the groups. What was only assumed to tie runs gives way to exact numbers that it would make impossible."""
    runs, wanted = project.run_names, request.wanted(len(project.run_names))
    labels = _labels(runs, content, known)
    try:
        plan.splits = _divide(runs, labels, plan.tied.groups, wanted, request.seed)
    except Unreachable as error:
        by = ", ".join(plan.tied.groups.by)
        groups = len(set(plan.tied.groups.groups.values()))
        what = f"{len(runs)} runs in {groups} groups by {by} can't make {_said(wanted)}"
        nearest = dict(zip(wanted, error.nearest)) if error.nearest else None
        near = f"nearest: --counts {_said(nearest)}" if nearest else str(error)
        if not plan.tied.assumed:
            raise PopsicleError(what, f"{near}; or --group-by {NONE}, which ties nothing") from error
        plan.warnings.append(f"{what} ({near})")
        plan.tied = Tied.nothing(runs, f"runs not tied, for {by} doesn't allow these numbers")
        plan.splits = _divide(runs, labels, plan.tied.groups, wanted, request.seed)
    return plan


def _divide(
    runs: Sequence[str], labels: Floats, groups: Groups, wanted: Mapping[str, float] | Mapping[str, int], seed: int
) -> Splits:
    """labels: (R, K). Raises Unreachable, PopsicleError (fewer groups than splits)."""
    names = sorted(set(groups.groups.values()))
    members = np.searchsorted(names, [groups.groups[run] for run in runs])
    sizes = np.bincount(members)
    counts = np.zeros((len(names), labels.shape[1]))
    np.add.at(counts, members, labels)
    needed = sum(1 for part in wanted.values() if part > 0)
    if len(names) < needed:
        if not groups.by:
            raise PopsicleError(
                f"{len(names)} run{'s' if len(names) > 1 else ''} can't fill {needed} splits", "ask for fewer"
            )
        raise PopsicleError(
            f"{len(names)} group{'s' if len(names) > 1 else ''} by {', '.join(groups.by)} can't fill {needed} splits",
            f"ask for fewer, or tie runs by something else (--group-by {NONE} ties nothing)",
        )
    split_of = _assigned(counts, sizes, list(wanted.values()), seed)[members]
    return {
        name: [run for run, index in zip(runs, split_of.tolist()) if index == place]
        for place, name in enumerate(wanted)
    }


def _assigned(counts: Floats, sizes: Integers, wanted: Sequence[float] | Sequence[int], seed: int) -> Integers:
    if all(isinstance(number, int) for number in wanted):
        return by_sizes(counts, sizes, [int(number) for number in wanted], seed)
    return by_shares(counts, sizes, wanted, seed)


def _labels(runs: Sequence[str], content: Content, known: Known) -> Floats:
    """(R, K) what is to be spread evenly: amounts of each object, the runs that have it, runs without any, each species."""
    present = content.amounts > 0
    columns = [content.amounts, present.astype(float)]
    if len(content.objects):
        columns.append(~present.any(axis=1, keepdims=True) * 1.0)
    species = known.get("species", {})
    names = sorted(set(species.values()))
    if len(names) > 1:
        columns.append(np.array([[float(species.get(run) == name) for name in names] for run in runs]))
    return np.concatenate(columns, axis=1)


def _said(wanted: Mapping[str, float]) -> str:
    return ",".join(f"{name}={number:g}" for name, number in wanted.items())
