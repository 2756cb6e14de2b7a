"""Precision, recall, F-beta and their weighted mean over objects (POPSICLE B.7), from counts."""

from __future__ import annotations

import numpy as np

from copick_tools.types import Floats


def precision_recall(counts: Floats) -> tuple[Floats, Floats]:
    """counts: (..., 3) of tp, fp, fn. Returns precision and recall, NaN where the denominator is 0.

    >>> import numpy as np
    >>> precision_recall(np.array([8.0, 2.0, 0.0]))
    (array(0.8), array(1.))
    """
    tp, fp, fn = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(tp + fp == 0, np.nan, tp / (tp + fp)), np.where(tp + fn == 0, np.nan, tp / (tp + fn))


def fbeta(counts: Floats, beta: float) -> Floats:
    """counts: (..., 3) of tp, fp, fn. Returns F-beta; 0 where nothing was found, NaN where there was nothing to find or err on.

    Follows the challenges' arithmetic, (1 + b^2) P R / (b^2 P + R), so negative fp (rule ``czii``) gives what they give.

    >>> import numpy as np
    >>> fbeta(np.array([8.0, 2.0, 0.0]), beta=1).round(4)
    np.float64(0.8889)
    """
    if not 0 <= beta < np.inf:
        raise ValueError(f"Expected argument `beta` to be a number from 0 up, but got {beta}")
    precision, recall = (np.nan_to_num(value) for value in precision_recall(counts))
    denominator = beta**2 * precision + recall
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(denominator == 0, 0.0, (1 + beta**2) * precision * recall / denominator)
    undefined = (np.asarray(counts) == 0).all(axis=-1)
    return np.where(undefined, np.nan, score)[()]


def aggregate(scores: Floats, weights: Floats, *, present_only: bool) -> Floats:
    """Weighted mean over the last axis (objects).

    scores: (..., K), NaN where undefined. weights: (K,).
    present_only: leave undefined objects out of the mean; otherwise (the CZII challenge) they count as 0.
    Returns NaN where no weight is left.

    >>> import numpy as np
    >>> aggregate(np.array([1.0, np.nan]), np.array([1.0, 1.0]), present_only=True)
    np.float64(1.0)
    >>> aggregate(np.array([1.0, np.nan]), np.array([1.0, 1.0]), present_only=False)
    np.float64(0.5)
    """
    used = np.where(np.isnan(scores), 0.0, weights) if present_only else np.broadcast_to(weights, np.shape(scores))
    total = used.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (used * np.nan_to_num(scores)).sum(axis=-1) / total, np.nan)[()]
