"""Particles from a label volume: connected components with center, score and size (POPSICLE B.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np

from copick_tools.types import Floats, Integers


@dataclass(frozen=True)
class Components:
    """One entry per component. centers: (N, 3) zyx in voxels. labels, sizes (voxels), scores in [0, 1]: (N,)."""

    centers: Floats
    labels: Integers
    sizes: Integers
    scores: Floats

    def keep(self, chosen: np.ndarray) -> Components:
        """The entries that a boolean mask or an index array names."""
        return Components(self.centers[chosen], self.labels[chosen], self.sizes[chosen], self.scores[chosen])


def components(
    labels: Integers, probabilities: Floats | None = None, connectivity: Literal[6, 18, 26] = 26
) -> Components:
    """Connected components of equal label, all objects in one pass.

    labels: zyx, 0 is background. probabilities: zyx, of the voxel's own label; weighs the center and, averaged, is the
    score. Without it the center is the centroid and the score 1.

    >>> import numpy as np
    >>> found = components(np.array([[[0, 1, 1, 1, 0, 2]]], np.uint8))
    >>> found.centers.tolist(), found.labels.tolist(), found.sizes.tolist()
    ([[0.0, 0.0, 2.0], [0.0, 0.0, 5.0]], [1, 2], [3, 1])
    """
    if probabilities is not None and probabilities.shape != labels.shape:
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape} differ in shape")
    flat = np.flatnonzero(labels)
    if not len(flat):
        nothing = np.empty(0)
        return Components(np.empty((0, 3)), nothing.astype(int), nothing.astype(int), nothing)
    ids = (
        np.asarray(cc3d.connected_components(np.ascontiguousarray(labels), connectivity=connectivity)).ravel()[flat] - 1
    )
    certainty = np.ones(len(flat)) if probabilities is None else probabilities.reshape(-1)[flat].astype(float)
    weights = certainty + np.finfo(float).tiny ** 0.25  # a component of probability 0 has a center too
    sizes, total = np.bincount(ids), np.bincount(ids, weights)
    position = np.unravel_index(flat, labels.shape)
    centers = np.column_stack([np.bincount(ids, weights * axis) for axis in position]) / total[:, None]
    own_label = np.zeros(len(sizes), dtype=int)
    own_label[ids] = labels.reshape(-1)[flat]
    return Components(centers, own_label, sizes, np.bincount(ids, certainty) / sizes)


def size_scores(sizes: Integers, expected: Floats) -> Floats:
    """Score in (0, 1] of components known by size alone: min(v / v0, v0 / v). Not calibrated.

    >>> import numpy as np
    >>> size_scores(np.array([50, 100, 200]), np.array([100.0, 100.0, 100.0]))
    array([0.5, 1. , 0.5])
    """
    return np.minimum(sizes / expected, expected / sizes)
