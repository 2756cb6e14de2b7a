"""What every patch network has to do, whatever its family."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from copick_tools.data.project import Project
from copick_tools.data.read import read_picks
from copick_tools.data.uris import picks_uri, tomogram_uri
from copick_tools.engines import registry
from copick_tools.recipes.recipe import Loss
from copick_tools.training.losses import make_loss
from copick_tools.workflows.localize import Localizing, localize
from copick_tools.workflows.train import plan_training, train

STEP = "{family: octopi, channels: [8, 16], strides: [2], num_res_units: 1, dropout: 0.1}"  # of the conftest's recipe


def sizes(family: ModuleType, model: Any, outputs: int = 7) -> tuple[int, int]:
    """Parameters, and numbers in the state_dict, with nothing allocated."""
    with torch.device("meta"):
        network = family.build(model, outputs)
    return sum(p.numel() for p in network.parameters()), sum(v.numel() for v in network.state_dict().values())


def balls(patch: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of two patches with a dark ball each, and its target."""
    rng = np.random.default_rng(0)
    away = sum((axis - side / 2) ** 2 for axis, side in zip(np.ogrid[tuple(map(slice, patch))], patch))
    target = np.stack([(away < 25).astype(np.uint8), (away < 49).astype(np.uint8)])
    voxels = rng.normal(0, 1, target.shape).astype(np.float32) - np.float32(2) * target
    return torch.from_numpy(voxels[:, None]), torch.from_numpy(target)


def falling(network: torch.nn.Module, patch: tuple[int, int, int], steps: int, lr: float = 1e-3) -> list[float]:
    """Losses of a few steps on one batch."""
    voxels, target = balls(patch)
    optimizer, criterion, losses = torch.optim.AdamW(network.parameters(), lr), make_loss(Loss()), []
    for _ in range(steps):
        loss = criterion(network(voxels), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def write_recipe(recipe: Path, model: str, patch: tuple[int, int, int], folder: Path) -> str:
    """The conftest's recipe with another family and patch, as a path."""
    text = recipe.read_text().replace(STEP, model).replace("[16, 24, 24]", str(list(patch)))
    (folder / "family.yaml").write_text(text)
    return str(folder / "family.yaml")


def round_trip(project: Project, recipe: str, folder: Path, *more: str) -> None:
    """Train two steps, load the checkpoint, and localize with it. more: settings of the recipe."""
    settings = ("train.epochs=1", "train.steps_per_epoch=2", "train.batch_size=1", *more)
    plan = plan_training(project, recipe, settings, folder / "experiment")
    best, done = train(project, plan, lambda done, total: None, device="cpu")
    assert done
    predictor = registry.load(best, "cpu")
    assert list(predictor.objects) == ["ribosome", "apo-ferritin"]
    (z0, slab), *_ = predictor.slabs(np.random.default_rng(0).normal(size=(24, 48, 48)).astype(np.float32))
    assert z0 == 0
    np.testing.assert_allclose(slab.astype(float).sum(axis=0), 1, atol=5e-3)
    task = Localizing(best, project, tomogram_uri("wbp"), picks_uri(":family/1", output=True))
    assert [result.status for result in localize(task, ["TS_3"], ("cpu",))] == ["done"]
    assert set(read_picks(project, "TS_3", [picks_uri("*:family/1")])) == {"ribosome", "apo-ferritin"}
