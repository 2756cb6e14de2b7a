"""Segment Anything 2: as `sam`, with a faster image encoder, and with a memory that follows objects from slice to slice.

Ravi et al., 2024 (Hiera encoder, SAM 2.1). The memory is that of the published weights: single slices don't teach it. SAM3's
tracker, which takes the same prompts, is of this family by its ``model.config``. The networks are transformers'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from copick_tools.data.project import Project
from copick_tools.engines.promptable import family, settings
from copick_tools.inference.tiler import Predictor
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.loop import Progress


def _hiera(
    width: int, heads: int, blocks: Sequence[int], across: Sequence[int], windows: Sequence[int], background: int
) -> Mapping[str, Any]:
    """A Hiera of four stages, the channels and heads of each twice those before. across: blocks that attend across the image."""
    widths = [width * 2**stage for stage in range(4)]
    backbone = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": list(blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**stage for stage in range(4)],
        "window_size_per_stage": list(windows),
        "global_attention_blocks": list(across),
        "window_positional_embedding_background_size": [background, background],
    }
    return {"config": {"vision_config": {"backbone_config": backbone, "backbone_channel_list": widths[::-1]}}}


_small = _hiera(16, 1, (1, 1, 2, 1), (3,), (4, 4, 4, 4), 4)["config"]["vision_config"]
TINY: Mapping[str, Any] = {  # 128 channels, for transformers has a memory of 64 that has to be less
    "image_size": 128,
    "vision_config": {
        "backbone_config": {**_small["backbone_config"], "image_size": [128, 128]},
        "backbone_channel_list": _small["backbone_channel_list"],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 128,
    },
    "prompt_encoder_config": {"hidden_size": 128, "image_size": 128},
    "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 256, "num_attention_heads": 4, "iou_head_hidden_dim": 64},
    **{"memory_attention_hidden_size": 128, "memory_attention_num_layers": 2, "memory_encoder_hidden_size": 128},
    **{"memory_attention_feed_forward_hidden_size": 128, "memory_attention_rope_feat_sizes": [8, 8]},
    **{"mask_downsampler_embed_dim": 128, "memory_fuser_embed_dim": 128, "memory_fuser_intermediate_dim": 128},
}


class Model(settings.Model):
    """The `model:` mapping of a recipe, less its family. Defaults: Hiera-T with its memory, 39 million parameters."""

    types: ClassVar[tuple[str, ...]] = ("sam2", "sam2_video", "sam3_tracker", "sam3_tracker_video")
    usual: ClassVar[str] = "sam2_video"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "hiera-t": {},
        "hiera-s": _hiera(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), 7),
        "hiera-b+": _hiera(112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), 14),
        "hiera-l": _hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), 7),
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
