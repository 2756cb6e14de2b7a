"""Patches for training: balanced over objects, read from disk or from cached tomograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from copick_tools.errors import PopsicleError
from copick_tools.inference.tiler import window
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.augment import augment
from copick_tools.training.seeds import generator
from copick_tools.training.targets import Shape, Source
from copick_tools.volumes.normalize import Intensity, Volume, normalize


@dataclass(frozen=True)
class TrainingRun:
    """A tomogram, zyx as stored (or normalized already: then ``statistics`` is None), and its target."""

    name: str
    volume: Volume
    statistics: Intensity | None
    target: Source

    def patch(self, corner: Shape, size: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Normalized voxels (z, y, x) and target; where the tomogram is thinner than the patch: reflected and ignored."""
        voxels = window(self.volume, corner, size)
        voxels = normalize(voxels, self.statistics) if self.statistics else voxels
        inside = tuple(min(s, length - c) for s, c, length in zip(size, corner, self.volume.shape))
        target = self.target.crop(corner, (inside[0], inside[1], inside[2]))
        missing = [(0, s - i) for s, i in zip(size, inside)]
        if any(after for _, after in missing):
            target = self.target.layout.filled(target, missing)
        return voxels, target


class Patches(torch.utils.data.Dataset):
    """Patch number ``step * batch_size + sample``, the same whenever and wherever it is asked for."""

    def __init__(self, runs: list[TrainingRun], channels: int, recipe: Recipe) -> None:
        self.runs, self.recipe = runs, recipe
        self.known = _annotated(runs)
        self.places = []  # of each object: which run, and where in it
        for channel in range(1, channels):
            found = [run.target.anchors(channel) for run in runs]
            owner = np.repeat(np.arange(len(runs)), [len(voxels) for voxels in found])
            if len(owner):
                self.places.append((owner, np.concatenate(found)))

    def __len__(self) -> int:
        train = self.recipe.train
        return train.epochs * train.steps_per_epoch * train.batch_size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        train = self.recipe.train
        step, sample = divmod(index, train.batch_size)
        rng = generator(train.seed, "patch", step, sample)
        run, corner = self._place(rng)
        voxels, target = augment(*run.patch(corner, train.patch), self.recipe.augment, rng, run.target.layout)
        return torch.from_numpy(voxels[None]), torch.from_numpy(target)

    def _place(self, rng: np.random.Generator) -> tuple[TrainingRun, Shape]:
        """A run and the corner of a patch in it: around an object chosen evenly, or anywhere where something is annotated."""
        size = np.array(self.recipe.train.patch)
        if not self.places or rng.random() < self.recipe.train.background:
            run, voxels = self.known[rng.integers(len(self.known))]
            if voxels is None:
                corner = rng.integers(0, np.maximum(np.array(run.volume.shape) - size, 0) + 1)
            else:
                corner = _around(voxels[rng.integers(len(voxels))], run, size, rng)
        else:
            owner, voxels = self.places[rng.integers(len(self.places))]
            chosen = rng.integers(len(owner))
            run = self.runs[owner[chosen]]
            corner = _around(voxels[chosen], run, size, rng)
        z, y, x = corner.tolist()
        return run, (z, y, x)


def _around(voxel: np.ndarray, run: TrainingRun, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The corner of a patch that holds a voxel. size: zyx."""
    corner = np.round(voxel - rng.uniform(0.1, 0.9, 3) * size).astype(int)
    return np.clip(corner, 0, np.maximum(np.array(run.volume.shape) - size, 0))


def _annotated(runs: list[TrainingRun]) -> list[tuple[TrainingRun, np.ndarray | None]]:
    """Runs in which something is annotated, and where: (N, 3) voxels, None for all. Raises PopsicleError for none."""
    found = [(run, run.target.annotated()) for run in runs]
    known = [(run, voxels) for run, voxels in found if voxels is None or len(voxels)]
    if not known:
        names = ", ".join(dict.fromkeys(run.name for run in runs[:5]))
        raise PopsicleError(
            f"nothing is annotated in the training runs: {names}", "target.region or target.ignore_label leaves nothing"
        )
    return known
