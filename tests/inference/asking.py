"""Models to ask: an oracle that counts, one whose answers are planned, and a network that says where to ask."""

from __future__ import annotations

from collections import Counter

import numpy as np
from volumes.blobs import perfect

from copick_tools.inference.encoded import Encoded
from copick_tools.inference.geometry import Geometry
from copick_tools.inference.grid import Inside
from copick_tools.inference.oracle import Oracle
from copick_tools.inference.promptable import OBJECT, Answer
from copick_tools.inference.prompted import Prompted
from copick_tools.recipes.prompting import Prompting
from copick_tools.volumes.normalize import Intensity
from copick_tools.volumes.sample import Sample

AS_IT_IS = Intensity(-np.inf, np.inf, 0.0, 1.0)


class Counting(Oracle):
    """encoded: how often each slice was. asked: batches of prompts, by number of objects."""

    def __init__(self, reference: np.ndarray) -> None:
        super().__init__(reference)
        self.encoded, self.asked = Counter(), []

    def encode(self, image, place=None):
        self.encoded[place[0]] += 1
        return super().encode(image, place)

    def predict(self, embedding, points=None, labels=None, boxes=None, masks=None, *, several=False):
        answer = super().predict(embedding, points, labels, boxes, masks, several=several)
        self.asked.append(len(answer.masks))
        return answer


class Planned:
    """Answers every point with the masks planned for its pixel: (M, y, x) logits, and their IoU."""

    identity = "planned"

    def __init__(self, plan: dict[tuple[int, int], tuple[np.ndarray, list[float]]]) -> None:
        self.plan = plan

    def encode(self, image, place=None):
        return {"image": image}

    def predict(self, embedding, points=None, labels=None, boxes=None, masks=None, *, several=False):
        assert (labels == OBJECT).all()
        found = [self.plan[tuple(map(int, point[0]))] for point in points]
        return Answer(
            np.stack([logits for logits, _ in found]).astype(np.float32), np.array([iou for _, iou in found], float)
        )


class Right:
    """A network that learned distances, and is right. It sees nothing outside of a sample."""

    objects, voxel_spacing, normalize = {"cell": 1}, 10.0, 0.0

    def __init__(self, ids: np.ndarray, kind: str = "distances") -> None:
        self.geometry, self.said = Geometry(kind, 2 if kind == "distances" else 3), perfect(kind, ids)

    def maps(self, volume, sample=None):
        said = self.said
        outside = sample is not None and ~Inside(sample, volume.shape).mask(0, len(volume))
        foreground, labels = (np.where(outside, 0, part).astype(np.uint8) for part in (said.foreground, said.labels))
        yield 0, foreground, labels, said.geometry


class Silent:
    """A network that says nothing of voxels: a promptable model alone."""

    objects, voxel_spacing, normalize, geometry = {"cell": 1}, 10.0, 0.0, None


def between(shape, first, last) -> Sample:
    """A sample from slice to slice."""
    plane = np.zeros(shape[1:], np.float32)
    return Sample(plane + first, plane + last, shape[0])


def noise(shape) -> np.ndarray:
    """A volume to look at."""
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def behind(model, shape, **prompting) -> Encoded:
    """A volume behind a model, as it is."""
    return Encoded(model, noise(shape), AS_IT_IS, Prompting(**prompting))


def prompted(ids, network=None, model=None, **prompting) -> Prompted:
    """A network that is right, and an oracle."""
    return Prompted(network or Right(ids), model or Oracle(ids), Prompting(**prompting), label=1)


def dense(cuts) -> np.ndarray:
    """(N, z, y, x) bool."""
    masks = np.zeros((len(cuts), int(np.prod(cuts.shape))), bool)
    for row, mask in enumerate(masks):
        mask[cuts.of_row(row)] = True
    return masks.reshape(-1, *cuts.shape)
