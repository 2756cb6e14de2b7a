"""What `segment` and `localize` share: a checkpoint applied to one tomogram."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.engines import registry
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.recipe import Pick
from copick_tools.types import Points
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.particles import Filter, picks
from copick_tools.volumes.resample import labels_onto, resample

if TYPE_CHECKING:
    from copick_tools.training.checkpoint import Card

log = logging.getLogger("copick_tools")
SPACING_TOLERANCE = 0.01  # relative; beyond it the input is resampled


@dataclass(frozen=True)
class Model:
    """A checkpoint, ready: its predictor, its card, and how its probabilities become labels and picks."""

    predictor: Any
    card: Card
    pick: Pick

    @classmethod
    def open(cls, checkpoint: Path, device: str = "auto", **overrides: float | None) -> Model:
        """overrides: fields of `Pick` (threshold, min_score, min_volume) that replace the recipe's, None to keep them.

        Raises NotFoundError, FormatError, UsageError.
        """
        from copick_tools.training.checkpoint import read_card

        card = read_card(checkpoint)
        given = {key: value for key, value in overrides.items() if value is not None}
        for key in given.keys() - {"min_volume"}:
            if not 0 <= given[key] <= 1:
                raise UsageError(f"--{key.replace('_', '-')} {given[key]} isn't between 0 and 1")
        return cls(registry.load(checkpoint, device), card, card.recipe.pick.model_copy(update=given))


@dataclass(frozen=True)
class Prediction:
    """labels uint8 and certainty float16 (probability of the voxel's label), zyx. voxel_spacing, origin: angstrom."""

    labels: np.ndarray
    certainty: np.ndarray
    voxel_spacing: float
    origin: float

    def on_grid(self, voxel_spacing: float, shape: tuple[int, ...]) -> np.ndarray:
        """The labels on the grid of the tomogram that was predicted."""
        if self.labels.shape == shape and self.voxel_spacing == voxel_spacing:
            return self.labels
        return labels_onto(self.labels, self.voxel_spacing / voxel_spacing, shape)

    def points(self, model: Model) -> dict[str, Points]:
        """Picks of every particle that the model knows."""
        from copick_tools.training.validation import particles

        wanted = particles(model.card.task.targets, model.card.recipe)
        if not wanted:
            raise UsageError(f"the model of task {model.card.task.name} segments compartments: use popsicle segment")
        keep = Filter(model.pick.min_volume, model.pick.min_score)
        return picks(self.labels, self.certainty, wanted, self.voxel_spacing, keep, self.origin)


def predict(model: Model, volume: Volume, voxel_spacing: float, where: str) -> Prediction:
    """Predict a zyx volume of ``voxel_spacing`` angstrom, resampled first if the model was trained at another spacing.

    where: names the tomogram in messages. Raises PopsicleError for constant or non-finite voxels.
    """
    from copick_tools.inference.extract import label_volume

    trained, origin = model.predictor.voxel_spacing, 0.0
    if abs(voxel_spacing / trained - 1) > SPACING_TOLERANCE:
        log.info("%s: resampled from %g to the model's %g A per voxel", where, voxel_spacing, trained)
        volume, origin = resample(np.asarray(volume[:, :, :]), voxel_spacing, trained)
        voxel_spacing = trained
    z, y, x = volume.shape
    labels = list(model.predictor.objects.values())
    try:
        found, certainty = label_volume(model.predictor.slabs(volume), (z, y, x), labels, model.pick.threshold)
    except ValueError as error:
        raise PopsicleError(f"{where}: {error}") from error
    return Prediction(found, certainty, voxel_spacing, origin)
