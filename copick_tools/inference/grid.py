"""Where sliding windows go and how much each of their voxels counts: by MONAI's rules, or by nnU-Net's."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from copick_tools.inference.monai import compute_importance_map, dense_patch_slices

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample

Shape = tuple[int, int, int]
Rules = Literal["monai", "nnunet"]
CELL = 16  # voxels along y and x: where the sample begins and ends is asked for columns of this size


@dataclass(frozen=True)
class Row:
    """The windows that begin in slice ``z``, at ``corners`` (y, x), in order of y."""

    z: int
    corners: list[tuple[int, int]]


def starts(length: int, window: int, overlap: float, rules: Rules = "monai") -> list[int]:
    """First voxel of each window along one axis.

    monai: at a fixed distance, the last moved back to the end. nnunet: as few as there, but spread evenly.
    overlap: fraction of the window that neighbors share at least.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"Expected argument `overlap` to be in [0, 1), but got {overlap}")
    if rules == "nnunet":
        room = max(0, length - window)
        steps = math.ceil(room / (window * (1 - overlap)))
        return [round(room / max(1, steps) * step) for step in range(steps + 1)]
    interval = max(1, int(window * (1 - overlap)))
    return [int(part.start) for (part,) in dense_patch_slices((max(length, window),), (window,), (interval,))]


def together(length: int, window: int, overlap: float) -> int:
    """The most windows that share a voxel, along one axis."""
    first = starts(length, window, overlap)
    return max(bisect_right(first, start) - bisect_right(first, start - window) for start in first)


@lru_cache(maxsize=4)
def weights(patch: Shape, rules: Rules = "monai") -> torch.Tensor:
    """Weights of the voxels of a window, zyx float32: a gaussian (sigma an eighth of the window).

    monai: at least 1/1000. nnunet: around the voxel at half the length, down to 4e-11 in the corners.
    """
    if rules == "monai":
        return compute_importance_map(patch, mode="gaussian", sigma_scale=0.125)
    axes = [gaussian_filter1d(np.eye(1, side, side // 2)[0], side / 8, mode="constant") for side in patch]
    z, y, x = (axis / axis.max() for axis in axes)
    return torch.from_numpy((z[:, None, None] * y[:, None] * x).astype(np.float32))


def rows(shape: Shape, patch: Shape, overlap: float, sample: Sample | None, rules: Rules = "monai") -> list[Row]:
    """All rows of windows, from z = 0 up, less the windows that lie wholly outside the sample."""
    first = [starts(length, side, overlap, rules) for length, side in zip(shape, patch)]
    corners = list(product(first[1], first[2]))
    if sample is None:
        return [Row(z, corners) for z in first[0]]
    height, width = patch[1:]
    covered = [(corner, _rows(sample, corner, (height, width), shape)) for corner in corners]
    return [
        Row(z, [corner for corner, (low, high) in covered if max(low, z) < min(high, z + patch[0])]) for z in first[0]
    ]


def _rows(sample: Sample, corner: tuple[int, int], size: tuple[int, int], shape: Shape) -> tuple[int, int]:
    """The z range of the sample in a column of the volume."""
    y, x = (slice(start, min(start + side, length)) for start, side, length in zip(corner, size, shape[1:]))
    return sample.rows(y, x)


class Inside:
    """Which voxels belong to the sample: the z range of each column of cells of ``CELL`` voxels, so a little more."""

    def __init__(self, sample: Sample, shape: Shape) -> None:
        self.shape = shape
        cells = [range(0, length, CELL) for length in shape[1:]]
        found = [_rows(sample, (y, x), (CELL, CELL), shape) for y, x in product(*cells)]
        self.low, self.high = np.array(found).reshape(len(cells[0]), len(cells[1]), 2).transpose(2, 0, 1)

    def mask(self, first: int, last: int) -> np.ndarray:
        """The mask (z, y, x) of the slices from ``first`` until before ``last``."""
        z = np.arange(first, last)[:, None, None]
        inside = (self.low <= z) & (z < self.high)
        return inside.repeat(CELL, axis=1).repeat(CELL, axis=2)[:, : self.shape[1], : self.shape[2]]
