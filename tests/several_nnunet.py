"""nnU-Net's family, which also writes down its loss of a batch that processes share, as `several` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from copick_tools.engines import nnunet
from copick_tools.engines.bridge.environment import surroundings
from copick_tools.engines.nnunet import Model, check, load
from copick_tools.training import pooled, team

__all__ = ["Model", "check", "load", "train"]
CASES = tuple((batch_dice, ignore) for batch_dice in (False, True) for ignore in (None, 3))


def train(recipe: Any, project: Any, out_dir: Path, progress: Any, device: str = "auto") -> Path:
    """As nnU-Net's, and seen.npz besides."""
    with surroundings(out_dir.parent / f"surroundings-{team.rank()}"):
        seen = {f"{batch_dice} {ignore}": loss_and_gradient(batch_dice, ignore) for batch_dice, ignore in CASES}
    best: Path = nnunet.train(recipe, project, out_dir, progress, device)
    if team.is_main():
        np.savez(out_dir / "seen.npz", **seen)
    return best


def loss_and_gradient(batch_dice: bool, ignore: int | None) -> np.ndarray:
    """The loss of four patches, of which one is ignored altogether, and the gradient of a network of one layer."""
    from copick_tools.engines.bridge.criteria import DiceCE

    draw = torch.Generator().manual_seed(0)
    voxels = torch.randn((4, 1, 6, 7, 8), generator=draw)
    target = torch.randint(0, 3, (4, 1, 6, 7, 8), generator=draw).to(torch.int16)
    if ignore is not None:
        target[0], target[3, :, 4:] = ignore, ignore
    torch.manual_seed(0)
    network = pooled.parallel(torch.nn.Conv3d(1, 3, 3, padding=1))
    own = slice(4 // team.size() * team.rank(), 4 // team.size() * (team.rank() + 1))
    loss = DiceCE(batch_dice, ignore)(network(voxels[own]), target[own])
    loss.backward()
    gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    return torch.cat([pooled.mean(loss)[None], *gradients]).numpy()
