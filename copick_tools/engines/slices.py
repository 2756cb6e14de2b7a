"""A 2D U-Net from MONAI that sees slices, for instances in 3D by averaged views or by stitching: what native 3D is compared with.

Cellpose makes 3D flows of 2D ones: slices in XY, XZ and YZ, each voxel's probabilities and flows averaged (Stringer et al.,
Nature Methods 18, 100, 2021; Pachitariu et al. 2025, methods). Its other way puts instances of XY slices together where they
overlap. ``instances.views`` says which; a network for averaged views learns slices of all three planes.
"""

from __future__ import annotations

from pathlib import Path

import torch

from copick_tools.data.project import Project
from copick_tools.engines import octopi
from copick_tools.engines.registry import settings
from copick_tools.errors import UsageError
from copick_tools.inference.monai import UNet
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.decoding import check_views
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import harness
from copick_tools.training.loop import Progress


class Model(octopi.Model):
    """The `model:` mapping of a recipe, less its family. What an Octopi network has in 3D, this one has in 2D."""


class Slices(torch.nn.Module):
    """A network of images behind windows of one slice."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(B, 1, 1, y, x) to (B, C, 1, y, x)."""
        found: torch.Tensor = self.network(windows.squeeze(2))
        return found.unsqueeze(2)


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network: (B, 1, 1, y, x) to logits (B, outputs, 1, y, x)."""
    network = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=outputs,
        channels=model.channels,
        strides=model.strides,
        num_res_units=model.num_res_units,
        dropout=model.dropout,
    )
    return Slices(network)


def check(recipe: Recipe) -> None:
    """Raise FormatError or UsageError for settings that can't be trained."""
    patch, multiple = recipe.train.patch, settings(Model, recipe).multiple
    if patch is None or patch[0] != 1 or any(side % multiple for side in patch[1:]):
        side = max(multiple, 128 // multiple * multiple)
        raise UsageError(
            f"train.patch {patch and list(patch)} is no patch of slices: one voxel along z, multiples of {multiple} else",
            f"for example -s train.patch=[1,{side},{side}]",
        )
    harness.check_turns(recipe, patch)
    check_views(recipe)
    harness.check_masks(recipe)


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    model = settings(Model, recipe)
    return harness.train(lambda outputs: build(model, outputs), recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict."""
    return harness.load(lambda recipe, outputs: build(settings(Model, recipe), outputs), checkpoint, device)
