"""From label volumes or class probabilities to candidates of particles, object by object (POPSICLE B.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from copick_tools.errors import PopsicleError
from copick_tools.types import Floats, Integers
from copick_tools.volumes.blocks import SIZE
from copick_tools.volumes.components import Components, components, size_scores, zyx
from copick_tools.volumes.expected import UNKNOWN, expected_volume, fallback, plausible, typical
from copick_tools.volumes.meanpool import Pooling, passes, pooled_peaks
from copick_tools.volumes.meanshift import Clusters, clusters
from copick_tools.volumes.near import best
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.parts import Crops, taken_apart
from copick_tools.volumes.peaks import Scale, peaks
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.runs import Runs

Method = Literal["components", "mean-pool", "mean-shift", "peaks", "watershed"]
ON_MAPS = ("mean-pool", "peaks")  # methods that look at the own probability of an object


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

    threshold: components, mean-shift and watershed: least 1 - P(background) of a voxel; peaks and mean-pool: least
    probability of the object itself.
    merge: candidates of one object nearer than this fraction of its radius are one (the better one stays).
    smoothing: peaks: sigma, of the ball's radius.
    bandwidth: mean-shift: radius of the kernel in angstrom; None: that of the largest ball, of all particles. Those of one
    bandwidth are clustered together.
    """

    method: Method
    threshold: float
    merge: float
    smoothing: float
    bandwidth: float | None = None


@dataclass(frozen=True)
class Found:
    """Candidates of one object, best score first.

    centers: (N, 3) zyx voxels, weighted by the probability. scores: (N,) in [0, 1]. volumes: (N,) voxels. expected: voxels
    of one whole particle. seeds: (N,) flat position, in the volume, of the voxel that a candidate is known by: its first
    one, or the peak. runs: mean-shift: the voxels of these and other candidates; labels are seeds.
    """

    centers: Floats
    scores: Floats
    volumes: Integers
    expected: float
    seeds: Integers
    runs: Runs | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: np.ndarray) -> Found:
        """The candidates that a boolean mask or an index array names."""
        centers, scores, volumes, seeds = (a[chosen] for a in (self.centers, self.scores, self.volumes, self.seeds))
        return Found(centers, scores, volumes, self.expected, seeds, self.runs)


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
    if on_maps := sorted({how[particle.name].method for particle in particles} & set(ON_MAPS)):
        raise ValueError(f"Method {on_maps[0]} needs probabilities, a label volume has none")
    return _in_labels(labels, None, particles, how, _Lengths.of(particles, voxel_spacing, chunk))


def from_probabilities(
    probabilities: Probabilities,
    particles: Sequence[Particle],
    voxel_spacing: float,
    how: Mapping[str, Extraction],
    *,
    chunk: int = SIZE,
) -> dict[str, Found]:
    """Candidates in class probabilities, of each particle by name; scores are mean probabilities. See `from_labels`."""
    on_maps = [particle for particle in particles if how[particle.name].method in ON_MAPS]
    missing = [particle for particle in on_maps if particle.label not in probabilities.maps]
    if missing:
        method, names = how[missing[0].name].method, ", ".join(particle.name for particle in missing)
        raise ValueError(f"Method {method} needs the own probability of {names}: give the label in `maps`")
    lengths = _Lengths.of(particles, voxel_spacing, chunk)
    others = [particle for particle in particles if how[particle.name].method not in ON_MAPS]
    thresholds = {particle.label: how[particle.name].threshold for particle in others}
    found = {}
    if others:
        found = _in_labels(probabilities.labels(thresholds), probabilities.certainty, others, how, lengths)
    for particle in on_maps:
        found[particle.name] = _in_map(probabilities.maps[particle.label], particle, how[particle.name], lengths)
    return {particle.name: found[particle.name] for particle in particles}


@dataclass(frozen=True)
class _Lengths:
    """voxel_spacing: angstrom. chunk: length of blocks in voxels. widest, ball: diameter of the largest particle, and radius
    of the largest ball, of all particles, in voxels.
    """

    voxel_spacing: float
    chunk: int
    widest: float
    ball: float

    @classmethod
    def of(cls, particles: Sequence[Particle], voxel_spacing: float, chunk: int) -> _Lengths:
        widest = max((2 * particle.radius / voxel_spacing for particle in particles), default=0.0)
        return cls(voxel_spacing, chunk, widest, max((_ball(p, voxel_spacing) for p in particles), default=0.0))


