"""nnU-Net (Isensee et al. 2021; POPSICLE B.1): a U-Net whose patch, depth and strides nnU-Net plans from the tomograms.

Planned, prepared and trained by nnU-Net's own code, in this process. 30,790,019 parameters with 7 classes on typical
tomograms; the paper's 88.2M are the numbers in its state_dict, which names most tensors two or four times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from copick_tools.data.project import Project
from copick_tools.engines.bridge import training
from copick_tools.engines.bridge.family import Bridged, Plan
from copick_tools.engines.bridge.networks import (
    Planned,
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

REFERENCE_PATCH = (96, 160, 160)  # zyx, of the paper's size
STRIDES = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))


class Model(Planned):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar = {"tiny": {"base_features": 8, "max_features": 64, "first_background": 0.97}}


def planned(model: Model, strides: Stages, kernels: Stages) -> dict[str, Any]:
    """The architecture, as nnU-Net's plans have it: two convolutions a stage."""
    stages = len(strides)
    blocks = {"n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1)}
    return architecture("PlainConvUNet", model, strides, kernels, blocks)


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


FAMILY = Bridged(
    model=Model,
    planner="nnunetv2.experiment_planning.experiment_planners.default_experiment_planner.ExperimentPlanner",
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
