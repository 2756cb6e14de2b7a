"""MedNeXt (Roy et al. 2023; POPSICLE B.1): MONAI's B with kernel 3, 10,517,763 parameters with 7 classes, in nnU-Net's trainer.

It halves all axes at each of its four levels, whatever nnU-Net plans: patches are multiples of 16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from copick_tools.data.project import Project
from copick_tools.engines.bridge import training
from copick_tools.engines.bridge.family import Bridged, Plan
from copick_tools.engines.bridge.networks import Positive, Stages, Trained
from copick_tools.inference.monai import MedNeXt
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.loop import Progress

MULTIPLE = 16
Levels = tuple[Positive, Positive, Positive, Positive, Positive]


class Model(Trained):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar = {
        "tiny": {"features": 8, "expansion": (2,) * 5, "blocks": (1,) * 5, "first_background": 0.97},
        "S": {"expansion": (2, 2, 2, 2, 2)},
        "M": {"blocks": (3, 4, 4, 4, 4)},
        "L": {"expansion": (3, 4, 8, 8, 8), "blocks": (3, 4, 8, 8, 8)},
    }

    features: Positive = Field(32, description="of the first level; each has twice those of the one above")
    expansion: Levels = Field((2, 3, 4, 4, 4), description="widening inside the blocks of each level")
    blocks: Levels = Field((2, 2, 2, 2, 2), description="of each level, on the way down as on the way up")
    kernel_size: Literal[3, 5] = 3

    @property
    def multiple(self) -> int:
        """The patch must be a multiple of this along each axis."""
        return MULTIPLE


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x); in training, with deep supervision, of each resolution."""
    return MedNeXt(
        spatial_dims=3,
        init_filters=model.features,
        in_channels=1,
        out_channels=outputs,
        encoder_expansion_ratio=model.expansion[:4],
        decoder_expansion_ratio=model.expansion[3::-1],
        bottleneck_expansion_ratio=model.expansion[4],
        kernel_size=model.kernel_size,
        deep_supervision=model.deep_supervision,
        use_residual_connection=True,
        blocks_down=model.blocks[:4],
        blocks_bottleneck=model.blocks[4],
        blocks_up=model.blocks[3::-1],
        norm_type="group",
    )


def build_planned(plan: Plan, model: Model, outputs: int) -> torch.nn.Module:
    """The same, for nothing of it is planned."""
    return build(model, outputs)


def planned(model: Model, strides: Stages, kernels: Stages) -> dict[str, Any]:
    """What stands in nnU-Net's plans, for nothing is built of it."""
    return {"network_class_name": "monai.networks.nets.mednext.MedNeXt", "arch_kwargs": {"strides": [[1, 1, 1]]}}


def heads(network: torch.nn.Module) -> list[torch.nn.Module]:
    """Its layers that give logits, from the largest output to the smallest."""
    return [block.conv_out for block in (network.out_0, *reversed(getattr(network, "out_blocks", ())))]


def supervise(network: torch.nn.Module, on: bool) -> None:
    """Whether it gives its outputs of lower resolution too."""
    network.do_ds = on


def scales(plan: Plan) -> list[list[float]]:
    """Sizes of its outputs, relative to the patch."""
    return [[0.5**level] * 3 for level in range(5)]


def configure(planner: Any, model: Model) -> None:
    """nnU-Net's planner chooses the patch as for its own network."""


FAMILY = Bridged(
    model=Model,
    planner="nnunetv2.experiment_planning.experiment_planners.default_experiment_planner.ExperimentPlanner",
    configure=configure,
    architecture=planned,
    build=build_planned,
    heads=heads,
    supervise=supervise,
    scales=scales,
    multiple=MULTIPLE,
    half_on_cpu=False,  # its depthwise convolutions are slower that way
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
