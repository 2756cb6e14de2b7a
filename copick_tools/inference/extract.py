"""From slabs of probabilities to one label volume with the probability of each voxel's label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from copick_tools.inference.tiler import Shape, Slabs


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
