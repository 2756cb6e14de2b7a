"""A promptable model that knows the answer: what is above it no model can reach, and the way around models can be tested."""

from __future__ import annotations

import numpy as np

from copick_tools.inference.promptable import OBJECT, Answer, Embedding, Place
from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.normalize import Volume

SURE = 10.0  # logits inside of an object, and minus that outside


class Oracle:
    """Answers with the reference's object: the one that most points are on, else the one most of the mask or box is.

    reference: zyx ids, 0 is background, on the grid of what is encoded. Where the prompts show no object, the mask is empty
    and its IoU 0. It can follow objects from slice to slice as well.
    """

    def __init__(self, reference: Volume, identity: str = "oracle") -> None:
        self.reference, self.identity = reference, identity

    def encode(self, image: Floats, place: Place | None = None) -> Embedding:
        """See `Promptable.encode`; it needs the place and doesn't look at the image."""
        if place is None:
            raise ValueError("the oracle has to know where an image is")
        z, y, x = place
        return {"ids": np.asarray(self.reference[z : z + 1, y, x])[0]}

    def predict(
        self,
        embedding: Embedding,
        points: Floats | None = None,
        labels: Integers | None = None,
        boxes: Floats | None = None,
        masks: Floats | Mask | None = None,
        *,
        several: bool = False,
    ) -> Answer:
        """See `Promptable.predict`; there is never more than one answer."""
        ids = embedding["ids"]
        given = next(part for part in (points, boxes, masks) if part is not None)
        meant = np.zeros(len(given), np.int64)
        for number in range(len(given)):
            if points is not None and labels is not None:
                meant[number] = _pointed(ids, points[number], labels[number])
            if not meant[number] and masks is not None:
                meant[number] = _most(ids[np.asarray(masks[number]) > 0])
            if not meant[number] and boxes is not None:
                meant[number] = _boxed(ids, boxes[number])
        found = (ids == meant[:, None, None]) & (meant[:, None, None] > 0)
        return Answer(
            np.where(found, SURE, -SURE).astype(np.float32)[:, None], found.any(axis=(1, 2)).astype(float)[:, None]
        )


def _pointed(ids: Integers, points: Floats, labels: Integers) -> int:
    y, x = np.round(points[labels == OBJECT]).astype(int).T
    inside = (y >= 0) & (y < ids.shape[0]) & (x >= 0) & (x < ids.shape[1])
    return _most(ids[y[inside], x[inside]])


def _boxed(ids: Integers, box: Floats) -> int:
    """The object whose own box is nearest to this one."""
    low, high = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    part = ids[low[0] : high[0], low[1] : high[1]]
    best, most = 0, 0.0
    for name in np.unique(part[part > 0]).tolist():
        y, x = np.nonzero(ids == name)
        first, last = np.array([y.min(), x.min()]), np.array([y.max(), x.max()]) + 1
        common = np.maximum(np.minimum(last, high) - np.maximum(first, low), 0).prod()
        iou = common / ((last - first).prod() + (high - low).prod() - common)
        if iou > most:
            best, most = int(name), float(iou)
    return best


def _most(values: Integers) -> int:
    """The most frequent id, 0 for none."""
    values = values[values > 0]
    return int(np.bincount(values.astype(np.int64)).argmax()) if len(values) else 0
