"""What a promptable model does for us: SAM and its kin, micro-SAM, or an oracle that knows the answer.

An image is encoded once, and then masks are asked for by prompts: points on an object and off it, a box, a mask from before.
All places are in pixels of the image, as arrays have them: y before x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from copick_tools.types import Floats, Integers, Mask

Embedding = Mapping[str, np.ndarray]  # by name; what is stored of an encoded image
Place = tuple[int, slice, slice]  # which z of a volume, and which part along y and x
OBJECT, BACKGROUND, PADDING = 1, 0, -1  # labels of points


@dataclass(frozen=True)
class Answer:
    """masks: (N, M, y, x) float32 logits on the image's pixels, an object where they are above 0. iou: (N, M) what the model
    expects of each, in [0, 1] or a little outside. M is 1, or where several were asked for as many as the model makes.
    """

    masks: Floats
    iou: Floats

    def best(self) -> Answer:
        """The one of each object that the model believes in most, M = 1."""
        rows, chosen = np.arange(len(self.iou)), self.iou.argmax(axis=1)
        return Answer(self.masks[rows, chosen][:, None], self.iou[rows, chosen][:, None])


class Promptable(Protocol):
    """A model that answers prompts about an image.

    identity: of the model and of what it does to images before; equal for equal embeddings.
    """

    identity: str

    def encode(self, image: Floats, place: Place | None = None) -> Embedding:
        """Of an image (y, x), normalized as tomograms are for networks (mean 0, deviation 1).

        place: where the image is in its volume; what sees nothing but images has no use for it.
        """

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
        """Masks of N objects, each by its own prompts; at least one kind is given.

        points: (N, P, 2) y, x. labels: (N, P) `OBJECT`, `BACKGROUND` or `PADDING`. boxes: (N, 4) y and x of the first
        pixel, y and x one past the last. masks: (N, y, x) bool, or logits as `Answer.masks` has them. several: also parts
        of what a point may mean; else one mask each.
        """


class Follower(Protocol):
    """A model with a memory, which follows objects from slice to slice (SAM2, SAM3)."""

    def follow(self, slices: Sequence[Embedding], z: int, masks: Mask, step: int) -> Iterator[tuple[int, Answer]]:
        """Masks (N, y, x) of slice ``z`` in those after it (``step`` 1) or before it (-1), slice by slice, M = 1.

        slices: whole ones of a volume, as the `Promptable` beside it encodes them. It is closed when no object is left.
        """
