"""From label volumes or class probabilities to candidates of particles, object by object (POPSICLE B.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from copick_tools.types import Floats, Integers
from copick_tools.volumes.blocks import SIZE
from copick_tools.volumes.components import Components, components, size_scores, zyx
from copick_tools.volumes.expected import UNKNOWN, expected_volume, fallback, plausible, typical
from copick_tools.volumes.near import best
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.parts import Crops, taken_apart
from copick_tools.volumes.peaks import Scale, peaks
from copick_tools.volumes.probabilities import Probabilities


@dataclass(frozen=True)
class Particle:
    """An object to pick. radius: angstrom, of the particle. ball: angstrom, of the ball a network learned to paint, or None."""

    name: str
    label: int
    radius: float
    ball: float | None = None

    def __post_init__(self) -> None:
        if not self.radius > 0 or (self.ball is not None and not self.ball > 0):
            raise ValueError(f"Expected radii above 0, but got {self}")


@dataclass(frozen=True)
class Extraction:
    """How the candidates of an object are found.

    threshold: components and watershed: least 1 - P(background) of a voxel; peaks: least probability of the object itself.
    merge: candidates of one object nearer than this fraction of its radius are one (the better one stays).
    smoothing: peaks: sigma, of the ball's radius.
    """

    method: Literal["components", "peaks", "watershed"]
    threshold: float
    merge: float
    smoothing: float


@dataclass(frozen=True)
class Found:
    """Candidates of one object, best score first.

    centers: (N, 3) zyx voxels, weighted by the probability. scores: (N,) in [0, 1]. volumes: (N,) voxels. expected: voxels
    of one whole particle. seeds: (N,) flat position, in the volume, of the voxel that a candidate is known by: its first
    one, or the peak.
    """

    centers: Floats
    scores: Floats
    volumes: Integers
    expected: float
    seeds: Integers

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: np.ndarray) -> Found:
        """The candidates that a boolean mask or an index array names."""
        return Found(self.centers[chosen], self.scores[chosen], self.volumes[chosen], self.expected, self.seeds[chosen])


def from_labels(
    labels: Volume,
    particles: Sequence[Particle],
    voxel_spacing: float,
    how: Mapping[str, Extraction],
    *,
    chunk: int = SIZE,
) -> dict[str, Found]:
    """Candidates in a zyx label volume, of each particle by name. voxel_spacing: angstrom. how: by name.

    The scores compare volumes with the expected one and aren't calibrated. chunk: length of the blocks that are read, in
    voxels; it doesn't change the result.

    >>> volume = np.zeros((1, 1, 9), np.uint8)
    >>> volume[0, 0, 3:6] = 1
    >>> beads = from_labels(volume, [Particle("bead", 1, 10.0)], 10.0, {"bead": Extraction("components", 0.5, 0.5, 0.25)})
    >>> beads["bead"].centers.tolist(), beads["bead"].volumes.tolist()
    ([[0.0, 0.0, 4.0]], [3])
    """
    if any(how[particle.name].method == "peaks" for particle in particles):
        raise ValueError("Method peaks needs probabilities, a label volume has none")
    return _in_components(labels, None, particles, voxel_spacing, how, chunk)


def from_probabilities(
    probabilities: Probabilities,
    particles: Sequence[Particle],
    voxel_spacing: float,
    how: Mapping[str, Extraction],
    *,
    chunk: int = SIZE,
) -> dict[str, Found]:
    """Candidates in class probabilities, of each particle by name; scores are mean probabilities. See `from_labels`."""
    by_peaks = [particle for particle in particles if how[particle.name].method == "peaks"]
    missing = [particle.name for particle in by_peaks if particle.label not in probabilities.maps]
    if missing:
        raise ValueError(f"Method peaks needs the own probability of {', '.join(missing)}: give the label in `maps`")
    others = [particle for particle in particles if how[particle.name].method != "peaks"]
    thresholds = {particle.label: how[particle.name].threshold for particle in others}
    found = {}
    if others:
        found = _in_components(
            probabilities.labels(thresholds), probabilities.certainty, others, voxel_spacing, how, chunk
        )
    for particle in by_peaks:
        found[particle.name] = _by_peaks(
            probabilities.maps[particle.label], particle, how[particle.name], voxel_spacing, chunk
        )
    return {particle.name: found[particle.name] for particle in particles}


def _in_components(
    labels: Volume,
    certainty: Volume | None,
    particles: Sequence[Particle],
    voxel_spacing: float,
    how: Mapping[str, Extraction],
    chunk: int,
) -> dict[str, Found]:
    every = components(labels, [particle.label for particle in particles], certainty, chunk)
    crops = Crops(labels, certainty)
    found = {}
    for particle in particles:
        own = every.take(every.labels == particle.label)
        expected = _expected(own, particle, voxel_spacing, crops)
        own = taken_apart(own, expected, how[particle.name].method == "watershed", crops)
        scores = size_scores(own.count, expected) if certainty is None else own.scores
        every_one = Found(own.centers, scores, own.count, expected, own.first)
        found[particle.name] = _apart(every_one, how[particle.name].merge * particle.radius / voxel_spacing)
    return found


def _expected(own: Components, particle: Particle, voxel_spacing: float, crops: Crops) -> float:
    painted = None if particle.ball is None else particle.ball / voxel_spacing
    return expected_volume(own, particle.radius / voxel_spacing, painted, crops.mask)


def _by_peaks(probability: Volume, particle: Particle, settings: Extraction, voxel_spacing: float, chunk: int) -> Found:
    scale = peak_scale(particle, settings, voxel_spacing)
    peak = peaks(probability, scale, chunk)
    volumes = peak.volumes.astype(float)
    radius, painted = particle.radius / voxel_spacing, None if particle.ball is None else scale.ball
    low, high = plausible(radius, painted)
    whole = volumes[(volumes >= low) & (volumes <= high)]
    expected = typical(whole, whole, fallback(radius, painted))
    seeds = np.ravel_multi_index(tuple(peak.at.T), zyx(probability))
    return _apart(Found(peak.centers, peak.scores, peak.volumes, expected, seeds), scale.apart)


def peak_scale(particle: Particle, settings: Extraction, voxel_spacing: float) -> Scale:
    """Lengths in voxels for `peaks`."""
    radius = particle.radius / voxel_spacing
    ball = UNKNOWN * radius if particle.ball is None else particle.ball / voxel_spacing
    return Scale(ball, settings.threshold, settings.merge * radius, settings.smoothing)


def _apart(found: Found, distance: float) -> Found:
    """The candidates in order, the better one of those nearer than ``distance`` voxels."""
    return found.take(best(found.centers, found.scores, distance))
