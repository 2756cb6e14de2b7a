"""Sliding-window prediction in slabs: memory doesn't grow with the height of the volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from copick_tools.inference.device import autocast
from copick_tools.volumes.normalize import Volume, intensity, normalize
from copick_tools.volumes.windows import blending, starts

Shape = tuple[int, int, int]
Slabs = Iterator[tuple[int, np.ndarray]]
SLAB = 8  # slices handed out at a time


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
    overlap: float
    batch_size: int
    device: torch.device = torch.device("cpu")
    bf16: bool = False

    @torch.inference_mode()
    def slabs(self, volume: Volume) -> Slabs:
        """See `Predictor.slabs`. Raises ValueError for a constant or non-finite volume."""
        self.network.to(self.device).eval()
        depth, height, width = volume.shape
        statistics = intensity(volume, self.normalize)
        first = [starts(length, side, self.overlap) for length, side in zip(volume.shape, self.patch)]
        weights = [blending(length, side, self.overlap) for length, side in zip(volume.shape, self.patch)]
        along_z, along_y, along_x = ([torch.from_numpy(w).to(self.device) for w in axis] for axis in weights)
        padded = (self.patch[0], max(height, self.patch[1]), max(width, self.patch[2]))
        row = torch.zeros((len(self.objects) + 1, *padded), dtype=torch.float16, device=self.device)
        for z0, next_z0, weight_z in zip(first[0], [*first[0][1:], depth], along_z):
            slab = normalize(volume[z0 : z0 + self.patch[0], :, :], statistics)  # once: stored chunks are large
            places = [(y, x, wy, wx) for y, wy in zip(first[1], along_y) for x, wx in zip(first[2], along_x)]
            for batch in (places[i : i + self.batch_size] for i in range(0, len(places), self.batch_size)):
                found = self._predict([window(slab, (0, y, x), self.patch) for y, x, _, _ in batch])
                for (y, x, weight_y, weight_x), probabilities in zip(batch, found):
                    probabilities *= weight_z[:, None, None] * (weight_y[:, None] * weight_x)
                    row[:, :, y : y + self.patch[1], x : x + self.patch[2]] += probabilities
            finished = next_z0 - z0
            for z in range(0, finished, SLAB):
                yield z0 + z, row[:, z : min(z + SLAB, finished), :height, :width].cpu().numpy().copy()
            _move_up(row, finished)

    def _predict(self, windows: list[np.ndarray]) -> torch.Tensor:
        """Probabilities (B, C, z, y, x) of normalized windows."""
        inputs = torch.from_numpy(np.stack(windows))[:, None].to(self.device)
        with autocast(self.device, self.bf16):
            logits = self.network(inputs)
        if not torch.isfinite(logits).all():
            raise ValueError("the network's output isn't finite: are its weights damaged?")
        return logits.float().softmax(dim=1)


def _move_up(row: torch.Tensor, finished: int) -> None:
    """Drop the first slices of (C, z, y, x), move the others up, and clear the rest; in place."""
    for z in range(row.shape[1] - finished):
        row[:, z] = row[:, z + finished]
    row[:, row.shape[1] - finished :] = 0


def window(volume: Volume, corner: Shape, patch: Shape) -> np.ndarray:
    """A zyx patch at ``corner``; where the volume is thinner than the patch, it is reflected."""
    found = np.asarray(volume[tuple(slice(c, c + p) for c, p in zip(corner, patch))], dtype=np.float32)
    missing = [(0, p - length) for p, length in zip(patch, found.shape)]
    return np.pad(found, missing, mode="reflect") if any(after for _, after in missing) else found
