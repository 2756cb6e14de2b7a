"""Projects of synthetic tomograms with their truth: what all kinds of simulation share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from copick_tools.data.project import Project, create_project, project_objects, write_text
from copick_tools.data.uris import Kind, PicksUri, SegmentationUri, TomogramUri
from copick_tools.data.write import has_tomogram, write_picks, write_segmentation, write_tomogram
from copick_tools.errors import UsageError
from copick_tools.recipes.load import load_task
from copick_tools.types import Floats, Points, RunResult
from copick_tools.workflows.runs import each_run, with_splits

USER, SESSION, TOMO_TYPE = "simulation", "0", "wbp"


@dataclass(frozen=True)
class SimulatedRun:
    """What a run gets. Volumes are zyx of equal shape.

    segmentations: where to, and labels (panoptic: (2, z, y, x) labels and instance ids), made one after the other.
    picks: of objects that have some.
    instances: object -> its instance ids, for the record.
    counts: object -> how many there are, for the command.
    """

    tomogram: Floats
    segmentations: Iterable[tuple[SegmentationUri, np.ndarray]]
    instances: Mapping[str, list[int]]
    counts: Mapping[str, int]
    picks: Mapping[PicksUri, Points] = field(default_factory=dict)


class Simulator(Protocol):
    """A kind of simulation with all its settings; pickles, so it can go to worker processes."""

    def document(self) -> dict[str, Any]:
        """All that the runs depend on beside their numbers: .popsicle/simulation.json."""

    def run(self, number: int, seed: int) -> SimulatedRun:
        """The run ``number``, counted from 0; the same arguments give the same bytes."""


class SimulationPlan(Protocol):
    """What to simulate. task: the name of its task. shape: zyx in voxels. voxel_spacing: angstrom."""

    @property
    def task(self) -> str: ...

    @property
    def runs(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def voxel_spacing(self) -> float: ...

    @property
    def seed(self) -> int: ...

    def simulator(self) -> Simulator:
        """Check everything and get ready. Raises NotFoundError, UsageError."""


def simulate(
    out: Path, plan: SimulationPlan, workers: int = 1, overwrite: bool = False
) -> tuple[Project, list[str], Iterator[RunResult]]:
    """Make (or go on making) the project ``out``: the project, its runs, and the results as they come.

    The seed of a run depends on ``plan.seed`` and its number alone, so more runs may be added later.
    """
    if plan.runs < 1 or min(plan.shape) < 1 or not 0 < plan.voxel_spacing < float("inf"):
        raise UsageError(f"can't simulate {plan.runs} runs of {plan.shape} voxels at {plan.voxel_spacing} angstrom")
    simulator = plan.simulator()
    task = load_task(plan.task)
    project = create_project(out, plan.task, project_objects(task), task.description)
    names = [f"TS_{number:03d}" for number in range(1, plan.runs + 1)]
    _check_same(project, simulator)
    uri = TomogramUri(TOMO_TYPE, plan.voxel_spacing)
    work = partial(_simulate_run, project, simulator, plan.seed, uri)
    finished = partial(_is_finished, project, uri, overwrite)
    return project, names, with_splits(project, each_run(names, work, finished, workers, project))


def _is_finished(project: Project, uri: TomogramUri, overwrite: bool, run: str) -> bool:
    return not overwrite and has_tomogram(project, run, uri)  # the tomogram is written last


def _check_same(project: Project, simulator: Simulator) -> None:
    """Keep the settings beside the project; refuse to mix two simulations in one."""
    path = project.sidecar / "simulation.json"
    text = json.dumps(simulator.document(), indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text and project.run_names:
        raise UsageError(
            f"{project.folder} holds a simulation with other settings", f"see {path}, or choose another --out"
        )
    write_text(path, text)


def _simulate_run(project: Project, simulator: Simulator, seed: int, uri: TomogramUri, run: str) -> dict[str, int]:
    number = int(run.rpartition("_")[2]) - 1
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    made = simulator.run(number, own_seed)
    for segmentation, labels in made.segmentations:
        write_segmentation(project, run, segmentation, labels)
    for picks, points in made.picks.items():
        write_picks(project, run, picks, points)
    record = {"seed": own_seed, "instances": made.instances}
    write_text(project.sidecar / "runs" / f"{run}.json", json.dumps(record) + "\n")
    write_tomogram(project, run, uri, made.tomogram)  # last: finished
    return dict(made.counts)


def truth_uri(name: str, voxel_spacing: float, kind: Kind) -> SegmentationUri:
    """Where a segmentation of the truth goes. voxel_spacing: angstrom."""
    return SegmentationUri(name, USER, SESSION, voxel_spacing, kind)


def picks_uri(name: str) -> PicksUri:
    """Where picks of the truth go."""
    return PicksUri(name, USER, SESSION)


def object_instances(
    segmentation: np.ndarray, instances: np.ndarray, labels: Mapping[str, int], voxel_spacing: float
) -> Iterator[tuple[SegmentationUri, np.ndarray]]:
    """One instance segmentation zyx after the other, for each object. voxel_spacing: angstrom."""
    for name, label in labels.items():
        yield truth_uri(name, voxel_spacing, "instance"), np.where(segmentation == label, instances, 0)


def instance_ids(segmentation: np.ndarray, instances: np.ndarray, labels: Mapping[str, int]) -> dict[str, list[int]]:
    """Object -> its ids in ``instances`` (zyx)."""
    found = {name: np.unique(instances[segmentation == label]) for name, label in labels.items()}
    return {name: ids[ids > 0].tolist() for name, ids in found.items()}
