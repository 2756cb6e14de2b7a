"""Between slices and what a promptable model sees of them: pixels, places of prompts, and masks.

A slice (mean 0, deviation 1) is clipped at 3 deviations and becomes a gray image, three times, scaled as the model's training
images were. SAM: the longer side is resized to the model's, and zeros fill what is missing below and right (segment_anything's
``ResizeLongestSide``). SAM2 and SAM3 stretch an image to a square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate, pad

VERSION = 1  # of what is done to images here; part of what an embedding is told by
FARTHEST = 3.0  # deviations
SURELY = math.log(999.0)  # logit of a mask that is given as bool; micro-SAM's, probability 0.999
AT_A_TIME = 16  # masks that are resized together
Shape = tuple[int, int]


@dataclass(frozen=True)
class Sight:
    """How a model sees. side: pixels of its square images. grid: of its masks. padded: as SAM, else stretched.

    mean, deviation: of red, green and blue in the images that it was trained on, from 0 to 1.
    """

    side: int
    grid: int
    padded: bool
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def size(self, shape: Shape) -> Shape:
        """Pixels (y, x) that an image of ``shape`` has in the model's."""
        if not self.padded:
            return self.side, self.side
        y, x = (max(1, int(length * self.side / max(shape) + 0.5)) for length in shape)
        return y, x

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """(B, y, x) with mean 0 and deviation 1, to (B, 3, side, side)."""
        height, width = self.size((images.shape[1], images.shape[2]))
        gray = (images.float().clamp(-FARTHEST, FARTHEST) / (2 * FARTHEST) + 0.5)[:, None]
        gray = resized(gray, (height, width))
        mean, deviation = (torch.tensor(v, device=gray.device).view(1, 3, 1, 1) for v in (self.mean, self.deviation))
        return pad((gray - mean) / deviation, (0, self.side - width, 0, self.side - height))

    def points(self, places: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Centers of pixels (…, 2) y, x of an image, as x, y in the model's."""
        scale = torch.tensor([new / old for new, old in zip(self.size(shape), shape)], device=places.device)
        return ((places.float() + 0.5) * scale - 0.5).flip(-1)

    def boxes(self, boxes: torch.Tensor, shape: Shape) -> torch.Tensor:
        """(N, 4) y, x of the first pixel, y, x one past the last, to x, y of the first pixel's center and of the last's."""
        corners = boxes.float().reshape(-1, 2, 2) - torch.tensor([[0.0], [1.0]], device=boxes.device)
        return self.points(corners, shape).reshape(-1, 4)

    def masks(self, masks: torch.Tensor) -> torch.Tensor:
        """(N, y, x) bool or logits on an image's pixels, to logits (N, 1, grid, grid)."""
        logits = masks.float() * (2 * SURELY) - SURELY if masks.dtype == torch.bool else masks.float()
        large = self.size((masks.shape[1], masks.shape[2]))
        height, width = (max(1, round(length * self.grid / self.side)) for length in large)
        small = resized(logits[:, None], (height, width))
        return pad(small, (0, self.grid - width, 0, self.grid - height), value=-SURELY)

    def logits(self, masks: torch.Tensor, shape: Shape) -> torch.Tensor:
        """(N, M, grid, grid), as the model makes them, to (N, M, y, x) on an image's pixels."""
        height, width = self.size(shape)
        found = plainly_resized(masks.float(), (self.side, self.side))[:, :, :height, :width]
        return plainly_resized(found, shape)

    def in_parts(self, masks: torch.Tensor, shape: Shape) -> Iterator[torch.Tensor]:
        """As `logits`, some at a time, for the model's own pixels may be many."""
        several = max(1, AT_A_TIME // max(1, masks.shape[1]))
        for start in range(0, len(masks), several):
            yield self.logits(masks[start : start + several], shape)


def resized(images: torch.Tensor, shape: Shape) -> torch.Tensor:
    """(B, C, y, x), bilinear, without aliasing where it shrinks."""
    if images.shape[2:] == shape:
        return images
    return interpolate(images, size=shape, mode="bilinear", align_corners=False, antialias=True)


def plainly_resized(masks: torch.Tensor, shape: Shape) -> torch.Tensor:
    """(B, C, y, x), bilinear, as SAM does with its masks."""
    if masks.shape[2:] == shape:
        return masks
    return interpolate(masks, size=shape, mode="bilinear", align_corners=False)
