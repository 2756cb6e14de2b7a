"""Networks that other tools build and no family of ours does, from MONAI. They predict; they aren't trained here.

`popsicle models convert` makes checkpoints of this family from Octopi's AttentionUnet, DynUNet, SegResNet and MedNeXt, from
its SwinUNETR with other windows than 7 voxels, and from MedNeXt as its authors write it, in nnU-Net's trainer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from copick_tools.data.project import Project
from copick_tools.engines.family import Settings
from copick_tools.engines.registry import ADOPTED, settings
from copick_tools.errors import FormatError, UsageError
from copick_tools.inference.monai import MedNeXtDownBlock, nets
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import checkpoint, harness
from copick_tools.training.loop import Progress

MIC = "-MIC"
FAMILY = ADOPTED
UNBUILT = (  # what MONAI raises for arguments that don't fit
    *(TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError),
    *(NotImplementedError, ZeroDivisionError, OverflowError),
)
Network = Literal["AttentionUnet", "DynUNet", "SegResNetDS", "SwinUNETR", "MedNeXt", "MedNeXt-MIC"]


class Model(Settings):
    """The `model:` mapping of a recipe, less its family."""

    network: Network = Field("AttentionUnet", description="class of MONAI; MedNeXt-MIC: as its authors have it")
    arguments: dict[str, Any] = Field(
        {"channels": [16, 32, 64], "strides": [2, 2]}, description="its own, but for inputs and outputs"
    )
    rules: Literal["monai", "nnunet"] = Field("monai", description="how windows are laid and averaged")


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x). Raises what MONAI raises."""
    known = {"in_channels": 1, "out_channels": outputs, "spatial_dims": 3}
    with torch.device("cpu"):  # MONAI reads numbers from tensors, of which the meta device has none
        network: torch.nn.Module = getattr(nets, model.network.removesuffix(MIC))(**known, **model.arguments)
        return _as_its_authors(network) if model.network.endswith(MIC) else network


def check(recipe: Recipe) -> None:
    """Raise UsageError: nothing of this is trained."""
    raise UsageError(f"{recipe.family} only predicts with models of other tools", "popsicle models ls")


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """As `check`."""
    check(recipe)
    raise AssertionError


def load(path: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict. Raises FormatError where its network can't be built."""

    def built(recipe: Recipe, outputs: int) -> torch.nn.Module:
        model = settings(Model, recipe)
        try:
            return build(model, outputs)
        except UNBUILT as error:
            reason = " ".join(str(error).split())
            raise FormatError(f"{path}: its {model.network} can't be built: {reason}", "is the file whole?") from error

    predictor = harness.load(built, path, device)
    predictor.rules = settings(Model, checkpoint.read_card(path).recipe).rules
    return predictor


def _as_its_authors(network: torch.nn.Module) -> torch.nn.Module:
    """With blocks that, going down, widen as the level below them does; MONAI's do as the level above."""
    below = [*network.enc_stages[1:], network.bottleneck]
    for level, stage in enumerate(below):
        inner, outer = stage[0].conv2, network.down_blocks[level].conv1
        width, ratio, kernel = outer.in_channels, inner.out_channels // inner.in_channels, outer.kernel_size[0]
        network.down_blocks[level] = MedNeXtDownBlock(width, 2 * width, ratio, kernel, use_residual_connection=True)
    return network
