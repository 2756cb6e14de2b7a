"""A `Follower`: SAM2's (or SAM3's) memory, with the slices of a volume as its video."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn.functional import pad

from copick_tools.engines.promptable.answers import fingerprint
from copick_tools.engines.promptable.images import VERSION, Shape, Sight, resized
from copick_tools.engines.promptable.parts import CLASSES, sight
from copick_tools.inference.device import autocast
from copick_tools.inference.promptable import Answer
from copick_tools.types import Mask
from copick_tools.volumes.components import zyx
from copick_tools.volumes.normalize import Volume

HALF = 0.5  # of a pixel, that it takes to be in a mask


class SamFollower:
    """See `Follower`. network: transformers', with a memory.

    It says whether an object is there, and no IoU: `Answer.iou` is that probability. Memory: what the model remembers of each
    object, of about 20 slices; slices are read one by one.
    """

    def __init__(self, network: Any, device: torch.device, mixed: bool = False) -> None:
        self.network, self.device, self.mixed, self.sight = network, device, mixed, sight(network)

    @cached_property
    def identity(self) -> str:
        """See `Follower`."""
        kind = f"{self.network.config.model_type}-{self.sight.side}"
        return f"{kind}-{VERSION}-{fingerprint(self.network.state_dict())}"

    def follow(self, volume: Volume, z: int, masks: Mask, step: int) -> Iterator[tuple[int, Answer]]:
        """See `Follower.follow`."""
        depth, height, width = zyx(volume)
        network = self.network.to(self.device).eval()
        session = self._session(volume, z, masks)
        numbers = range(z, depth if step > 0 else -1, step)
        for number in numbers if len(masks) else ():
            with torch.inference_mode(), autocast(self.device, self.mixed):
                found = network(session, frame_idx=number, reverse=step < 0)
            _forget(session, number, network.config)
            if number != z:
                yield number, self._answer(found, (height, width))

    def _session(self, volume: Volume, z: int, masks: Mask) -> Any:
        """transformers' record of a video, with the objects of a slice. masks: (N, y, x)."""
        kind = getattr(transformers, f"{CLASSES[self.network.config.model_type]}InferenceSession")
        session = kind(inference_device=self.device, inference_state_device=self.device, dtype=torch.float32)
        session.processed_frames = Frames(self.sight, volume, self.device)
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


class Frames:
    """The slices of a normalized zyx volume as the frames of a video, each made when it is asked for."""

    def __init__(self, sight: Sight, volume: Volume, device: torch.device) -> None:
        self.sight, self.volume, self.device = sight, volume, device

    def __len__(self) -> int:
        return int(self.volume.shape[0])

    def __getitem__(self, z: int) -> torch.Tensor:
        image = np.ascontiguousarray(self.volume[z : z + 1, :, :], np.float32)
        return self.sight.pixels(torch.from_numpy(image).to(self.device))[0]


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
