"""Losses on class probabilities with soft or hard targets and ignored voxels; the terms are MONAI's.

Tversky (Salehi 2017): alpha weighs false positives, 1 - alpha false negatives, so a small alpha favors recall.
Focal-Tversky (Abraham 2019): (1 - Tversky index)^(1/gamma), per class. Tversky-focal: a mean of the two, as in Octopi's search.
Where several processes share a batch, sums are taken over all of it: each process has the whole batch's loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from copick_tools.inference.geometry import Geometry
from copick_tools.inference.monai import FocalLoss, compute_tp_fp_fn
from copick_tools.recipes.recipe import Loss, Target
from copick_tools.training.pooled import total
from copick_tools.training.targets import IGNORED

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SMOOTH = 1e-5  # MONAI's
FACTORS = {"distances": 10.0, "flows": 4.0, "boundary": 1.0}  # flows: Cellpose's is 25/2 for two components


def make_loss(settings: Loss) -> Criterion:
    """A function of logits (B, C, z, y, x) and a target batch (see `targets`) to a scalar."""
    makers = {
        "dice-ce": _dice_ce,
        "tversky": _tversky,
        "focal": _focal,
        "focal-tversky": _focal_tversky,
        "tversky-focal": _tversky_focal,
    }
    return makers[settings.name](settings)


def make_criterion(settings: Loss, target: Target, geometry: Geometry | None) -> Criterion:
    """A function of a network's output (B, C, z, y, x) and a target batch to a scalar.

    Where the target tells instances apart, its loss is added: squared differences of distances, and of flows (their squared
    length, as in Cellpose), and cross-entropy of boundaries, each the mean over the voxels where it is known, times a factor
    that makes it about as large at first as that of the labels.
    """
    of_classes = make_loss(settings)
    if geometry is None:
        return of_classes
    shaped, weight = _of_geometry(geometry), target.weight * FACTORS[geometry.kind]

    def loss(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        classes, raw = output[:, : -geometry.channels], output[:, -geometry.channels :].float()
        values = shaped(raw, wanted[:, -geometry.channels :]).sum(dim=1, keepdim=True)
        return of_classes(classes, wanted[:, 0].to(torch.uint8)) + weight * masked_mean(values, wanted[:, 1:2])

    return loss


def _of_geometry(geometry: Geometry) -> Criterion:
    """Of each voxel and channel."""
    if geometry.kind == "boundary":
        return torch.nn.BCEWithLogitsLoss(reduction="none")
    if geometry.vectors:
        return torch.nn.MSELoss(reduction="none")
    return lambda raw, wanted: (geometry.of(raw) - wanted) ** 2


def as_distribution(target: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Class distribution (B, C, z, y, x) of a target batch, and its mask (B, 1, z, y, x): 0 where ignored."""
    if target.ndim == 4:
        known = target != IGNORED
        hard = torch.where(known, target, 0).long()
        return torch.nn.functional.one_hot(hard, channels).movedim(-1, 1).float(), known[:, None].float()
    known = (target >= 0).all(dim=1, keepdim=True)
    heat = target.clamp(min=0)
    heat = heat / heat.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.cat([1 - heat.sum(dim=1, keepdim=True), heat], dim=1), known.float()


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the voxels of the whole batch where ``mask``, which spreads over ``values``, is 1; 0 if there are none."""
    sums = torch.stack([(values * mask).sum(), mask.expand_as(values).sum()])
    of_values, of_voxels = total(sums)
    return of_values / of_voxels.clamp(min=1)


def _overlaps(
    logits: torch.Tensor, target: torch.Tensor, first: int, order: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True positives, false positives and false negatives, of the classes from ``first`` on, in the whole batch's known voxels.

    order: of the norms that they are made of, 1 or 2.
    """
    wanted, mask = as_distribution(target, logits.shape[1])
    found = logits.float().softmax(dim=1) * mask
    sums = compute_tp_fp_fn(found[:, first:], (wanted * mask)[:, first:], [0, 2, 3, 4], order, False, False)
    hits, false, missed = total(torch.stack(sums))
    return hits, false, missed


def _dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """With squares in the denominator (Milletari 2016), without background."""
    hits, false, missed = _overlaps(logits, target, first=1, order=2)
    return (1 - (2 * hits + SMOOTH) / (2 * (hits + 0.5 * false + 0.5 * missed) + SMOOTH)).mean()


def _dice_ce(settings: Loss) -> Criterion:
    term = torch.nn.CrossEntropyLoss(reduction="none")
    entropy = _balanced(term) if settings.balanced else _pointwise(term)
    return lambda logits, target: _dice(logits, target) + entropy(logits, target)


def _of_classes(settings: Loss) -> Criterion:
    """Tversky's loss of each class, background first."""

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        hits, false, missed = _overlaps(logits, target, first=0, order=1)
        return 1 - (hits + SMOOTH) / (hits + settings.alpha * false + (1 - settings.alpha) * missed + SMOOTH)

    return loss


def _tversky(settings: Loss) -> Criterion:
    of_classes = _of_classes(settings)
    return lambda logits, target: of_classes(logits, target).mean()


def _focal(settings: Loss) -> Criterion:
    return _pointwise(FocalLoss(include_background=True, use_softmax=True, gamma=settings.gamma, reduction="none"))


def _focal_tversky(settings: Loss) -> Criterion:
    of_classes = _of_classes(settings)
    return lambda logits, target: of_classes(logits, target).clamp(min=1e-6).pow(1 / settings.gamma).mean()


def _tversky_focal(settings: Loss) -> Criterion:
    tversky, focal, weight = _tversky(settings), _focal(settings), settings.weight
    return lambda logits, target: weight * tversky(logits, target) + (1 - weight) * focal(logits, target)


def _balanced(term: Criterion) -> Criterion:
    """As `_pointwise`, of a term with one value per voxel, where each class that occurs in the whole batch counts the same."""

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wanted, mask = as_distribution(target, logits.shape[1])
        counts = total((wanted * mask).sum(dim=(0, 2, 3, 4)))
        weights = counts.sum() / counts.clamp(min=1) / (counts > 0).sum().clamp(min=1)
        values = term(logits.float(), wanted) * (wanted * weights.view(1, -1, 1, 1, 1)).sum(dim=1)
        return masked_mean(values[:, None], mask)

    return loss


def _pointwise(term: Criterion) -> Criterion:
    """The mean over known voxels of a term that gives one value per voxel (and class)."""

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wanted, mask = as_distribution(target, logits.shape[1])
        values = term(logits.float(), wanted)
        return masked_mean(values if values.ndim == mask.ndim else values[:, None], mask)

    return loss
