"""Points that are near to each other."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from copick_tools.types import Floats, Integers

BATCH = 2048  # least number of points compared with each other at a time


def best(centers: Floats, scores: Floats, distance: float) -> Integers:
    """Rows of the points that stay, best score first, when of points nearer than ``distance`` only the best one does.

    centers: (N, 3) in any unit. scores: (N,). Equal scores rank by position.

    >>> best(np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 2]]), np.array([0.5, 0.9, 0.4]), 1.5).tolist()
    [1]
    """
    order = np.lexsort((*centers.T[::-1], -scores))
    if not distance > 0:
        return order
    kept = np.empty(0, np.int64)
    while len(order):
        size = max(BATCH, len(kept))  # few rounds, and few pairs in each: what was kept lies apart
        batch, order = order[:size], order[size:]
        if len(kept):
            away, _ = cKDTree(centers[kept]).query(centers[batch], distance_upper_bound=distance)
            batch = batch[np.isinf(away)]
        kept = np.r_[kept, batch[_greedy(centers[batch], distance)]]
    return kept


def neighbors(centers: Floats, distance: float) -> list[list[int]]:
    """Of each point the rows of those within ``distance``, without itself. centers: (N, 3) in any unit."""
    if not len(centers):
        return []
    tree = cKDTree(centers)
    return [
        [other for other in near if other != index] for index, near in enumerate(tree.query_ball_tree(tree, distance))
    ]


def _greedy(centers: Floats, distance: float) -> np.ndarray:
    """Which points stay, the first ones before the others."""
    stays = np.ones(len(centers), np.bool_)
    if not len(centers):
        return stays
    near = cKDTree(centers).query_pairs(np.nextafter(distance, 0), output_type="ndarray")
    near = near[np.lexsort((near[:, 1], near[:, 0]))]
    starts = np.searchsorted(near[:, 0], np.arange(len(centers) + 1))
    for first in np.unique(near[:, 0]):
        if stays[first]:
            stays[near[starts[first] : starts[first + 1], 1]] = False
    return stays
