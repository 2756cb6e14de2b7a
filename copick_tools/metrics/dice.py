"""Voxel overlap of label volumes: Dice and intersection over union per label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from copick_tools.types import Floats, Integers, Mask

PIECE = 1 << 16  # voxels that are counted at a time: what fits in a processor's cache


def overlap_counts(reference: Integers, prediction: Integers, labels: Integers, mask: Mask | None = None) -> Integers:
    """Additive voxel counts, so that volumes can be scored block by block; one pass for all labels.

    reference, prediction: the same shape, any dtype and values. labels: (K,), all different. mask: voxels that count,
    all by default.

    Returns (K, 3): voxels of both, of the reference, of the prediction.

    >>> import numpy as np
    >>> overlap_counts(np.array([1, 1, 0]), np.array([1, 0, 0]), np.array([1]))
    array([[1, 2, 1]])
    """
    _validate(reference, prediction, np.asarray(labels), mask)
    order = np.argsort(labels)
    known = np.asarray(labels)[order]
    tables = [_table(volume.dtype, known) for volume in (reference, prediction)]
    size = len(known) + 1
    joint = np.zeros(size * size, dtype=np.int64)
    volumes = [reference, prediction] if mask is None else [reference, prediction, mask]
    for pieces in np.nditer(volumes, flags=["external_loop", "buffered", "zerosize_ok"], buffersize=PIECE):
        rows, columns = (_rank(piece, known, table) for piece, table in zip(pieces, tables))
        pairs = rows * size + columns
        joint += np.bincount(pairs if mask is None else pairs[pieces[2]], minlength=size * size)
    table = joint.reshape(size, size)
    counts = np.column_stack([table.diagonal(), table.sum(axis=1), table.sum(axis=0)])
    return np.asarray(counts[np.argsort(order)])


def dice(counts: Integers) -> Floats:
    """counts: (..., 3) from `overlap_counts`. Returns Dice, NaN where a label is absent from both sides.

    >>> import numpy as np
    >>> dice(np.array([1, 2, 1])).round(3)
    np.float64(0.667)
    """
    both, reference, prediction = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(reference + prediction == 0, np.nan, 2 * both / (reference + prediction))[()]


def iou(counts: Integers) -> Floats:
    """counts: (..., 3) from `overlap_counts`. Returns intersection over union, NaN where a label is absent from both sides.

    >>> import numpy as np
    >>> iou(np.array([1, 2, 1]))
    np.float64(0.5)
    """
    both, reference, prediction = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    union = reference + prediction - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union == 0, np.nan, both / union)[()]


def _validate(reference: Integers, prediction: Integers, labels: Integers, mask: Mask | None) -> None:
    if reference.shape != prediction.shape:
        raise ValueError(f"reference {reference.shape} and prediction {prediction.shape} differ in shape")
    if mask is not None and (mask.shape != reference.shape or mask.dtype != bool):
        raise ValueError(
            f"Expected argument `mask` to be bool of shape {reference.shape}, but got {mask.dtype} {mask.shape}"
        )
    if labels.ndim != 1 or len(np.unique(labels)) != len(labels):
        raise ValueError(f"Expected argument `labels` to be (K,) different labels, but got {labels.tolist()}")


def _table(dtype: np.dtype[Any], known: Integers) -> Integers | None:
    """Rank of every byte among the known labels (sorted), their number for others; None for larger dtypes."""
    if dtype.itemsize > 1:
        return None
    values = np.arange(256, dtype=np.uint8).view(np.int8 if dtype.kind == "i" else np.uint8)
    return _rank(values.astype(int), known, None)


def _rank(values: NDArray[Any], known: Integers, table: Integers | None) -> Integers:
    """Index of each value among the known labels (sorted); their number for a value that is none of them."""
    if table is not None:
        return np.asarray(table.take(values.view(np.uint8)))
    if not len(known):
        return np.zeros(values.shape, dtype=np.intp)
    rank = np.searchsorted(known, values)
    missing = known[np.minimum(rank, len(known) - 1)] != values
    rank[missing] = len(known)
    return np.asarray(rank)
