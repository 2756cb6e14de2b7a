"""Objects of slices put together to objects of the volume, by their overlap (Cellpose's stitching)."""

from __future__ import annotations

import numpy as np

from copick_tools.types import Integers


def stitched(ids: Integers, threshold: float = 0.25) -> Integers:
    """zyx ids that hold for the volume, from ids that count in each slice alone.

    From the first slice on, an object goes on as the one in the next slice that it has the largest IoU with, if that is its
    best partner as well and the IoU reaches the threshold; the others begin there. ids: zyx integers, 0 is background.

    >>> stitched(np.array([[[1, 1, 0, 2]], [[0, 5, 5, 5]], [[3, 0, 0, 4]]]), 0.3).tolist()
    [[[1, 1, 0, 2]], [[0, 2, 2, 2]], [[3, 0, 0, 2]]]
    """
    out, before, count = np.zeros(ids.shape, np.uint32), np.zeros(ids.shape[1:], np.uint32), 0
    for z, here in enumerate(ids):
        names = np.zeros(int(here.max(initial=0)) + 1, np.uint32)
        one, other, iou = overlaps(before, here)
        order = np.lexsort((other, one, -iou))
        order = order[iou[order] >= threshold]
        best = [np.unique(side[order], return_index=True)[1] for side in (one, other)]
        first = np.intersect1d(best[0], best[1])
        names[other[order[first]]] = one[order[first]]
        new = np.setdiff1d(np.unique(here), [0, *other[order[first]].tolist()])
        names[new] = count + 1 + np.arange(len(new))
        count += len(new)
        out[z] = before = names[here]
    return out


def stitched_by_label(ids: Integers, labels: Integers, threshold: float = 0.25) -> Integers:
    """As `stitched`, but an object never goes on as one with another label. labels: zyx, one for all voxels of an id of a slice.

    >>> ids, labels = np.array([[[1, 1]], [[3, 3]], [[2, 2]]]), np.array([[[5, 5]], [[5, 5]], [[4, 4]]])
    >>> stitched_by_label(ids, labels).tolist()
    [[[2, 2]], [[2, 2]], [[1, 1]]]
    """
    out, count = np.zeros(ids.shape, np.uint32), 0
    for label in np.flatnonzero(np.bincount(labels.reshape(-1))[1:]) + 1:
        own = stitched(np.where(labels == label, ids, 0), threshold)
        np.copyto(out, own + np.uint32(count), where=own > 0)
        count += int(own.max(initial=0))
    return out


def overlaps(one: Integers, other: Integers) -> tuple[Integers, Integers, np.ndarray]:
    """Pairs of objects of two slices that share pixels, and their IoU. one, other: (y, x) ids, 0 for none."""
    both = (one > 0) & (other > 0)
    pairs, shared = np.unique(np.stack([one[both], other[both]]), axis=1, return_counts=True)
    sizes = [np.bincount(side.reshape(-1)) for side in (one, other)]
    union = sizes[0][pairs[0]] + sizes[1][pairs[1]] - shared
    return pairs[0], pairs[1], shared / union
