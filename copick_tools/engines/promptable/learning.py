"""Which weights learn: parts that are frozen, and low-rank adapters of the image encoder's attention (LoRA, Hu et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from copick_tools.engines.promptable.settings import Model, Part

PARTS: Mapping[Part, tuple[str, ...]] = {
    "image-encoder": ("vision_encoder",),
    "prompt-encoder": ("prompt_encoder",),
    "mask-decoder": ("mask_decoder",),
}
SEEING = ("vision_encoder", "prompt_encoder", "mask_decoder", "no_memory_embedding")  # the rest is memory
ATTENTION = r".*attn.*\.(qkv|proj|[qkvo]_proj)|.*attention.*\.[qkvo]_proj"
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.", ".lora_B.default."


def limit(network: Any, model: Model) -> None:
    """Freeze what doesn't learn, in place: what the recipe names, and the memory, which no single image teaches."""
    off = tuple(prefix for part in model.frozen for prefix in PARTS[part])
    for name, weights in network.named_parameters():
        if name.startswith(off) or not name.startswith(SEEING):
            weights.requires_grad_(False)


def adapt(network: Any, rank: int) -> None:
    """Put adapters beside the attention of the image encoder, in place, and freeze the encoder itself."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION), network.vision_encoder)
    for name, weights in network.vision_encoder.named_parameters():
        weights.requires_grad_("lora_" in name)


def merged(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights with adapters, as those of a network without: each product is added to what it stands beside.

    >>> pair = {"a.lora_A.default.weight": torch.ones(1, 2), "a.lora_B.default.weight": torch.ones(3, 1)}
    >>> merged({**pair, "a.base_layer.weight": torch.zeros(3, 2)})["a.weight"].sum()
    tensor(6.)
    """
    found = {}
    for name, value in weights.items():
        if DOWN in name or UP in name:
            continue
        down, up = (weights.get(name.replace(BASE, part)) for part in (DOWN, UP))
        adapted = BASE in name and down is not None and up is not None
        found[name.replace(BASE, ".")] = value + up @ down if adapted and down is not None and up is not None else value
    return found
