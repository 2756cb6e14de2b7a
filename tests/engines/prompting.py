"""Tiny promptable models with random weights, and things to ask them for."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from copick_tools.engines.promptable.answers import SamPromptable
from copick_tools.engines.promptable.parts import built

_prompts = {"hidden_size": 128, "image_size": 128, "mask_input_channels": 8}
_masks = {"hidden_size": 128, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
_hiera = {
    **{"hidden_size": 16, "image_size": [128, 128], "blocks_per_stage": [1, 1, 2, 1]},
    **{"embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 2, 4]},
    **{"window_size_per_stage": [4, 4, 4, 4], "global_attention_blocks": [3]},
    "window_positional_embedding_background_size": [4, 4],
}
_pyramid = {"fpn_hidden_size": 128, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}
_sam2 = {
    "vision_config": {"backbone_config": _hiera, "backbone_channel_list": [128, 64, 32, 16], **_pyramid},
    "prompt_encoder_config": _prompts,
    "mask_decoder_config": _masks,
}
_vit3 = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"image_size": 112, "window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": 56},
}
_sam3 = {
    "vision_config": {"backbone_config": _vit3, **_pyramid},
    "prompt_encoder_config": {**_prompts, "image_size": 112},
    "mask_decoder_config": _masks,
}
_memory = {
    **{"memory_attention_hidden_size": 128, "memory_attention_num_layers": 1, "memory_encoder_hidden_size": 128},
    **{"memory_attention_feed_forward_hidden_size": 64, "memory_attention_rope_feat_sizes": [8, 8]},
    **{"mask_downsampler_embed_dim": 128, "memory_fuser_embed_dim": 128, "memory_fuser_intermediate_dim": 64},
}
TINY: dict[str, dict[str, Any]] = {
    "sam": {
        "vision_config": {
            **{"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 64, "patch_size": 8},
            **{"output_channels": 32, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 16},
            "initializer_range": 0.02,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 8, "mask_input_channels": 8},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    },
    "sam2": _sam2,
    "sam2_video": {**_sam2, **_memory, "image_size": 128},
    "sam3_tracker": _sam3,
    "sam3_tracker_video": {**_sam3, **_memory, "image_size": 112},
}


def config(kind: str) -> dict[str, Any]:
    """Of a tiny model."""
    return {"model_type": kind, **TINY[kind]}


def network(kind: str, seed: int = 0) -> Any:
    """A tiny network of transformers'."""
    torch.manual_seed(seed)
    return built(config(kind)).eval()


@cache
def asked(kind: str) -> SamPromptable:
    """A tiny model to ask; its weights stay as they are."""
    return SamPromptable(network(kind), torch.device("cpu"))


def disc(shape: tuple[int, int], center: tuple[int, int], radius: float) -> np.ndarray:
    """(y, x) bool."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2)
