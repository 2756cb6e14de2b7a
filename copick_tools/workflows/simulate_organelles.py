"""`popsicle simulate organelles`: vesicles, mitochondria, networks and bacteria, each with an id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from copick_tools.errors import NotFoundError, nearest
from copick_tools.recipes.load import load_task
from copick_tools.simulate.organelles import ORGANELLE_PRESETS, OrganelleSettings, simulate_organelles
from copick_tools.workflows.simulating import SimulatedRun, instance_ids, object_instances, truth_uri

TASK, SEGMENTATION = "organelle-sim", "organelles"
GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly over the unit interval


@dataclass(frozen=True)
class OrganelleProject:
    """What to simulate. shape: zyx in voxels. voxel_spacing: angstrom.

    changes: fields of OrganelleSettings that differ from the preset.
    """

    task: ClassVar[str] = TASK
    runs: int = 13
    shape: tuple[int, int, int] = (48, 160, 160)
    voxel_spacing: float = 20.0
    preset: str = "hard"
    seed: int = 0
    changes: Mapping[str, Any] | None = None

    def settings(self) -> OrganelleSettings:
        """The preset with the changes. Raises NotFoundError, UsageError."""
        if self.preset not in ORGANELLE_PRESETS:
            raise NotFoundError(f"no preset '{self.preset}'", nearest(self.preset, ORGANELLE_PRESETS))
        return replace(ORGANELLE_PRESETS[self.preset], **(self.changes or {}))

    def simulator(self) -> OrganelleSimulator:
        """Check the settings. Raises NotFoundError, UsageError."""
        settings = self.settings()
        settings.check_spacing(self.voxel_spacing)
        return OrganelleSimulator(self, settings)


@dataclass(frozen=True)
class OrganelleSimulator:
    """Makes runs of a plan."""

    plan: OrganelleProject
    settings: OrganelleSettings

    def document(self) -> dict[str, Any]:
        """All that the runs depend on beside their numbers."""
        return {
            "simulation": SEGMENTATION,
            "preset": self.plan.preset,
            "seed": self.plan.seed,
            "shape": list(self.plan.shape),
            "voxel_spacing": self.plan.voxel_spacing,
            "settings": asdict(self.settings),
        }

    def run(self, number: int, seed: int) -> SimulatedRun:
        """Tomogram; panoptic and multilabel truth; and the instances of each object."""
        labels = {entry.name: entry.label for entry in load_task(TASK).objects}
        spacing = self.plan.voxel_spacing
        has_bacterium = number * GOLDEN % 1 < self.settings.bacterium  # a fraction of the runs, spread evenly
        shown = replace(self.settings, bacterium=float(has_bacterium))
        made = simulate_organelles(self.plan.shape, spacing, labels, shown, seed)
        whole = [
            (truth_uri(SEGMENTATION, spacing, "panoptic"), np.stack([made.segmentation, made.instances])),
            (truth_uri(SEGMENTATION, spacing, "multilabel"), made.segmentation),
        ]
        ids = instance_ids(made.segmentation, made.instances, labels)
        return SimulatedRun(
            tomogram=made.tomogram,
            segmentations=chain(whole, object_instances(made.segmentation, made.instances, labels, spacing)),
            instances=ids,
            counts={name: len(found) for name, found in ids.items()},
        )
