"""Tomograms that are annotated in part, as by somebody who goes from one side to the other and stops after so many objects.

What is annotated is a slab, with the objects in it whole: those that were reached stick out of it where they do, and what
belongs to an object that wasn't reached is left out. So no object is cut, and of each more annotated tomogram the annotated
voxels hold those of the less annotated one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.paint import spheres

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Sweep:
    """axis: 1 (y) or 2 (x), along which the annotator goes; backward: from its end."""

    axis: int
    backward: bool

    def order(self, centers: Floats) -> Integers:
        """(N,) indices of objects in the order that they are reached. centers: (N, 3) zyx in voxels.

        >>> Sweep(2, True).order(np.array([[0.0, 0, 1], [0, 0, 5], [0, 0, 3]])).tolist()
        [1, 2, 0]
        """
        along = self._along(centers)
        return np.lexsort((*centers.T, along))

    def share(self, shape: Shape, centers: Floats, count: int) -> float:
        """Of the tomogram, how much the slab holds that ends between object number ``count`` and the next.

        centers: (N, 3) zyx in voxels, in order.
        """
        if count >= len(centers):
            return 1.0
        if count == 0:
            return 0.0
        low, high = self._along(centers[count - 1 : count + 1])
        first = -0.5 if not self.backward else -(shape[self.axis] - 0.5)
        return float(np.clip(((low + high) / 2 - first) / shape[self.axis], 0.0, 1.0))

    def slab(self, shape: Shape, centers: Floats, count: int) -> Mask:
        """The slab itself, a zyx mask. centers: (N, 3) zyx in voxels, in order."""
        length = shape[self.axis]
        places = np.arange(length)
        reached = (places[::-1] if self.backward else places) + 0.5 <= self.share(shape, centers, count) * length
        across = [1, 1, 1]
        across[self.axis] = length
        return np.broadcast_to(reached.reshape(across), shape).copy()

    def _along(self, centers: Floats) -> Floats:
        """How far each object is, from where the annotator begins, up to a constant."""
        return centers[:, self.axis] * (-1.0 if self.backward else 1.0)


def annotated_particles(shape: Shape, centers: Floats, radii: Floats, count: int, sweep: Sweep) -> Mask:
    """What is annotated once the first ``count`` particles are, as a zyx mask.

    centers: (N, 3) zyx in voxels, in order; radii: (N,) in voxels, of the balls that are annotated with a particle, or left
    out with it. Where balls overlap, the nearest center relative to its radius has a voxel.
    """
    found = sweep.slab(shape, centers, count)
    if count < len(centers):
        reached = np.where(np.arange(len(centers)) < count, 1, 2)
        balls = spheres(centers, np.maximum(radii, 1.0), reached, shape)
        found[balls == 1], found[balls == 2] = True, False
    return found


def annotated_instances(numbers: Integers, centers: Floats, count: int, sweep: Sweep) -> Mask:
    """The same for objects with a shape. numbers: zyx, 1 to N as ``centers`` has them, in order; 0 where none is."""
    found = sweep.slab((numbers.shape[0], numbers.shape[1], numbers.shape[2]), centers, count)
    found[(numbers > 0) & (numbers <= count)] = True
    found[numbers > count] = False
    return found


def numbered(labels: Integers, ids: Integers, sweep: Sweep) -> tuple[Integers, Floats, Integers]:
    """Objects in the order that they are reached: zyx numbers from 1 up, (N, 3) zyx centers in voxels, (N,) labels.

    labels, ids: zyx; an object is the voxels of one label and one id, both above 0. Its center is the mean of its voxels.
    """
    known = (labels > 0) & (ids > 0)
    largest = int(ids.max(initial=0)) + 1
    keys, which = np.unique(labels[known].astype(np.int64) * largest + ids[known], return_inverse=True)
    numbers = np.zeros(labels.shape, np.uint32)
    if not len(keys):
        return numbers, np.empty((0, 3)), np.empty(0, int)
    numbers[known] = which + 1
    centers = cc3d.statistics(numbers)["centroids"][1:]
    order = sweep.order(centers)
    place = np.zeros(len(keys), np.uint32)
    place[order] = np.arange(1, len(keys) + 1)
    numbers[known] = place[which]
    return numbers, centers[order], (keys // largest)[order]


def connected_parts(labels: Integers) -> Integers:
    """Ids of what hangs together and has one label; 0 where the label is 0. labels: zyx."""
    return cc3d.connected_components(labels, connectivity=26)
