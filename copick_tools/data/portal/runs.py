"""Which portal runs a task, or a list of ids, means; and which split each is in."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cryoet_data_portal as cdp

from copick_tools.data.lists import Listed
from copick_tools.data.portal.client import Portal
from copick_tools.data.portal.naming import safe
from copick_tools.errors import NotFoundError, PopsicleError
from copick_tools.recipes.task import Split, Task

log = logging.getLogger("copick_tools")


@dataclass(frozen=True)
class Found:
    """Portal runs by id, the split of each, and the depositions that references come from (none: each dataset's own)."""

    runs: Mapping[int, Any]
    splits: Mapping[int, str | None]
    depositions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ids:
    """What a user asked for by number."""

    datasets: tuple[int, ...] = ()
    depositions: tuple[int, ...] = ()
    runs: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.datasets or self.depositions or self.runs)


def runs_by_id(portal: Portal, ids: Ids) -> Found:
    """The runs of datasets, of depositions, and single runs. Raises NotFoundError: an id that the portal lacks."""
    found: dict[int, Any] = {}
    for run in portal.find_by(cdp.Run, ids.runs, lambda batch: [cdp.Run.id._in(batch)]):
        found[run.id] = run
    _require(ids.runs, found, "run")
    of_datasets = _of_datasets(portal, ids.datasets)
    empty = sorted(set(ids.datasets) - {run.dataset_id for run in of_datasets})
    if empty:
        known = {d.id for d in portal.find_by(cdp.Dataset, empty, lambda batch: [cdp.Dataset.id._in(batch)])}
        _require(empty, known, "dataset")
        log.warning("no runs in portal dataset %s", ", ".join(map(str, empty)))
    found |= {run.id: run for run in of_datasets}
    found |= {run.id: run for run in _of_depositions(portal, ids.depositions)}
    if not found:
        raise NotFoundError("the portal has no runs of these ids", "an empty dataset has nothing to fetch")
    return Found(found, dict.fromkeys(found), ids.depositions)


def runs_of_task(portal: Portal, task: Task, listed: Sequence[Listed] | None) -> Found:
    """The runs of a task. listed: those of its Croissant, which then alone says which there are, and their splits.

    Raises NotFoundError, PopsicleError (runs of the list that the portal lacks).
    """
    if not (task.portal_dataset_ids or task.portal_deposition_ids):
        raise PopsicleError(f"task {task.name} has no data on the portal", "simulated data: popsicle simulate")
    found = _listed(portal, task, listed) if listed is not None else _stated(portal, task)
    if not found.runs:
        raise NotFoundError(f"the portal has no runs of task {task.name}")
    return found


def _stated(portal: Portal, task: Task) -> Found:
    """As the task file says: splits by dataset, or by deposition where it belongs to one split alone."""
    runs: dict[int, Any] = {}
    splits: dict[int, str | None] = {}
    asked: dict[tuple[tuple[int, ...], tuple[int, ...]], list[Any]] = {}
    for name, split in task.splits.items():
        key = (split.portal_dataset_ids, split.portal_deposition_ids)
        if key not in asked:
            asked[key] = _of_split(portal, task, split)
        rows = asked[key]
        label = name if _is_public(task, split) else None
        for run in rows:
            if runs.setdefault(run.id, run) and splits.get(run.id) not in (None, label):
                raise PopsicleError(f"portal run {run.id} is in the splits {splits[run.id]} and {name}")
            splits[run.id] = label
    return Found(runs, splits, task.portal_deposition_ids)


def _is_public(task: Task, split: Split) -> bool:
    """Whether the portal's ids alone say which runs are in the split."""
    others = [other for other in task.splits.values() if other is not split]
    if split.portal_dataset_ids:
        return all(not set(split.portal_dataset_ids) & set(other.portal_dataset_ids) for other in others)
    return all(not set(split.portal_deposition_ids) & set(other.portal_deposition_ids) for other in others)


