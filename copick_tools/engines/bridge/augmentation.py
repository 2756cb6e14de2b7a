"""Our augmentation where nnU-Net's loader expects its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from copick_tools.recipes.recipe import Augment
from copick_tools.training.augment import augment
from copick_tools.training.targets import IGNORED

OUTSIDE = -1  # nnU-Net's label of what lies outside the tomogram


class RecipeAugmentation:
    """Turns image and segmentation, (1, z, y, x), as a recipe says. ignore: nnU-Net's label of voxels that don't count.

    What lies outside the tomogram doesn't. Draws from NumPy's global generator, as nnU-Net's loader does.
    """

    def __init__(self, settings: Augment, ignore: int) -> None:
        self.settings, self.ignore = settings, ignore

    def __call__(self, **sample: Any) -> dict[str, Any]:
        """image: float32, segmentation: int16."""
        rng = np.random.default_rng(np.random.randint(2**31))
        labels = sample["segmentation"][0].numpy()
        target = np.where((labels == OUTSIDE) | (labels == self.ignore), IGNORED, labels).astype(np.uint8)
        voxels, target = augment(sample["image"][0].numpy(), target, self.settings, rng)
        labels = np.where(target == IGNORED, self.ignore, target).astype(np.int16)
        return {**sample, "image": torch.from_numpy(voxels[None]), "segmentation": torch.from_numpy(labels[None])}
