"""`popsicle embed`: slices of tomograms encoded by a promptable model, for `segment` to use later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import TomogramUri
from copick_tools.errors import UsageError
from copick_tools.recipes.load import told
from copick_tools.recipes.prompting import Prompting
from copick_tools.recipes.recipe import Recipe
from copick_tools.types import RunResult
from copick_tools.volumes.normalize import Volume
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.pipeline import Stages, in_memory
from copick_tools.workflows.predict import Model
from copick_tools.workflows.prompting import Answering, Asked, encode


@dataclass(frozen=True)
class Embedding:
    """A `pipeline.Task`. checkpoint: whose grid the tomograms are seen on. asked: the model that encodes, and where to.

    settings: ``prompting.KEY=VALUE``; tile and halo count.
    """

    checkpoint: Path
    project: Project
    tomogram: TomogramUri
    asked: Asked
    settings: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises UsageError where there is nothing to encode with or for, FormatError for settings that prompting doesn't take."""
        from copick_tools.training.checkpoint import read_card

        if self.asked.oracle is not None:
            raise UsageError("an oracle doesn't look at images", "popsicle segment takes it as it is")
        self.prompting(read_card(self.checkpoint).recipe)

    def prompting(self, recipe: Recipe) -> Prompting:
        """That of a recipe, with the settings. Raises as `told`."""
        return told(recipe.prompting, self.settings, "prompting")

    def finished(self, run: str) -> bool:
        """Only who looks at the voxels can tell; what is there isn't made again."""
        return False

    def stages(self, device: str) -> Stages:
        """Open the models on a device."""
        model = Model.open(self.checkpoint, device)
        recipe = model.card.recipe.model_copy(update={"prompting": self.prompting(model.card.recipe)})
        place = self.project, model.card.task, None
        answering = Answering.of(model.predictor, self.asked, recipe, place, device)

        def opened(run: str) -> tuple[read.StoredVolume, Volume]:
            stored = read.read_tomogram(self.project, run, self.tomogram)
            return stored, in_memory(stored)

        def compute(run: str, tomogram: tuple[read.StoredVolume, Volume]) -> dict[str, int]:
            return encoded_of(answering, *tomogram)

        return Stages(opened, compute, lambda run, found: found)


def encoded_of(answering: Any, stored: read.StoredVolume, volume: Volume) -> dict[str, int]:
    """How many tiles of a tomogram's slices were encoded now, and were there before."""
    from copick_tools.inference.extract import on_models_grid, said_where

    where = f"run {stored.run}"
    seen, _, _ = on_models_grid(answering.network, volume, stored.voxel_spacing, where)
    with said_where(where):
        made, kept = encode(answering.on(stored, volume), seen)
    return {"encoded": made, "kept": kept}


def embed(task: Embedding, runs: Sequence[str], devices: Sequence[str] = ("auto",)) -> Iterator[RunResult]:
    """Encode all slices of the runs. Raises UsageError for a model that encodes nothing."""
    task.check()
    return on_devices(task, runs, devices)
