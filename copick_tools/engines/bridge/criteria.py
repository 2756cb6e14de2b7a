"""Losses on nnU-Net's logits and targets: its own, and ours. Import it in `surroundings` only."""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from copick_tools.training import team
from copick_tools.training.losses import Criterion, masked_mean
from copick_tools.training.targets import IGNORED


class DiceCE(DC_and_CE_loss):
    """nnU-Net's own. Where processes share a batch, the mean over them is what one would have.

    batch_dice: whether Dice is that of the whole batch, or of each patch. ignore: label of voxels that don't count.
    """

    def __init__(self, batch_dice: bool, ignore: int | None) -> None:
        dice = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": team.size() > 1}
        super().__init__(dice, {}, ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """A scalar. target: (B, 1, z, y, x).

        nnU-Net takes the entropy's mean over the known voxels of each process: a patch with few of them would weigh more.
        """
        if team.size() == 1:
            return super().forward(logits, target)
        known = torch.ones_like(target, dtype=torch.bool) if self.ignore_label is None else target != self.ignore_label
        labels = torch.where(known, target, 0)
        entropy = torch.nn.functional.cross_entropy(logits, labels[:, 0].long(), reduction="none")
        return self.dc(logits, labels, loss_mask=known) + masked_mean(entropy[:, None], known)


class OurLoss(torch.nn.Module):
    """A criterion of ours on nnU-Net's targets, (B, 1, z, y, x) channel numbers, ``ignore`` where nothing is known."""

    def __init__(self, criterion: Criterion, ignore: int) -> None:
        super().__init__()
        self.criterion, self.ignore = criterion, ignore

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """A scalar."""
        return self.criterion(logits, torch.where(target == self.ignore, IGNORED, target)[:, 0])
