"""Cellpose-SAM: Segment Anything's image encoder, and maps of objects and flows. It sees slices.

Pachitariu, Rariden and Stringer (2025), methods: a ViT-L with patches of 8 voxels, images of 256, attention across the whole image in
all blocks, and one linear map from each patch to its 8 x 8 voxels. Blocks are left out at random in training, the last one
most often. Its weights, and those of Segment Anything, can be started from; the encoder is transformers'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch.nn.functional import pixel_shuffle
from transformers import SamVisionConfig, SamVisionModel

from copick_tools.data.project import Project
from copick_tools.engines import lora
from copick_tools.engines.family import Settings
from copick_tools.engines.registry import settings
from copick_tools.engines.vit import stored
from copick_tools.errors import UsageError
from copick_tools.inference.geometry import geometry_of
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.decoding import check_views
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import harness
from copick_tools.training.loop import Progress
from copick_tools.volumes.normalize import SPREAD

FLOW = 5.0  # Cellpose's flows are so many times unit vectors
CELL = 0.5  # of the weights of its probability: in the maps of objects, and with the other sign of the background
SPREADS = 0.02  # deviation of random weights


class Model(Settings):
    """The `model:` mapping of a recipe, less its family."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {"width": 384, "depth": 12, "heads": 6},
        "tiny": {"width": 96, "depth": 4, "heads": 3, "features": 64, "image": 64},
    }
    weights: str | None = Field(
        None,
        description="file to start from: Cellpose-SAM's (cpsam), a checkpoint of Segment Anything (sam_vit_*.pth), or a folder of "
        "transformers' SamModel; null: random weights",
    )
    width: int = Field(1024, ge=1, description="numbers of a patch; ViT-L")
    depth: int = Field(24, ge=1, description="blocks")
    heads: int = Field(16, ge=1, description="of attention; a divisor of width")
    mlp_ratio: float = Field(4.0, gt=0, description="inner width of a block's perceptron, of width")
    features: int = Field(256, ge=1, description="numbers of a patch that maps are made of")
    patch_size: int = Field(8, ge=1, description="voxels; each side of a slice is a multiple of it")
    image: int = Field(
        256, ge=1, description="voxels; side of the slices that positions are learned for, others interpolate"
    )
    layer_drop: float = Field(
        0.4, ge=0, lt=1, description="how often the last block is left out in training; the first never"
    )
    frozen: tuple[Literal["encoder"], ...] = Field((), description="parts that don't learn")
    lora: int | None = Field(
        None, ge=1, description="rank of low-rank adapters, which learn instead of the encoder; null: none"
    )

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} isn't a multiple of heads {self.heads}")
        if self.image % self.patch_size:
            raise ValueError(f"image {self.image} isn't a multiple of patch_size {self.patch_size}")
        if self.lora and self.frozen:
            raise ValueError("lora freezes the encoder by itself and learns beside it: leave frozen out")
        return self

    @property
    def multiple(self) -> int:
        """What each side of a slice has to be a multiple of."""
        return self.patch_size


class FlowViT(torch.nn.Module):
    """An image encoder and the maps that are read from it."""

    def __init__(self, model: Model, outputs: int) -> None:
        super().__init__()
        config = SamVisionConfig(
            hidden_size=model.width,
            num_hidden_layers=model.depth,
            num_attention_heads=model.heads,
            mlp_ratio=model.mlp_ratio,
            output_channels=model.features,
            num_channels=1,
            image_size=model.image,
            patch_size=model.patch_size,
            window_size=0,  # attention across the image, in every block
            global_attn_indexes=[],
            initializer_range=SPREADS,
        )
        self.encoder = SamVisionModel(config).vision_encoder
        _see_deviations(self.encoder.patch_embed.projection)
        self.readout = torch.nn.Conv2d(model.features, outputs * model.patch_size**2, 1)
        self.patch_size, self.layer_drop = model.patch_size, 0.0 if model.frozen else model.layer_drop

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(B, 1, 1, y, x), mean 0 and deviation 1, to (B, C, 1, y, x)."""
        images = windows.squeeze(2) / (2 * SPREAD) + 0.5  # 0 and 1 where a gaussian has its 1st and 99th percentile
        tokens = self.encoder.patch_embed.projection(images).permute(0, 2, 3, 1)
        height, width = tokens.shape[1:3]
        tokens = tokens + stored.positions(self.encoder.pos_embed, (height, width))
        kept = self._kept(len(tokens), tokens.device)
        for number, layer in enumerate(self.encoder.layers):
            changed = layer(tokens)
            tokens = changed if kept is None else torch.where(kept[:, number, None, None, None], changed, tokens)
        maps = pixel_shuffle(self.readout(self.encoder.neck(tokens)), self.patch_size)
        return maps.unsqueeze(2)

    def _kept(self, images: int, device: torch.device) -> torch.Tensor | None:
        """(B, depth) which blocks each image goes through; None for all."""
        if not (self.training and self.layer_drop):
            return None
        rates = torch.linspace(0, self.layer_drop, len(self.encoder.layers), device=device)
        return torch.rand((images, len(rates)), device=device) >= rates


def _see_deviations(filters: torch.nn.Conv2d) -> None:
    """Random filters that give a gaussian image in [0, 1] mean 0 and deviation 1; without it, random blocks hardly see it at first."""
    with torch.no_grad():
        torch.nn.init.normal_(filters.weight, std=2 * SPREAD / filters.weight[0].numel() ** 0.5)
        filters.bias.copy_(-0.5 * filters.weight.sum(dim=(1, 2, 3)))


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network: (B, 1, 1, y, x) to logits, then flows, (B, outputs, 1, y, x)."""
    return FlowViT(model, outputs)


