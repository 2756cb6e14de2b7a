"""What all patch networks share: from a project to training runs, validation, and from a checkpoint to a predictor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from copick_tools.data import read, splits, uris
from copick_tools.data.project import Project, check_objects
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.inference.device import pick_device, use_bf16
from copick_tools.inference.tiler import Tiled
from copick_tools.recipes.load import load_task
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task
from copick_tools.training import checkpoint
from copick_tools.training.loop import Progress, fit
from copick_tools.training.patches import Patches, TrainingRun
from copick_tools.training.seeds import seed_of
from copick_tools.training.targets import Source, painted, stored
from copick_tools.training.validation import ValidationRun, validation_score
from copick_tools.volumes.normalize import intensity, normalize

CLIP = 0.1  # percent of the intensities cut off at either end


def check_patch(recipe: Recipe, multiple: int) -> None:
    """Raise UsageError unless the patch is a multiple of what the network's strides ask for."""
    if any(side % multiple for side in recipe.train.patch):
        raise UsageError(
            f"train.patch {list(recipe.train.patch)} doesn't fit the network", f"each side is a multiple of {multiple}"
        )


def train(
    build: Callable[[int], torch.nn.Module],
    recipe: Recipe,
    project: Project,
    out_dir: Path,
    progress: Progress,
    device: str,
) -> Path:
    """Train the network that ``build`` makes for a number of outputs; returns the best checkpoint."""
    task = load_task(recipe.task)
    check_objects(project, task)
    where = pick_device(device)
    names = splits.runs(project, recipe.train_split)
    held_out = splits.runs(project, recipe.validation_split) if recipe.validation_split else []
    both = sorted(set(names) & set(held_out))
    if both:
        raise UsageError(
            f"runs are in both splits, {recipe.train_split} and {recipe.validation_split}: {', '.join(both)}"
        )
    runs = [_training_run(project, run, recipe, task) for run in names]
    spacings = {
        round(read.read_tomogram(project, run, uris.tomogram_uri(recipe.input)).voxel_spacing, 3) for run in names
    }
    if len(spacings) > 1:
        raise UsageError(
            f"the training tomograms differ in voxel spacing: {sorted(spacings)}", f"name one: {recipe.input}@…"
        )
    card = checkpoint.Card(recipe=recipe, task=task, voxel_spacing=spacings.pop(), normalize=CLIP)
    torch.manual_seed(seed_of(recipe.train.seed, "weights"))
    outputs = len(task.targets) + 1
    network = _placed(build(outputs), where)
    checks = [_validation_run(project, run, recipe, task) for run in held_out]
    return fit(
        network,
        Patches(runs, outputs, recipe),
        (lambda ema: validation_score(predictor(ema, card, where), checks, recipe, task))
        if checks
        else (lambda _: 0.0),
        card,
        out_dir,
        progress,
    )


def load(build: Callable[[Recipe, int], torch.nn.Module], path: Path, device: str) -> Tiled:
    """The predictor of a checkpoint. Raises FormatError when its weights don't fit its recipe."""
    card, tensors = checkpoint.read(path)
    network = build(card.recipe, len(card.task.targets) + 1)
    try:
        network.load_state_dict(tensors["ema"] if "ema" in tensors else tensors["network"])
    except (RuntimeError, KeyError) as error:
        raise FormatError(f"{path}: the weights don't fit the recipe inside") from error
    where = pick_device(device)
    return predictor(_placed(network, where), card, where)


def predictor(network: torch.nn.Module, card: checkpoint.Card, device: torch.device) -> Tiled:
    """A network behind the tiler, set as its recipe says."""
    recipe = card.recipe
    return Tiled(
        network=network,
        objects={entry.name: entry.label for entry in card.task.targets},
        voxel_spacing=card.voxel_spacing,
        normalize=card.normalize,
        patch=recipe.train.patch,
        overlap=recipe.inference.overlap,
        batch_size=recipe.inference.batch_size,
        device=device,
        bf16=use_bf16(recipe.train.precision, device),
    )


def _placed(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The network on its device, channels last where convolutions are faster that way."""
    if device.type in ("cpu", "cuda"):
        network = network.to(memory_format=torch.channels_last_3d)
    return network.to(device)


def _training_run(project: Project, run: str, recipe: Recipe, task: Task) -> TrainingRun:
    """Tomogram and target of a run; a run without reference picks is a negative."""
    tomogram = read.read_tomogram(project, run, uris.tomogram_uri(recipe.input))
    target = _target(project, run, recipe, task, tomogram)
    try:
        if recipe.train.cache:
            volume = tomogram.numpy()
            return TrainingRun(run, normalize(volume, intensity(volume, CLIP)), None, target)
        return TrainingRun(run, tomogram, intensity(tomogram, CLIP), target)
    except ValueError as error:
        raise PopsicleError(f"run {run}: tomogram {tomogram.name}: {error}") from error


def _target(project: Project, run: str, recipe: Recipe, task: Task, tomogram: read.StoredVolume) -> Source:
    settings = recipe.target
    region = _region(project, run, recipe, tomogram)
    reference = recipe.reference or task.reference
    if settings.kind == "segmentation":
        uri = uris.segmentation_uri(settings.uri or reference)
        labels = read.read_segmentation(project, run, uri)
        if labels.shape != tomogram.shape:
            raise PopsicleError(f"run {run}: {labels.name} has shape {labels.shape}, {tomogram.name} {tomogram.shape}")
        return stored(labels.numpy() if recipe.train.cache else labels, task.targets, settings, region)
    points = read.read_picks(project, run, [uris.picks_uri(reference)])
    return painted(points, task.targets, settings, tomogram.voxel_spacing, region)


def _validation_run(project: Project, run: str, recipe: Recipe, task: Task) -> ValidationRun:
    tomogram = read.read_tomogram(project, run, uris.tomogram_uri(recipe.input))
    return ValidationRun.load(project, run, recipe, task, _region(project, run, recipe, tomogram))


def _region(project: Project, run: str, recipe: Recipe, tomogram: read.StoredVolume) -> np.ndarray | None:
    """The annotated region of a run as a mask, None where all of it is annotated."""
    if recipe.target.region is None:
        return None
    region = read.read_segmentation(project, run, uris.segmentation_uri(recipe.target.region))
    if region.shape != tomogram.shape:
        raise PopsicleError(f"run {run}: {region.name} has shape {region.shape}, {tomogram.name} {tomogram.shape}")
    return region.numpy() != 0
