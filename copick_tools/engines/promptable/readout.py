"""From an image's embedding to what is said of each voxel: micro-SAM's automatic instance segmentation, by a decoder of ours.

Archit et al. (2025) put a UNETR's decoder on SAM's embedding, which predicts foreground and distances. This one is smaller: it
goes up to half of the model's pixels by blocks of convolutions, each after an upsampling, and joins the slice itself at
its own resolution. Norms are over channels, so that no voxel depends on the size of the window.
"""

from __future__ import annotations

import torch
from torch.nn.functional import gelu, interpolate, layer_norm

from copick_tools.engines.promptable.images import Sight, plainly_resized

NARROWEST = 16  # channels


class Norm(torch.nn.Module):
    """Of the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, y, x)."""
        last = images.permute(0, 2, 3, 1)
        return layer_norm(last, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class Block(torch.nn.Module):
    """Two convolutions, with norms."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = torch.nn.Conv2d(before, after, 3, padding=1), Norm(after)
        self.conv2, self.norm2 = torch.nn.Conv2d(after, after, 3, padding=1), Norm(after)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, before, y, x) to (B, after, y, x)."""
        return gelu(self.norm2(self.conv2(gelu(self.norm1(self.conv1(images))))))


class Readout(torch.nn.Module):
    """channels: of the embedding. grid: its side. outputs: of each voxel."""

    def __init__(self, sight: Sight, channels: int, grid: int, outputs: int) -> None:
        super().__init__()
        self.sight = sight
        steps = max(1, (sight.side // grid).bit_length() - 2)
        widths = [channels, *(max(NARROWEST, channels >> (step + 1)) for step in range(steps))]
        self.up = torch.nn.ModuleList(Block(*pair) for pair in zip(widths[:-1], widths[1:]))
        self.own = Block(1, widths[-1])
        self.joined = Block(2 * widths[-1], widths[-1])
        self.last = torch.nn.Conv2d(widths[-1], outputs, 1)

    def forward(self, embedding: torch.Tensor, slices: torch.Tensor) -> torch.Tensor:
        """embedding: (B, channels, grid, grid). slices: (B, 1, y, x). To (B, outputs, y, x)."""
        found = embedding
        for block in self.up:
            found = block(interpolate(found, scale_factor=2, mode="bilinear", align_corners=False))
        shape = (slices.shape[2], slices.shape[3])
        height, width = (round(length * found.shape[2] / self.sight.side) for length in self.sight.size(shape))
        found = plainly_resized(found[:, :, :height, :width], shape)
        maps: torch.Tensor = self.last(self.joined(torch.cat([found, self.own(slices)], dim=1)))
        return maps
