"""Samples by nnU-Net's own loader, each a function of its number alone. Import it in `surroundings` only."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from copick_tools.recipes.recipe import Train
from copick_tools.training.seeds import seed_of


class Samples(torch.utils.data.Dataset):
    """Sample number ``step * batch_size + sample``, the same whenever, and in whichever process, it is asked for.

    loader: nnU-Net's, which draws from the global generators, for batches of one sample. fixed: whether the first samples of
    each batch lie anywhere and the last ones on an object, as nnU-Net has it, or each by chance.
    """

    def __init__(self, loader: nnUNetDataLoader, train: Train, fixed: bool) -> None:
        self.loader, self.train, self.fixed = loader, train, fixed

    def __len__(self) -> int:
        return self.train.epochs * self.train.steps_per_epoch * self.train.batch_size

    def __getitem__(self, number: int) -> dict[str, Any]:
        step, sample = divmod(number, self.train.batch_size)
        seed = seed_of(self.train.seed, "patch", step, sample)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self.loader.oversample_foreground_percent = float(self.on_object(sample))
        made = self.loader.generate_train_batch()
        target = made["target"]
        return {"data": made["data"][0], "target": [t[0] for t in target] if isinstance(target, list) else target[0]}

    def on_object(self, sample: int) -> bool:
        """Whether a sample of a batch has to lie on an object; may draw from NumPy's global generator."""
        background = self.train.background
        return sample >= round(self.train.batch_size * background) if self.fixed else np.random.random() >= background


def untimed(transform: BasicTransform) -> BasicTransform:
    """nnU-Net's augmentation, whose blur chooses between two ways by the clock: always the first, so that bits are equal."""
    for part in transform.transforms:
        inner = getattr(part, "transform", part)
        if isinstance(inner, GaussianBlurTransform):
            inner.benchmark = False
    return transform
