"""What makes a family of promptable models an engine: `build`, `check`, `train` and `load` of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from copick_tools.data.project import Project
from copick_tools.engines import lora
from copick_tools.engines.promptable import stored
from copick_tools.engines.promptable.network import Lessons, PromptableNetwork
from copick_tools.engines.promptable.parts import built, configuration
from copick_tools.engines.promptable.settings import Model, Part
from copick_tools.engines.registry import settings
from copick_tools.errors import UsageError
from copick_tools.inference.geometry import geometry_of
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.load import load_task, parse
from copick_tools.recipes.recipe import INSTANCED, Recipe
from copick_tools.training import harness, team
from copick_tools.training.batches import per_process
from copick_tools.training.loop import Progress
from copick_tools.training.losses import make_criterion

Kind = TypeVar("Kind", bound=Model)
PARTS: Mapping[Part, tuple[str, ...]] = {
    "image-encoder": ("vision_encoder",),
    "prompt-encoder": ("prompt_encoder",),
    "mask-decoder": ("mask_decoder",),
}
SEEING = ("vision_encoder", "prompt_encoder", "mask_decoder", "no_memory_embedding")  # the rest is memory
ASKED = "instances"  # target.kind of a model that says nothing of voxels


def completed(model: Kind) -> Kind:
    """With the configuration of its weights, so that a checkpoint doesn't need those. Raises NotFoundError, FormatError."""
    if model.path is None or model.config:
        return model
    found = stored.config_of(model.path)
    return parse(type(model), {**model.model_dump(), "config": found}, where=f"model.weights {model.path}")


def build(model: Model, outputs: int = 0) -> PromptableNetwork:
    """The network, with random weights: (B, 1, 1, y, x) to logits, then geometry, (B, outputs, 1, y, x)."""
    return PromptableNetwork(built(model.full), outputs, model)


def side(model: Model) -> int:
    """Pixels of a side of the images that a network sees."""
    return int(configuration(model.full).prompt_encoder_config.image_size)


def said(recipe: Recipe, outputs: int) -> int:
    """What a recipe's network says of each voxel; 0: nothing."""
    return 0 if recipe.target.kind == ASKED else outputs


def limit(network: Any, model: Model) -> None:
    """Freeze what doesn't learn, in place: what the recipe names, and the memory, which no single image teaches."""
    off = tuple(prefix for part in model.frozen for prefix in PARTS[part])
    for name, weights in network.named_parameters():
        if name.startswith(off) or not name.startswith(SEEING):
            weights.requires_grad_(False)


def start(recipe: Recipe, model: Model, outputs: int) -> PromptableNetwork:
    """The network that a training begins with, knowing how it is taught. Raises as `completed`."""
    network = build(model, said(recipe, outputs))
    if model.path is not None:
        stored.load(network.sam, model.path, model.full)
    limit(network.sam, model)
    if model.lora:
        lora.adapt(network.sam.vision_encoder, model.lora)
    if not any(weights.requires_grad for weights in network.parameters()):
        raise UsageError("model.frozen leaves nothing to learn", "leave a part out of it, or -s target.kind=distances")
    criterion = make_criterion(recipe.loss, recipe.target, geometry_of(recipe))
    network.lessons = Lessons(model, recipe.train.seed, per_process(recipe.train, team.size()), criterion)
    return network


def check(recipe: Recipe, kind: type[Model]) -> None:
    """Raise UsageError, FormatError or NotFoundError for settings that can't be trained."""
    patch, model = recipe.train.patch, completed(settings(kind, recipe))
    image = side(model)
    with torch.device("meta"):
        built(model.full)
    if patch is None or patch[0] != 1:
        raise UsageError(
            f"train.patch {patch and list(patch)} is no patch of slices: one voxel along z",
            f"for example -s train.patch=[1,{image},{image}]",
        )
    if not recipe.instanced:
        raise UsageError(
            f"{recipe.family} learns from instances, and target.kind is {recipe.target.kind}",
            f"one of -s target.kind={', '.join(INSTANCED)}",
        )
    if recipe.instances.views != "stitched":
        raise UsageError(
            f"instances.views {recipe.instances.views} is not for models that answer prompts: they see slices along z",
            "-s instances.views=stitched",
        )
    metric = load_task(recipe.task).metric.name
    if recipe.target.kind == ASKED and recipe.validation_split and metric != "instances":
        raise UsageError(
            f"with target.kind instances nothing is said of voxels, and task {recipe.task} is scored by {metric}",
            "-s target.kind=distances, or a task whose metric is instances, or -s validation_split=null",
        )
    harness.check_turns(recipe, patch)
    if model.path is not None:
        stored.require_same(model.path, model.full)


def train(kind: type[Model], recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str) -> Path:
    """Train on a project; returns the best checkpoint."""
    model = completed(settings(kind, recipe))
    return harness.train(lambda outputs: start(recipe, model, outputs), recipe, project, out_dir, progress, device)


def load(kind: type[Model], checkpoint: Path, device: str) -> Predictor:
    """A checkpoint, ready to predict and to be asked."""

    def made(recipe: Recipe, outputs: int) -> torch.nn.Module:
        network = build(settings(kind, recipe), said(recipe, outputs))
        lora.take_adapted(network)
        return network

    return harness.load(made, checkpoint, device)
