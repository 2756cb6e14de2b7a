"""Low-rank adapters beside the attention of an image encoder (LoRA, Hu et al. 2022): learned by peft, loaded without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

ATTENTION = r".*attn.*\.(qkv|proj|[qkvo]_proj)|.*attention.*\.[qkvo]_proj"
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.", ".lora_B.default."


def adapt(encoder: torch.nn.Module, rank: int) -> None:
    """Put adapters beside the attention of an image encoder, in place, and freeze the encoder itself."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION), encoder)
    for name, weights in encoder.named_parameters():
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


def take_adapted(network: torch.nn.Module) -> None:
    """Let a network without adapters load weights with some, too, from now on: they are added to what they stand beside."""
    network.register_load_state_dict_pre_hook(_merge)


def _merge(network: torch.nn.Module, weights: Any, *_: Any) -> None:
    """Merge adapters of weights that are about to be loaded, in place."""
    if any("lora_" in name for name in weights):
        plain: Mapping[str, torch.Tensor] = merged(weights)
        weights.clear()
        weights.update(plain)
