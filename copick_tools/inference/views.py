"""A network of slices that sees a volume in three planes: its probabilities and flows are averaged (Cellpose's 3D)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from copick_tools.inference.grid import Inside
from copick_tools.inference.sums import SLICES_ELSEWHERE
from copick_tools.inference.tiler import Tiled
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.turned import VIEWS, Turned

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample


@dataclass
class Views(Tiled):
    """As `Tiled`, with windows of one slice. Flows along z, y, x are the means of the two planes that show them.

    Memory: 2 bytes for each voxel and channel.
    """

    @torch.inference_mode()
    def stitched(self, volume: Volume, sample: Sample | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """See `Tiled.stitched`."""
        depth, height, width = volume.shape
        if depth == 1:  # an image has no other planes
            yield from super().stitched(volume, sample)
            return
        classes = len(self.objects) + 1
        total = torch.zeros((classes + 3, depth, height, width), dtype=torch.float16)
        for axes in VIEWS:
            seen = total.permute(0, *(axis + 1 for axis in axes))
            for z0, found in super().stitched(Turned(volume, axes)):
                part = seen[:, z0 : z0 + found.shape[1]]
                part[:classes] += found[:classes].cpu() / len(VIEWS)
                for axis, flow in zip(axes[1:], found[classes:].cpu()):
                    part[classes + axis] += flow / 2
        inside = Inside(sample, (depth, height, width)) if sample is not None else None
        for z0 in range(0, depth, SLICES_ELSEWHERE):
            slab = total[:, z0 : z0 + SLICES_ELSEWHERE].float()
            if inside is not None:
                slab[1:] *= torch.from_numpy(inside.mask(z0, z0 + slab.shape[1]))
            slab[0] = (1 - slab[1:classes].sum(dim=0)).clamp(min=0)
            yield z0, slab


def seeing(predictor: Tiled, views: str) -> Tiled:
    """A predictor of slices that averages three views, or sees those along z alone (``stitched``).

    What an engine brings of its own, or makes of `Tiled`, stays as it is.
    """
    kind = Views if views == "averaged" else Tiled
    if type(predictor) is kind or type(predictor) not in (Views, Tiled):
        return predictor
    return kind(**{f.name: getattr(predictor, f.name) for f in fields(Tiled) if f.init})
