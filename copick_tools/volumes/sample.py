"""Where the sample is in a tomogram, so that vacuum is neither computed nor picked in.

A sample is known from clicks on its top and bottom surface (POPSICLE appendix C), from a stored mask of any spacing, or as
the box of the reconstruction (copick-utils' ``validbox``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.types import Floats, Mask
from copick_tools.volumes.blocks import blocks
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.surfaces import fit, split

Shape = tuple[int, int, int]
THINNEST = 100.0  # angstrom: surfaces nearer than that were clicked wrongly


@dataclass(frozen=True)
class Sample:
    """low, high: (y, x) float32, first and last z in voxels that belong to the sample in each column, fractional; ``high`` is
    below ``low`` where it has none. depth: slices of the volume.
    """

    low: Floats
    high: Floats
    depth: int

    @property
    def share(self) -> float:
        """Fraction of the volume's voxels that are inside."""
        first, last = np.maximum(np.ceil(self.low), 0), np.minimum(np.floor(self.high), self.depth - 1)
        return float(np.maximum(last - first + 1, 0).sum(dtype=float) / (self.depth * self.low.size))

    def rows(self, y: slice, x: slice) -> tuple[int, int]:
        """Slices (first, one past the last) that the sample covers anywhere in these columns; (0, 0) if none.

        >>> import numpy as np
        >>> box((10, 4, 4), (2, 0, 1)).rows(slice(0, 4), slice(0, 2))
        (2, 8)
        """
        low, high = self.low[y, x], self.high[y, x]
        some = high >= low
        if not some.any():
            return 0, 0
        first, last = max(0, math.ceil(low[some].min())), min(self.depth, math.floor(high[some].max()) + 1)
        return (first, last) if first < last else (0, 0)

    def inside(self, centers: Floats) -> Mask:
        """(N,) whether these centers (N, 3) zyx in voxels are in the sample. What is outside of the volume isn't, NaN
        neither.

        >>> import numpy as np
        >>> box((10, 4, 4), (2, 0, 1)).inside(np.array([[2.0, 0, 1], [1.9, 0, 1], [5, 0, 0]]))
        array([ True, False, False])
        """
        z, column = centers[:, 0], np.rint(centers[:, 1:])
        there = (column >= 0).all(axis=1) & (column < self.low.shape).all(axis=1) & (z >= 0) & (z <= self.depth - 1)
        y, x = np.where(there[:, None], column, 0).astype(int).T
        return np.asarray(there & (z >= self.low[y, x]) & (z <= self.high[y, x]))


def between(
    clicks: Sequence[Floats], shape: Shape, voxel_spacing: float, origin: float = 0.0, margin: float = 0.0
) -> Sample:
    """What lies between two clicked surfaces.

    clicks: (N, 3) xyz in angstrom, one set with clicks on both surfaces, or two sets with one surface each, in any order.
    shape: zyx in voxels. voxel_spacing, origin (position of voxel 0): angstrom. margin: angstrom that are added above
    and below; a negative one is taken off.

    Where the surfaces cross, what lies between them is the sample all the same. Raises ValueError where they cross over
    more than a quarter of the volume, are nearer than `THINNEST`, or leave nothing of the volume.

    >>> import numpy as np
    >>> sample = between([np.array([[50.0, 50, 200], [60, 20, 800]])], (100, 10, 10), 10.0)
    >>> sample.rows(slice(0, 10), slice(0, 10))
    (20, 81)
    """
    if len(clicks) not in (1, 2):
        raise ValueError(f"Expected one or two sets of clicks, but got {len(clicks)}")
    sets = [to_voxels(_checked(points), voxel_spacing, origin) for points in clicks]
    extent = float(max(shape[1:]))
    if len(sets) == 1:
        sets = list(split(sets[0], extent))
    y, x = np.arange(shape[1], dtype=float)[:, None], np.arange(shape[2], dtype=float)[None, :]
    one, other = (np.broadcast_to(fit(points, extent).at(y, x), shape[1:]) for points in sets)
    low, high = (one, other) if np.median(other - one) >= 0 else (other, one)
    crossed = float((low > high).mean())
    if crossed > 0.25:
        raise ValueError(f"the two surfaces cross: one is above the other in only {1 - crossed:.0%} of the volume")
    thickness = float(np.median(high - low)) * voxel_spacing
    if thickness < THINNEST:
        raise ValueError(f"the two surfaces are only {thickness:.0f} angstrom apart: are the clicks on both sides?")
    added = margin / voxel_spacing
    return _holding(np.minimum(low, high) - added, np.maximum(low, high) + added, shape[0])


