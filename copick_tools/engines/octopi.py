"""Octopi's network (Schwartz et al. 2025; POPSICLE B.3): a residual 3D U-Net from MONAI, trained on dense targets.

The paper's configuration, found by Octopi's model search, is channels (32, 64, 128, 128, 128), strides (2, 2, 1, 1)
and one residual unit: 3,259,333 parameters with 7 classes. The defaults below are those.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator

from copick_tools.data.project import Project
from copick_tools.engines.family import Settings
from copick_tools.engines.registry import settings
from copick_tools.inference.monai import UNet
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.space import Choice, FamilySpace, Number, Values
from copick_tools.training import harness
from copick_tools.training.loop import Progress

Positive = Annotated[int, Field(ge=1)]


class Model(Settings):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar = {"tiny": {"channels": (16, 32, 64, 96), "strides": (2, 2, 2)}}  # 0.52M parameters

    channels: tuple[Positive, ...] = Field((32, 64, 128, 128, 128), min_length=2, description="of each level")
    strides: tuple[Positive, ...] = Field((2, 2, 1, 1), description="between the levels")
    num_res_units: int = Field(1, ge=0, description="residual units per level")
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _lengths(self) -> Model:
        if len(self.strides) != len(self.channels) - 1:
            raise ValueError(
                f"{len(self.channels)} channels need {len(self.channels) - 1} strides, not {len(self.strides)}"
            )
        return self

    @property
    def multiple(self) -> int:
        """The patch must be a multiple of this along each axis."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product


def _levels(words: Values) -> dict[str, tuple[int, ...]]:
    """Octopi's words for a network: channels double ``num_layers`` - 1 times, then stay for ``hidden_layers``."""
    layers, hidden, base = words["num_layers"], words["hidden_layers"], words["base_channel"]
    channels = [base << level for level in range(layers)]
    return {
        "model.channels": (*channels, *channels[-1:] * hidden),
        "model.strides": (2,) * (layers - 1) + (1,) * hidden,
    }


def _words(recipe: Recipe) -> dict[str, int]:
    """A recipe's network in those words; empty where it can't be said in them."""
    model = settings(Model, recipe)
    for values in itertools.product((3, 4), (1, 2), (8, 16, 32)):
        words = dict(zip(("num_layers", "hidden_layers", "base_channel"), values))
        if tuple(_levels(words).values()) == (model.channels, model.strides):
            return words
    return {}


SPACE = FamilySpace(
    {
        "num_layers": Number(low=3, high=4),
        "hidden_layers": Number(low=1, high=2),
        "base_channel": Choice(choices=(8, 16, 32)),
        "model.num_res_units": Number(low=1, high=2),
        "model.dropout": Number(low=0.0, high=0.3),
    },
    _levels,
    _words,
)


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x)."""
    return UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=outputs,
        channels=model.channels,
        strides=model.strides,
        num_res_units=model.num_res_units,
        dropout=model.dropout,
    )


def check(recipe: Recipe) -> None:
    """Raise FormatError or UsageError for settings that can't be trained."""
    harness.check_patch(recipe, settings(Model, recipe).multiple)


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    model = settings(Model, recipe)
    return harness.train(lambda outputs: build(model, outputs), recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict."""
    return harness.load(lambda recipe, outputs: build(settings(Model, recipe), outputs), checkpoint, device)
