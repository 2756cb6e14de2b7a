"""What `popsicle fetch` will bring from the portal: runs, their tomograms, their annotations."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copick_tools.data.plan import RunPlan
from copick_tools.data.portal.choose import Wanted
from copick_tools.data.portal.client import BATCH, Portal
from copick_tools.data.portal.naming import natural, object_name, run_names
from copick_tools.data.portal.planning import Target, plan_run
from copick_tools.data.portal.records import describe_runs, describe_sources
from copick_tools.data.portal.runs import Found, Ids, Listed, runs_by_id, runs_of_task
from copick_tools.data.project import ProjectObject, open_project, project_objects
from copick_tools.data.provenance import known_runs
from copick_tools.data.uris import names_segmentation, picks_uri, segmentation_uri
from copick_tools.errors import NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.recipes.provenance import Source, SourceDataset
from copick_tools.recipes.task import Task
from copick_tools.types import RunResult
from copick_tools.workflows.fetch import FetchPlan
from copick_tools.workflows.importing import PALETTE

log = logging.getLogger("copick_tools")


@dataclass(frozen=True)
class Request:
    """What is asked for: a task, or ids. objects: names, of the task's. radii: angstrom per object, without a task."""

    task: Task | None = None
    ids: Ids = Ids()
    objects: tuple[str, ...] = ()
    tomo_type: str | None = None
    voxel_spacing: float | None = None
    split: str | None = None
    runs: tuple[str, ...] = ()
    limit: int | None = None
    radii: Mapping[str, float] | None = None


def plan_portal(request: Request, out: Path, portal: Portal, listed: Sequence[Listed] | None = None) -> FetchPlan:
    """Ask the portal, and choose. Nothing is written.

    listed: the runs and splits of a Croissant, which then alone count.

    Raises UsageError, NotFoundError (an id, split, run or object that isn't there), PopsicleError.
    """
    task = request.task
    found = runs_of_task(portal, task, listed) if task else runs_by_id(portal, request.ids)
    rows = sorted(found.runs.values(), key=lambda run: _order(task, found, run))
    names = run_names(((run.id, run.dataset_id, run.name) for run in rows), _known_names(out))
    if task is not None and listed is None:
        _compare_with_stated(task, found, request.split)
    chosen = _chosen(request, rows, found, names)
    _tell_renamed(chosen, names)
    datasets, depositions = describe_sources(portal, {run.dataset_id for run in chosen}, found.depositions)
    target = _target(request, found)
    outcome = _plan_all(portal, chosen, found, names, target, datasets)
    if task is None:
        _require_objects(request, outcome)
    return FetchPlan(
        name=task.name if task else "portal",
        description=task.title if task else "fetched from the CryoET Data Portal",
        source=Source(
            kind="portal", task=task.name if task else None, url=portal.url, datasets=datasets, depositions=depositions
        ),
        objects=tuple(project_objects(task) if task else _project_objects(outcome.met, request.radii or {}, out)),
        runs=tuple(outcome.plans),
        refused=tuple(outcome.refused),
    )


def _compare_with_stated(task: Task, found: Found, split: str | None) -> None:
    """Say where the portal has another number of runs than the paper states."""
    counts = Counter(found.splits.values())
    odd = [
        f"{name} {counts[name]} of {entry.runs}"
        for name, entry in task.splits.items()
        if entry.runs is not None and counts[name] not in (0, entry.runs) and split in (None, name)
    ]
    if odd:
        log.warning("the portal has other numbers of runs than task %s states: %s", task.name, ", ".join(odd))


def _tell_renamed(runs: Sequence[Any], names: Mapping[int, str]) -> None:
    """Say which runs are called otherwise than on the portal."""
    renamed = [f"{run.name!r} is {names[run.id]}" for run in runs if run.name != names[run.id]]
    if renamed:
        more = f" … ({len(renamed)} in all)" if len(renamed) > 3 else ""
        log.info("runs called otherwise than on the portal: %s%s", ", ".join(renamed[:3]), more)


def _order(task: Task | None, found: Found, run: Any) -> tuple[int, int, Any]:
    """By split as the task orders them, by dataset, by name."""
    splits = list(task.splits) if task else []
    split = found.splits.get(run.id)
    return splits.index(split) if split in splits else len(splits), run.dataset_id, natural(run.name)


def _known_names(out: Path) -> dict[int, str]:
    """What runs are called that are in the project already."""
    return known_runs(out) if (out / "copick.json").is_file() else {}


def _chosen(request: Request, rows: list[Any], found: Found, names: Mapping[int, str]) -> list[Any]:
    """The runs of the split, those named, the first few."""
    chosen = rows
    if request.split is not None:
        splits = {split for split in found.splits.values() if split}
        if request.split not in splits:
            raise NotFoundError(f"no split '{request.split}' is known", _split_hint(request, splits))
        chosen = [run for run in chosen if found.splits.get(run.id) == request.split]
    if request.runs:
        called = {run.id: {run.name, names[run.id], str(run.id)} for run in chosen}
        known = set().union(*called.values())
        for name in request.runs:
            if name not in known:
                raise NotFoundError(f"no run '{name}' to fetch", nearest(name, known))
        chosen = [run for run in chosen if called[run.id] & set(request.runs)]
    return chosen[: request.limit]


