"""What all patch networks share: from a project to a trained checkpoint, and from a checkpoint to a predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from copick_tools.data.project import Project
from copick_tools.errors import FormatError, UsageError
from copick_tools.inference.device import pick_device, placed, predicts_mixed
from copick_tools.inference.geometry import geometry_of
from copick_tools.inference.tiler import Predictor, Tiled
from copick_tools.inference.views import seeing
from copick_tools.recipes.decoding import check_views
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import checkpoint, team
from copick_tools.training.data import CLIP, TrainingData
from copick_tools.training.loop import Progress, fit, has_own_loss
from copick_tools.training.memory import explained
from copick_tools.training.patches import Patches
from copick_tools.training.seeds import seed_of
from copick_tools.training.validation import validation_score


def check_patch(recipe: Recipe, multiple: int) -> None:
    """Raise UsageError unless the patch is a multiple of what the network's strides ask for."""
    patch = recipe.train.patch
    if patch is None:
        raise UsageError(f"{recipe.family} plans no patch of its own", "give one: -s train.patch=[64,64,64]")
    check_turns(recipe, patch)
    check_views(recipe)
    check_masks(recipe)
    if any(side % multiple for side in patch):
        below, above = ([max(multiple, side // multiple * multiple + more) for side in patch] for more in (0, multiple))
        above = [side if side % multiple == 0 else up for side, up in zip(patch, above)]
        nearest = f"the nearest are {below} and {above}" if below != above else f"the nearest is {below}"
        raise UsageError(
            f"train.patch {list(patch)} doesn't fit the network: each side has to be a multiple of {multiple}",
            nearest,
        )


def check_turns(recipe: Recipe, patch: tuple[int, ...]) -> None:
    """Raise UsageError where inference would turn windows that aren't square in the plane. patch: zyx."""
    if recipe.inference.tta in (16, "turns") and patch[1] != patch[2]:
        raise UsageError(
            f"inference.tta {recipe.inference.tta} needs windows that are square in the plane, not {list(patch)}",
            "the last two of train.patch have to be equal, or inference.tta at most 8",
        )


def check_masks(recipe: Recipe) -> None:
    """Raise UsageError where a network that says something of each voxel should learn masks."""
    if recipe.target.kind == "instances":
        raise UsageError(
            f"{recipe.family} says something of each voxel and predicts no masks, as target.kind instances asks for",
            "-s target.kind=distances, flows or boundary tell instances apart",
        )


def train(
    build: Callable[[int], torch.nn.Module],
    recipe: Recipe,
    project: Project,
    out_dir: Path,
    progress: Progress,
    device: str,
) -> Path:
    """Train the network that ``build`` makes for a number of outputs; returns the best checkpoint.

    Raises UsageError for views that can't be averaged, PopsicleError when memory runs out, and as `fit`.
    """
    with explained(recipe, recipe.train.patch, out_dir, recipe.train.cache):
        return _train(build, recipe, project, out_dir, progress, device)


def _train(
    build: Callable[[int], torch.nn.Module],
    recipe: Recipe,
    project: Project,
    out_dir: Path,
    progress: Progress,
    device: str,
) -> Path:
    check_views(recipe)  # a family of the user's own may not have done so
    where = team.local_device(device)
    data = TrainingData.resolve(project, recipe)
    classes = len(data.task.targets) + 1
    torch.manual_seed(seed_of(recipe.train.seed, "weights"))
    network = placed(build(outputs(recipe, classes)), where)
    if not has_own_loss(network):
        check_masks(recipe)
    data = replace(data, ids=has_own_loss(network))
    runs = team.everywhere(lambda: [seen for run in data.train for seen in data.training_runs(run)])
    checks = team.everywhere(lambda: [data.validation_run(run) for run in team.share(data.validation)])
    card = checkpoint.Card(recipe=recipe, task=data.task, voxel_spacing=data.voxel_spacing, normalize=CLIP)

    def validate(ema: torch.nn.Module) -> float:
        return validation_score(predictor(ema, card, where), checks, recipe, data.task)

    return fit(network, Patches(runs, classes, recipe), validate if data.validation else None, card, out_dir, progress)


def load(build: Callable[[Recipe, int], torch.nn.Module], path: Path, device: str) -> Any:
    """The predictor of a checkpoint. Raises FormatError when its weights don't fit its recipe."""
    card, tensors = checkpoint.read(path)
    network = build(card.recipe, outputs(card.recipe, len(card.objects) + 1))
    try:
        network.load_state_dict(tensors["ema"] if "ema" in tensors else tensors["network"])
    except (RuntimeError, KeyError) as error:
        raise FormatError(f"{path}: the weights don't fit the recipe inside") from error
    where = pick_device(device)
    return predictor(placed(network, where), card, where)


def predictor(network: torch.nn.Module, card: checkpoint.Card, device: torch.device) -> Predictor:
    """A network behind the tiler, set as its recipe says; or what it says itself that predicts with it, by ``predictor(card,
    device)``.
    """
    if hasattr(network, "predictor"):
        own: Predictor = network.predictor(card, device)
        return own
    return tiled(network, card, device)


def tiled(network: torch.nn.Module, card: checkpoint.Card, device: torch.device) -> Tiled:
    """A network behind the tiler, set as its recipe says."""
    recipe = card.recipe
    found = Tiled(
        network=network,
        objects=card.objects,
        voxel_spacing=card.voxel_spacing,
        normalize=card.normalize,
        patch=card.patch,
        overlap=recipe.inference.overlap,
        batch_size=recipe.inference.batch_size,
        device=device,
        bf16=predicts_mixed(recipe.train.precision, device),
        tta=recipe.inference.tta,
        geometry=geometry_of(recipe),
        scaling=recipe.scaling,
    )
    return seeing(found, recipe.instances.views) if recipe.planar and recipe.instanced else found


def outputs(recipe: Recipe, classes: int) -> int:
    """Channels of a recipe's network. classes: background included."""
    geometry = geometry_of(recipe)
    return classes + (0 if geometry is None else geometry.channels)
