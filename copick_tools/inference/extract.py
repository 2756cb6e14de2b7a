"""A tomogram through a predictor: one label volume, and the probability of each voxel's label."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from copick_tools.errors import PopsicleError
from copick_tools.inference.tiler import Predictor, Shape, Slabs
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.resample import Resampled, labels_onto

log = logging.getLogger("copick_tools")
SPACING_TOLERANCE = 0.01  # relative; beyond it the input is resampled


@dataclass(frozen=True)
class Prediction:
    """labels uint8 and certainty float16 (probability of the voxel's label), zyx. voxel_spacing, origin: angstrom."""

    labels: np.ndarray
    certainty: np.ndarray
    voxel_spacing: float
    origin: float

    def on_grid(self, voxel_spacing: float, shape: tuple[int, ...]) -> np.ndarray:
        """The labels on the grid of the tomogram that was predicted. voxel_spacing: angstrom."""
        if self.labels.shape == shape and self.voxel_spacing == voxel_spacing:
            return self.labels
        return labels_onto(self.labels, self.voxel_spacing / voxel_spacing, shape)


def predict(predictor: Predictor, volume: Volume, voxel_spacing: float, threshold: float, where: str) -> Prediction:
    """Predict a zyx volume of ``voxel_spacing`` angstrom, resampled if the model was trained at another spacing.

    threshold: least 1 - P(background). where: names the tomogram in messages.

    Raises PopsicleError for constant or non-finite voxels, and when the device runs out of memory.
    """
    origin = 0.0
    if abs(voxel_spacing / predictor.voxel_spacing - 1) > SPACING_TOLERANCE:
        log.info("%s: resampled from %g to the model's %g A per voxel", where, voxel_spacing, predictor.voxel_spacing)
        resampled = Resampled(volume, voxel_spacing, predictor.voxel_spacing)
        volume, voxel_spacing, origin = resampled, predictor.voxel_spacing, resampled.origin
    z, y, x = volume.shape
    try:
        slabs = predictor.slabs(volume)
        labels, certainty = label_volume(slabs, (z, y, x), list(predictor.objects.values()), threshold)
    except ValueError as error:
        raise PopsicleError(f"{where}: {error}") from error
    except torch.OutOfMemoryError as error:
        raise PopsicleError(f"{where}: the device ran out of memory", "--device cpu works always") from error
    return Prediction(labels, certainty, voxel_spacing, origin)


def label_volume(slabs: Slabs, shape: Shape, labels: Sequence[int], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """labels: of channels 1, 2, …. threshold: least 1 - P(background).

    Returns uint8 labels and the float16 probability of the likeliest object (0 in the background), both zyx.
    """
    found = np.zeros(shape, np.uint8)
    certainty = np.zeros(shape, np.float16)
    lookup = torch.tensor(labels, dtype=torch.uint8)
    for z0, probabilities in slabs:
        channels = torch.from_numpy(probabilities)
        best, index = channels[1:].max(dim=0)
        chosen = 1 - channels[0].float() >= threshold
        rows = slice(z0, z0 + probabilities.shape[1])
        found[rows] = (lookup[index] * chosen).numpy()
        certainty[rows] = (best * chosen).numpy()
    return found, certainty
