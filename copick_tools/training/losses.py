"""Losses on class probabilities with soft or hard targets and ignored voxels; the terms are MONAI's.

Tversky (Salehi 2017): alpha weighs false positives, 1 - alpha false negatives, so a small alpha favors recall.
Focal-Tversky (Abraham 2019): (1 - Tversky index)^(1/gamma), per class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss

from copick_tools.recipes.recipe import Loss
from copick_tools.training.targets import IGNORED

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make_loss(settings: Loss) -> Criterion:
    """A function of logits (B, C, z, y, x) and a target batch (see `targets`) to a scalar."""
    return {"dice-ce": _dice_ce, "tversky": _tversky, "focal": _focal, "focal-tversky": _focal_tversky}[settings.name](
        settings
    )


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


def _overlap(term: torch.nn.Module) -> Criterion:
    """A Dice-like term, probabilities and target cut to the known voxels."""

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wanted, mask = as_distribution(target, logits.shape[1])
        return term(logits.float().softmax(dim=1) * mask, wanted * mask)

    return loss


def _pointwise(term: Criterion) -> Criterion:
    """The mean over known voxels of a term that gives one value per voxel (and class)."""

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wanted, mask = as_distribution(target, logits.shape[1])
        values = term(logits.float(), wanted)
        values = values if values.ndim == mask.ndim else values[:, None]
        return (values * mask).sum() / (mask.expand_as(values).sum()).clamp(min=1)

    return loss


def _dice_ce(_: Loss) -> Criterion:
    dice = _overlap(DiceLoss(include_background=False, batch=True, squared_pred=True))
    entropy = _pointwise(torch.nn.CrossEntropyLoss(reduction="none"))
    return lambda logits, target: dice(logits, target) + entropy(logits, target)


def _tversky(settings: Loss) -> Criterion:
    return _overlap(TverskyLoss(include_background=True, alpha=settings.alpha, beta=1 - settings.alpha, batch=True))


def _focal(settings: Loss) -> Criterion:
    return _pointwise(FocalLoss(include_background=True, use_softmax=True, gamma=settings.gamma, reduction="none"))


def _focal_tversky(settings: Loss) -> Criterion:
    alpha = settings.alpha
    term = TverskyLoss(include_background=True, alpha=alpha, beta=1 - alpha, batch=True, reduction="none")
    per_class = _overlap(term)
    return lambda logits, target: per_class(logits, target).clamp(min=1e-6).pow(1 / settings.gamma).mean()
