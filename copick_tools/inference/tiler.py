"""Sliding-window prediction in slabs: memory doesn't grow with the height of the volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from copick_tools.inference.device import autocast
from copick_tools.volumes.normalize import Intensity, Volume, intensity, normalize
from copick_tools.volumes.windows import gaussian, starts

Shape = tuple[int, int, int]
Slabs = Iterator[tuple[int, np.ndarray]]


class Predictor(Protocol):
    """What an engine's ``load`` returns.

    objects: name -> label, in the order of the channels 1, 2, …; channel 0 is background.
    voxel_spacing: angstrom, that of the training data. normalize: percent clipped at either end of the intensities.
    """

    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float

    def slabs(self, volume: Volume) -> Slabs:
        """(z0, probabilities (C, dz, y, x) float16) from z = 0 up, without gaps. ``volume``: zyx, as it was stored."""


@dataclass
class Tiled:
    """The predictor of patch networks: overlapping windows, blended with gaussian weights.

    network: maps (B, 1, z, y, x) to logits (B, C, z, y, x). patch: zyx of the window, that of training.
    """

    network: torch.nn.Module
    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float
    patch: Shape
    overlap: float = 0.25
    batch_size: int = 4
    device: torch.device = torch.device("cpu")
    bf16: bool = False

    @torch.inference_mode()
    def slabs(self, volume: Volume) -> Slabs:
        """See `Predictor.slabs`. Raises ValueError for a constant or non-finite volume."""
        self.network.to(self.device).eval()
        depth, height, width = volume.shape
        statistics = intensity(volume, self.normalize)
        rows = [starts(length, window, self.overlap) for length, window in zip(volume.shape, self.patch)]
        weights = torch.from_numpy(gaussian(self.patch)).to(self.device)
        padded = [max(length, window) for length, window in zip(volume.shape, self.patch)]
        blend = _Blend(len(self.objects) + 1, (self.patch[0], padded[1], padded[2]), self.device)
        for z0, next_z0 in zip(rows[0], [*rows[0][1:], depth]):
            corners = [(z0, y, x) for y in rows[1] for x in rows[2]]
            for batch in (corners[i : i + self.batch_size] for i in range(0, len(corners), self.batch_size)):
                for (_, y, x), probabilities in zip(batch, self._predict(volume, statistics, batch)):
                    blend.add(probabilities, weights, y, x)
            yield z0, blend.emit(min(next_z0, depth) - z0)[:, :, :height, :width]

    def _predict(self, volume: Volume, statistics: Intensity, corners: list[Shape]) -> torch.Tensor:
        """Probabilities (B, C, z, y, x) of the windows at ``corners``."""
        windows = np.stack([normalize(window(volume, corner, self.patch), statistics) for corner in corners])
        inputs = torch.from_numpy(windows)[:, None].to(self.device)
        with autocast(self.device, self.bf16):
            logits = self.network(inputs)
        return logits.float().softmax(dim=1)


class _Blend:
    """Weighted sums of the windows of one z-row, rolled up as rows are finished."""

    def __init__(self, channels: int, shape: Shape, device: torch.device) -> None:
        self.total = torch.zeros((channels, *shape), dtype=torch.float16, device=device)
        self.weight = torch.zeros(shape, dtype=torch.float32, device=device)

    def add(self, probabilities: torch.Tensor, weights: torch.Tensor, y: int, x: int) -> None:
        region = (slice(None), slice(y, y + weights.shape[1]), slice(x, x + weights.shape[2]))
        self.total[(slice(None), *region)] += (probabilities * weights).half()
        self.weight[region] += weights

    def emit(self, depth: int) -> np.ndarray:
        """The first ``depth`` slices, finished; the rest moves up."""
        done = torch.empty_like(self.total[:, :depth])
        for z in range(depth):  # slice by slice: no float32 copy of the slab
            done[:, z] = (self.total[:, z].float() / self.weight[z]).half()
        for buffer, axis in ((self.total, 1), (self.weight, 0)):
            rest = buffer.shape[axis] - depth
            buffer.narrow(axis, 0, rest).copy_(buffer.narrow(axis, depth, rest).clone())
            buffer.narrow(axis, rest, depth).zero_()
        return done.cpu().numpy()


def window(volume: Volume, corner: Shape, patch: Shape) -> np.ndarray:
    """A zyx patch at ``corner``; where the volume is thinner than the patch, it is reflected."""
    found = np.asarray(volume[tuple(slice(c, c + p) for c, p in zip(corner, patch))], dtype=np.float32)
    missing = [(0, p - length) for p, length in zip(patch, found.shape)]
    return np.pad(found, missing, mode="reflect") if any(after for _, after in missing) else found