def start(recipe: Recipe, outputs: int) -> torch.nn.Module:
    """The network that a training begins with. Raises NotFoundError, FormatError, UsageError for weights that don't fit."""
    model = settings(Model, recipe)
    network = FlowViT(model, outputs)
    found = _stored(model)
    if found is not None:
        network.encoder.load_state_dict(stored.fitted(found, model.patch_size, model.image))
        if found.readout is not None:
            geometry = geometry_of(recipe)
            classes, flows = (outputs, False) if geometry is None else (outputs - geometry.channels, geometry.vectors)
            for part, value in read_out(found.readout, classes, flows).items():
                getattr(network.readout, part).data[: len(value)] = value
    limit(network, model)
    return network


def limit(network: FlowViT, model: Model) -> None:
    """Freeze what doesn't learn, in place, and put adapters beside it where the recipe says so."""
    if model.frozen:
        network.encoder.requires_grad_(False)
    if model.lora:
        lora.adapt(network.encoder, model.lora)


def read_out(maps: tuple[torch.Tensor, torch.Tensor], classes: int, flows: bool) -> dict[str, torch.Tensor]:
    """Weight and bias of a readout that says what Cellpose-SAM's does. classes: background included. flows: they come last.

    Maps of objects have half the weights of its probability, that of the background as much with the other sign (Pachitariu et
    al. 2025, of classes). With one object the softmax is then its probability; with more, so that all of them together are as
    probable as that, their logits are less by the logarithm of their number, which is ours.
    """
    found = {}
    for part, values in zip(("weight", "bias"), maps):
        y, x, cell = values.chunk(stored.MAPS)
        objects = CELL * cell - (math.log(classes - 1) if part == "bias" else 0.0)
        found[part] = torch.cat([-CELL * cell, *[objects] * (classes - 1), *([y / FLOW, x / FLOW] if flows else [])])
    return found


def check(recipe: Recipe) -> None:
    """Raise UsageError, FormatError or NotFoundError for settings that can't be trained."""
    patch, model = recipe.train.patch, settings(Model, recipe)
    if patch is None or patch[0] != 1 or any(side % model.patch_size for side in patch[1:]):
        raise UsageError(
            f"train.patch {patch and list(patch)} is no patch of slices: one voxel along z, multiples of {model.patch_size} else",
            f"for example -s train.patch=[1,{model.image},{model.image}]",
        )
    harness.check_turns(recipe, patch)
    check_views(recipe)
    harness.check_masks(recipe)
    _stored(model)


def _stored(model: Model) -> stored.Stored | None:
    """The weights that a recipe names, checked. Raises NotFoundError, FormatError, UsageError."""
    if model.weights is None:
        return None
    found = stored.read(Path(model.weights).expanduser())
    sizes = {key: value for key, value in found.sizes.items() if key not in ("patch_size", "image")}
    if other := {key: value for key, value in sizes.items() if getattr(model, key) != value}:
        asked = ", ".join(f"{key} {getattr(model, key)}" for key in other)
        raise UsageError(
            f"{model.weights} has {', '.join(f'{key} {value:g}' for key, value in other.items())}, the recipe {asked}",
            " ".join(f"-s model.{key}={value:g}" for key, value in other.items()),
        )
    return found


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    return harness.train(lambda outputs: start(recipe, outputs), recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict."""
    return harness.load(_empty, checkpoint, device)


def _empty(recipe: Recipe, outputs: int) -> torch.nn.Module:
    """The network without numbers, for those of a checkpoint: drawing random ones takes a ViT-L longer than reading it."""
    with torch.device("meta"):
        network = build(settings(Model, recipe), outputs)
    lora.take_adapted(network)
    return network.to_empty(device="cpu")
