"""How a segmentation splits and merges, for networks of one or few large objects, where a match at IoU 0.5 says little.

Variation of information: Meila, "Comparing clusterings", J. Multivariate Analysis 2007; its two parts as Nunez-Iglesias et
al., PLoS ONE 2013. Adapted Rand error: Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation
algorithms for connectomics", Frontiers in Neuroanatomy 2015. As in scikit-image and the connectomics challenges, only
voxels count where the reference has an object; what the prediction leaves empty there counts as one object of its own,
and what it has elsewhere isn't looked at (Dice and clDice do).
"""

from __future__ import annotations

import numpy as np

from copick_tools.metrics.contingency import Contingency
from copick_tools.types import Floats, Integers

NUMBERS = ("voi_split", "voi_merge", "adapted_rand_error")
"""What `partition_numbers` gives, in its order."""


def partition_numbers(table: Contingency) -> Floats:
    """(3,) in the order of `NUMBERS`; NaN where the reference is empty.

    voi_split: bits that the prediction needs beyond the reference, for it cuts objects apart. voi_merge: bits that it
    lacks, for it joins objects. adapted_rand_error: 1 - F1 of the pairs of voxels in one object; 0 is best in all three.
    Undefined, too, is the error where no two voxels lie in one object.

    >>> from copick_tools.metrics.contingency import contingency
    >>> partition_numbers(contingency(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]))).round(3)
    array([1. , 0. , 0.5])
    """
    rows = table.reference > 0
    shared = table.voxels[rows].astype(float)
    if not len(shared):
        return np.full(3, np.nan)
    sides = [_marginals(side[rows], shared) for side in (table.reference, table.prediction)]
    joint, reference, prediction = (_entropy(voxels) for voxels in (shared, *sides))
    pairs, one, other = (float((voxels * (voxels - 1)).sum()) for voxels in (shared, *sides))
    error = 1 - 2 * pairs / (one + other) if one + other else np.nan
    return np.array([max(0.0, joint - reference), max(0.0, joint - prediction), error])


def _marginals(side: Integers, voxels: Floats) -> Floats:
    _, place = np.unique(side, return_inverse=True)
    return np.asarray(np.bincount(place, weights=voxels), dtype=float)


def _entropy(voxels: Floats) -> float:
    """Bits."""
    share = voxels / voxels.sum()
    return float(-(share * np.log2(share)).sum())