def _split_hint(request: Request, splits: set[str]) -> str:
    if splits or request.task is None:
        return (
            nearest(str(request.split), splits)
            if splits
            else "only tasks and Croissants have splits; popsicle split makes some"
        )
    if request.split in request.task.splits:
        return "which runs are in it stands only in the suite's Croissant: give it with --croissant URL|PATH"
    return nearest(str(request.split), request.task.splits)


def _target(request: Request, found: Found) -> Target:
    task = request.task
    only = tuple(object_name(name) for name in request.objects)
    if task is None:
        wanted = Wanted(None, only, request.tomo_type, request.voxel_spacing, (), found.depositions)
        return Target(wanted)
    known = [entry.name for entry in task.objects]
    for name in only:
        if name not in known:
            raise NotFoundError(f"task {task.name} has no object '{name}'", nearest(name, known))
    wanted = Wanted(
        task.objects,
        only,
        request.tomo_type,
        request.voxel_spacing or task.voxel_spacing,
        task.tomo_types,
        found.depositions,
        "masks" if names_segmentation(task.reference) else "points",
    )
    labels = {entry.name: entry.label for entry in task.objects}
    if names_segmentation(task.reference):
        uri = segmentation_uri(task.reference)
        return Target(wanted, uri.user, uri.session, uri.name if uri.kind == "multilabel" else None, labels)
    picks = picks_uri(task.reference)
    return Target(wanted, picks.user, picks.session, None, labels)


@dataclass(frozen=True)
class _Met:
    """An object that a plan brings. particle: it has points."""

    name: str
    identifier: str | None
    particle: bool


@dataclass
class _Outcome:
    """Plans of runs, those that can't be planned, the objects that plans bring, and the names of all there are."""

    plans: list[RunPlan] = field(default_factory=list)
    refused: list[RunResult] = field(default_factory=list)
    met: dict[str, _Met] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)

    def add(self, plan: RunPlan) -> None:
        """A plan, and the objects that it brings."""
        self.plans.append(plan)
        for annotation in plan.record.annotations:
            before = self.met.get(annotation.object)
            self.met[annotation.object] = _Met(
                annotation.object,
                before.identifier if before else annotation.portal_object_id,
                "Point" in annotation.shape_type or bool(before and before.particle),
            )


def _plan_all(
    portal: Portal,
    runs: Sequence[Any],
    found: Found,
    names: Mapping[int, str],
    target: Target,
    datasets: Iterable[SourceDataset],
) -> _Outcome:
    """Plan all runs. Fifty at a time are in memory."""
    deposition = {dataset.id: dataset.deposition_id for dataset in datasets}
    outcome = _Outcome()
    for start in range(0, len(runs), BATCH):
        for rows in describe_runs(portal, runs[start : start + BATCH]):
            name, split = names[rows.run.id], found.splits.get(rows.run.id)
            outcome.there |= {object_name(entry.annotation.object_name or "") for entry in rows.annotations}
            try:
                outcome.add(plan_run(rows, name, split, target, deposition.get(rows.run.dataset_id)))
            except PopsicleError as error:
                outcome.refused.append(RunResult(name, "failed", error.message, error.hint))
    return outcome


def _require_objects(request: Request, outcome: _Outcome) -> None:
    """Without a task the portal alone knows what objects there are."""
    for name in map(object_name, (*request.objects, *(request.radii or {}))):
        if name not in outcome.met:
            raise NotFoundError(f"no annotation of '{name}' in these runs", nearest(name, outcome.there))


def _project_objects(met: Mapping[str, _Met], radii: Mapping[str, float], out: Path) -> list[ProjectObject]:
    """Objects in the order of their names; those that the project has keep their labels."""
    known = open_project(out).objects if (out / "copick.json").is_file() else {}
    free = iter(sorted(set(range(1, 255)) - {entry.label for entry in known.values()}))
    objects = []
    for name in sorted(met):
        if name in known and name not in radii:
            objects.append(known[name])
            continue
        label = known[name].label if name in known else next(free, None)
        if label is None:
            raise UsageError(f"{len(met)} objects are more than there are labels (254)", "choose some with --objects")
        color = (*PALETTE[(label - 1) % len(PALETTE)], 255)
        objects.append(ProjectObject(name, label, radii.get(name), met[name].particle, color, met[name].identifier))
    sizeless = [entry.name for entry in objects if entry.is_particle and entry.radius is None]
    if sizeless:
        log.info("no radius is known of %s: --radius OBJECT=ANGSTROM", ", ".join(sizeless))
    return objects
