"""What tests of the families that nnU-Net trains share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from copick_tools.data.project import Project
from copick_tools.training import checkpoint
from copick_tools.workflows.train import plan_training, train

MODEL = "{family: nnunet, base_features: 4, max_features: 16}"
QUICK = ("train.epochs=2", "train.steps_per_epoch=2", "train.batch_size=2", "train.validate_every=2")


class Stop(Exception):
    """Ends a training from its progress callback."""


def stop_at(step: int) -> Callable[[int, int], None]:
    """A progress callback that ends a training at a step."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stop

    return progress


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All of the last checkpoint of an experiment."""
    _, tensors = checkpoint.read(folder / "last.ckpt")
    return {**tensors["network"], **{f"ema.{key}": value for key, value in tensors["ema"].items()}}


def at_start(
    project: Project, recipe: str, folder: Path, settings: tuple[str, ...], look: Callable[[Any], None]
) -> None:
    """Call ``look`` with nnU-Net's trainer where it would begin to train; nothing is trained."""
    from copick_tools.engines.bridge.trainer import Trainer

    plan = plan_training(project, recipe, settings, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "run_training", look)
        train(project, plan, lambda done, total: None, device="cpu")
