"""`popsicle pick`: segmentations to picks, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, SegmentationUri
from copick_tools.data.write import has_picks, write_picks
from copick_tools.errors import NotFoundError, UsageError, nearest
from copick_tools.recipes.recipe import Pick, Target
from copick_tools.types import RunResult
from copick_tools.volumes.particles import Filter, Particle, picks
from copick_tools.workflows.runs import each_run


@dataclass(frozen=True)
class Picking:
    """What to pick from and where to write. radius_fraction: of the object's radius, size of a whole particle's ball."""

    segmentation: SegmentationUri
    output: PicksUri
    radius_fraction: float = Target().radius_fraction
    min_volume: float = Pick().min_volume
    min_score: float = Pick().min_score


def pick(
    project: Project, runs: Sequence[str], picking: Picking, *, overwrite: bool = False, workers: int = 1
) -> Iterator[RunResult]:
    """Write one pick set per object and run, an empty one where nothing is found. A result's value counts the picks.

    Labels alone give a score that compares sizes and isn't calibrated. Raises NotFoundError, UsageError.
    """
    if picking.radius_fraction <= 0 or picking.min_volume < 0:
        raise UsageError("the radius fraction has to be positive, the least volume not negative")
    output = picking.output
    named = picking.segmentation.name if picking.segmentation.kind in (None, "binary") else ""
    particles = _particles(project, output, picking.radius_fraction, named)
    uris = {particle.name: PicksUri(particle.name, output.user, output.session) for particle in particles}
    finished = partial(_is_finished, project, list(uris.values()), overwrite)
    return each_run(runs, partial(_pick_run, project, picking, particles, uris), finished, workers, project)


def _particles(project: Project, output: PicksUri, fraction: float, binary_of: str) -> list[Particle]:
    """The particles to pick; a binary segmentation holds the one that it is named after."""
    known = {o.name: o for o in project.objects.values() if o.is_particle and o.radius}
    if output.object != "*" and output.object not in known:
        project.object(output.object)
        raise NotFoundError(f"'{output.object}' is no particle with a radius", nearest(output.object, known))
    if binary_of in known:
        known = {binary_of: known[binary_of]}
    chosen = known.values() if output.object == "*" else [known[output.object]]
    return [Particle(o.name, o.label, fraction * (o.radius or 0)) for o in chosen]


def _is_finished(project: Project, uris: Sequence[PicksUri], overwrite: bool, run: str) -> bool:
    return not overwrite and all(has_picks(project, run, uri) for uri in uris)


def _pick_run(
    project: Project, picking: Picking, particles: Sequence[Particle], uris: dict[str, PicksUri], run: str
) -> dict[str, int]:
    stored = read.read_segmentation(project, run, picking.segmentation)
    kind = stored.entry.segmentation_type
    if kind not in ("multilabel", "binary"):
        raise UsageError(f"{stored.name} is {kind}", "pick takes multilabel and binary segmentations")
    if kind == "binary":
        particles = [Particle(p.name, 1, p.radius) for p in particles if p.name == stored.entry.name]
        if not particles:
            raise UsageError(f"{stored.name} is binary and holds none of {', '.join(uris)}")
    found = picks(stored.numpy(), None, particles, stored.voxel_spacing, Filter(picking.min_volume, picking.min_score))
    for name, points in found.items():
        write_picks(project, run, uris[name], points)
    return {name: len(points) for name, points in found.items()}
