"""What nnU-Net does around its windows: cut to the box that isn't zero, normalize that, pad it with zeros if it is thin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from copick_tools.inference.grid import Shape
from copick_tools.volumes.blocks import bounds
from copick_tools.volumes.normalize import SLICES, Intensity, Volume, intensity

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample

Stitched = Iterator[tuple[int, torch.Tensor]]


def occupied_box(volume: Volume) -> tuple[slice, slice, slice]:
    """The smallest box, zyx, outside of which all voxels are zero; of a volume of zeros, all of it."""
    seen = [np.zeros(length, bool) for length in volume.shape]
    for z0 in range(0, volume.shape[0], SLICES):
        some = np.asarray(volume[z0 : z0 + SLICES, :, :]) != 0
        plane = some.any(axis=0)
        seen[0][z0 : z0 + SLICES] = some.any(axis=(1, 2))
        seen[1] |= plane.any(axis=1)
        seen[2] |= plane.any(axis=0)
    if not seen[0].any():
        return tuple(slice(0, length) for length in volume.shape)  # type: ignore[return-value]
    z, y, x = (slice(int(found.argmax()), len(found) - int(found[::-1].argmax())) for found in seen)
    return z, y, x


@dataclass(frozen=True)
class Frame:
    """A part of a zyx volume, padded on both sides to at least the size of a window; itself a volume.

    source: the volume. box: the part. before: voxels of padding before it. shape: padded. statistics: of the part, not
    clipped; its mean is what the padding holds, so that it is zero once it is normalized.
    """

    source: Volume
    box: tuple[slice, slice, slice]
    before: Shape
    shape: Shape
    statistics: Intensity

    @classmethod
    def around(cls, volume: Volume, patch: Shape) -> Frame:
        """The frame of a volume, for windows of ``patch``. Raises ValueError as `intensity`."""
        box = occupied_box(volume)
        lengths = [part.stop - part.start for part in box]
        missing = [max(0, side - length) for side, length in zip(patch, lengths)]
        before, padded = [m // 2 for m in missing], [n + m for n, m in zip(lengths, missing)]
        statistics = intensity(_Part(volume, box), 0)
        return cls(volume, box, (before[0], before[1], before[2]), (padded[0], padded[1], padded[2]), statistics)

    def __getitem__(self, region: Any) -> np.ndarray:
        asked = bounds(region, self.shape)
        out = np.full([part.stop - part.start for part in asked], self.statistics.mean, np.float32)
        inner, outer = [], []
        for want, part, start in zip(asked, self.box, self.before):
            low, high = max(want.start, start), min(want.stop, start + part.stop - part.start)
            if low >= high:
                return out
            inner.append(slice(low - want.start, high - want.start))
            outer.append(slice(low - start + part.start, high - start + part.start))
        out[tuple(inner)] = np.asarray(self.source[tuple(outer)])
        return out

    def sample(self, sample: Sample) -> Sample:
        """Where the sample is, seen from inside the frame."""
        return _Shifted(sample, self)  # type: ignore[return-value]

    def unframed(self, slabs: Stitched) -> Stitched:
        """From slabs of the frame to those of the volume; outside of the box everything is background.

        slabs: (z0, probabilities (C, dz, y, x)).
        """
        if self.shape == self.source.shape and not any(self.before):
            yield from slabs
            return
        box, (before, *_), (depth, *plane) = self.box, self.before, self.source.shape
        inside, out = tuple(slice(b, b + p.stop - p.start) for b, p in zip(self.before[1:], box[1:])), torch.empty(0)
        for z0, found in slabs:
            first, last = max(z0, before), min(z0 + found.shape[1], before + box[0].stop - box[0].start)
            if first >= last:
                continue
            if first == before:
                yield from _background(found, (0, box[0].start), plane)
            if out.shape[1:2] != (last - first,):
                out = torch.zeros((len(found), last - first, *plane), dtype=found.dtype, device=found.device)
                out[0] = 1
            out[:, :, box[1], box[2]] = found[:, first - z0 : last - z0, inside[0], inside[1]]
            yield first - before + box[0].start, out
        yield from _background(found, (box[0].stop, depth), plane)


class _Part:
    """A box of a volume as a volume."""

    def __init__(self, source: Volume, box: tuple[slice, slice, slice]) -> None:
        self.source, self.box = source, box
        self.shape = tuple(part.stop - part.start for part in box)

    def __getitem__(self, region: Any) -> np.ndarray:
        asked = bounds(region, (self.shape[0], self.shape[1], self.shape[2]))
        where = tuple(slice(a.start + b.start, a.stop + b.start) for a, b in zip(asked, self.box))
        return np.asarray(self.source[where])


class _Shifted:
    """A sample in the coordinates of a frame."""

    def __init__(self, sample: Sample, frame: Frame) -> None:
        self.inner, self.frame = sample, frame

    def rows(self, y: slice, x: slice) -> tuple[int, int]:
        """See `Sample.rows`."""
        box, before = self.frame.box, self.frame.before
        clipped = []
        for asked, part, start in zip((y, x), box[1:], before[1:]):
            low, high = (min(max(end - start + part.start, part.start), part.stop) for end in (asked.start, asked.stop))
            if low >= high:
                return 0, 0
            clipped.append(slice(low, high))
        low, high = self.inner.rows(*clipped)
        return low - box[0].start + before[0], high - box[0].start + before[0]


def _background(like: torch.Tensor, z: tuple[int, int], plane: list[int]) -> Stitched:
    """Slices in which there is nothing, from z[0] until before z[1]."""
    step = max(1, like.shape[1])
    for first in range(*z, step):
        empty = like.new_zeros((len(like), min(step, z[1] - first), *plane))
        empty[0] = 1
        yield first, empty
