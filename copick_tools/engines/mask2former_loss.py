"""What Mask2Former learns from, and its loss: where nothing is known it says nothing, and several processes share a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import adaptive_max_pool2d, cross_entropy
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from copick_tools.recipes.recipe import IGNORED
from copick_tools.training import team
from copick_tools.training.pooled import total

LEAST = 16  # pixels of an object in what the network sees: one of the mask's
NEVER, SURELY = -10.0, 20.0  # logits of a mask where nothing is known, and of there being no object
Said = Mapping[
    str, torch.Tensor
]  # masks_queries_logits (B, Q, h, w) and class_queries_logits (B, Q, C), as transformers has them


def objects_of(target: torch.Tensor, least: int = LEAST) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is to be found in an image: masks (N, y, x) float32, classes (N,) from 0, and where nothing is known (y, x).

    target: (3, y, x) channels, whether the geometry is known, ids. An object that a slice cuts twice is one. Nothing is known
    where no one annotated, of labels without an id, and of what shows less than ``least`` pixels.
    """
    channels, _, ids = target
    numbers, pixels = ids[ids > 0].unique(return_counts=True)
    masks = ids == numbers[pixels >= least][:, None, None]
    classes = (channels * masks).flatten(1).amax(dim=1).long() - 1
    unknown = (channels == IGNORED) | (channels > 0) & ~masks.any(dim=0)
    return masks.float(), classes, unknown


def known(said: Said, unknown: torch.Tensor) -> dict[str, torch.Tensor]:
    """What queries say, in float32, so that no loss comes from where nothing is known. unknown: (B, y, x).

    Masks are empty there; a query whose mask is there for the most part says that there is no object. Neither has a gradient.
    """
    masks, classes = said["masks_queries_logits"].float(), said["class_queries_logits"].float()
    hidden = adaptive_max_pool2d(unknown[:, None].float(), masks.shape[2:]) > 0
    shown = masks.detach() > 0
    silent = 2 * (shown & hidden).sum(dim=(2, 3)) > shown.sum(dim=(2, 3))
    nothing = torch.zeros_like(classes[0, 0])
    nothing[-1] = SURELY
    return {
        "masks_queries_logits": masks.masked_fill(hidden, NEVER),
        "class_queries_logits": torch.where(silent[:, :, None], nothing, classes),
    }


class Loss(Mask2FormerLoss):
    """As transformers', which divides by the number of objects; here by that of all processes together.

    The mean over the processes of what each returns is the loss of the whole batch.
    """

    def loss_labels(
        self, class_queries_logits: torch.Tensor, class_labels: Sequence[torch.Tensor], indices: Sequence[tuple]
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy of the classes (B, Q, C), of which the last stands for no object."""
        wanted = torch.full_like(class_queries_logits[:, :, 0], self.num_labels, dtype=torch.int64)
        for row, (classes, (queries, objects)) in enumerate(zip(class_labels, indices)):
            wanted[row, queries] = classes[objects]
        weight = self.empty_weight
        loss = cross_entropy(class_queries_logits.transpose(1, 2), wanted, weight=weight, reduction="sum")
        return {"loss_cross_entropy": loss * team.size() / total(weight[wanted].sum())}

    def get_num_masks(self, class_labels: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
        """How many objects an average process has, at least one."""
        count = torch.tensor(float(sum(len(classes) for classes in class_labels)), device=device)
        return (total(count) / team.size()).clamp(min=1)
