"""Every number of instances again, from sets of voxels and exact fractions, written from the description of the rules."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.optimize import linear_sum_assignment

THRESHOLDS = [Fraction(50 + 5 * step, 100) for step in range(10)]


def objects(volume):
    """id -> set of voxels."""
    flat = np.asarray(volume).ravel()
    return {int(i): set(np.flatnonzero(flat == i).tolist()) for i in np.unique(flat) if i}


def ious(one, other):
    """(N, M) exact IoUs of two lists of sets."""
    return [[Fraction(len(a & b), len(a | b)) for b in other] for a in one]


def matched(table, threshold):
    """IoUs of the pairs of a maximum matching among those that reach the threshold, the largest sum of IoU of these."""
    if not table or not table[0]:
        return []
    worth = np.array([[1000 + float(iou) if iou >= threshold else 0.0 for iou in row] for row in table])
    rows, columns = linear_sum_assignment(-worth)
    return [table[i][j] for i, j in zip(rows, columns) if table[i][j] >= threshold]


def numbers(reference, prediction):
    """What `expected.json` holds, None where undefined."""
    one, other = objects(reference), objects(prediction)
    table = ious(list(one.values()), list(other.values()))
    n, m = len(one), len(other)
    pairs = [matched(table, threshold) for threshold in THRESHOLDS]
    tp = [len(found) for found in pairs]
    accuracy = [Fraction(t, n + m - t) for t in tp] if n + m else None
    summed = sum(pairs[0], Fraction(0))
    return {
        "n_true": n,
        "n_pred": m,
        "tp": tp,
        "mSA": float(sum(accuracy) / 10) if accuracy else None,
        "AP50": float(accuracy[0]) if accuracy else None,
        "error_rate": float(Fraction(n + m - 2 * tp[0], n)) if n else None,
        "mean_matched_iou": (float(summed / tp[0]) if tp[0] else 0.0) if n + m else None,
        "panoptic_quality": float(summed / Fraction(n + m, 2)) if n + m else None,
    }
