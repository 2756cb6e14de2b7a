"""The simulated field: the volume that is kept, and the margins that tilted views and neighbors need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len

from copick_tools.errors import UsageError
from copick_tools.types import Floats, Mask

Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]  # zyx

REACH = 180.0  # angstrom; a particle centered farther outside doesn't reach into the volume


@dataclass(frozen=True)
class Field:
    """The kept volume and what surrounds it. Positions are xyz in angstrom from the kept volume's first voxel.

    shape, margin: zyx in voxels; the margin is added on either side, so both volumes share their center.
    voxel_spacing: angstrom.
    """

    shape: Shape
    margin: Shape
    voxel_spacing: float

    @property
    def padded(self) -> Shape:
        """zyx in voxels: the simulated volume."""
        nz, ny, nx = (n + 2 * m for n, m in zip(self.shape, self.margin))
        return nz, ny, nx

    @property
    def volume(self) -> float:
        """Cubic angstrom of the simulated volume."""
        return math.prod(self.padded) * self.voxel_spacing**3

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """xyz in angstrom: the centers of the first and of the last voxel of the simulated volume."""
        low = -np.array(self.margin[::-1]) * self.voxel_spacing
        return low, low + (np.array(self.padded[::-1]) - 1) * self.voxel_spacing

    def box(self, low: Floats, high: Floats) -> Box:
        """The part zyx of the simulated volume between two corners (3,) xyz in angstrom, perhaps empty."""
        start = np.ceil(np.asarray(low)[::-1] / self.voxel_spacing).astype(int) + self.margin
        stop = np.floor(np.asarray(high)[::-1] / self.voxel_spacing).astype(int) + self.margin + 1
        z, y, x = (slice(*np.clip((a, max(a, b)), 0, n).tolist()) for a, b, n in zip(start, stop, self.padded))
        return z, y, x

    def axes(self, box: Box) -> tuple[Floats, Floats, Floats]:
        """z, y and x in angstrom of the voxels of a box of the simulated volume, float32, ready to broadcast."""
        z, y, x = (
            ((np.arange(part.start, part.stop) - margin) * self.voxel_spacing).astype(np.float32)
            for part, margin in zip(box, self.margin)
        )
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def keeps(self, positions: Floats) -> Mask:
        """(N,): whether positions (N, 3) xyz in angstrom lie in a voxel of the kept volume."""
        voxels = np.asarray(positions) / self.voxel_spacing
        return np.all((voxels >= -0.5) & (voxels < np.array(self.shape[::-1]) - 0.5), axis=1)

    def uncut(self, positions: Floats, distance: float) -> Mask:
        """(N,): whether positions (N, 3) xyz in angstrom keep this distance (angstrom) from the kept volume's x and y faces."""
        xy = np.asarray(positions)[:, :2]
        far = (np.array(self.shape[:0:-1]) - 1) * self.voxel_spacing
        return np.all((np.abs(xy) >= distance) & (np.abs(xy - far) >= distance), axis=1)


def field_around(shape: Sequence[int], voxel_spacing: float, tilt_range: float) -> Field:
    """The field for a volume of ``shape`` (zyx in voxels), seen at up to ``tilt_range`` degrees about y."""
    nz, ny, nx = _checked(shape, voxel_spacing)
    tilted = nz * math.tan(math.radians(tilt_range)) / 2
    reach = REACH / voxel_spacing
    return Field((nz, ny, nx), (0, _fast_margin(ny, reach), _fast_margin(nx, reach + tilted)), float(voxel_spacing))


def _checked(shape: Sequence[int], voxel_spacing: float) -> Shape:
    if len(shape) != 3 or any(int(n) != n or n < 1 for n in shape):
        raise UsageError(f"shape has to be three positive integers, not {tuple(shape)}", "z, y, x in voxels")
    if not (math.isfinite(voxel_spacing) and voxel_spacing > 0):
        raise UsageError(f"voxel spacing has to be positive, not {voxel_spacing}", "angstrom, for example 10")
    nz, ny, nx = map(int, shape)
    return nz, ny, nx


def _fast_margin(size: int, at_least: float) -> int:
    """Voxels on either side of ``size`` voxels that make a length which Fourier transforms like."""
    margin = math.ceil(at_least)
    while next_fast_len(size + 2 * margin) != size + 2 * margin:
        margin += 1
    return margin