def _of_split(portal: Portal, task: Task, split: Split) -> list[Any]:
    if split.portal_dataset_ids:
        return _of_datasets(portal, split.portal_dataset_ids)
    found = {run.id: run for run in _deposited(portal, split.portal_deposition_ids)}
    if task.portal_runs:
        named = _named(portal, task)
        if len(named) < sum(map(len, task.portal_runs.values())):
            missing = sum(map(len, task.portal_runs.values())) - len(named)
            log.warning("the portal lacks %d of the runs that task %s names", missing, task.name)
        found |= {run.id: run for run in named}
    return list(found.values())


def _named(portal: Portal, task: Task) -> list[Any]:
    """The runs that the task names."""
    runs = _of_datasets(portal, tuple(task.portal_runs))
    return [run for run in runs if run.name in task.portal_runs[run.dataset_id]]


def _listed(portal: Portal, task: Task, listed: Sequence[Listed]) -> Found:
    """As a published list says: by portal id, by name where it gives none or the portal has renumbered."""
    ids = [entry.portal_run_id for entry in listed if entry.portal_run_id is not None]
    by_id = {run.id: run for run in portal.find_by(cdp.Run, ids, lambda batch: [cdp.Run.id._in(batch)])}
    rest = [entry for entry in listed if not _same(entry, by_id.get(entry.portal_run_id or -1))]
    by_name: dict[str, list[Any]] = {}
    if rest:
        for run in {run.id: run for run in _stated(portal, task).runs.values()}.values():
            by_name.setdefault(run.name, []).append(run)
    runs: dict[int, Any] = {}
    splits: dict[int, str | None] = {}
    missing = []
    for entry in listed:
        run = by_id.get(entry.portal_run_id or -1)
        if not _same(entry, run):
            candidates = by_name.get(entry.name, [])
            run = candidates[0] if len(candidates) == 1 else None
        if run is None:
            missing.append(entry.name)
        else:
            runs[run.id], splits[run.id] = run, entry.split
    if missing:
        raise NotFoundError(
            f"{len(missing)} runs of the list aren't on the portal: {', '.join(missing[:5])}",
            "is the list of this task, and of this portal?",
        )
    return Found(runs, splits, task.portal_deposition_ids)


def _same(entry: Listed, run: Any) -> bool:
    """Whether this is the run that the list means: copick's lists give the id as the name, ours what `run_names` gave."""
    if run is None:
        return False
    plain = safe(run.name)
    return entry.name in (str(run.id), run.name, plain, f"{run.dataset_id}-{plain}", f"{plain}-{run.id}")


def _of_datasets(portal: Portal, ids: Iterable[int]) -> list[Any]:
    return portal.find_by(cdp.Run, ids, lambda batch: [cdp.Run.dataset_id._in(batch)])


def _deposited(portal: Portal, depositions: Sequence[int]) -> list[Any]:
    """Runs with annotations or tomograms of these depositions: one without annotations is a negative."""
    annotated = portal.find_by(cdp.Run, depositions, lambda batch: [cdp.Run.annotations.deposition_id._in(batch)])
    return annotated + portal.find_by(cdp.Run, depositions, lambda batch: [cdp.Run.tomograms.deposition_id._in(batch)])


def _of_depositions(portal: Portal, ids: Sequence[int]) -> list[Any]:
    """Runs of the depositions' datasets, or with annotations or tomograms of them. Raises NotFoundError."""
    found = _deposited(portal, ids)
    found += portal.find_by(cdp.Run, ids, lambda batch: [cdp.Run.dataset.deposition_id._in(batch)])
    if ids and not found:
        known = portal.find_by(cdp.Deposition, ids, lambda batch: [cdp.Deposition.id._in(batch)])
        _require(ids, {deposition.id for deposition in known}, "deposition")
    return found


def _require(wanted: Iterable[int], found: Iterable[int], what: str) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise NotFoundError(
            f"the portal has no {what} {', '.join(map(str, missing))}", "ids are in the addresses of its pages"
        )
