"""`popsicle targets`: dense targets from picks, stored in the project for looking at and for other tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri
from copick_tools.data.write import has_features, has_segmentation, write_features, write_segmentation
from copick_tools.errors import NotFoundError, UsageError
from copick_tools.recipes.recipe import IGNORED, Target
from copick_tools.types import Points, RunResult
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.paint import heatmaps, spheres
from copick_tools.workflows.runs import each_run


@dataclass(frozen=True)
class Painting:
    """tomogram: sets the grid. reference: the picks. output: multilabel for spheres; its ids name the features for heatmaps.

    region: binary segmentation of the annotated space; outside, spheres get the ignore label and heatmaps -1.
    """

    tomogram: TomogramUri
    reference: tuple[PicksUri, ...]
    output: SegmentationUri
    target: Target = Target()
    region: SegmentationUri | None = None


def targets(
    project: Project, runs: Sequence[str], painting: Painting, *, overwrite: bool = False, workers: int = 1
) -> Iterator[RunResult]:
    """Paint every run; one without picks gets an all-background target. A result's value counts the picks.

    Raises NotFoundError when no object of the project matches, UsageError for an output of the wrong kind.
    """
    if painting.target.kind == "segmentation":
        raise UsageError("the target is a segmentation already: nothing to paint")
    if painting.output.kind != "multilabel":
        raise UsageError(f"'{painting.output}' can't hold several objects", "add ?multilabel=true")
    read.require_picks(project, runs, painting.reference, "reference")
    objects = [
        o for o in project.objects.values() if o.is_particle and any(uri.names(o.name) for uri in painting.reference)
    ]
    if not objects:
        wanted = ", ".join(map(str, painting.reference))
        raise NotFoundError(
            f"no particle of {project.config} matches {wanted}", "objects: " + ", ".join(project.objects)
        )
    missing = [o.name for o in objects if not o.radius]
    if missing:
        raise UsageError(f"{missing[0]} has no radius in {project.config}")
    names = tuple(o.name for o in objects)
    finished = partial(_is_finished, project, painting, overwrite)
    return each_run(runs, partial(_paint_run, project, painting, names), finished, workers, project)


def _is_finished(project: Project, painting: Painting, overwrite: bool, run: str) -> bool:
    if overwrite:
        return False
    if painting.target.kind == "gaussian":
        tomogram = read.read_tomogram(project, run, painting.tomogram)
        return has_features(project, run, tomogram, feature_name(painting.output))
    return has_segmentation(project, run, painting.output)


def feature_name(output: SegmentationUri) -> str:
    """Heatmaps are copick features of the tomogram, named by the ids of the output."""
    return f"{output.name}-{output.user}-{output.session}"


def _outside(project: Project, painting: Painting, tomogram: read.StoredVolume) -> np.ndarray:
    """Mask of the voxels that nobody annotated; without a region there are none."""
    if painting.region is None:
        return np.zeros(tomogram.shape, bool)
    region = read.read_segmentation(project, tomogram.run, painting.region)
    region.require_shape(tomogram)
    return region.numpy() == 0


def _paint_run(project: Project, painting: Painting, names: Sequence[str], run: str) -> dict[str, int]:
    tomogram = read.read_tomogram(project, run, painting.tomogram)
    picks = read.read_picks(project, run, painting.reference)
    points = {name: picks.get(name, Points.at([])) for name in names}
    centers = np.concatenate([to_voxels(points[name].positions, tomogram.voxel_spacing) for name in names])
    counts = np.array([len(points[name]) for name in names])
    soft = painting.target.kind == "gaussian"
    fraction = painting.target.sigma_fraction if soft else painting.target.radius_fraction
    sizes = np.repeat(
        [fraction * (project.object(name).radius or 0) / tomogram.voxel_spacing for name in names], counts
    )
    if soft:
        channels = np.repeat(np.arange(len(names)), counts)
        maps = heatmaps(centers, sizes, channels, (len(names), *tomogram.shape))
        maps[:, _outside(project, painting, tomogram)] = -1
        write_features(project, run, tomogram, feature_name(painting.output), maps)
    else:
        labels = spheres(
            centers, sizes, np.repeat([project.object(name).label for name in names], counts), tomogram.shape
        )
        labels[_outside(project, painting, tomogram)] = painting.target.ignore_label or IGNORED
        write_segmentation(project, run, replace(painting.output, voxel_spacing=tomogram.key_spacing), labels)
    return {name: len(points[name]) for name in names}
