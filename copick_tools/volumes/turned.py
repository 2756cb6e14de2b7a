"""A volume seen along another axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from copick_tools.volumes.normalize import Volume

VIEWS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""Slices in the planes XY, XZ and YZ: the axis along which they are stacked comes first, the others keep their order."""


class Turned:
    """A zyx volume with its axes in the order of ``axes``; it reads what is sliced.

    >>> Turned(np.arange(6).reshape(1, 2, 3), (2, 0, 1))[1:, :, :].tolist()
    [[[1, 4]], [[2, 5]]]
    """

    def __init__(self, volume: Volume, axes: tuple[int, int, int]) -> None:
        self.volume, self.axes = volume, axes
        z, y, x = (volume.shape[axis] for axis in axes)
        self.shape = (z, y, x)

    def __getitem__(self, region: tuple[slice, slice, slice]) -> Any:
        parts = dict(zip(self.axes, region))
        return np.transpose(np.asarray(self.volume[parts[0], parts[1], parts[2]]), self.axes)
