"""`popsicle simulate phantom`: macromolecules in ice. What it shares with other simulations is in `simulating`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from copick_tools.data.tables import read_picks_table
from copick_tools.errors import NotFoundError, nearest
from copick_tools.recipes.load import load_task
from copick_tools.simulate.phantom import simulate_phantom
from copick_tools.simulate.settings import PRESETS, PhantomSettings
from copick_tools.workflows.simulating import (
    SimulatedRun,
    instance_ids,
    object_instances,
    picks_uri,
    simulate,
    truth_uri,
)

__all__ = ["SEGMENTATION", "TASK", "PhantomProject", "PhantomSimulator", "read_positions", "simulate"]

TASK, SEGMENTATION = "phantom-sim", "phantom"


@dataclass(frozen=True)
class PhantomProject:
    """What to simulate. shape: zyx in voxels. voxel_spacing: angstrom. positions: files or folders of picks, one per run.

    changes: fields of PhantomSettings that differ from the preset.
    """

    task: ClassVar[str] = TASK
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

    def simulator(self) -> PhantomSimulator:
        """Check the settings and read the positions. Raises NotFoundError, UsageError."""
        settings = self.settings()
        known = [entry.name for entry in load_task(TASK).objects if entry.is_particle]
        for name in settings.counts:
            if name not in known:
                raise NotFoundError(f"no object '{name}' to simulate", nearest(name, known))
        return PhantomSimulator(self, settings, [read_positions(path) for path in self.positions])


@dataclass(frozen=True)
class PhantomSimulator:
    """positions: for each run in turn, object -> (N, 3) xyz in angstrom."""

    plan: PhantomProject
    settings: PhantomSettings
    positions: Sequence[Mapping[str, np.ndarray]]

    def document(self) -> dict[str, Any]:
        """All that the runs depend on beside their numbers."""
        return {
            "preset": self.plan.preset,
            "seed": self.plan.seed,
            "shape": list(self.plan.shape),
            "voxel_spacing": self.plan.voxel_spacing,
            "positions": [{name: xyz.tolist() for name, xyz in given.items()} for given in self.positions],
            "settings": asdict(self.settings),
        }

    def run(self, number: int, seed: int) -> SimulatedRun:
        """Tomogram, picks, labels, and the instances of each object."""
        labels = {entry.name: entry.label for entry in load_task(TASK).objects}
        spacing = self.plan.voxel_spacing
        given = self.positions[number % len(self.positions)] if self.positions else None
        made = simulate_phantom(self.plan.shape, spacing, labels, self.settings, seed, given)
        whole = [(truth_uri(SEGMENTATION, spacing, "multilabel"), made.segmentation)]
        return SimulatedRun(
            tomogram=made.tomogram,
            segmentations=chain(whole, object_instances(made.segmentation, made.instances, labels, spacing)),
            instances=instance_ids(made.segmentation, made.instances, labels),
            counts={name: len(points) for name, points in made.points.items()},
            picks={picks_uri(name): points for name, points in made.points.items()},
        )


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
