"""The field while organelles come into it: what is where, and how it looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from copick_tools.simulate.canvas import Canvas, Mark
from copick_tools.simulate.geometry import Field
from copick_tools.simulate.organelles.body import Body
from copick_tools.simulate.organelles.ground import Ground
from copick_tools.types import Floats, Integers


@dataclass(frozen=True)
class Stage:
    """canvas: potential and truth; ground: distances to what is there; labels: object -> label.

    crowding: float32 zyx of the padded field, density of small molecules relative to the cytosol.
    """

    canvas: Canvas
    ground: Ground
    crowding: Floats
    labels: Mapping[str, int]
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    @classmethod
    def empty(cls, around: Field, labels: Mapping[str, int]) -> Stage:
        """Nothing but cytosol."""
        return cls(Canvas.blank(around), Ground.empty(around), np.ones(around.padded, np.float32), labels)

    def put(self, body: Body) -> None:
        """Add an organelle; voxels that another one has stay that one's."""
        start = np.array([part.start for part in body.box])
        free = self.ground.distance[body.box] >= 0
        filled = free & (body.depth < 0)
        self.crowding[body.box][filled] = body.crowding[filled]
        self.canvas.add(start, body.potential)
        instance = next(self.ids)
        for name, part in body.parts.items():
            if name in self.labels:
                self.canvas.stamp(start, part & free, Mark(self.labels[name], instance))
        self.ground.add(body.box, body.depth)

    def instances(self) -> Integers:
        """uint16 zyx of the kept volume: ids from 1 within each object, in the order in which they came."""
        found, segmentation = self.canvas.instances, self.canvas.segmentation
        numbered = np.zeros_like(found)
        for label in self.labels.values():
            mine = segmentation == label
            numbered[mine] = 1 + np.unique(found[mine], return_inverse=True)[1]
        return numbered
