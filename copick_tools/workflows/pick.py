"""`popsicle pick`: segmentations to picks, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, SegmentationUri
from copick_tools.data.write import has_picks, write_picks
from copick_tools.errors import NotFoundError, UsageError, nearest
from copick_tools.recipes import picking
from copick_tools.recipes.recipe import Pick
from copick_tools.types import RunResult
from copick_tools.volumes.extraction import ON_MAPS, Particle, from_labels
from copick_tools.volumes.instances import instances
from copick_tools.workflows.instances import clear_instances, has_instances, write_instances
from copick_tools.workflows.runs import each_run
from copick_tools.workflows.where import Where, allowed


@dataclass(frozen=True)
class Picking:
    """What to pick from and where to write.

    radius_fraction: of the object's radius, the ball that a whole particle was painted as; None: told from the data.
    instances: also write which voxels are of which pick, beside each pick set.
    """

    segmentation: SegmentationUri
    output: PicksUri
    pick: Pick = Pick()
    radius_fraction: float | None = None
    where: Where = Where()
    instances: bool = False


def pick(
    project: Project, runs: Sequence[str], wanted: Picking, *, overwrite: bool = False, workers: int = 1
) -> Iterator[RunResult]:
    """Write one pick set per object and run, an empty one where nothing is found. A result's value counts the picks.

    Labels alone give a score that compares sizes and isn't calibrated. Raises NotFoundError, UsageError.
    """
    if wanted.pick.method in ON_MAPS:
        raise UsageError(
            f"{wanted.pick.method} looks at probabilities, and a segmentation has none", "use popsicle localize"
        )
    if wanted.radius_fraction is not None and not 0 < wanted.radius_fraction < float("inf"):
        raise UsageError(f"--radius-fraction is {wanted.radius_fraction:g}, but has to be positive")
    wanted.where.check()
    output = wanted.output
    named = wanted.segmentation.name if wanted.segmentation.kind in (None, "binary") else ""
    particles = _particles(project, output, wanted.radius_fraction, named)
    uris = {particle.name: PicksUri(particle.name, output.user, output.session) for particle in particles}
    finished = partial(_is_finished, project, wanted, list(uris.values()), overwrite)
    return each_run(runs, partial(_pick_run, project, wanted, particles, uris), finished, workers, project)


def _particles(project: Project, output: PicksUri, fraction: float | None, binary_of: str) -> list[Particle]:
    """The particles to pick; a binary segmentation holds the one that it is named after."""
    known = {o.name: o for o in project.objects.values() if o.is_particle and o.radius}
    if output.object != "*" and output.object not in known:
        project.object(output.object)
        raise NotFoundError(f"'{output.object}' is no particle with a radius", nearest(output.object, known))
    if binary_of in known:
        known = {binary_of: known[binary_of]}
        if output.object not in ("*", binary_of):
            raise UsageError(f"the segmentation holds {binary_of} alone, not {output.object}", f"-o {binary_of}:…")
    chosen = known.values() if output.object == "*" else [known[output.object]]
    return [Particle(o.name, o.label, r, None if fraction is None else fraction * r) for o in chosen if (r := o.radius)]


def _is_finished(project: Project, wanted: Picking, uris: Sequence[PicksUri], overwrite: bool, run: str) -> bool:
    if overwrite or not all(has_picks(project, run, uri) for uri in uris):
        return False
    return not wanted.instances or all(has_instances(project, run, uri) for uri in uris)


def _pick_run(
    project: Project, wanted: Picking, particles: Sequence[Particle], uris: Mapping[str, PicksUri], run: str
) -> dict[str, int]:
    stored = read.read_segmentation(project, run, wanted.segmentation)
    kind = stored.entry.segmentation_type
    if kind not in ("multilabel", "binary"):
        raise UsageError(f"{stored.name} is {kind}", "pick takes multilabel and binary segmentations")
    if kind == "binary":
        particles = [Particle(p.name, 1, p.radius, p.ball) for p in particles if p.name == stored.entry.name]
        if not particles:
            raise UsageError(f"{stored.name} is binary and holds none of {', '.join(uris)}")
    grid = picking.Grid(stored.shape, stored.voxel_spacing)
    settings = dict.fromkeys((particle.name for particle in particles), wanted.pick)
    how = picking.extractions(settings)
    every = picking.chosen(
        from_labels(stored, particles, grid.voxel_spacing, how), particles, settings, grid.voxel_spacing
    )
    found = allowed(project, run, wanted.where, every, grid, None)
    for particle in particles:
        points = picking.points(found[particle.name], grid, numbered=wanted.instances)
        clear_instances(project, run, uris[particle.name])
        write_picks(project, run, uris[particle.name], points)
    for particle in particles if wanted.instances else ():
        one = found[particle.name]
        volume = instances(stored, {particle.name: one}, [particle], grid.voxel_spacing, how)
        write_instances(project, uris[particle.name], volume, len(one), grid, stored)
    return {name: len(found[name]) for name in found}
