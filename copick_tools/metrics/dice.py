"""Voxel overlap of label volumes: Dice and intersection over union per label."""

from __future__ import annotations

import numpy as np

from copick_tools.types import Floats, Integers, Mask


def overlap_counts(reference: Integers, prediction: Integers, labels: Integers, mask: Mask | None = None) -> Integers:
    """Additive voxel counts, so that volumes can be scored slab by slab.

    reference, prediction: the same shape. labels: (K,). mask: voxels that count, all by default.

    Returns (K, 3): voxels of both, of the reference, of the prediction.

    >>> import numpy as np
    >>> overlap_counts(np.array([1, 1, 0]), np.array([1, 0, 0]), np.array([1]))
    array([[1, 2, 1]])
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    if mask is not None:
        reference, prediction = reference[mask], prediction[mask]
    return np.array(
        [
            [
                np.count_nonzero((reference == k) & (prediction == k)),
                np.count_nonzero(reference == k),
                np.count_nonzero(prediction == k),
            ]
            for k in labels
        ]
    )


def dice(counts: Integers) -> Floats:
    """counts: (..., 3) from `overlap_counts`. Returns Dice, NaN where a label is absent from both sides.

    >>> import numpy as np
    >>> dice(np.array([1, 2, 1])).round(3)
    np.float64(0.667)
    """
    both, reference, prediction = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(reference + prediction == 0, np.nan, 2 * both / (reference + prediction))[()]
