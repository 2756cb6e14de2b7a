"""`popsicle instances`: semantic segmentations to instance or panoptic segmentations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri, TomogramUri, same_spacing, segmentation_uri, tomogram_uri
from copick_tools.data.write import has_segmentation, write_segmentation_volume
from copick_tools.errors import FormatError, PopsicleError, UsageError, nearest
from copick_tools.recipes.instancing import Method, Methods
from copick_tools.recipes.recipe import IGNORED
from copick_tools.recipes.review_results import InstancesPlan, PlannedConversion
from copick_tools.types import Integers, Mask, RunResult
from copick_tools.volumes.blocks import Box, OnGrid
from copick_tools.volumes.components import zyx
from copick_tools.volumes.linked import ANY
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.pieces import dtype_for
from copick_tools.volumes.resample import aligned, restored
from copick_tools.volumes.semantic_instances import Panoptic, Way, convert, present
from copick_tools.workflows.instance_pairs import check_labels
from copick_tools.workflows.overlap import whole_numbers
from copick_tools.workflows.pairs import check_grids
from copick_tools.workflows.runs import each_run, outcome

ALL = "all"  # the one object where classes don't count
SAME = 1e-3  # angstrom
FINEST = 4  # voxels of a grid along one of the segmentation's: finer ones show nothing more, and take long


@dataclass(frozen=True)
class Instancing:
    """What to convert, how, and where to write.

    output: an instance segmentation, called after its object, or a panoptic one, of all objects that have a method.
    voxel_spacing: angstrom; that of the grid on which instances are told apart, None: the segmentation's own.
    """

    segmentation: SegmentationUri
    output: SegmentationUri
    methods: Methods
    voxel_spacing: float | None = None


def instances(
    project: Project, runs: Sequence[str], wanted: Instancing, *, overwrite: bool = False, workers: int = 1
) -> Iterator[RunResult]:
    """Write one instance or panoptic segmentation per run. A result's value counts the instances of each object.

    Raises NotFoundError (an object that the project lacks), UsageError.
    """
    check(project, wanted)
    finished = partial(is_finished, project, wanted, overwrite)
    return each_run(runs, partial(_convert_run, project, wanted), finished, workers, project)


def check(project: Project, wanted: Instancing) -> None:
    """Raise UsageError, NotFoundError or FormatError for what no run can do."""
    output, methods = wanted.output, wanted.methods
    if output.kind not in ("instance", "panoptic"):
        raise UsageError(
            f"'{output}' holds no instances", "add ?instance=true (one object) or ?panoptic=true (several)"
        )
    if wanted.segmentation.kind in ("instance", "panoptic"):
        raise UsageError(f"'{wanted.segmentation}' holds instances already", "name a binary or multilabel segmentation")
    if wanted.voxel_spacing is not None and not 0 < wanted.voxel_spacing < float("inf"):
        raise UsageError(f"--voxel-spacing is {wanted.voxel_spacing:g}, but has to be positive")
    for name in methods.objects:
        project.object(name)
    if output.kind == "instance" and methods.of(project.object(output.name).name) is None:
        raise UsageError(
            f"no method says what the instances of {output.name} are", nearest(output.name, methods.objects)
        )
    if output.kind == "panoptic":
        check_labels(project, objects_of(project, wanted))
    for name in objects_of(project, wanted):
        method = methods.of(name)
        if method is not None and method.boundary:
            _check_boundary(project, method)


def objects_of(project: Project, wanted: Instancing) -> dict[str, int]:
    """Name and label of the objects that are converted: those with a method, and those with a label."""
    if wanted.output.kind == "instance" and wanted.methods.class_aware:
        return {wanted.output.name: project.object(wanted.output.name).label}
    named = {name: entry.label for name, entry in project.objects.items() if entry.label}
    return {name: label for name, label in named.items() if wanted.methods.of(name) is not None}


def is_finished(project: Project, wanted: Instancing, overwrite: bool, run: str) -> bool:
    """Whether the output of a run is there, on the grid of what it is made from. Raises NotFoundError without that."""
    stored = read.read_segmentation(project, run, wanted.segmentation)
    return not overwrite and has_segmentation(project, run, output_of(wanted, stored))


def output_of(wanted: Instancing, stored: read.StoredVolume) -> SegmentationUri:
    """The output, at the voxel spacing of its input. Raises UsageError where another one is asked for."""
    asked = wanted.output.voxel_spacing
    if not same_spacing(asked, stored.key_spacing):
        raise UsageError(
            f"{stored.name} of run {stored.run} has {stored.key_spacing:g} A per voxel, the output {asked:g}",
            "the output has the grid of its input; --voxel-spacing says on which grid instances are told apart",
        )
    return replace(wanted.output, voxel_spacing=stored.key_spacing)


@dataclass(frozen=True)
class Whole:
    """A stored segmentation as integers, zyx. label: that of a binary one."""

    stored: read.StoredVolume
    label: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.stored.shape

    def __getitem__(self, region: Box) -> Integers:
        values = whole_numbers(self.stored, region)
        if self.label is None:
            return values
        return np.where(values != 0, np.min_scalar_type(self.label).type(self.label), np.uint8(0))


@dataclass(frozen=True)
class Only:
    """Where a stored segmentation has a label, zyx bool."""

    stored: read.StoredVolume
    label: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.stored.shape

    def __getitem__(self, region: Box) -> Mask:
        found: Mask = self.stored[region] == self.label
        return found


def _convert_run(project: Project, wanted: Instancing, run: str) -> dict[str, int]:
    stored = read.read_segmentation(project, run, wanted.segmentation)
    output, named, aware = output_of(wanted, stored), objects_of(project, wanted), wanted.methods.class_aware
    source = _source(project, wanted, stored)
    there = present(source)
    if output.kind == "panoptic" or not aware:
        _refuse_unknown(project, stored, there)
    grid, spacing = _grid(wanted, stored, source)
    found = convert(grid, *_ways(project, wanted, stored, grid, spacing, there), aware=aware)
    ids: Volume = found
    if wanted.voxel_spacing is not None:
        ids, source = (restored(v, stored.voxel_spacing, spacing, stored.shape) for v in (found, grid))
    volume: Volume = Panoptic(source, ids) if output.kind == "panoptic" else ids
    largest = max([*found.counts.values(), *(there if output.kind == "panoptic" else ())], default=0)
    write_segmentation_volume(project, run, output, volume, dtype_for(largest))
    return {name: found.counts.get(label, 0) for name, label in (named if aware else {ALL: ANY}).items()}


def _source(project: Project, wanted: Instancing, stored: read.StoredVolume) -> Volume:
    """The segmentation with the labels of the project's objects. Raises UsageError for one that won't do."""
    kind, name = stored.entry.segmentation_type, stored.entry.name
    if kind == "multilabel":
        return Whole(stored)
    if kind != "binary":
        raise UsageError(f"{stored.name} is {kind}", "instances takes multilabel and binary segmentations")
    if wanted.output.kind == "instance":
        if name in project.objects and name != wanted.output.name:
            raise UsageError(f"the segmentation holds {name} alone, not {wanted.output.name}", f"-o {name}:…")
        name = wanted.output.name
    label = project.object(name).label
    if wanted.methods.of(name) is None:
        raise UsageError(f"no method says what the instances of {name} are", nearest(name, wanted.methods.objects))
    return Whole(stored, label)


def _grid(wanted: Instancing, stored: read.StoredVolume, source: Volume) -> tuple[Volume, float]:
    """The labels on the grid where instances are told apart, and its spacing (angstrom). Raises UsageError."""
    own, asked = stored.voxel_spacing, wanted.voxel_spacing
    if asked is None:
        return source, own
    if asked * FINEST < own:
        raise UsageError(
            f"a grid of {asked:g} A is far finer than that of {stored.name}, {own:g} A",
            f"labels show nothing more there; --voxel-spacing goes down to {own / FINEST:g}",
        )
    return aligned(source, own, asked), asked


def _ways(
    project: Project,
    wanted: Instancing,
    stored: read.StoredVolume,
    grid: Volume,
    voxel_spacing: float,
    labels: Iterable[int],
) -> tuple[dict[int, Way], dict[int, Volume]]:
    """How the objects of these labels are told apart on a grid of this spacing (angstrom), and what bounds them."""
    ways: dict[int, Way] = {}
    boundaries: dict[int, Volume] = {}
    for name, label in objects_of(project, wanted).items():
        method = wanted.methods.of(name)
        if method is not None and label in labels:
            ways[label] = method.way(voxel_spacing)
            if method.boundary:
                boundaries[label] = _boundary(project, stored, method, voxel_spacing, grid)
    return ways, boundaries


def _refuse_unknown(project: Project, stored: read.StoredVolume, there: Sequence[int]) -> None:
    """Raise FormatError for labels that no object has; nobody annotated those of `IGNORED`."""
    known = {entry.label for entry in project.objects.values()}
    unknown = [label for label in there if label not in known and label != IGNORED]
    if unknown:
        raise FormatError(
            f"run {stored.run}: {stored.name} holds label {unknown[0]}, which no object of {project.config} has",
            "labels: " + ", ".join(f"{entry.label} {name}" for name, entry in project.objects.items()),
        )


def _check_boundary(project: Project, method: Method) -> None:
    """Raise UsageError or NotFoundError for what bounds no object in any run."""
    uri = _boundary_uri(str(method.boundary))
    if method.boundary_object:
        project.object(method.boundary_object)
        if isinstance(uri, TomogramUri):
            raise UsageError(f"boundary {uri} is a map, which holds no objects", "leave boundary_object out")


def _boundary_uri(text: str) -> SegmentationUri | TomogramUri:
    """A segmentation, or a map that is stored as a tomogram. Raises UsageError."""
    return segmentation_uri(text) if ":" in text else tomogram_uri(text)


def _boundary(
    project: Project, stored: read.StoredVolume, method: Method, voxel_spacing: float, grid: Volume
) -> Volume:
    """What bounds an object, on a grid of this spacing (angstrom). Raises NotFoundError, UsageError, PopsicleError."""
    uri = _boundary_uri(str(method.boundary))
    if isinstance(uri, TomogramUri):
        found = read.read_tomogram(project, stored.run, uri)
    else:
        found = read.read_segmentation(project, stored.run, uri)
    check_grids(stored, found, resample=True)
    kind = "map" if isinstance(uri, TomogramUri) else found.entry.segmentation_type
    bounds: Volume = found
    if kind in ("multilabel", "panoptic"):
        if not method.boundary_object:
            raise UsageError(f"{found.name} holds several objects", "boundary_object names the one that is a boundary")
        labels = found.of_channel("label") if kind == "panoptic" else found
        bounds = Only(labels, project.object(method.boundary_object).label)
    elif method.boundary_object and (kind, method.boundary_object) != ("binary", found.entry.name):
        raise UsageError(f"{found.name} holds no {method.boundary_object} beside others", "leave boundary_object out")
    if grid.shape == found.shape and abs(voxel_spacing - found.voxel_spacing) < SAME:
        return bounds
    return OnGrid(bounds, found.voxel_spacing / voxel_spacing, zyx(grid))


def _look_ahead(project: Project, wanted: Instancing, run: str) -> None:
    """Raise what keeps a run from being converted, as far as that can be told from little more than names and grids."""
    stored = read.read_segmentation(project, run, wanted.segmentation)
    output_of(wanted, stored)
    source = _source(project, wanted, stored)
    grid, spacing = _grid(wanted, stored, source)
    try:
        _ways(project, wanted, stored, grid, spacing, objects_of(project, wanted).values())
    except PopsicleError:  # of an object that may not be there
        _ways(project, wanted, stored, grid, spacing, present(source))


def plan(project: Project, runs: Sequence[str], wanted: Instancing, *, overwrite: bool = False) -> InstancesPlan:
    """What `instances` would do. Raises as it does."""
    check(project, wanted)
    planned = []
    for run in runs:
        look = partial(_look_ahead, project, wanted, run)
        found = outcome(run, look, partial(is_finished, project, wanted, overwrite, run))
        status = {"done": "planned", "skipped": "finished", "failed": "impossible"}[found.status]
        planned.append(PlannedConversion(run=run, status=status, error=found.error, hint=found.hint))
    return InstancesPlan(
        input=str(wanted.segmentation),
        output=str(wanted.output),
        voxel_spacing=wanted.voxel_spacing,
        methods=wanted.methods,
        objects=objects_of(project, wanted),
        runs=planned,
    )
