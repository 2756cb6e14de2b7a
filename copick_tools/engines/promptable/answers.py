"""A `Promptable` of transformers' SAM, SAM2 or SAM3's tracker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from copick_tools.engines.promptable.images import VERSION
from copick_tools.engines.promptable.parts import Prompts, answered, encoded, sight
from copick_tools.inference.device import autocast
from copick_tools.inference.promptable import Answer, Embedding, Place
from copick_tools.types import Floats, Integers, Mask

ENCODING = ("vision_encoder.", "no_memory_embedding", "mask_decoder.conv_s")  # weights that embeddings come from
SHAPE = "shape"


class SamPromptable:
    """See `Promptable`. network: transformers'. mixed: mixed precision; then embeddings are float16, else float32."""

    def __init__(self, network: Any, device: torch.device, mixed: bool = False) -> None:
        self.network, self.device, self.mixed, self.sight = network, device, mixed, sight(network)

    @cached_property
    def identity(self) -> str:
        """See `Promptable`: of the image encoder alone, in whichever precision: what a GPU encoded is used on a CPU."""
        kind = f"{self.network.config.model_type}-{self.sight.side}"
        own = {name: part for name, part in self.network.state_dict().items() if name.startswith(ENCODING)}
        return f"{kind}-{VERSION}-{fingerprint(own)}"

    @torch.inference_mode()
    def encode(self, image: Floats, place: Place | None = None) -> Embedding:
        """See `Promptable.encode`. Raises ValueError where the network's output isn't finite."""
        network = self._ready()
        given = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(self.device)
        with autocast(self.device, self.mixed):
            features = encoded(network, self.sight.pixels(given[None]))
        found = {f"features{n}": part[0].float().cpu().numpy().astype(self._kind) for n, part in enumerate(features)}
        if not all(np.isfinite(part).all() for part in found.values()):
            raise ValueError("the image's embedding isn't finite: are the model's weights damaged?")
        return {**found, SHAPE: np.array(image.shape, np.int32)}

    @torch.inference_mode()
    def predict(
        self,
        embedding: Embedding,
        points: Floats | None = None,
        labels: Integers | None = None,
        boxes: Floats | None = None,
        masks: Floats | Mask | None = None,
        *,
        several: bool = False,
    ) -> Answer:
        """See `Promptable.predict`. Raises ValueError without any prompt."""
        network, shape = self._ready(), shape_of(embedding)
        if points is None and boxes is None and masks is None:
            raise ValueError("Expected at least one kind of prompt: points with labels, boxes or masks")
        prompts = self._prompts(shape, {"points": points, "labels": labels, "boxes": boxes, "masks": masks})
        if not len(prompts):
            count = network.config.mask_decoder_config.num_multimask_outputs if several else 1
            return Answer(np.empty((0, count, *shape), np.float32), np.empty((0, count), np.float32))
        with autocast(self.device, self.mixed):
            low, iou = answered(network, features_of(embedding, self.device), prompts, several)
        found = [part.cpu().numpy() for part in self.sight.in_parts(low.float(), shape)]
        return Answer(np.concatenate(found), iou.float().cpu().numpy())

    def _prompts(self, shape: tuple[int, int], given: Mapping[str, np.ndarray | None]) -> Prompts:
        """In the model's pixels, on the device."""
        there = {
            name: torch.from_numpy(np.ascontiguousarray(value)).to(self.device)
            for name, value in given.items()
            if value is not None
        }
        points, boxes, masks = there.get("points"), there.get("boxes"), there.get("masks")
        return Prompts(
            None if points is None else self.sight.points(points, shape),
            None if points is None else there["labels"].int(),
            None if boxes is None else self.sight.boxes(boxes, shape),
            None if masks is None else self.sight.masks(masks),
        )

    def _ready(self) -> Any:
        """On the device, and not in training; who trains it puts it back."""
        return self.network.to(self.device).eval()

    @property
    def _kind(self) -> type[np.floating[Any]]:
        return np.float16 if self.mixed else np.float32


def shape_of(embedding: Embedding) -> tuple[int, int]:
    """y, x of the image that was encoded."""
    y, x = np.asarray(embedding[SHAPE]).tolist()
    return int(y), int(x)


def features_of(embedding: Embedding, device: torch.device) -> list[torch.Tensor]:
    """(1, C, y, x) float32 each, the finest first."""
    names = sorted(name for name in embedding if name != SHAPE)
    return [torch.from_numpy(np.asarray(embedding[name])).to(device)[None].float() for name in names]


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Equal for equal weights."""
    found = hashlib.sha256()
    for name, part in sorted(weights.items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(part.detach().cpu().numpy()).tobytes())
    return found.hexdigest()[:32]
