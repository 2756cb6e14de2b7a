"""Weights to start from: a folder that transformers wrote, or a checkpoint of segment_anything. Nothing is fetched, no code is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from copick_tools.engines import pretrained
from copick_tools.engines.adopt.weights import Tensors, plain, tensors
from copick_tools.engines.promptable.parts import CLASSES, configuration, differing
from copick_tools.engines.quiet import quietly
from copick_tools.engines.vit.names import is_segment_anything, renamed
from copick_tools.errors import FormatError, NotFoundError, nearest

WHOLE = "sam3_video"  # as SAM3 is published: a detector, and the tracker that takes points and boxes
LAYER = re.compile(r"(^|\.)(layers|blocks)\.\d+\.")  # one of several alike, in the name of a weight
MICRO_SAM = ("model_state", "sam.")  # where its training keeps the weights, and what it calls the network


def config_of(path: Path) -> dict[str, Any]:
    """transformers' configuration of stored weights, as far as it differs from the defaults.

    Raises NotFoundError, FormatError.
    """
    if not path.exists():
        raise NotFoundError(
            f"no weights {path}",
            "give a folder such as facebook/sam-vit-base, or a sam_vit_*.pth, as they were downloaded",
        )
    return differing(_stated(path)) if path.is_dir() else _guessed(_segment_anything(path), path)


def weights_of(path: Path, config: Mapping[str, Any]) -> Tensors:
    """The stored weights, by transformers' names. Raises NotFoundError, and FormatError where they aren't those of ``config``."""
    require_same(path, config)
    return _of_folder(path, config) if path.is_dir() else _segment_anything(path)


def load(network: torch.nn.Module, path: Path, config: Mapping[str, Any]) -> None:
    """Load stored weights. Raises as `weights_of`."""
    try:
        network.load_state_dict(weights_of(path, config))
    except RuntimeError as error:
        raise FormatError(f"{path}: the weights don't fit: {pretrained.short(error)}", "is the file whole?") from error


def require_same(path: Path, config: Mapping[str, Any]) -> None:
    """Raise NotFoundError for weights that aren't there, FormatError for those of another configuration."""
    theirs, ours = config_of(path), differing(configuration(config))
    if theirs != ours:
        raise FormatError(
            f"{path} isn't what model.config says: {_first_difference(theirs, ours)}",
            "leave config and preset out of model: they come with the weights",
        )


def _stated(folder: Path) -> Any:
    """What a folder says of its network."""
    kind, document = pretrained.stated(folder)
    if kind == WHOLE:
        kind, document = "sam3_tracker_video", document.get("tracker_config") or {}
    if kind not in CLASSES:
        raise FormatError(
            f"{folder} holds a model of type {kind}, which takes no points and boxes", nearest(kind, CLASSES)
        )
    made = getattr(transformers, f"{CLASSES[kind]}Config")
    return pretrained.configured(made, {**document, "model_type": kind}, folder)


def _of_folder(folder: Path, config: Mapping[str, Any]) -> Tensors:
    chosen = configuration(config)
    made = getattr(transformers, f"{CLASSES[chosen.model_type]}Model")
    how = {"local_files_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}  # said below
    try:
        with quietly():
            network, said = made.from_pretrained(folder, config=chosen, dtype=torch.float32, **how)
    except pretrained.UNREADABLE as error:
        raise pretrained.unread(folder, error) from error
    _require_those_of_config(folder, said)
    return dict(network.state_dict())


def _require_those_of_config(folder: Path, said: Mapping[str, Any]) -> None:
    """Raise FormatError unless the weights were those of the configuration beside them. said: by transformers, of loading them."""
    other = sorted(str(name) for name, *_ in said["mismatched_keys"])
    more = sorted(name for name in said["unexpected_keys"] if LAYER.search(name))
    if other or more:
        reason = f"{other[0]} has another shape" if other else f"they have {more[0]} besides"
        raise FormatError(
            f"the weights in {folder} aren't those of its config.json: {reason}", "do both come from the same place?"
        )
    if missing := sorted(said["missing_keys"]):
        raise FormatError(f"{folder} lacks {len(missing)} weights, such as {missing[0]}", "is the file whole?")


def _segment_anything(path: Path) -> Tensors:
    """A whole SAM of segment_anything's, or of micro-SAM's training, by transformers' names. Raises FormatError."""
    found = plain(path, mapped=True)
    inner, prefix = MICRO_SAM
    if isinstance(found, Mapping) and isinstance(found.get(inner), Mapping):
        found = {name.removeprefix(prefix): value for name, value in found[inner].items()}
    named = tensors({name: value for name, value in found.items() if isinstance(value, torch.Tensor)}, path)
    if not is_segment_anything(named) or not any(name.startswith("mask_decoder.") for name in named):
        raise FormatError(
            f"{path} holds no Segment Anything, encoder and decoders",
            "give a sam_vit_*.pth, or a folder of transformers",
        )
    return {name: value.float() for name, value in renamed(named).items()}


def _guessed(found: Tensors, path: Path) -> dict[str, Any]:
    """transformers' configuration of SAM, from the shapes of its weights."""
    try:
        filters = found["vision_encoder.patch_embed.projection.weight"]
        relative = {int(name.split(".")[2]): v for name, v in found.items() if name.endswith("attn.rel_pos_h")}
        patch, grid = filters.shape[-1], found["vision_encoder.pos_embed"].shape[1]
        across = [number for number, value in sorted(relative.items()) if value.shape[0] == 2 * grid - 1]
        windows = [(value.shape[0] + 1) // 2 for number, value in relative.items() if number not in across]
        inside, hidden = filters.shape[0], found["mask_decoder.iou_token.weight"].shape[1]
        image = {"image_size": patch * grid, "patch_size": patch}
        vision = {
            "hidden_size": inside,
            "num_hidden_layers": 1 + max(_numbers(found, r"vision_encoder\.layers\.(\d+)\.")),
            "num_attention_heads": inside // relative[0].shape[1],
            "mlp_dim": found["vision_encoder.layers.0.mlp.lin1.weight"].shape[0],
            "output_channels": hidden,
            "window_size": windows[0] if windows else 0,
            "global_attn_indexes": across,
            "num_pos_feats": hidden // 2,
        }
        masks = {
            "hidden_size": hidden,
            "mlp_dim": found["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
            "num_hidden_layers": 1 + max(_numbers(found, r"mask_decoder\.transformer\.layers\.(\d+)\.")),
            "num_multimask_outputs": found["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            "iou_head_hidden_dim": found["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
        }
        channels = {"mask_input_channels": found["prompt_encoder.mask_embed.conv2.weight"].shape[0]}
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise FormatError(
            f"{path} holds no whole Segment Anything: {error} is missing", "is the file whole?"
        ) from error
    return differing(
        configuration(
            {
                "model_type": "sam",
                "vision_config": {**image, **vision},
                "prompt_encoder_config": {**image, **channels, "hidden_size": hidden},
                "mask_decoder_config": masks,
            }
        )
    )


def _numbers(names: Mapping[str, Any], pattern: str) -> list[int]:
    return [int(found[1]) for name in names if (found := re.match(pattern, name))]


def _first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], where: str = "") -> str:
    """The first value that two configurations don't share, in words."""
    for key in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(key), ours.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            if found := _first_difference(one, other, f"{where}{key}."):
                return found
        elif one != other:
            return f"{where}{key} is {'as usual' if one is None else one}, not {'as usual' if other is None else other}"
    return ""
