"""DeepFinder's network (Moebel et al. 2021), re-built from the paper: a 3D U-Net without normalization.

Levels of (32, 48, 64) channels, two convolutions in each and four at the bottom; going up, nearest neighbors and a
convolution of 2^3: 903,159 parameters with 7 classes. The defaults below are those. Nothing keeps the scale of what
passes through, so the weights start as in He et al. 2015, made for ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from copick_tools.data.project import Project
from copick_tools.engines.family import Settings
from copick_tools.engines.registry import settings
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import harness
from copick_tools.training.loop import Progress

Positive = Annotated[int, Field(ge=1)]


class Model(Settings):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar = {"tiny": {"features": (16, 24, 32)}}  # 0.23M parameters

    features: tuple[Positive, ...] = Field((32, 48, 64), min_length=2, description="channels of each level")

    @property
    def multiple(self) -> int:
        """The patch must be a multiple of this along each axis."""
        return int(2 ** (len(self.features) - 1))


class Up(nn.Module):
    """Twice the size along each axis: (B, C, z, y, x) to (B, C, 2z, 2y, 2x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An even kernel has no middle: the missing plane is added at the end of each axis."""
        x = functional.pad(functional.interpolate(x, scale_factor=2.0, mode="nearest"), (0, 1) * 3)
        return functional.relu(self.conv(x))


class Network(nn.Module):
    """(B, 1, z, y, x) to logits (B, outputs, z, y, x)."""

    def __init__(self, features: Sequence[int], outputs: int) -> None:
        super().__init__()
        *levels, bottom = features
        self.down = nn.ModuleList(_convolutions(i, o, 2) for i, o in pairwise((1, *levels)))
        self.bottom = _convolutions(levels[-1], bottom, 4)
        self.up = nn.ModuleList(Up(below) for below in features[:0:-1])
        self.join = nn.ModuleList(_convolutions(below + o, o, 2) for o, below in pairwise(features))
        self.head = nn.Conv3d(features[0], outputs, 1)
        self.apply(_start)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        skips = []
        for level in self.down:
            skips.append(level(x))
            x = functional.max_pool3d(skips[-1], 2)
        x = self.bottom(x)
        for up, join in zip(self.up, reversed(self.join)):
            x = join(torch.cat([up(x), skips.pop()], dim=1))
        return self.head(x)


def build(model: Model, outputs: int) -> nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x)."""
    return Network(model.features, outputs)


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


def _convolutions(before: int, after: int, count: int) -> nn.Sequential:
    """``count`` convolutions of 3^3, each with a ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, *[after] * (count - 1)):
        layers += [nn.Conv3d(channels, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
