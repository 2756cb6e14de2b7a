"""`popsicle localize`: the tomograms of a project straight to picks with scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, TomogramUri
from copick_tools.data.write import has_picks, write_picks
from copick_tools.errors import NotFoundError, UsageError, nearest
from copick_tools.recipes import picking
from copick_tools.recipes.rules import particles
from copick_tools.types import RunResult
from copick_tools.volumes.extraction import Found
from copick_tools.volumes.normalize import Volume
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.instances import clear_instances, has_instances, write_instances
from copick_tools.workflows.pipeline import Stages, in_memory
from copick_tools.workflows.predict import Model, Options
from copick_tools.workflows.where import Where, allowed, find_excluded, find_sample

if TYPE_CHECKING:
    from copick_tools.inference.extract import MakeSample, Prediction

Tomogram = tuple[
    read.StoredVolume, Volume, "MakeSample | None"
]  # where it is stored, what was read, where the sample is


@dataclass(frozen=True)
class Localizing:
    """A checkpoint, the tomograms to look at and where to write; a `pipeline.Task`.

    output: its object may be ``*``. instances: also write which voxels are of which pick, beside each pick set.
    """

    checkpoint: Path
    project: Project
    tomogram: TomogramUri
    output: PicksUri
    options: Options = Options()
    where: Where = Where()
    instances: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raises NotFoundError for an object that the model or the project doesn't know, UsageError."""
        self.where.check()
        if not self.outputs:
            raise UsageError("the model segments compartments: use popsicle segment")

    def finished(self, run: str) -> bool:
        """Whether all outputs of a run are there."""
        if self.overwrite:
            return False
        outputs = self.outputs.values()
        if not all(has_picks(self.project, run, uri) for uri in outputs):
            return False
        return not self.instances or all(has_instances(self.project, run, uri) for uri in outputs)

    def stages(self, device: str) -> Stages:
        """Open the checkpoint on a device."""
        opened = Opened(self, Model.open(self.checkpoint, device, self.options))
        return Stages(opened.read, opened.compute, opened.finish)

    @cached_property
    def outputs(self) -> dict[str, PicksUri]:
        """The pick sets to write, by object. Raises NotFoundError for one that the model or the project doesn't know."""
        from copick_tools.training.checkpoint import read_card

        card, output = read_card(self.checkpoint), self.output
        known = [particle.name for particle in particles(card.task, card.recipe.target)]
        if output.object != "*" and output.object not in known:
            raise NotFoundError(f"the model doesn't know '{output.object}'", nearest(output.object, known))
        chosen = known if output.object == "*" else [output.object]
        return {self.project.object(name).name: PicksUri(name, output.user, output.session) for name in chosen}


def localize(task: Localizing, runs: Sequence[str], devices: Sequence[str] = ("auto",)) -> Iterator[RunResult]:
    """Write one pick set per object and run, an empty one where nothing is found. A result's value counts the picks.

    Raises NotFoundError for an object that the model or the project doesn't know, UsageError.
    """
    task.check()
    return on_devices(task, runs, devices, task.project)


@dataclass(frozen=True)
class Opened:
    """The stages, on one device."""

    task: Localizing
    model: Model

    def read(self, run: str) -> Tomogram:
        stored = read.read_tomogram(self.task.project, run, self.task.tomogram)
        find_excluded(self.task.project, run, self.task.where)  # a typo should cost no prediction
        sample = find_sample(self.task.project, run, self.task.where)
        return stored, in_memory(stored), sample

    def compute(self, run: str, tomogram: Tomogram) -> tuple[read.StoredVolume, Prediction]:
        stored, volume, sample = tomogram
        wanted = self.model.for_picks
        return stored, self.model.predict(volume, stored.voxel_spacing, f"run {run}", wanted=wanted, sample=sample)

    def found(self, run: str, prediction: Prediction) -> tuple[dict[str, Found], picking.Grid]:
        """The picks of a run by object, and the grid that they are on."""
        grid = picking.Grid(prediction.shape, prediction.voxel_spacing, prediction.origin)
        every = self.model.candidates(prediction)
        kept = allowed(self.task.project, run, self.task.where, every, grid, prediction.sample)
        return {name: kept[name] for name in self.task.outputs}, grid

    def finish(self, run: str, predicted: tuple[read.StoredVolume, Prediction]) -> dict[str, int]:
        """Picks come before instances: both are there only if they agree."""
        stored, prediction = predicted
        found, grid = self.found(run, prediction)
        project, numbered = self.task.project, self.task.instances
        for name, uri in self.task.outputs.items():
            clear_instances(project, run, uri)
            write_picks(project, run, uri, picking.points(found[name], grid, numbered=numbered))
        for name, uri in self.task.outputs.items() if numbered else ():
            volume = self.model.instances(prediction, {name: found[name]})
            write_instances(project, uri, volume, len(found[name]), grid, stored)
        return {name: len(found[name]) for name in self.task.outputs}
