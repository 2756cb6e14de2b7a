"""What a family that nnU-Net's trainer trains has to say of itself, and what one training is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from copick_tools.engines.bridge.networks import Stages, Trained
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import checkpoint, loop

Plan = Mapping[str, Any]
"""A checkpoint's plan: ``patch`` (zyx), ``spacing`` (angstrom), ``batch_size``, ``deep_supervision``, ``mirror_axes``,
``ignored`` (whether the targets hold ignored voxels), ``architecture`` (nnU-Net's) and ``nnunet``, the rest of its plans."""


@dataclass(frozen=True)
class Bridged:
    """A family.

    model: class of its settings. planner: name of nnU-Net's planner. configure: hands the settings to that planner.
    architecture: of nnU-Net's form, from settings, strides and kernels. build: the network, from a plan, settings and the
    number of outputs. heads: its layers that give logits, from the largest output to the smallest. supervise: turns its deep supervision on or off. scales: sizes zyx
    of its outputs, relative to the patch. multiple: of which each side of a patch has to be, whatever else the planner asks
    for. half_on_cpu: whether a CPU's bfloat16 makes it faster.
    """

    model: type[Trained]
    planner: str
    configure: Callable[[Any, Any], None]
    architecture: Callable[[Any, Stages, Stages], dict[str, Any]]
    build: Callable[[Plan, Any, int], nn.Module]
    heads: Callable[[nn.Module], Sequence[nn.Module]]
    supervise: Callable[[nn.Module, bool], None]
    scales: Callable[[Plan], list[list[float]]]
    multiple: int = 1
    half_on_cpu: bool = True

    def wants_half(self, precision: str, device: torch.device) -> bool:
        """Whether mixed precision is worth it there, as far as the family knows; who asks for bf16 gets it."""
        return self.half_on_cpu or device.type != "cpu" or precision == "bf16"


@dataclass(frozen=True)
class Job:
    """What to train. validate: scores a network; None: the last weights are kept. card: with its plan."""

    bridged: Bridged
    model: Trained
    card: checkpoint.Card
    folder: Path
    device: torch.device
    validate: loop.Validate | None
    progress: loop.Progress

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.card.recipe

    @property
    def outputs(self) -> int:
        """Channels of the network, background included."""
        return len(self.card.objects) + 1
