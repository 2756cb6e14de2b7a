"""Weights of Mask2Former in a folder, as transformers writes it and as they are published; nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from copick_tools.engines import pretrained
from copick_tools.engines.quiet import quietly
from copick_tools.errors import FormatError, NotFoundError, UsageError

FILTERS = "model.pixel_level_module.encoder.swin.embeddings.patch_embeddings.projection.weight"
OWN = ("class_predictor.", "criterion.")  # of the objects: made anew
SETTINGS = {  # of the family, by where a configuration holds them
    "embed_dim": ("backbone_config", "embed_dim"),
    "depths": ("backbone_config", "depths"),
    "heads": ("backbone_config", "num_heads"),
    "window": ("backbone_config", "window_size"),
    "width": ("hidden_dim",),
    "attention_heads": ("num_attention_heads",),
    "encoder_layers": ("encoder_layers",),
    "encoder_inner": ("encoder_feedforward_dim",),
    "decoder_inner": ("dim_feedforward",),
    "queries": ("num_queries",),
}
FIXED = (  # what no setting changes
    *(("feature_size",), ("mask_feature_size",), ("pre_norm",), ("common_stride",), ("feature_strides",)),
    *(("activation_function",), ("backbone_config", "patch_size"), ("backbone_config", "mlp_ratio")),
    *(("backbone_config", key) for key in ("qkv_bias", "hidden_act", "use_absolute_embeddings", "layer_norm_eps")),
)


def require_fitting(folder: Path, own: Mask2FormerConfig) -> None:
    """Raise NotFoundError or FormatError where a folder holds no Mask2Former, UsageError where it is of other sizes than ``own``."""
    theirs, mine = _configuration(folder).to_dict(), own.to_dict()
    at = {**SETTINGS, "decoder_layers": ("decoder_layers",)}
    other = {key: _value(theirs, path) for key, path in at.items() if _value(theirs, path) != _value(mine, path)}
    if "decoder_layers" in other:
        other["decoder_layers"] -= 1  # transformers counts the queries before the first, too
    if other:
        raise UsageError(
            f"{folder} has other sizes than the recipe: {', '.join(f'{key} {value}' for key, value in other.items())}",
            " ".join(f"-s model.{key}={str(value).replace(' ', '')}" for key, value in other.items()),
        )
    for path in FIXED:
        if _value(theirs, path) != _value(mine, path):
            raise FormatError(
                f"{folder} has {'.'.join(path)} {_value(theirs, path)}, not {_value(mine, path)} as all published ones",
                "give one of facebook/mask2former-swin-*",
            )


def _value(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = document
    for key in path:
        found = found[key]
    return list(found) if isinstance(found, tuple) else found


def _configuration(folder: Path) -> Mask2FormerConfig:
    """What a folder says of its network. Raises NotFoundError, FormatError."""
    if not folder.is_dir():
        raise NotFoundError(
            f"no folder {folder}",
            "model.weights is a folder, downloaded such as facebook/mask2former-swin-tiny-coco-instance",
        )
    kind, document = pretrained.stated(folder)
    if kind != "mask2former":
        raise FormatError(
            f"{folder} holds a model of type {kind}, not mask2former", "give one of facebook/mask2former-swin-*"
        )
    backbone = (document.get("backbone_config") or {}).get("model_type")
    if backbone != "swin":
        raise FormatError(
            f"{folder} has a backbone of type {backbone}, not swin", "give one of facebook/mask2former-swin-*"
        )
    found: Mask2FormerConfig = pretrained.configured(Mask2FormerConfig, document, folder)
    return found


def stored(folder: Path, own: Mask2FormerConfig) -> dict[str, torch.Tensor]:
    """The weights in a folder, but for what depends on the objects, for gray images: filters of three channels are added up.

    own: of the network that they are for. Raises as `require_fitting`, and FormatError for damaged or missing weights.
    """
    require_fitting(folder, own)
    try:
        with quietly():
            model, said = Mask2FormerForUniversalSegmentation.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
    except pretrained.UNREADABLE as error:
        raise pretrained.unread(folder, error) from error
    if missing := sorted(
        name for name in said["missing_keys"] if not name.startswith(OWN) and ".swin.layernorm." not in name
    ):
        raise FormatError(f"{folder} lacks {len(missing)} weights, such as {missing[0]}", "is the file whole?")
    found = {name: value for name, value in model.state_dict().items() if not name.startswith(OWN)}
    found[FILTERS] = found[FILTERS].sum(dim=1, keepdim=True)
    return found
