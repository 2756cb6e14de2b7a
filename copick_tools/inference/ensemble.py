"""Several models as one: their class probabilities are averaged, slab by slab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from copick_tools.errors import UsageError
from copick_tools.inference.tiler import Predictor, Slabs
from copick_tools.volumes.normalize import Volume

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample

SPACINGS = 0.01  # relative difference of voxel spacings that counts as none


@dataclass(frozen=True)
class Ensemble:
    """A predictor that is the mean of others, of any families: each normalizes and tiles by itself.

    objects, voxel_spacing, normalize: those of the first; the others know the same objects, their channels in any order.
    """

    members: Sequence[Predictor]
    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float

    @classmethod
    def of(cls, members: Sequence[Predictor]) -> Ensemble:
        """Raises UsageError for models of other objects, or of another voxel spacing."""
        first = members[0]
        for member in members[1:]:
            if dict(member.objects) != dict(first.objects):
                both = (", ".join(f"{name}={label}" for name, label in m.objects.items()) for m in (first, member))
                raise UsageError("the models know different objects: {} and {}".format(*both))
            if abs(member.voxel_spacing / first.voxel_spacing - 1) > SPACINGS:
                raise UsageError(
                    f"the models were trained at {first.voxel_spacing:g} and {member.voxel_spacing:g} A per voxel",
                    "models can be averaged where they see the same voxels",
                )
        return cls(members, first.objects, first.voxel_spacing, first.normalize)

    def slabs(self, volume: Volume, sample: Sample | None = None) -> Slabs:
        """See `Predictor.slabs`; what is handed out holds until the next is asked for."""
        streams = [_Stream(self._in_order(member, volume, sample)) for member in self.members]
        z = 0
        while z < volume.shape[0]:
            depth = min(stream.left() for stream in streams)
            mean = np.zeros(0, np.float32)
            for number, stream in enumerate(streams):
                part = stream.take(depth)
                mean = mean + part if number else part.astype(np.float32)
            yield z, (mean / len(streams)).astype(np.float16)
            z += depth

    def _in_order(self, member: Predictor, volume: Volume, sample: Sample | None) -> Iterator[np.ndarray]:
        """(C, dz, y, x) of a member, its channels in the order of the first's."""
        theirs = list(member.objects)
        order = [0, *(1 + theirs.index(name) for name in self.objects)]
        same = order == list(range(len(order)))
        for _, found in member.slabs(volume) if sample is None else member.slabs(volume, sample):
            yield found if same else found[order]


class _Stream:
    """Slabs, cut where the caller likes."""

    def __init__(self, slabs: Iterator[np.ndarray]) -> None:
        self.slabs, self.held = slabs, np.empty((0, 0))

    def left(self) -> int:
        """Slices at hand, at least one."""
        while not self.held.shape[1]:
            self.held = next(self.slabs)
        return self.held.shape[1]

    def take(self, depth: int) -> np.ndarray:
        part, self.held = self.held[:, :depth], self.held[:, depth:]
        return part
