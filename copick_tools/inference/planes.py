"""What windows read: a row's planes of the volume, one row ahead of the network."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from copick_tools.inference.grid import Row, Shape
from copick_tools.volumes.normalize import Intensity, Volume, normalize

Corner = tuple[int, int]


def reflected(length: int, side: int) -> np.ndarray:
    """For each voxel of an axis of ``side`` voxels, that of an axis of ``length`` which it shows: beyond the end, mirrored."""
    return np.pad(np.arange(min(length, side)), (0, max(0, side - length)), mode="reflect")


class Planes:
    """Reads a zyx volume for rows of windows of ``patch`` voxels, normalized with ``statistics``, for ``device``."""

    def __init__(self, volume: Volume, patch: Shape, statistics: Intensity, device: torch.device) -> None:
        self.volume, self.patch, self.statistics, self.device = volume, patch, statistics, device

    def read(self, rows: Iterable[Row]) -> Generator[list[Any], None, None]:
        """The planes of each row, in pieces that cut where rows begin and end, so that each plane is read once.

        For a CPU the pieces are as they are stored, and for a CUDA device they are normalized and in pinned memory.
        """
        spans = [(row.z, min(row.z + self.patch[0], self.volume.shape[0])) for row in rows]
        cuts = sorted({z for span in spans for z in span})
        held: dict[tuple[int, int], Any] = {}
        for first, last in spans:
            wanted = [piece for piece in pairwise(cuts) if first <= piece[0] and piece[1] <= last]
            held = {piece: held[piece] for piece in wanted if piece in held}
            for piece in wanted:
                if piece not in held:
                    held[piece] = self._staged(np.asarray(self.volume[piece[0] : piece[1], :, :]))
            yield list(held.values())

    def windows(self, pieces: list[Any], corners: list[Corner]) -> Iterator[tuple[Corner, torch.Tensor]]:
        """The window (z, y, x) float32 at each corner of a row."""
        if self.device.type == "cuda":
            pieces = [piece.to(self.device, non_blocking=True) for piece in pieces]
        at, strip = -1, torch.empty(0)
        for y, x in corners:
            if y != at:
                at, strip = y, self._strip(pieces, y)
            yield (y, x), strip[:, :, x : x + self.patch[2]]

    def _staged(self, piece: np.ndarray) -> Any:
        return torch.from_numpy(normalize(piece, self.statistics)).pin_memory() if self.device.type == "cuda" else piece

    def _strip(self, pieces: list[Any], y: int) -> torch.Tensor:
        """All of x of a row of windows, reflected where the volume is thinner than a window."""
        parts = [piece[:, y : y + self.patch[1]] for piece in pieces]
        if self.device.type == "cuda":
            strip = torch.cat(parts)
        else:
            strip = torch.from_numpy(normalize(np.concatenate(parts), self.statistics)).to(self.device)
        for axis, side in enumerate(self.patch):
            if strip.shape[axis] < side:
                mirrored = torch.from_numpy(reflected(strip.shape[axis], side)).to(self.device)
                strip = strip.index_select(axis, mirrored)
        return strip
