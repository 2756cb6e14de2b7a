"""transformers' SAM, SAM2 and SAM3's tracker, built from a recipe, their parts called one by one, gradients and all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from copick_tools.engines.pretrained import UNBUILT, short
from copick_tools.engines.promptable.images import Sight
from copick_tools.errors import FormatError, nearest

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
WITH_MEMORY = ("sam2_video", "sam3_tracker_video")
CLASSES = {  # by what a configuration calls itself
    "sam": "Sam",
    "sam2": "Sam2",
    "sam2_video": "Sam2Video",
    "sam3_tracker": "Sam3Tracker",
    "sam3_tracker_video": "Sam3TrackerVideo",
}
FIXED = ("shared_image_embedding.", "prompt_encoder.shared_embedding.")  # the random frequencies of positions


@dataclass(frozen=True)
class Prompts:
    """Of N objects, in a model's own pixels. points: (N, P, 2) x, y. labels: (N, P). boxes: (N, 4). masks: (N, 1, grid, grid)."""

    points: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    def __len__(self) -> int:
        given = next(part for part in (self.points, self.boxes, self.masks) if part is not None)
        return len(given)


def configuration(config: Mapping[str, Any]) -> Any:
    """transformers' configuration of such values. Raises FormatError for a type that isn't ours, unknown keys and odd values."""
    kind = str(config.get("model_type"))
    if kind not in CLASSES:
        raise FormatError(f"model.config: model_type '{kind}' takes no points and boxes", nearest(kind, CLASSES))
    made = getattr(transformers, f"{CLASSES[kind]}Config")
    usual = made().to_dict()
    _require_known(config, usual, "model.config")
    try:
        return made(**{key: _typed(value, usual[key]) for key, value in config.items() if key != "model_type"})
    except UNBUILT as error:
        raise FormatError(f"model.config makes no {CLASSES[kind]}: {short(error)}") from error


def _require_known(config: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        if key not in known:
            raise FormatError(f"{where} has no key '{key}'", nearest(key, known))
        if isinstance(value, Mapping) and isinstance(known[key], Mapping) and key.endswith("_config"):
            _require_known(value, known[key], f"{where}.{key}")


def _typed(value: Any, usual: Any) -> Any:
    """A part of a configuration with its type, of which transformers takes some parts to be another's otherwise."""
    if not isinstance(value, Mapping) or not isinstance(usual, Mapping):
        return list(value) if isinstance(value, tuple) else value
    kind = {"model_type": usual["model_type"]} if "model_type" in usual else {}
    return kind | {key: _typed(part, usual.get(key)) for key, part in value.items()}


def differing(config: Any) -> dict[str, Any]:
    """What a transformers' configuration says that its defaults don't, as plain JSON; with its type."""
    values, usual = (json.loads(json.dumps(part.to_dict())) for part in (config, type(config)()))
    return {"model_type": config.model_type, **_differing(values, usual)}


def _differing(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in usual or value == usual[key]:
            continue
        parts = isinstance(value, Mapping) and isinstance(usual[key], Mapping)
        found[key] = _differing(value, usual[key]) if parts else value
    return found


def built(config: Mapping[str, Any]) -> Any:
    """A network with random weights. Raises FormatError where the configuration makes none."""
    chosen = configuration(config)
    try:
        network = getattr(transformers, f"{CLASSES[chosen.model_type]}Model")(chosen)
    except UNBUILT as error:
        raise FormatError(f"model.config makes no network: {short(error)}") from error
    _randomize(network)
    for name, weights in network.named_parameters():
        weights.requires_grad_(not name.startswith(FIXED))
    return network


def _randomize(network: Any) -> None:
    """Random weights of prompts and masks as SAM's own code has them: torch's defaults. transformers' are too small to learn from."""
    for part in (*network.prompt_encoder.modules(), *network.mask_decoder.modules()):
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Embedding):
            part.reset_parameters()
    frequencies = network.shared_image_embedding.positional_embedding
    torch.nn.init.normal_(frequencies)
    network.prompt_encoder.shared_embedding.positional_embedding.data.copy_(frequencies.data)


def remembers(network: Any) -> bool:
    """Whether it has a memory of slices. transformers' works where that is narrower than the embedding."""
    return network.config.model_type in WITH_MEMORY and network.hidden_dim > network.mem_dim


def sight(network: Any) -> Sight:
    """How a network sees images."""
    prompts, kind = network.config.prompt_encoder_config, network.config.model_type
    side, patch = int(prompts.image_size), int(prompts.patch_size)
    mean, deviation = HALF if kind.startswith("sam3") else IMAGENET
    return Sight(side, 4 * (side // patch), kind == "sam", mean, deviation)


def encoded(network: Any, pixels: torch.Tensor) -> list[torch.Tensor]:
    """(B, 3, side, side) to features (B, C, y, x), the finest first, the embedding last; SAM has that alone."""
    if network.config.model_type == "sam":
        return [network.vision_encoder(pixels)[0]]
    flat = list(network.get_image_features(pixels, return_dict=True).fpn_hidden_states)[: len(sizes(network))]
    flat[-1] = flat[-1] + network.no_memory_embedding
    return [part.permute(1, 2, 0).unflatten(2, tuple(size)) for part, size in zip(flat, sizes(network))]


def sizes(network: Any) -> Sequence[Sequence[int]]:
    """y, x of each of SAM2's feature maps."""
    found: Sequence[Sequence[int]] = network.backbone_feature_sizes
    return found


def answered(
    network: Any, features: Sequence[torch.Tensor], prompts: Prompts, several: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, M, grid, grid) of masks, and the IoU (N, M) that is expected of each. features: (1, C, y, x) of one image.

    Each object is an image of its own here, for masks are prompts of images.
    """
    count = len(prompts)
    points, labels, boxes = prompts.points, prompts.labels, prompts.boxes
    if points is None and boxes is None and network.config.model_type != "sam":  # which wants one that is none
        points = torch.zeros((count, 1, 2), device=features[-1].device)
        labels = torch.full((count, 1), -1, dtype=torch.int32, device=features[-1].device)
    with torch.autocast(features[-1].device.type, enabled=False):  # half precision tells no pixel from the next
        sparse, dense = network.prompt_encoder(
            input_points=None if points is None else points[:, None],
            input_labels=None if labels is None else labels[:, None],
            input_boxes=None if boxes is None else boxes[:, None],
            input_masks=prompts.masks,
        )
        places = network.get_image_wide_positional_embeddings().expand(count, -1, -1, -1)
    wide = [part.expand(count, -1, -1, -1) for part in features]
    masks, iou, *_ = network.mask_decoder(
        image_embeddings=wide[-1],
        image_positional_embeddings=places,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=several,
        **({"high_resolution_features": wide[:-1]} if len(wide) > 1 else {}),
    )
    return masks[:, 0], iou[:, 0]
