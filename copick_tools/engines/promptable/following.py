"""A `Follower`: SAM2's (or SAM3's) memory, with the slices of a volume as its video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn.functional import pad

from copick_tools.engines.promptable.answers import features_of
from copick_tools.engines.promptable.images import Shape, resized
from copick_tools.engines.promptable.parts import CLASSES, sight, sizes
from copick_tools.inference.device import autocast
from copick_tools.inference.promptable import Answer, Embedding
from copick_tools.types import Mask

HALF = 0.5  # of a pixel, that it takes to be in a mask


class SamFollower:
    """See `Follower`. network: transformers', with a memory.

    It says whether an object is there, and no IoU: `Answer.iou` is that probability. Memory: what the model remembers of each
    object, of about 20 slices.
    """

    def __init__(self, network: Any, device: torch.device, mixed: bool = False) -> None:
        self.network, self.device, self.mixed, self.sight = network, device, mixed, sight(network)

    @cached_property
    def places(self) -> torch.Tensor:
        """(pixels, 1, channels): what the encoder says of places in its coarsest map, whatever the image."""
        network, (height, width) = self.network.to(self.device), sizes(self.network)[-1]
        shape = torch.Size((1, network.hidden_dim, height, width))
        found: torch.Tensor = network.vision_encoder.neck.position_encoding(shape, self.device, torch.float32)
        return found.flatten(2).permute(2, 0, 1)

    def follow(self, slices: Sequence[Embedding], z: int, masks: Mask, step: int) -> Iterator[tuple[int, Answer]]:
        """See `Follower.follow`."""
        network = self.network.to(self.device).eval()
        session = self._session(slices, z, masks)
        numbers = range(z, len(slices) if step > 0 else -1, step)
        for number in numbers if len(masks) else ():
            with torch.inference_mode(), autocast(self.device, self.mixed):
                found = network(session, frame_idx=number, reverse=step < 0)
            _forget(session, number, network.config)
            if number != z:
                yield number, self._answer(found, masks.shape[1:])

    def _session(self, slices: Sequence[Embedding], z: int, masks: Mask) -> Any:
        """transformers' record of a video, with the objects of a slice. masks: (N, y, x)."""
        kind = getattr(transformers, f"{CLASSES[self.network.config.model_type]}InferenceSession")
        session = kind(inference_device=self.device, inference_state_device=self.device, dtype=torch.float32)
        session.processed_frames, session.cache = range(len(slices)), _Seen(self, slices)  # frames are counted alone
        for number, mask in enumerate(self._given(masks)):
            session.add_mask_inputs(session.obj_id_to_idx(number), z, mask[None])
            session.obj_with_new_inputs.append(number)
        return session

    def _given(self, masks: Mask) -> torch.Tensor:
        """(N, y, x) to (N, 1, side, side) of 0 and 1, as the memory takes them."""
        given = torch.from_numpy(np.ascontiguousarray(masks, np.float32))[:, None]
        height, width = self.sight.size((given.shape[2], given.shape[3]))
        large = resized(given, (height, width)) >= HALF
        return pad(large.float(), (0, self.sight.side - width, 0, self.sight.side - height)).to(self.device)

    def _answer(self, found: Any, shape: Shape) -> Answer:
        logits = [part.cpu().numpy() for part in self.sight.in_parts(found.pred_masks.float(), shape)]
        there = found.object_score_logits.float().sigmoid().reshape(-1, 1).cpu().numpy()
        return Answer(np.concatenate(logits), there)


class _Seen:
    """What transformers' sessions keep of the frames of a video: here, what was encoded of the slices of a volume.

    The last slice stays on the device: each object asks for it.
    """

    def __init__(self, follower: SamFollower, slices: Sequence[Embedding]) -> None:
        self.follower, self.slices = follower, slices
        self.last: tuple[int, dict[str, list[Any]]] | None = None

    def get_vision_features(self, z: int) -> dict[str, list[Any]]:
        """Of a slice, as its own encoder has them, without the sign that nothing is remembered: maps (pixels, 1, channels), the
        finest first. Of places only those of the last map are looked at.
        """
        if self.last is None or self.last[0] != z:
            features = features_of(self.slices[z], self.follower.device)
            flat = [part.flatten(2).permute(2, 0, 1) for part in features]
            flat[-1] = flat[-1] - self.follower.network.no_memory_embedding
            self.last = z, {"vision_feats": flat, "vision_pos_embeds": [self.follower.places]}
        return self.last[1]


def _forget(session: Any, z: int, config: Any) -> None:
    """Leave out of a session what no later slice looks at; transformers keeps everything."""
    reach = max(config.num_maskmem, config.max_object_pointers_in_encoder)
    for outputs in session.output_dict_per_obj.values():
        later = outputs["non_cond_frame_outputs"]
        for number in [number for number in later if abs(number - z) > reach]:
            del later[number]
        for known in (later, outputs["cond_frame_outputs"]):
            if z in known:
                known[z].pop("high_res_masks", None)
