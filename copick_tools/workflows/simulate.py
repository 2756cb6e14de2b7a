"""`popsicle simulate`: projects of synthetic tomograms with their truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools.data.project import Project, create_project, project_objects, write_text
from copick_tools.data.tables import read_picks_table
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri
from copick_tools.data.write import has_tomogram, write_picks, write_segmentation, write_tomogram
from copick_tools.errors import NotFoundError, UsageError, nearest
from copick_tools.recipes.load import load_task
from copick_tools.simulate.phantom import Phantom, simulate_phantom
from copick_tools.simulate.settings import PRESETS, PhantomSettings
from copick_tools.types import RunResult
from copick_tools.workflows.runs import each_run, with_splits

USER, SESSION, TOMO_TYPE, SEGMENTATION = "simulation", "0", "wbp", "phantom"
TASK = "phantom-sim"


@dataclass(frozen=True)
class PhantomProject:
    """What to simulate. shape: zyx in voxels. voxel_spacing: angstrom. positions: files or folders of picks, one per run.

    changes: fields of PhantomSettings that differ from the preset.
    """

    runs: int = 8
    shape: tuple[int, int, int] = (64, 256, 256)
    voxel_spacing: float = 10.012
    preset: str = "hard"
    seed: int = 0
    positions: tuple[Path, ...] = ()
    changes: Mapping[str, Any] | None = None

    def settings(self) -> PhantomSettings:
        """The preset with the changes. Raises NotFoundError, UsageError."""
        if self.preset not in PRESETS:
            raise NotFoundError(f"no preset '{self.preset}'", nearest(self.preset, PRESETS))
        return replace(PRESETS[self.preset], **(self.changes or {}))


def simulate(
    out: Path, plan: PhantomProject, workers: int = 1, overwrite: bool = False
) -> tuple[Project, list[str], Iterator[RunResult]]:
    """Make (or go on making) the project ``out``: the project, its runs, and the results as they come.

    The seed of a run depends on ``plan.seed`` and its number alone, so more runs may be added later.
    """
    settings = plan.settings()
    if plan.runs < 1 or min(plan.shape) < 1 or not 0 < plan.voxel_spacing < float("inf"):
        raise UsageError(f"can't simulate {plan.runs} runs of {plan.shape} voxels at {plan.voxel_spacing} angstrom")
    known = [entry.name for entry in load_task(TASK).objects if entry.is_particle]
    for name in settings.counts:
        if name not in known:
            raise NotFoundError(f"no object '{name}' to simulate", nearest(name, known))
    positions = [read_positions(path) for path in plan.positions]
    task = load_task(TASK)
    project = create_project(out, TASK, project_objects(task), task.description)
    names = [f"TS_{number:03d}" for number in range(1, plan.runs + 1)]
    _check_same(project, plan, settings, positions)
    work = partial(_simulate_run, project, plan, settings, positions)
    uri = TomogramUri(TOMO_TYPE, plan.voxel_spacing)
    finished = partial(_is_finished, project, uri, overwrite)
    return project, names, with_splits(project, each_run(names, work, finished, workers, project))


def read_positions(path: Path) -> dict[str, np.ndarray]:
    """Positions (N, 3) xyz in angstrom per object from a file of picks, or from all those in a folder."""
    files = sorted(p for p in path.iterdir() if p.suffix in (".json", ".csv", ".star")) if path.is_dir() else [path]
    if not files:
        raise NotFoundError(f"no picks in {path}", "expected .json (copick), .csv or .star files")
    found: dict[str, list[np.ndarray]] = {}
    for file in files:
        for (_, name), points in read_picks_table(file, run="positions").items():
            found.setdefault(name, []).append(points.positions)
    known = {entry.name for entry in load_task(TASK).objects}
    for name in found:
        if name not in known:
            raise NotFoundError(f"{path} has picks of '{name}', which isn't simulated", nearest(name, known))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _is_finished(project: Project, uri: TomogramUri, overwrite: bool, run: str) -> bool:
    return not overwrite and has_tomogram(project, run, uri)  # the tomogram is written last


def _check_same(
    project: Project, plan: PhantomProject, settings: PhantomSettings, positions: Sequence[Mapping[str, np.ndarray]]
) -> None:
    """Keep the settings beside the project; refuse to mix two simulations in one."""
    path = project.sidecar / "simulation.json"
    document = {
        "preset": plan.preset,
        "seed": plan.seed,
        "shape": list(plan.shape),
        "voxel_spacing": plan.voxel_spacing,
        "positions": [{name: xyz.tolist() for name, xyz in given.items()} for given in positions],
        "settings": asdict(settings),
    }
    text = json.dumps(document, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text and project.run_names:
        raise UsageError(
            f"{project.folder} holds a simulation with other settings", f"see {path}, or choose another --out"
        )
    write_text(path, text)


def _simulate_run(
    project: Project,
    plan: PhantomProject,
    settings: PhantomSettings,
    positions: Sequence[Mapping[str, np.ndarray]],
    run: str,
) -> dict[str, int]:
    number = int(run.rpartition("_")[2]) - 1
    labels = {entry.name: entry.label for entry in load_task(TASK).objects}
    seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    given = positions[number % len(positions)] if positions else None
    phantom = simulate_phantom(plan.shape, plan.voxel_spacing, labels, settings, seed, given)
    _store(project, run, plan.voxel_spacing, phantom, labels)
    ids = {name: np.unique(phantom.instances[phantom.segmentation == label]) for name, label in labels.items()}
    record = {"seed": seed, "instances": {name: found[found > 0].tolist() for name, found in ids.items()}}
    write_text(project.sidecar / "runs" / f"{run}.json", json.dumps(record) + "\n")
    write_tomogram(project, run, TomogramUri(TOMO_TYPE, plan.voxel_spacing), phantom.tomogram)  # last: finished
    return {name: len(points) for name, points in phantom.points.items()}


def _store(project: Project, run: str, spacing: float, phantom: Phantom, labels: Mapping[str, int]) -> None:
    """The truth: segmentations and picks."""
    truth = SegmentationUri(SEGMENTATION, USER, SESSION, spacing, "multilabel")
    write_segmentation(project, run, truth, phantom.segmentation)
    for name, label in labels.items():
        ids = np.where(phantom.segmentation == label, phantom.instances, 0)
        write_segmentation(project, run, SegmentationUri(name, USER, SESSION, spacing, "instance"), ids)
        if name in phantom.points:
            write_picks(project, run, PicksUri(name, USER, SESSION), phantom.points[name])
