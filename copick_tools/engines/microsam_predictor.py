"""A network of micro-SAM behind our protocols: images and prompts to masks, volumes to maps, slice by slice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from math import log
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from copick_tools.inference.geometry import Geometry
from copick_tools.inference.grid import Inside
from copick_tools.inference.promptable import Answer, Embedding, Place
from copick_tools.inference.tiles import tiles
from copick_tools.recipes.prompting import Prompting
from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.components import zyx
from copick_tools.volumes.decoding import FULL
from copick_tools.volumes.normalize import Intensity, Volume, intensity, normalize

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample

SURE = log(0.999 / 0.001)  # logits of a mask that is a prompt, as micro-SAM has them
HELD = 1 << 30  # bytes of embeddings that are held: maps and prompts are made of the same ones
MAPS = 3  # of the decoder: foreground, distance to center, distance to boundary


class MicroSam:
    """A `Promptable`. sam: a network of segment_anything, on its device. parts: micro-SAM's modules. identity: of the weights.

    Images are scaled as micro-SAM does: the lowest value is black, the highest white, of each image.
    """

    def __init__(self, sam: Any, parts: SimpleNamespace, identity: str) -> None:
        self.identity, self.side, self.util = identity, int(sam.image_encoder.img_size), parts.util
        self.predictor = parts.predictor(sam)
        self._held: OrderedDict[bytes, Embedding] = OrderedDict()

    @torch.inference_mode()
    def encode(self, image: Floats, place: Place | None = None) -> Embedding:
        """See `Promptable.encode`. features: (1, 256, grid, grid); the two sizes: y, x of the image as SAM sees it, and as it is."""
        key = sha1(np.ascontiguousarray(image)).digest() + str(image.shape).encode()
        if key not in self._held:
            found = self.util.precompute_image_embeddings(self.predictor, image, ndim=2, verbose=False)
            sizes = {name: np.array(found[name], np.int64) for name in ("input_size", "original_size")}
            self._held[key] = {"features": np.asarray(found["features"], np.float32), **sizes}
            size = self._held[key]["features"].nbytes
            while len(self._held) > max(1, HELD // size):
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

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
        """See `Promptable.predict`."""
        self._set(embedding)
        found, iou, _ = self.predictor.predict_torch(
            point_coords=None if points is None else self._moved(points),
            point_labels=None if points is None else self._tensor(labels),
            boxes=None if boxes is None else self._moved(boxes.reshape(-1, 2, 2)).reshape(-1, 4),
            mask_input=None if masks is None else self._low(masks),
            multimask_output=several,
            return_logits=True,
        )
        return Answer(found.float().cpu().numpy(), iou.float().cpu().numpy())

    def _set(self, embedding: Embedding) -> None:
        sizes = {name: tuple(embedding[name].tolist()) for name in ("input_size", "original_size")}
        self.util.set_precomputed(self.predictor, {"features": embedding["features"], **sizes})

    def _moved(self, places: Floats) -> torch.Tensor:
        """(…, 2) y, x of the image to (…, 2) x, y of what SAM sees."""
        return self._tensor(self.predictor.transform.apply_coords(places[..., ::-1], self.predictor.original_size))

    def _tensor(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.predictor.device)

    def _low(self, masks: Floats | Mask) -> torch.Tensor:
        """(N, y, x) to the (N, 1, side / 4, side / 4) logits that SAM takes; outside of the image there is nothing."""
        known = masks.dtype == bool
        size = [max(1, round(length / 4)) for length in self.predictor.input_size]
        low = interpolate(self._tensor(masks)[:, None], size, mode="bilinear", align_corners=False, antialias=True)
        if known:
            low = torch.where(low > 0.5, SURE, -SURE)
        rest = [self.side // 4 - length for length in size]
        return pad(low, (0, rest[1], 0, rest[0]), value=-SURE)


@dataclass
class Slicewise:
    """A `tiler.Predictor` that sees slices, or tiles of them (``prompting.tile``), each by itself.

    decoder: micro-SAM's, of the three maps. objects: one, for micro-SAM knows no kinds.
    """

    model: MicroSam
    decoder: torch.nn.Module
    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float
    prompting: Prompting = field(default_factory=Prompting)
    geometry: Geometry = Geometry("distances", MAPS - 1)

    @property
    def promptable(self) -> MicroSam:
        """What answers prompts."""
        return self.model

    def maps(
        self, volume: Volume, sample: Sample | None = None
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """See `tiler.Tiled.maps`. All of the sample is labeled as the one object: where it is, the foreground says."""
        label = np.uint8(next(iter(self.objects.values())))
        for z, found, inside in self._slices(volume, sample):
            packed = np.round(np.clip(found, 0, 1) * FULL).astype(np.uint8)[:, None]
            yield z, packed[0], np.where(inside, label, np.uint8(0))[None], packed[1:]

    def slabs(self, volume: Volume, sample: Sample | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """See `tiler.Predictor.slabs`."""
        for z, found, _ in self._slices(volume, sample):
            yield z, np.stack([1 - found[:1], found[:1]]).astype(np.float16)

    def _slices(self, volume: Volume, sample: Sample | None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(z, maps (3, y, x) float32, (y, x) bool where the sample is) of every slice."""
        shape, statistics = zyx(volume), intensity(volume, self.normalize)
        where = Inside(sample, shape) if sample is not None else None
        for z in range(shape[0]):
            inside = np.ones(shape[1:], bool) if where is None else where.mask(z, z + 1)[0]
            found = np.broadcast_to(np.array([0, 1, 1], np.float32)[:, None, None], (MAPS, *shape[1:]))
            if inside.any():
                found = np.where(inside, self._slice(volume, z, statistics), found)
            yield z, found, inside

    def _slice(self, volume: Volume, z: int, statistics: Intensity) -> np.ndarray:
        """(3, y, x) of a slice, tile by tile."""
        _, height, width = zyx(volume)
        found = np.empty((MAPS, height, width), np.float32)
        for tile in tiles((height, width), self.prompting.tile, self.prompting.halo):
            image = normalize(np.asarray(volume[(slice(z, z + 1), *tile.outer)], np.float32), statistics)[0]
            inner = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(tile.inner, tile.outer))
            found[(slice(None), *tile.inner)] = self.decoded(self.model.encode(image))[(slice(None), *inner)]
        if not np.isfinite(found).all():
            raise ValueError("the network's output isn't finite: are its weights damaged?")
        return found

    @torch.inference_mode()
    def decoded(self, embedding: Embedding) -> np.ndarray:
        """(3, y, x) float32 of an encoded image: foreground, distance to center, distance to boundary."""
        sizes = [tuple(embedding[name].tolist()) for name in ("input_size", "original_size")]
        features = torch.from_numpy(embedding["features"]).to(self.model.predictor.device)
        found: np.ndarray = self.decoder(features, *sizes).float().cpu().numpy()[0]
        return found
