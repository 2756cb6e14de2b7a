"""Change the voxel spacing of a volume, voxel centers exact: new voxel i sits at origin + i * spacing (see `coordinates`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from copick_tools.types import Floats, Integers
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.coordinates import binned_origin
from copick_tools.volumes.normalize import Volume

TAIL = 4.0  # where the low-pass filter's gaussian is cut off, in sigma


class Resampled:
    """A zyx volume at another voxel spacing: linear interpolation, low-pass filtered first where it gets coarser.

    It reads and computes what is sliced, so a patch costs a patch. voxel_spacing, target_spacing, origin: angstrom.

    >>> import numpy as np
    >>> coarse = Resampled(np.ones((4, 4, 4), np.float32), 10.0, 20.0)
    >>> coarse.shape, coarse.origin, float(coarse[1:, :, :].mean())
    ((2, 2, 2), 5.0, 1.0)
    """

    def __init__(self, volume: Volume, voxel_spacing: float, target_spacing: float) -> None:
        self.volume = volume
        self.factor = target_spacing / voxel_spacing
        self.origin = binned_origin(voxel_spacing, self.factor)
        z, y, x = (max(1, round(length / self.factor)) for length in volume.shape)
        self.shape = (z, y, x)
        self._sigma = max(0.0, (self.factor - 1) / 2)

    def __getitem__(self, region: tuple[slice, slice, slice]) -> Floats:
        spans = [range(*part.indices(length)) for part, length in zip(region, self.shape)]
        pad = math.ceil(TAIL * self._sigma) + 1
        first, boxes = [], []
        for span, length in zip(spans, self.volume.shape):
            ends = self.factor * np.array([span.start, max(span.start, span.stop - 1)]) + (self.factor - 1) / 2
            low = int(np.clip(math.floor(ends[0]) - pad, 0, length - 1))
            first.append(low)
            boxes.append(slice(low, int(np.clip(math.ceil(ends[1]) + pad + 1, low + 1, length))))
        source = np.asarray(self.volume[tuple(boxes)], dtype=np.float32)
        if self._sigma:
            source = ndimage.gaussian_filter(source, self._sigma, mode="nearest", truncate=TAIL)
        offset = [self.factor * span.start + (self.factor - 1) / 2 - low for span, low in zip(spans, first)]
        return _affine(source, self.factor, offset, tuple(len(span) for span in spans), order=1)


def labels_onto(labels: Integers, factor: float, shape: tuple[int, ...]) -> Integers:
    """Bring labels of a resampled volume back onto the grid that it came from, by nearest neighbor.

    labels: zyx. factor: spacing of ``labels`` over that of the grid. shape: zyx of the grid.

    >>> import numpy as np
    >>> labels_onto(np.array([[[1, 2]]]), 2.0, (1, 1, 4))
    array([[[1, 1, 2, 2]]])
    """
    return _affine(labels, 1 / factor, [(1 / factor - 1) / 2] * 3, shape, order=0)


def aligned(labels: Volume, voxel_spacing: float, target_spacing: float) -> OnGrid:
    """Labels or instance ids (zyx) at another voxel spacing, by nearest neighbor: none is mixed with another.

    Scale Alignment of the multi-organelle benchmark (section 4.1). Both in angstrom. What is smaller than a voxel of the target
    may vanish. `restored` leads back; where the target is coarser, each id that is there returns.

    >>> import numpy as np
    >>> aligned(np.array([[[1, 1, 0, 0, 9, 9]]]), 10.0, 20.0)[:, :, :].tolist()
    [[[1, 0, 9]]]
    """
    factor = voxel_spacing / target_spacing
    z, y, x = (max(1, round(length * factor)) for length in labels.shape)
    return OnGrid(labels, factor, (z, y, x))


def restored(labels: Volume, voxel_spacing: float, target_spacing: float, shape: tuple[int, int, int]) -> OnGrid:
    """Labels or ids at a target spacing (see `aligned`), seen on the grid of ``shape`` (zyx) that they came from.

    >>> import numpy as np
    >>> restored(np.array([[[1, 0, 9]]]), 10.0, 20.0, (1, 1, 6))[:, :, :].tolist()
    [[[1, 1, 0, 0, 9, 9]]]
    """
    return OnGrid(labels, target_spacing / voxel_spacing, shape)


def _affine(
    volume: NDArray[Any], scale: float, offset: list[float], shape: tuple[int, ...], order: int
) -> NDArray[Any]:
    return np.asarray(
        ndimage.affine_transform(volume, [scale] * 3, offset, output_shape=shape, order=order, mode="nearest")
    )
