"""Octopi's family, which also writes down what the processes of a training have in common.

Tests train it in one process and in two: FOLDER/seen.npz has to be the same. With the variable DIE_AT the second process is
killed when it has come to that step.
"""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch

from copick_tools.engines import octopi
from copick_tools.engines.octopi import Model, check, load
from copick_tools.errors import PopsicleError
from copick_tools.recipes.recipe import Loss
from copick_tools.training import loop, pooled, team
from copick_tools.training.losses import make_loss
from copick_tools.training.targets import IGNORED

__all__ = ["Model", "check", "load", "train"]
LOSSES = ("dice-ce", "tversky", "focal", "focal-tversky", "tversky-focal")


def train(recipe: Any, project: Any, out_dir: Path, progress: Any, device: str = "auto") -> Path:
    """As Octopi's, and seen.npz besides."""
    seen = {f"{name} {target}": loss_and_gradient(name, target) for name in LOSSES for target in ("labels", "heat")}
    seen |= {"merged": np.array(team.merged(team.share(range(7)))), "by main": np.array(team.by_main(lambda: 5))}
    states: list[loop.State] = []
    keep = loop.keep_last

    def kept(state: loop.State, *rest: Any) -> None:
        states.append(state)
        keep(state, *rest)
        if team.rank() == 1 and os.environ.get("DIE_AT") == str(state.step):
            os.kill(os.getpid(), signal.SIGKILL)

    loop.keep_last = kept
    try:
        best: Path = octopi.train(recipe, project, out_dir, progress, device)
    finally:
        loop.keep_last = keep
    prints = team.gather([fingerprint(module) for module in (states[-1].network, states[-1].ema)])
    if prints.count(prints[0]) != len(prints):
        raise PopsicleError("the processes have different weights")
    if team.is_main():
        np.savez(out_dir / "seen.npz", **seen)
    return best


def loss_and_gradient(name: str, kind: str) -> np.ndarray:
    """The loss of four patches, of which one is ignored for the most part, and the gradient of a network of one layer."""
    draw = torch.Generator().manual_seed(0)
    voxels = torch.randn((4, 1, 6, 7, 8), generator=draw)
    target = torch.randint(0, 3, (4, 6, 7, 8), generator=draw).to(torch.uint8)
    target[0, 1:] = IGNORED
    if kind == "heat":
        heat = torch.rand((4, 2, 6, 7, 8), generator=draw)
        target = torch.where((target == IGNORED)[:, None], -1.0, heat)
    torch.manual_seed(0)
    network = pooled.parallel(torch.nn.Conv3d(1, 3, 3, padding=1))
    own = slice(4 // team.size() * team.rank(), 4 // team.size() * (team.rank() + 1))
    loss = make_loss(Loss(name=name, alpha=0.2, weight=0.3))(network(voxels[own]), target[own])
    loss.backward()
    gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    return torch.cat([pooled.mean(loss)[None], *gradients]).numpy()


def fingerprint(module: torch.nn.Module) -> str:
    """Of the bits of its weights and buffers."""
    found = hashlib.sha256()
    for value in module.state_dict().values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()
