"""Segment Anything: masks of what points, boxes and masks point at, in slices; fine-tuned as micro-SAM is.

Kirillov et al., ICCV 2023; Archit et al., Nature Methods 22, 579 (2025). With ``target.kind: instances`` it answers prompts alone;
with ``distances`` a decoder on the same embedding says of each voxel what and where objects are (micro-SAM's AIS), which makes
instances by itself, and prompts for the model (APG). The network is transformers'.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from copick_tools.data.project import Project
from copick_tools.engines.promptable import family, settings
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.loop import Progress


def _vit(width: int, depth: int, heads: int) -> Mapping[str, Any]:
    """A ViT whose last block of each quarter attends across the image."""
    across = [depth // 4 * quarter - 1 for quarter in (1, 2, 3, 4)]
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    return {"config": {"vision_config": {**sizes, "global_attn_indexes": across}}}


TINY: Mapping[str, Any] = {
    "vision_config": {
        **{"image_size": 128, "patch_size": 8, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3},
        **{"output_channels": 64, "window_size": 4, "global_attn_indexes": [1, 3], "num_pos_feats": 32},
        "initializer_range": 0.02,
    },
    "prompt_encoder_config": {"image_size": 128, "patch_size": 8, "hidden_size": 64},
    "mask_decoder_config": {"hidden_size": 64, "mlp_dim": 256, "num_attention_heads": 4, "iou_head_hidden_dim": 64},
}


class Model(settings.Model):
    """The `model:` mapping of a recipe, less its family. Defaults: ViT-B, 94 million parameters."""

    types: ClassVar[tuple[str, ...]] = ("sam",)
    usual: ClassVar[str] = "sam"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "vit-b": {},
        "vit-l": _vit(1024, 24, 16),
        "vit-h": _vit(1280, 32, 16),
        "tiny": {"config": TINY, "objects_per_image": 8, "iterations": 3, "smallest": 9},
    }


completed, build, side = family.completed, family.build, family.side


def check(recipe: Recipe) -> None:
    """Raise UsageError, FormatError or NotFoundError for settings that can't be trained."""
    family.check(recipe, Model)


def train(recipe: Recipe, project: Project, out_dir: Path, progress: Progress, device: str = "auto") -> Path:
    """Train on a project; returns the best checkpoint."""
    return family.train(Model, recipe, project, out_dir, progress, device)


def load(checkpoint: Path, device: str = "auto") -> Predictor:
    """A checkpoint, ready to predict and to be asked."""
    return family.load(Model, checkpoint, device)
