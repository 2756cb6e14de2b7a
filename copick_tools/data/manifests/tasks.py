"""A benchmark task as a manifest without data: what it is made of, as far as that is public."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.document import CC0, About
from copick_tools.data.manifests.origin import PORTAL, SUITE, TOMOGRAPHY, USES
from copick_tools.data.portal.naming import run_names
from copick_tools.data.project import create_project, project_objects
from copick_tools.errors import UsageError
from copick_tools.recipes.task import Task


def empty_root(task: Task, folder: Path) -> Any:
    """A copick project of the task's objects and public runs, without data, at ``folder``."""
    root = create_project(folder, task.name, project_objects(task), task.description).root
    for name in public_runs(task):
        root.new_run(name)
    return root


def public_runs(task: Task) -> dict[str, tuple[int, str]]:
    """Name -> portal dataset id and name of every run that is public; they are called as `fetch` would call them."""
    runs = [(dataset, run) for dataset, names in sorted(task.portal_runs.items()) for run in names]
    called = run_names((number, dataset, run) for number, (dataset, run) in enumerate(runs))
    return {called[number]: run for number, run in enumerate(runs)}


def public_splits(task: Task) -> dict[str, list[str]]:
    """The runs of each split, as far as their dataset alone tells it."""
    of = _split_of_dataset(task)
    splits: dict[str, list[str]] = {}
    for name, (dataset, _) in public_runs(task).items():
        if dataset in of:
            splits.setdefault(of[dataset], []).append(name)
    return splits


def task_tables(task: Task) -> t.Tables:
    """Our tables of a task."""
    datasets = {*task.portal_dataset_ids, *task.portal_runs}
    depositions = set(task.portal_deposition_ids)
    for split in task.splits.values():
        datasets |= set(split.portal_dataset_ids)
        depositions |= set(split.portal_deposition_ids)
    return {
        t.PORTAL_RUNS: [
            {"run": name, "portal_dataset_id": str(dataset), "portal_run_id": "", "portal_run_name": run}
            for name, (dataset, run) in sorted(public_runs(task).items())
        ],
        t.PORTAL_DATASETS: [
            {"id": str(number), "title": "", "url": f"{PORTAL}/datasets/{number}", "license": CC0}
            for number in sorted(datasets)
        ],
        t.PORTAL_DEPOSITIONS: [
            {"id": str(number), "title": "", "url": f"{PORTAL}/depositions/{number}"} for number in sorted(depositions)
        ],
        t.TASK_SPLITS: _split_rows(task),
        t.TASK_OBJECTS: _object_rows(task),
    }


def _split_of_dataset(task: Task) -> dict[int, str]:
    """The split of each dataset that lies in one split only."""
    of: dict[int, list[str]] = {}
    for name, split in task.splits.items():
        for dataset in split.portal_dataset_ids:
            of.setdefault(dataset, []).append(name)
    return {dataset: names[0] for dataset, names in of.items() if len(names) == 1}


def _split_rows(task: Task) -> list[t.Row]:
    from copick.impl.mlcroissant import STANDARD_SPLIT_URIS

    return [
        {
            "split": name,
            "role": split.role,
            "runs": "" if split.runs is None else str(split.runs),
            "portal_dataset_ids": _ids(split.portal_dataset_ids),
            "portal_deposition_ids": _ids(split.portal_deposition_ids),
            "url": STANDARD_SPLIT_URIS.get(name, ""),
        }
        for name, split in task.splits.items()
    ]


def _ids(numbers: Iterable[int]) -> str:
    return ";".join(str(number) for number in numbers)


def _object_rows(task: Task) -> list[t.Row]:
    return [
        {
            "name": o.name,
            "label": str(o.label),
            "color": ";".join(str(channel) for channel in o.color),
            "radius": "" if o.radius is None else str(o.radius),
            "weight": str(o.weight),
            "is_particle": str(o.is_particle).lower(),
            "target": str(o.target).lower(),
            "shape": o.shape,
            "portal_object_name": o.portal_object_name or "",
            "portal_object_id": o.portal_object_id or "",
        }
        for o in sorted(task.objects, key=lambda o: o.label)
    ]


def about_task(task: Task, date: str) -> About:
    """What the manifest of a portal task says of itself. Raises UsageError for a simulated task."""
    if task.simulated:
        raise UsageError(
            f"task {task.name} is simulated", "simulate a project, then build the manifest of that: -c PROJECT"
        )
    deposited = ", ".join(f"CZCDP-{number}" for number in task.portal_deposition_ids)
    return About(
        name=task.name,
        description=f"{task.title}. {task.description}",
        license=CC0,
        date=date,
        data="none",
        cite_as=SUITE + (f"; CryoET Data Portal deposition {deposited}" if deposited else ""),
        rai={
            "dataCollection": [task.description],
            "dataCollectionType": ["cryo-electron tomography"],
            "dataAnnotationProtocol": [f"as stated by {task.source}; the portal states method and status of each file"],
            "dataLimitations": [
                TOMOGRAPHY,
                "expert annotation: label noise, and conventions that differ between datasets",
                *task.notes,
            ],
            "dataBiases": [f"runs of each split: {_sizes(task)}; objects are unequally frequent"],
            "dataUseCases": [USES, *(f"{name}: {split.role}" for name, split in task.splits.items())],
        },
        task={
            "name": task.name,
            "kind": task.kind,
            "source": task.source,
            "voxel_spacing": task.voxel_spacing,
            "tomo_types": list(task.tomo_types),
            "reference": task.reference,
            **({"croissant": task.croissant} if task.croissant else {}),
            "metric": task.metric.model_dump(mode="json"),
        },
    )


def _sizes(task: Task) -> str:
    return ", ".join(f"{name} {'?' if s.runs is None else s.runs}" for name, s in task.splits.items())
