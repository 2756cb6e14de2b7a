"""nnU-Net with the residual encoder L (Isensee et al. 2024; POPSICLE B.1), for a GPU of 24 GB.

102,353,795 parameters with 7 classes and six stages; the paper's 383.5M are the numbers in its state_dict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from copick_tools.data.project import Project
from copick_tools.engines.bridge import training
from copick_tools.engines.bridge.family import Bridged, Plan
from copick_tools.engines.bridge.networks import (
    Planned,
    Positive,
    Stages,
    architecture,
    supervise_unet,
    unet,
    unet_heads,
    unet_scales,
)
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.loop import Progress

REFERENCE_PATCH = (128, 256, 224)  # zyx, of the paper's size
STRIDES = ((1, 1, 1), *[(2, 2, 2)] * 5)
MOST = 14  # stages that nnU-Net's planner knows


class Model(Planned):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar = {
        "tiny": {"base_features": 8, "max_features": 64, "blocks": (1, 1, 2, 2), "first_background": 0.97}
    }

    blocks: tuple[Positive, ...] = Field(
        (1, 3, 4, 6, 6, 6),
        min_length=1,
        max_length=MOST,
        description="of each stage of the encoder; the last for the rest",
    )

    def blocks_of(self, stages: int) -> list[int]:
        """Of each of a number of stages."""
        return [*self.blocks, *[self.blocks[-1]] * stages][:stages]


def planned(model: Model, strides: Stages, kernels: Stages) -> dict[str, Any]:
    """The architecture, as nnU-Net's plans have it: one convolution a stage of the decoder."""
    stages = len(strides)
    blocks = {"n_blocks_per_stage": model.blocks_of(stages), "n_conv_per_stage_decoder": [1] * (stages - 1)}
    return architecture("ResidualEncoderUNet", model, strides, kernels, blocks)


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network of the paper's size: (B, 1, z, y, x) to logits (B, outputs, z, y, x) of each resolution."""
    kernels = [(3, 3, 3)] * len(STRIDES)
    return unet(planned(model, STRIDES, kernels), outputs, model.deep_supervision)


def build_planned(plan: Plan, model: Model, outputs: int) -> torch.nn.Module:
    """The network of a checkpoint's plan."""
    return unet(plan["architecture"], outputs, model.deep_supervision)


def configure(planner: Any, model: Model) -> None:
    """Hand the settings to nnU-Net's planner."""
    planner.UNet_base_num_features, planner.UNet_max_features_3d = model.base_features, model.max_features
    planner.UNet_blocks_per_stage_encoder = tuple(model.blocks_of(MOST))


FAMILY = Bridged(
    model=Model,
    planner="nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners.nnUNetPlannerResEncL",
    configure=configure,
    architecture=planned,
    build=build_planned,
    heads=unet_heads,
    supervise=supervise_unet,
    scales=unet_scales,
)


def check(recipe: Recipe) -> None:
    """Raise NotFoundError, FormatError or UsageError for settings that can't be trained."""
    training.check(FAMILY, recipe)


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    return training.train(FAMILY, recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict."""
    return training.load(FAMILY, checkpoint, device)
