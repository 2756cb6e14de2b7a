"""What `segment` and `localize` share: a checkpoint applied to one tomogram."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copick_tools.engines import registry
from copick_tools.errors import UsageError
from copick_tools.recipes.recipe import Pick
from copick_tools.recipes.rules import particles
from copick_tools.types import Points
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.particles import Filter, picks

if TYPE_CHECKING:
    from copick_tools.inference.extract import Prediction
    from copick_tools.training.checkpoint import Card


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

    def predict(self, volume: Volume, voxel_spacing: float, where: str) -> Prediction:
        """See `inference.extract.predict`."""
        from copick_tools.inference.extract import predict

        return predict(self.predictor, volume, voxel_spacing, self.pick.threshold, where)

    def points(self, volume: Volume, voxel_spacing: float, where: str) -> dict[str, Points]:
        """Picks of every particle that the model knows, xyz in angstrom of the volume as it was given."""
        wanted = particles(self.card.task, self.card.recipe.target)
        if not wanted:
            raise UsageError(f"the model of task {self.card.task.name} segments compartments: use popsicle segment")
        found = self.predict(volume, voxel_spacing, where)
        keep = Filter(self.pick.min_volume, self.pick.min_score)
        return picks(found.labels, found.certainty, wanted, found.voxel_spacing, keep, found.origin)
