"""How well the objects of two segmentations agree: matches at ten thresholds, and what the papers make of them.

Mean segmentation accuracy: Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
Nature Methods 2019, as in Archit et al. (APG), Appendix A. Error rate: Pachitariu et al. (Cellpose-SAM), "Quantification
of segmentation quality". Panoptic quality: Kirillov et al., "Panoptic segmentation", CVPR 2019, arXiv:1801.00868.

Two objects match at a threshold where their IoU reaches it, less 1e-9: thresholds are decimal fractions and IoUs are
ratios of voxels, and what is equal must not differ by how a floating-point number is rounded. Above 0.5 an object can have
one partner alone. At exactly 0.5 it can have two, its halves, which then lie within it and have no other partner: one of
them counts. So the best of each object's partners is a maximum matching, and no assignment has to be solved.

From one run to several: numbers are of a run, and runs are averaged, as both papers average images; see `semantic`. The
counts are additive, too, so that numbers can also be made of all runs' objects at once (pooled).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.metrics.contingency import Contingency
from copick_tools.types import Floats, Integers, Mask

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TOLERANCE = 1e-9
NUMBERS = (
    "mean_segmentation_accuracy",
    "ap50",
    "error_rate",
    "mean_matched_iou",
    "panoptic_quality",
    "recognition_quality",
)
"""What `instance_numbers` gives, in its order."""


@dataclass(frozen=True)
class InstanceMatch:
    """Objects matched one-to-one at IoU 0.5. pairs: (M, 2) id in the reference, id in the prediction. iou: (M,).

    Sorted by the first.
    """

    pairs: Integers
    iou: Floats
    n_reference: int
    n_prediction: int

    def counts(self) -> Floats:
        """(13,) additive: true positives at each of `THRESHOLDS`, objects of the reference, of the prediction, sum of IoU."""
        reached = self.iou[:, None] >= np.array(THRESHOLDS) - TOLERANCE
        return np.array([*reached.sum(axis=0), self.n_reference, self.n_prediction, self.iou.sum()], dtype=float)


def match_instances(table: Contingency) -> InstanceMatch:
    """Match the objects (ids above 0) of a table one-to-one, as many as reach IoU 0.5.

    >>> from copick_tools.metrics.contingency import contingency
    >>> found = match_instances(contingency(np.array([1, 1, 1, 0, 2]), np.array([5, 5, 0, 0, 9])))
    >>> found.pairs.tolist(), found.iou.round(3)
    ([[1, 5], [2, 9]], array([0.667, 1.   ]))
    """
    ids, sizes, places = zip(*(_sizes(side, table.voxels) for side in (table.reference, table.prediction)))
    both = (table.reference > 0) & (table.prediction > 0)
    one, other, shared = places[0][both], places[1][both], table.voxels[both]
    iou = shared / (sizes[0][one] + sizes[1][other] - shared)
    near = iou >= THRESHOLDS[0] - TOLERANCE
    one, other, iou = one[near], other[near], iou[near]
    best = np.argsort(-iou, kind="stable")  # the table is sorted by ids, so ties are independent of the volume's order
    for side in (one, other):
        best = best[np.sort(np.unique(side[best], return_index=True)[1])]
    best = np.sort(best)
    pairs = np.column_stack([ids[0][one[best]], ids[1][other[best]]])
    return InstanceMatch(pairs, iou[best], *(int((side > 0).sum()) for side in ids))


def partners(match: InstanceMatch, reference: Integers, prediction: Integers) -> Mask:
    """Where two ids are a pair of the match. reference, prediction: ids, the same shape; any that occur, 0 included.

    >>> match = InstanceMatch(np.array([[1, 5], [2, 9]]), np.ones(2), 2, 2)
    >>> partners(match, np.array([1, 2, 2, 0]), np.array([5, 5, 9, 0]))
    array([ True, False,  True, False])
    """
    if not len(match.pairs):
        return np.zeros(reference.shape, dtype=bool)
    place = np.minimum(np.searchsorted(match.pairs[:, 0], reference), len(match.pairs) - 1)
    found = match.pairs[place]
    return np.asarray((found[..., 0] == reference) & (found[..., 1] == prediction))


def instance_numbers(counts: Floats) -> Floats:
    """counts: (..., 13) of `InstanceMatch.counts`. Returns (..., 6) in the order of `NUMBERS`, NaN where undefined.

    The error rate, (FN + FP) / (TP + FN) at IoU 0.5, is undefined where the reference has no object; all are where neither
    side has one. Without any match the mean matched IoU is 0.

    >>> instance_numbers(np.array([2.0] * 5 + [1.0] * 5 + [2, 3, 1.5])).round(3)
    array([0.458, 0.667, 0.5  , 0.75 , 0.6  , 0.8  ])
    """
    true, reference, prediction, iou = _parts(counts)
    found = true[..., 0]
    accuracy = accuracies(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(reference > 0, (reference + prediction - 2 * found) / reference, np.nan)
        objects = np.where(reference + prediction > 0, (reference + prediction) / 2, np.nan)
        matched = np.where(found > 0, iou / found, np.where(np.isnan(objects), np.nan, 0.0))
    columns = accuracy.mean(axis=-1), accuracy[..., 0], error, matched, iou / objects, found / objects
    return np.stack(columns, axis=-1)


def accuracies(counts: Floats) -> Floats:
    """counts: (..., 13). Returns (..., 10): TP / (TP + FP + FN) at each of `THRESHOLDS`, NaN without any object."""
    true, reference, prediction, _ = _parts(counts)
    objects = (reference + prediction)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(objects > 0, true / (objects - true), np.nan))


def inter_annotator(counts: Floats) -> Floats:
    """counts: (..., 13) of two annotators. Returns (...): their error rate, the same whichever is the reference.

    Their differences, FN + FP, by the mean number of their objects: what both ways to take one as the reference give
    where both drew equally many, and their harmonic mean elsewhere. 0 to 2, NaN where neither drew anything.

    >>> inter_annotator(np.array([8.0] * 10 + [10, 10, 7])).round(3)
    np.float64(0.4)
    """
    true, reference, prediction, _ = _parts(counts)
    objects = (reference + prediction) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(objects > 0, 2 * (objects - true[..., 0]) / objects, np.nan)[()]


def _parts(counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """True positives (..., 10), objects of both sides, sum of IoU."""
    counts, size = np.asarray(counts, dtype=float), len(THRESHOLDS)
    if counts.shape[-1] != size + 3:
        raise ValueError(f"Expected {size + 3} counts on the last axis, but got shape {counts.shape}")
    return counts[..., :size], counts[..., size], counts[..., size + 1], counts[..., size + 2]


def _sizes(side: Integers, voxels: Integers) -> tuple[Integers, Integers, Integers]:
    """The ids of one side of a table, the voxels of each, and where each row's id is among them."""
    ids, place = np.unique(side, return_inverse=True)
    sizes = np.zeros(len(ids), np.int64)
    np.add.at(sizes, place, voxels)
    return ids, sizes, place
