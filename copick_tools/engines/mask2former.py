"""Mask2Former: queries that each say one mask and its class. It sees slices; transformers has the network and its loss.

Cheng et al., CVPR 2022. The multi-organelle benchmark of electron microscopy has it as the baseline that predicts instances
themselves, each type of organelle a category. Backbone: a Swin transformer. A slice in gray with mean 0 and deviation 1 is what
the published weights were trained on, but for the three colors: their filters are added up, as for three equal channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch.nn.functional import interpolate
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from copick_tools.data.project import Project
from copick_tools.engines.family import Settings
from copick_tools.engines.mask2former_loss import LEAST, Loss, known, objects_of
from copick_tools.engines.mask2former_weights import require_fitting, stored
from copick_tools.engines.registry import settings
from copick_tools.errors import UsageError
from copick_tools.inference.queries import Queried
from copick_tools.inference.tiler import Predictor, Tiled
from copick_tools.recipes.recipe import Recipe
from copick_tools.training import harness
from copick_tools.training.checkpoint import Card
from copick_tools.training.loop import Progress

STRIDE = 32  # of the deepest feature map
GROUPS = 32  # of channels, in the pixel decoder's norms
FAINTEST = 1e-6  # probability
Positive = Annotated[int, Field(ge=1)]
Four = tuple[Positive, Positive, Positive, Positive]


class Model(Settings):
    """The `model:` mapping of a recipe, less its family. Defaults: Swin-T, 47 million parameters."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "swin-t": {},
        "swin-s": {"depths": (2, 2, 18, 2)},
        "swin-b": {"embed_dim": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32), "window": 12},
        "swin-l": {
            **{"embed_dim": 192, "depths": (2, 2, 18, 2), "heads": (6, 12, 24, 48), "window": 12},
            "queries": 200,
        },
        "tiny": {
            **{"embed_dim": 24, "depths": (1, 1, 2, 1), "heads": (1, 2, 4, 8), "window": 4, "drop_path": 0.0},
            **{"width": 64, "attention_heads": 4, "encoder_layers": 2, "decoder_layers": 3},
            **{"encoder_inner": 128, "decoder_inner": 128, "queries": 20, "points": 1024},
        },
    }
    weights: str | None = Field(
        None,
        description="folder to start from, as transformers writes it, such as facebook/mask2former-swin-tiny-coco-instance; "
        "null: random weights",
    )
    embed_dim: Positive = Field(
        96, description="backbone: channels of the first of four stages; each next one has twice"
    )
    depths: Four = Field((2, 2, 6, 2), description="backbone: blocks of each stage")
    heads: Four = Field((3, 6, 12, 24), description="backbone: of attention, in each stage")
    window: Positive = Field(7, description="backbone: side of the windows of attention")
    drop_path: float = Field(0.3, ge=0, lt=1, description="backbone: how often the last block is left out in training")
    width: int = Field(256, ge=GROUPS, multiple_of=GROUPS, description="channels of features, masks and queries")
    attention_heads: Positive = Field(8, description="of both decoders; a divisor of width")
    encoder_layers: Positive = Field(6, description="of the pixel decoder")
    encoder_inner: Positive = Field(1024, description="inner width of their perceptrons")
    decoder_layers: Positive = Field(9, description="in which queries attend to pixels, and each other")
    decoder_inner: Positive = Field(2048, description="inner width of their perceptrons")
    enlarge: Literal[1, 2, 4] = Field(
        1, description="times as many pixels along y and x as the slice has; masks have a quarter of that"
    )
    queries: Positive = Field(100, description="the most objects in a window")
    points: int = Field(12544, ge=16, description="pixels at random at which masks are compared in training")
    auxiliary: bool = Field(True, description="whether what each layer of queries says is trained, too")
    frozen: tuple[Literal["backbone"], ...] = Field((), description="parts that don't learn")

    @model_validator(mode="after")
    def _fits(self) -> Model:
        for stage, heads in enumerate(self.heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(
                    f"{self.embed_dim * 2**stage} channels of stage {stage + 1} aren't a multiple of {heads} heads"
                )
        if self.width % self.attention_heads:
            raise ValueError(f"width {self.width} isn't a multiple of attention_heads {self.attention_heads}")
        return self

    @property
    def multiple(self) -> int:
        """What each side of a slice has to be a multiple of."""
        return STRIDE // self.enlarge

    def config(self, objects: int) -> Mask2FormerConfig:
        """transformers' configuration, for so many objects and gray images."""
        backbone = SwinConfig(
            num_channels=1,
            embed_dim=self.embed_dim,
            depths=self.depths,
            num_heads=self.heads,
            window_size=self.window,
            drop_path_rate=self.drop_path,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        return Mask2FormerConfig(
            backbone_config=backbone,
            num_labels=objects,
            feature_size=self.width,
            mask_feature_size=self.width,
            hidden_dim=self.width,
            num_attention_heads=self.attention_heads,
            encoder_layers=self.encoder_layers,
            encoder_feedforward_dim=self.encoder_inner,
            decoder_layers=self.decoder_layers + 1,
            dim_feedforward=self.decoder_inner,
            num_queries=self.queries,
            train_num_points=self.points,
        )


class Queries(torch.nn.Module):
    """The network. Training, it computes its loss itself (`loop.has_own_loss`)."""

    own_loss = True

    def __init__(self, model: Model, objects: int) -> None:
        super().__init__()
        self.network = Mask2FormerForUniversalSegmentation(model.config(objects))
        self.network.criterion = Loss(self.network.config, self.network.weight_dict)
        self.auxiliary, self.enlarge, self.frozen = model.auxiliary, model.enlarge, "backbone" in model.frozen
        self.backbone.swin.layernorm.requires_grad_(False)  # nothing goes through it
        if self.frozen:
            self.backbone.requires_grad_(False)

    @property
    def backbone(self) -> Any:
        """The Swin transformer."""
        return self.network.model.pixel_level_module.encoder

    def train(self, mode: bool = True) -> Queries:
        """As every module; what is frozen stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, voxels: torch.Tensor, target: torch.Tensor | None = None, step: int = 0) -> torch.Tensor:
        """(B, 1, 1, y, x) to logits (B, C, 1, y, x), background first; or the loss, a scalar, where there is a target (B, 3, 1, y, x),
        as of `training.instance_targets`.
        """
        images = voxels.squeeze(2)
        if target is not None:
            return self.loss(images, target.squeeze(2))
        classes, masks = self.queries(images)
        with torch.autocast(images.device.type, enabled=False):
            found = [probabilities(*said, images.shape[2:]) for said in zip(classes, masks.float())]
            return torch.stack(found).clamp(min=FAINTEST).log().unsqueeze(2)

    def queries(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, y, x) to probabilities of the objects (B, Q, C - 1), which leave some to there being none, and logits of masks
        (B, Q, y / 4, x / 4), times `Model.enlarge`.
        """
        found = self.network(self._enlarged(images))
        return found.class_queries_logits.float().softmax(dim=2)[:, :, :-1], found.masks_queries_logits

    def loss(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Of a batch: cross-entropy of classes and masks and Dice of masks, each object's with the query that fits it best."""
        found = self.network(self._enlarged(images), output_auxiliary_logits=True)
        last = {"masks_queries_logits": found.masks_queries_logits, "class_queries_logits": found.class_queries_logits}
        wanted = [objects_of(one, LEAST // self.enlarge**2) for one in target]
        unknown = torch.stack([one[2] for one in wanted])
        with torch.autocast(images.device.type, enabled=False):
            said = [known(layer, unknown) for layer in [last, *(found.auxiliary_logits if self.auxiliary else [])]]
            losses = self.network.get_loss_dict(
                **said[0],
                mask_labels=[one[0] for one in wanted],
                class_labels=[one[1] for one in wanted],
                auxiliary_predictions=said[1:] or None,
            )
            total: torch.Tensor = self.network.get_loss(losses)
        return total

    def _enlarged(self, images: torch.Tensor) -> torch.Tensor:
        if self.enlarge == 1:
            return images
        return interpolate(images, scale_factor=float(self.enlarge), mode="bilinear", align_corners=False)

    def predictor(self, card: Card, device: torch.device) -> Queried:
        """See `harness.predictor`."""
        tiled = harness.tiled(self, card, device)
        return Queried(**{f.name: getattr(tiled, f.name) for f in fields(Tiled) if f.init})


def probabilities(classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(C, y, x) of the classes of each pixel, background first: sums over the queries, and what they leave (Cheng et al. 2021).

    classes: (Q, C - 1) probabilities. masks: (Q, h, w) logits. size: y, x.
    """
    shown = interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0].sigmoid()
    sums = torch.einsum("qc,qyx->cyx", classes, shown)
    sums = sums / sums.sum(dim=0).clamp(min=1)
    return torch.cat([(1 - sums.sum(dim=0, keepdim=True)).clamp(min=0), sums])


def build(model: Model, outputs: int) -> torch.nn.Module:
    """The network for so many classes, background included."""
    return Queries(model, outputs - 1)


def start(recipe: Recipe, outputs: int) -> torch.nn.Module:
    """The network that a training begins with. Raises NotFoundError, FormatError, UsageError for weights that don't fit."""
    model = settings(Model, recipe)
    network = Queries(model, outputs - 1)
    if model.weights is not None:
        folder = Path(model.weights).expanduser()
        network.network.load_state_dict(network.network.state_dict() | stored(folder, network.network.config))
    return network


def check(recipe: Recipe) -> None:
    """Raise UsageError, FormatError or NotFoundError for settings that can't be trained."""
    patch, model = recipe.train.patch, settings(Model, recipe)
    multiple = model.multiple
    least = multiple if model.width > GROUPS else 2 * multiple  # a norm of one number says nothing
    if patch is None or patch[0] != 1 or any(side % multiple or side < least for side in patch[1:]):
        raise UsageError(
            f"train.patch {patch and list(patch)} is no patch of slices: one voxel along z, multiples of {multiple} from {least} on else",
            "for example -s train.patch=[1,256,256]",
        )
    if recipe.target.kind != "instances":
        raise UsageError(
            f"mask2former predicts masks, and target.kind {recipe.target.kind} is about each voxel",
            "-s target.kind=instances",
        )
    if recipe.instances.views != "stitched":
        raise UsageError(
            "masks of slices can't be averaged over three views, as instances.views asks for",
            "-s instances.views=stitched",
        )
    if recipe.inference.tta != 1:
        raise UsageError(
            f"masks of queries can't be averaged over orientations, as inference.tta {recipe.inference.tta} asks for",
            "-s inference.tta=1",
        )
    if model.weights is not None:
        require_fitting(Path(model.weights).expanduser(), model.config(1))


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    return harness.train(lambda outputs: start(recipe, outputs), recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict."""
    return harness.load(lambda recipe, outputs: build(settings(Model, recipe), outputs), checkpoint, device)
