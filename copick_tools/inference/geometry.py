"""What networks say beside the classes, so that touching objects are told apart: the last channels of their output."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from copick_tools.recipes.recipe import Recipe
from copick_tools.volumes.decoding import FULL, UNIT, Kind


@dataclass(frozen=True)
class Geometry:
    """kind: see `volumes.decoding`. channels: at the end of the output."""

    kind: Kind
    channels: int

    @property
    def vectors(self) -> bool:
        """Whether the channels are components along (z,) y, x."""
        return self.kind == "flows"

    def activated(self, output: torch.Tensor) -> torch.Tensor:
        """(B, C, …) output of a network, its last channels made distances or probabilities in [0, 1], or flows in [-1, 1]."""
        classes, rest = output[:, : -self.channels], output[:, -self.channels :]
        return torch.cat([classes, self.of(rest) + 0 * rest], dim=1)  # where it isn't finite, so that it stays so

    def of(self, raw: torch.Tensor) -> torch.Tensor:
        """The last channels alone."""
        return raw.clamp(-1, 1) if self.vectors else raw.sigmoid()

    @property
    def outside(self) -> float:
        """What it is where nothing is."""
        return 1.0 if self.kind == "distances" else 0.0

    def in_bytes(self, values: torch.Tensor) -> torch.Tensor:
        """As `volumes.decoding.Maps` holds them."""
        if self.vectors:
            return (values.clamp(-1, 1) * UNIT).round().to(torch.int8)
        return (values.clamp(0, 1) * FULL).round().to(torch.uint8)


CHANNELS: dict[str, int] = {"distances": 2, "flows": 3, "boundary": 1}


def geometry_of(recipe: Recipe) -> Geometry | None:
    """What a recipe's network says beside the classes, None for nothing."""
    kind = recipe.target.kind
    if kind == "distances" or kind == "flows" or kind == "boundary":
        return Geometry(kind, CHANNELS[kind] - (recipe.planar and kind == "flows"))
    return None
