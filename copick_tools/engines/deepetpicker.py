"""DeepETPicker's network (Liu et al. 2024), re-built from the paper: a residual 3D U-Net that knows where in its patch it is.

Levels of (24, 48, 72, 108) channels. Each block is told the position in the patch (three coordinates, Liu et al. 2018),
each level of the encoder the input at its size (an image pyramid): 2,429,995 parameters with 7 classes. The defaults
below are those. As the coordinates count from the patch's middle, inference keeps the patch of training.
"""

from __future__ import annotations

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

    presets: ClassVar = {"tiny": {"features": (12, 24, 36, 54)}}  # 0.61M parameters

    features: tuple[Positive, ...] = Field((24, 48, 72, 108), min_length=2, description="channels of each level")
    coordinates: bool = Field(True, description="tell each block the position in the patch")
    pyramid: bool = Field(True, description="tell each level of the encoder the input at its size")

    @property
    def multiple(self) -> int:
        """The patch must be a multiple of this along each axis."""
        return int(2 ** (len(self.features) - 1))


class Block(nn.Module):
    """Three convolutions, the output of the first added to that of the last: (B, before, z, y, x) to (B, after, z, y, x).

    The paper has an ELU on the sum, which changes nothing: neither term is negative.
    """

    def __init__(self, before: int, after: int, coordinates: bool) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.first = _convolution(before + 3 * coordinates, after)
        self.rest = nn.Sequential(_convolution(after, after), _convolution(after, after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.first(torch.cat([x, _coordinates(x)], dim=1) if self.coordinates else x)
        return x + self.rest(x)


class Network(nn.Module):
    """(B, 1, z, y, x) to logits (B, outputs, z, y, x)."""

    def __init__(self, model: Model, outputs: int) -> None:
        super().__init__()
        features, self.pyramid = model.features, model.pyramid
        self.first = Block(1, features[0], model.coordinates)
        self.down = nn.ModuleList(Block(i + model.pyramid, o, model.coordinates) for i, o in pairwise(features))
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(below, o, 3, stride=2, padding=1, output_padding=1) for o, below in pairwise(features)
        )
        self.join = nn.ModuleList(Block(o, o, model.coordinates) for o in features[:-1])
        self.head = nn.Conv3d(features[0], outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        image, found = x, [self.first(x)]
        for level in self.down:
            x, image = functional.avg_pool3d(found[-1], 2), functional.avg_pool3d(image, 2)
            found.append(level(torch.cat([x, image], dim=1) if self.pyramid else x))
        x = found.pop()
        for up, join in zip(reversed(self.up), reversed(self.join)):
            x = join(up(x) + found.pop())
        return self.head(x)


def build(model: Model, outputs: int) -> nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x)."""
    return Network(model, outputs)


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


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU())


def _coordinates(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, z, y, x) in [-1, 1], of the voxels of (B, C, z, y, x)."""
    axes = [torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(x), -1, -1, -1, -1)