def _in_labels(
    labels: Volume,
    certainty: Volume | None,
    particles: Sequence[Particle],
    how: Mapping[str, Extraction],
    lengths: _Lengths,
) -> dict[str, Found]:
    """By clusters, or by components and their parts."""
    found, others = {}, [particle for particle in particles if how[particle.name].method != "mean-shift"]
    if others:
        found = _in_components(labels, certainty, others, how, lengths)
    together: dict[float, list[Particle]] = {}
    for particle in particles:
        if how[particle.name].method == "mean-shift":
            together.setdefault(_bandwidth(how[particle.name], lengths), []).append(particle)
    for bandwidth, shifted in together.items():
        every = clusters(labels, [particle.label for particle in shifted], certainty, bandwidth, lengths.chunk)
        scored = certainty is not None
        found |= {p.name: _in_clusters(every, p, scored, how[p.name], lengths.voxel_spacing) for p in shifted}
    return found


def _bandwidth(settings: Extraction, lengths: _Lengths) -> float:
    """In voxels, at least 1."""
    if settings.bandwidth is None:
        return max(1.0, lengths.ball)
    if settings.bandwidth < lengths.voxel_spacing:
        raise PopsicleError(f"a bandwidth of {settings.bandwidth:g} A is below a voxel, {lengths.voxel_spacing:g} A")
    return settings.bandwidth / lengths.voxel_spacing


def _in_clusters(every: Clusters, particle: Particle, scored: bool, settings: Extraction, spacing: float) -> Found:
    own = every.labels == particle.label
    count = every.count[own]
    expected = _whole(count, particle, spacing)
    scores = every.scores[own] if scored else size_scores(count, expected)
    found = Found(every.centers[own], scores, count, expected, every.first[own], every.runs)
    return _apart(found, settings.merge * particle.radius / spacing)


def _in_components(
    labels: Volume,
    certainty: Volume | None,
    particles: Sequence[Particle],
    how: Mapping[str, Extraction],
    lengths: _Lengths,
) -> dict[str, Found]:
    every = components(labels, [particle.label for particle in particles], certainty, lengths.chunk)
    crops = Crops(labels, certainty)
    found = {}
    for particle in particles:
        own = every.take(every.labels == particle.label)
        expected = _expected(own, particle, lengths.voxel_spacing, crops)
        own = taken_apart(own, expected, how[particle.name].method == "watershed", crops)
        scores = size_scores(own.count, expected) if certainty is None else own.scores
        every_one = Found(own.centers, scores, own.count, expected, own.first)
        found[particle.name] = _apart(every_one, how[particle.name].merge * particle.radius / lengths.voxel_spacing)
    return found


def _expected(own: Components, particle: Particle, voxel_spacing: float, crops: Crops) -> float:
    painted = None if particle.ball is None else particle.ball / voxel_spacing
    return expected_volume(own, particle.radius / voxel_spacing, painted, crops.mask)


def _in_map(probability: Volume, particle: Particle, settings: Extraction, lengths: _Lengths) -> Found:
    """By peaks of the own probability, or of its pooled mask."""
    spacing = lengths.voxel_spacing
    if settings.method == "peaks":
        peak = peaks(probability, peak_scale(particle, settings, spacing), lengths.chunk)
    else:
        peak = pooled_peaks(probability, pooling_for(particle, settings, spacing, lengths.widest), lengths.chunk)
    seeds = np.ravel_multi_index(tuple(peak.at.T), zyx(probability))
    found = Found(peak.centers, peak.scores, peak.volumes, _whole(peak.volumes, particle, spacing), seeds)
    return _apart(found, settings.merge * particle.radius / spacing)


def _whole(volumes: Integers, particle: Particle, voxel_spacing: float) -> float:
    """Voxels of one whole particle, from those of all candidates, which are particles or specks."""
    radius = particle.radius / voxel_spacing
    painted = None if particle.ball is None else particle.ball / voxel_spacing
    low, high = plausible(radius, painted)
    whole = volumes[(volumes >= low) & (volumes <= high)].astype(float)
    return typical(whole, whole, fallback(radius, painted))


def _ball(particle: Particle, voxel_spacing: float) -> float:
    """Radius in voxels of the ball that a particle looks like."""
    return (UNKNOWN * particle.radius if particle.ball is None else particle.ball) / voxel_spacing


def peak_scale(particle: Particle, settings: Extraction, voxel_spacing: float) -> Scale:
    """Lengths in voxels for `peaks`."""
    apart = settings.merge * (particle.radius / voxel_spacing)
    return Scale(_ball(particle, voxel_spacing), settings.threshold, apart, settings.smoothing)


def pooling_for(particle: Particle, settings: Extraction, voxel_spacing: float, widest: float = 0.0) -> Pooling:
    """Lengths in voxels for `pooled_peaks`. widest: diameter in voxels of the largest particle, whatever its method."""
    apart = settings.merge * (particle.radius / voxel_spacing)
    return Pooling(_ball(particle, voxel_spacing), settings.threshold, apart, passes(widest))


def _apart(found: Found, distance: float) -> Found:
    """The candidates in order, the better one of those nearer than ``distance`` voxels."""
    return found.take(best(found.centers, found.scores, distance))
