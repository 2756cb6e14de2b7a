"""The U-Nets of nnU-Net's plans, built from plain numbers: a plan names no code that isn't known here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from pydantic import Field
from torch import nn

from copick_tools.engines.family import Settings
from copick_tools.errors import FormatError

Positive = Annotated[int, Field(ge=1)]
Stages = Sequence[Sequence[int]]  # zyx of each stage
CLASSES = {network.__name__: network for network in (PlainConvUNet, ResidualEncoderUNet)}
MODULES: dict[str | None, Any] = {
    "torch.nn.modules.conv.Conv3d": nn.Conv3d,
    "torch.nn.modules.instancenorm.InstanceNorm3d": nn.InstanceNorm3d,
    "torch.nn.LeakyReLU": nn.LeakyReLU,
    None: None,
}
IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")


class Trained(Settings):
    """Settings of every family that nnU-Net's trainer trains."""

    deep_supervision: bool = Field(True, description="the loss also on outputs of lower resolution")
    augmentation: Literal["recipe", "nnunet"] = Field(
        "recipe",
        description="recipe: the recipe's `augment`, and a share of 1 - train.background of the patches, drawn at random, on "
        "objects; nnunet: nnU-Net's own, which turn about all axes, and as there the last round(...) of each batch on "
        "objects: one of two with train.background 0.67",
    )
    first_background: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="probability of background that training begins with; null: as nnU-Net, all alike. Much of it helps "
        "short trainings, for most voxels are background",
    )


class Planned(Trained):
    """Settings of the families whose network nnU-Net plans."""

    base_features: Positive = Field(32, description="of the first stage; each has twice those of the one before")
    max_features: Positive = Field(320, description="of any stage")

    def features(self, stages: int) -> list[int]:
        """Of each stage."""
        return [min(self.max_features, self.base_features * 2**stage) for stage in range(stages)]


def architecture(
    name: str, model: Planned, strides: Stages, kernels: Stages, blocks: Mapping[str, Any]
) -> dict[str, Any]:
    """What nnU-Net's planners write as `architecture`. name: of the class. blocks: its arguments that count convolutions."""
    stages = len(strides)
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": model.features(stages),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(kernel) for kernel in kernels],
            "strides": [list(stride) for stride in strides],
            **blocks,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": list(IMPORTED),
    }


def unet(architecture: Mapping[str, Any], outputs: int, deep_supervision: bool) -> nn.Module:
    """The network: (B, 1, z, y, x) to logits (B, outputs, z, y, x), or with deep supervision to those of each resolution.

    architecture: as nnU-Net's plans have it. Raises FormatError for what isn't one.
    """
    try:
        kind = CLASSES[architecture["network_class_name"].rpartition(".")[2]]
        settings = dict(architecture["arch_kwargs"])
        settings |= {key: MODULES[settings.get(key)] for key in IMPORTED}
        return kind(1, num_classes=outputs, deep_supervision=deep_supervision, **settings)
    except (KeyError, TypeError, AttributeError, ValueError, AssertionError, RuntimeError, IndexError) as error:
        raise FormatError(
            f"a plan's architecture can't be built: {error}", "was it made by nnU-Net's planner?"
        ) from error


def supervise_unet(network: nn.Module, on: bool) -> None:
    """Whether a U-Net gives its outputs of lower resolution too."""
    network.decoder.deep_supervision = on  # type: ignore[union-attr]


def unet_heads(network: nn.Module) -> list[nn.Module]:
    """The layers of a U-Net whose outputs are logits, from the largest output to the smallest."""
    return list(reversed(network.decoder.seg_layers))  # type: ignore[union-attr, arg-type]


def expect_background(heads: Sequence[nn.Module], probability: float) -> None:
    """Let layers that give logits, background first, begin with a probability of background."""
    for head in heads:
        bias: torch.Tensor = head.bias  # type: ignore[assignment]
        with torch.no_grad():
            bias.zero_()
            bias[0] = math.log(probability / (1 - probability) * (len(bias) - 1))


def unet_scales(plan: Mapping[str, Any]) -> list[list[float]]:
    """Size zyx of each output of deep supervision, relative to the patch, from the largest."""
    strides, scales = plan["architecture"]["arch_kwargs"]["strides"], [[1.0, 1.0, 1.0]]
    for stride in strides[1:-1]:
        scales.append([scale / step for scale, step in zip(scales[-1], stride)])
    return scales