def _checked(points: Floats) -> Floats:
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"Expected clicks of shape (N, 3) with N of at least 1, but got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("Expected finite clicks")
    return points


def _holding(low: Floats, high: Floats, depth: int) -> Sample:
    """Raises ValueError if not one voxel is inside."""
    sample = Sample(low.astype(np.float32), high.astype(np.float32), depth)
    if sample.share == 0:
        raise ValueError(
            f"nothing of the volume would be left: the sample is at z = {low.min():.0f} to {high.max():.0f} voxels, "
            f"the volume at 0 to {depth - 1}"
        )
    return sample


def box(shape: Shape, margin: tuple[float, float, float], angle: float = 0.0) -> Sample:
    """The volume's own box, less a margin, and turned about the z axis through its center, as a reconstruction is that was
    made from a tilted rectangle.

    shape: zyx in voxels. margin: zyx in voxels, taken off on either side. angle: degrees, from x to y.

    Raises ValueError where the margins leave nothing.
    """
    half = [(length - 1) / 2 - off for length, off in zip(shape, margin)]
    y, x = np.arange(shape[1])[:, None] - (shape[1] - 1) / 2, np.arange(shape[2])[None, :] - (shape[2] - 1) / 2
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along_y, along_x = y * cosine - x * sine, x * cosine + y * sine
    column = (np.abs(along_y) <= half[1] + 1e-9) & (np.abs(along_x) <= half[2] + 1e-9)
    middle = (shape[0] - 1) / 2
    low, high = np.where(column, middle - half[0], np.inf), np.where(column, middle + half[0], -np.inf)
    if half[0] < 0 or not column.any():
        raise ValueError(f"margins of {margin} voxels leave nothing of a volume of {shape}")
    return _holding(low, high, shape[0])


def from_mask(mask: Volume, factor: float, shape: Shape, margin: float = 0.0) -> Sample:
    """In each column, from the first to the last voxel of a mask that isn't 0. Reads it block by block.

    mask: zyx. factor: its voxel spacing over that of the volume. shape: zyx of the volume. margin: voxels of the volume
    that are added above and below.

    Raises ValueError for an empty mask.

    >>> import numpy as np
    >>> coarse = np.zeros((4, 1, 2))
    >>> coarse[1:3, 0, 1] = 1
    >>> sample = from_mask(coarse, 2.0, (8, 2, 4))
    >>> sample.rows(slice(0, 2), slice(2, 4)), sample.rows(slice(0, 2), slice(0, 2))
    ((2, 6), (0, 0))
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"Expected argument `factor` to be positive, but got {factor}")
    first, last = np.full(mask.shape[1:], np.inf, np.float32), np.full(mask.shape[1:], -np.inf, np.float32)
    for block in blocks(mask.shape):
        filled = np.asarray(mask[block.inner]) != 0
        column, region = filled.any(axis=0), block.inner[1:]
        low, high = filled.argmax(axis=0), len(filled) - 1 - filled[::-1].argmax(axis=0)
        first[region] = np.where(column, np.minimum(first[region], low + block.inner[0].start), first[region])
        last[region] = np.where(column, np.maximum(last[region], high + block.inner[0].start), last[region])
    if not np.isfinite(first).any():
        raise ValueError("the mask of the sample is empty")
    y, x = (
        np.clip(np.floor((np.arange(length) + 0.5) / factor), 0, stored - 1).astype(int)
        for length, stored in zip(shape[1:], mask.shape[1:])
    )
    low, high = first[np.ix_(y, x)] * factor - 0.5 - margin, (last[np.ix_(y, x)] + 1) * factor - 0.5 + margin
    return _holding(low, high, shape[0])
