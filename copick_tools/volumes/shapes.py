"""What each instance measures: volume, box, center, surface, how round it is, whether a face of the volume cuts it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import SIZE, Box, around, blocks
from copick_tools.volumes.components import Components, by_label, zyx
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.packed import Packed

# of the 13 directions of a voxel's neighbors: share of the sphere that is nearest to it, by length² (Ohser & Mücklich 2000)
WEIGHTS = {1: 0.091556, 2: 0.073961, 3: 0.070391}
FORWARD = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


@dataclass(frozen=True)
class Shapes:
    """One entry per instance, by rising id. Lengths in voxels.

    ids: (N,). voxels: (N,). low, high: (N, 3) zyx, the box, half open. centers: (N, 3) zyx. surface: (N,) voxel faces. compactness:
    (N,) volume over that of the ball with the same second moment: 1 for balls, about 0.5 for two that touch. at_border: (N,)
    whether it lies at a face of the volume.
    """

    ids: Integers
    voxels: Integers
    low: Integers
    high: Integers
    centers: Floats
    surface: Floats
    compactness: Floats
    at_border: Mask

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: np.ndarray) -> Shapes:
        """Those that a mask or an index array names."""
        return Shapes(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def sphericity(self) -> Floats:
        """(N,) surface of the ball of the same volume over the own one: 1 for balls, less for all else."""
        ball = np.pi ** (1 / 3) * (6.0 * self.voxels) ** (2 / 3)
        round_: Floats = np.minimum(1.0, ball / np.maximum(self.surface, 1e-9))
        return round_


def measured(ids: Volume, chunk: int = SIZE) -> Shapes:
    """Measure each instance of a zyx volume; 0 is background. chunk: length of the blocks in voxels, changes nothing.

    The surface is counted along lines in 13 directions (Crofton's formula), to a few percent; where a face of the volume cuts an
    instance there is no surface.

    >>> import numpy as np
    >>> found = measured(np.array([[[0, 7, 7, 0, 2]]]))
    >>> found.ids.tolist(), found.voxels.tolist(), found.centers[1].tolist(), found.at_border.tolist()
    ([2, 7], [1, 2], [0.0, 0.0, 1.5], [True, True])
    """
    shape = zyx(ids)
    whole = by_label(ids, chunk)
    crossings = np.zeros((len(WEIGHTS), len(whole)), np.int64)
    for block in blocks(shape, size=chunk):
        crossings += _crossings(ids, block.inner, whole.labels)
    area = np.array([2 * weight / np.sqrt(squared) for squared, weight in WEIGHTS.items()])
    return Shapes(
        whole.labels,
        whole.count,
        whole.low,
        whole.high,
        whole.centers,
        area @ crossings,
        whole.compactness,
        _at_border(whole, shape),
    )


def _at_border(found: Components, shape: tuple[int, int, int]) -> Mask:
    cut: Mask = ((found.low == 0) | (found.high == np.array(shape))).any(axis=1)
    return cut


def _crossings(ids: Volume, inner: Box, known: Integers) -> Integers:
    """(3, N) how often neighbors of which the first is in a block are on both sides of the surface of each known instance.

    By the squared distance of the neighbors, 1, 2 or 3. known: (N,) rising ids.
    """
    total = np.zeros((len(WEIGHTS), len(known) + 1), np.int64)
    block = around(inner, 1, zyx(ids))
    packed = Packed.of(np.ascontiguousarray(ids[block.outer]))
    rows = np.where(packed.values > 0, np.searchsorted(known, packed.values) + 1, 0).astype(np.uint32)
    values = replace(packed, values=rows).unpacked()
    for step in FORWARD if rows.any() else ():
        here, there = _views(values, block.local, step)
        crossed = here != there
        for side in (here[crossed], there[crossed]):
            total[sum(s * s for s in step) - 1] += np.bincount(side, minlength=len(known) + 1)
    return total[:, 1:]


def _views(values: Integers, local: Box, step: tuple[int, ...]) -> tuple[Integers, Integers]:
    """The voxels of a block and their neighbors in one direction, where both are in the volume."""
    here, there = [], []
    for part, length, s in zip(local, values.shape, step):
        start, stop = max(part.start, -s), min(part.stop, length - s)
        here.append(slice(start, max(start, stop)))
        there.append(slice(start + s, max(start, stop) + s))
    return values[tuple(here)], values[tuple(there)]
