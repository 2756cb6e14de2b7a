"""Objects of slices put together to objects of the volume, by their overlap (Cellpose's stitching)."""

from __future__ import annotations

import numpy as np

from copick_tools.types import Integers


def stitched(ids: Integers, threshold: float = 0.25, labels: Integers | None = None) -> Integers:
    """zyx ids that hold for the volume, from ids that count in each slice alone.

    From the first slice on, an object goes on as the one in the next slice that it has the largest IoU with, if that is its
    best partner as well and the IoU reaches the threshold; the others begin there. ids: zyx integers, 0 is background. labels:
    zyx, one for all voxels of an id of a slice: then an object never goes on as one with another label.

    >>> stitched(np.array([[[1, 1, 0, 2]], [[0, 5, 5, 5]], [[3, 0, 0, 4]]]), 0.3).tolist()
    [[[1, 1, 0, 2]], [[0, 2, 2, 2]], [[3, 0, 0, 2]]]
    >>> stitched(np.array([[[1, 1]], [[3, 3]], [[2, 2]]]), labels=np.array([[[5, 5]], [[5, 5]], [[4, 4]]])).tolist()
    [[[1, 1]], [[1, 1]], [[2, 2]]]
    """
    out, before, count = np.zeros(ids.shape, np.uint32), np.zeros(ids.shape[1:], np.uint32), 0
    for z, here in enumerate(ids):
        names = np.zeros(int(here.max(initial=0)) + 1, np.uint32)
        one, other, iou = overlaps(before, here)
        together = iou >= threshold
        if labels is not None and z:
            together &= _of_each(before, labels[z - 1])[one] == _of_each(here, labels[z])[other]
        order = np.lexsort((other, one, -iou))
        order = order[together[order]]
        best = [np.unique(side[order], return_index=True)[1] for side in (one, other)]
        first = np.intersect1d(best[0], best[1])
        names[other[order[first]]] = one[order[first]]
        new = np.setdiff1d(np.unique(here), [0, *other[order[first]].tolist()])
        names[new] = count + 1 + np.arange(len(new))
        count += len(new)
        out[z] = before = names[here]
    return out


def _of_each(ids: Integers, labels: Integers) -> Integers:
    """(N + 1,) the label of each id of a slice. ids, labels: (y, x)."""
    found = np.zeros(int(ids.max(initial=0)) + 1, labels.dtype)
    found[ids] = labels
    return found


def overlaps(one: Integers, other: Integers) -> tuple[Integers, Integers, np.ndarray]:
    """Pairs of objects of two slices that share pixels, and their IoU. one, other: (y, x) ids, 0 for none."""
    both = (one > 0) & (other > 0)
    largest = int(other.max(initial=0)) + 1
    keys, shared = np.unique(one[both].astype(np.int64) * largest + other[both], return_counts=True)
    first, second = np.divmod(keys, largest)
    sizes = [np.bincount(side.reshape(-1)) for side in (one, other)]
    return first, second, shared / (sizes[0][first] + sizes[1][second] - shared)
