"""Iterative fine-tuning of promptable models (Kirillov et al. 2023; Archit et al. 2025, Methods): one image, some rounds of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from copick_tools.engines.promptable.clicks import box_of, corrections, pixel_of
from copick_tools.engines.promptable.images import Sight
from copick_tools.engines.promptable.parts import Prompts, answered
from copick_tools.inference.promptable import OBJECT
from copick_tools.types import Floats, Integers, Mask

SMOOTH = 1e-5


@dataclass(frozen=True)
class Lesson:
    """An image and what is to be found in it. features: (1, C, y, x) each. wanted: (N, y, x). known: (y, x)."""

    features: Sequence[torch.Tensor]
    wanted: Mask
    known: Mask

    @property
    def shape(self) -> tuple[int, int]:
        """y, x of the image."""
        return self.known.shape[0], self.known.shape[1]


@dataclass(frozen=True)
class Given:
    """Prompts of N objects in an image's pixels. points: (N, P, 2) y, x. boxes: (N, 4), or None. before: logits on the grid."""

    points: Integers
    labels: Integers
    boxes: Floats | None = None
    before: torch.Tensor | None = None

    def prompts(self, sight: Sight, shape: tuple[int, int], device: torch.device) -> Prompts:
        """In a model's pixels."""
        points = torch.from_numpy(self.points).to(device) if self.points.shape[1] else None
        boxes = None if self.boxes is None else torch.from_numpy(self.boxes).to(device)
        return Prompts(
            None if points is None else sight.points(points, shape),
            None if points is None else torch.from_numpy(self.labels).int().to(device),
            None if boxes is None else sight.boxes(boxes, shape),
            self.before,
        )


def first(wanted: Mask, boxed: bool, rng: np.random.Generator) -> Given:
    """The box of each object, or a point anywhere on it."""
    if boxed:
        boxes = np.stack([box_of(mask) for mask in wanted]).astype(np.float32)
        return Given(np.zeros((len(wanted), 0, 2), np.int64), np.zeros((len(wanted), 0), np.int64), boxes)
    places = np.stack([pixel_of(mask, rng) for mask in wanted])[:, None]  # none is empty
    return Given(places, np.full((len(wanted), 1), OBJECT))


def with_more(given: Given, more: tuple[Integers, Integers], before: torch.Tensor) -> Given:
    """With points besides, and the last masks, logits (N, 1, grid, grid)."""
    points, labels = (np.concatenate(pair, axis=1) for pair in zip((given.points, given.labels), more))
    return replace(given, points=points, labels=labels, before=before)


def taught(
    network: Any, sight: Sight, lesson: Lesson, boxed: bool, rounds: int, rng: np.random.Generator
) -> torch.Tensor:
    """The mean loss of some rounds, a scalar: prompts, an answer, and prompts where that was wrong.

    A single point alone asks for several masks. Their gradients don't go through the masks of rounds before.
    """
    device = lesson.features[-1].device
    wanted, known = (torch.from_numpy(part).to(device) for part in (lesson.wanted, lesson.known))
    given, losses = first(lesson.wanted, boxed, rng), []
    for number in range(rounds):
        prompts = given.prompts(sight, lesson.shape, device)
        low, iou = answered(network, lesson.features, prompts, several=not (boxed or number))
        logits = sight.logits(low, lesson.shape)
        losses.append(loss_of(logits, iou, wanted, known))
        if number < rounds - 1:
            with torch.no_grad():
                best = iou.argmax(dim=1)
                rows = torch.arange(len(best), device=device)
                found = (logits[rows, best] > 0).cpu().numpy()
                before = low[rows, best][:, None].detach().float()
            given = with_more(given, corrections(lesson.wanted, found, lesson.known, rng), before)
    return torch.stack(losses).mean()


def loss_of(logits: torch.Tensor, iou: torch.Tensor, wanted: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Dice loss of masks, and the squared difference of their IoU from the expected one; the mean over objects.

    logits: (N, M, y, x). iou: (N, M). wanted: (N, y, x) bool. known: (y, x) bool, what counts. Of several masks of an object the
    one with the least Dice loss counts, as in SAM; what is expected of masks counts for all, for they are chosen by it.
    """
    truth = (wanted & known)[:, None].float()
    found = logits.float().sigmoid() * known
    hits = (found * truth).sum(dim=(2, 3))
    both = (found**2).sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    dice = 1 - (2 * hits + SMOOTH) / (both + SMOOTH)
    with torch.no_grad():
        said, true = (logits > 0) & known, truth > 0
        union = (said | true).sum(dim=(2, 3)).clamp(min=1)
        overlap = (said & true).sum(dim=(2, 3)) / union
    return (dice.min(dim=1).values + ((iou.float() - overlap) ** 2).mean(dim=1)).mean()
