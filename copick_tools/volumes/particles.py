"""From a label volume to picks per object: components, filtered and scored, in angstrom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import numpy as np

from copick_tools.types import Floats, Integers, Points
from copick_tools.volumes.components import components, size_scores
from copick_tools.volumes.coordinates import to_angstrom


@dataclass(frozen=True)
class Particle:
    """An object to pick. radius: angstrom, of the ball that a network was trained to paint."""

    name: str
    label: int
    radius: float

    def volume(self, voxel_spacing: float) -> float:
        """Voxels that a whole particle should have."""
        return 4 / 3 * pi * (self.radius / voxel_spacing) ** 3


@dataclass(frozen=True)
class Filter:
    """What makes a component a pick. min_volume: fraction of the expected volume. min_score: in [0, 1]."""

    min_volume: float = 0.0
    min_score: float = 0.0


def picks(
    labels: Integers,
    probabilities: Floats | None,
    particles: Sequence[Particle],
    voxel_spacing: float,
    keep: Filter,
    origin: float = 0.0,
) -> dict[str, Points]:
    """Picks of every particle type, best score first; an empty set where there are none.

    labels: zyx. probabilities: zyx, of the voxel's own label, or None: then the score compares the size to the
    expected one and isn't calibrated. voxel_spacing, origin (position of voxel 0): angstrom.

    >>> import numpy as np
    >>> volume = np.zeros((1, 1, 9), np.uint8)
    >>> volume[0, 0, 3:6] = 1
    >>> picks(volume, None, [Particle("bead", 1, 10.0)], 10.0, Filter())["bead"].positions
    array([[40.,  0.,  0.]])
    """
    found = components(labels, probabilities)
    expected = {particle.label: particle.volume(voxel_spacing) for particle in particles}
    wanted = np.isin(found.labels, list(expected))
    found = found.keep(wanted)
    volumes = np.array([expected[label] for label in found.labels.tolist()])
    scores = found.scores if probabilities is not None else size_scores(found.sizes, volumes)
    good = (found.sizes >= keep.min_volume * volumes) & (scores >= keep.min_score)
    positions = to_angstrom(found.centers, voxel_spacing, origin)
    best_first = np.lexsort((*positions.T, -scores))
    chosen = best_first[good[best_first]]
    return {
        particle.name: Points.at(positions[rows], np.clip(scores[rows], 0, 1))
        for particle in particles
        for rows in [chosen[found.labels[chosen] == particle.label]]
    }
