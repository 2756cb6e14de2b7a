"""`popsicle review`: which instances an expert should look at first, as picks; and statistics of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, SegmentationUri
from copick_tools.data.write import has_picks, write_picks
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.metrics.contingency import BITS, object_key
from copick_tools.recipes.instancing import NANOMETER
from copick_tools.recipes.results import RunOutcome
from copick_tools.recipes.review_results import ReviewedObject, ReviewResult, SizeBin, Spread, Suspect
from copick_tools.types import Floats, Integers, Mask, Points, RunResult
from copick_tools.volumes.blocks import Box
from copick_tools.volumes.coordinates import to_angstrom
from copick_tools.volumes.shapes import Shapes, measured
from copick_tools.volumes.suspicion import suspicion
from copick_tools.workflows.instance_pairs import check_labels
from copick_tools.workflows.overlap import whole_numbers
from copick_tools.workflows.runs import each_run, outcome

BINS = (
    0,
    5_000,
    10_000,
)  # voxels: small, middle and large instances of the multi-organelle benchmark (figures 3 and 4)
WHOLE = "ids are whole numbers from 0 up, and 0 where there is no object"
Reason = Literal["large", "small", "shape", "none"]


@dataclass(frozen=True)
class Reviewing:
    """segmentation: instance or panoptic. output: where suspects go as picks. top: so many of each object; None: all."""

    segmentation: SegmentationUri
    output: PicksUri
    top: int | None = None


@dataclass(frozen=True)
class Measured:
    """The instances of one object in one run. voxel_spacing: angstrom."""

    shapes: Shapes
    voxel_spacing: float


@dataclass(frozen=True)
class Ids:
    """Ids of an instance segmentation of any type of numbers, zyx. Slices raise FormatError for what is no id."""

    stored: read.StoredVolume

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.stored.shape

    def __getitem__(self, region: Box) -> Integers:
        ids = whole_numbers(self.stored, region)
        for odd in (int(ids.min()), int(ids.max())) if ids.size else ():
            if not 0 <= odd <= np.iinfo(np.int64).max:
                raise _no_id(self.stored, f"id {odd}")
        return ids


@dataclass(frozen=True)
class Coded:
    """Ids of a panoptic segmentation with their labels above them, zyx int64. Slices raise FormatError as those of `Ids`."""

    stored: read.StoredVolume

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.stored.shape

    def __getitem__(self, region: Box) -> Integers:
        labels, ids = (whole_numbers(self.stored.of_channel(channel), region) for channel in ("label", "instance"))
        try:
            keys = object_key(labels, ids)
        except ValueError as error:
            raise FormatError(f"run {self.stored.run}: {self.stored.name}: {error}", WHOLE) from error
        if (stray := (ids > 0) & (labels == 0)).any():
            raise _no_id(self.stored, f"id {ids[stray][0]} without a label")
        return np.where(ids > 0, keys, 0)


def _no_id(stored: read.StoredVolume, what: str) -> FormatError:
    return FormatError(f"run {stored.run}: {stored.name} holds {what}", WHOLE)


def review(
    project: Project,
    runs: Sequence[str],
    wanted: Reviewing,
    progress: Callable[[int, int], None],
    *,
    overwrite: bool = False,
    workers: int = 1,
) -> ReviewResult:
    """Measure the instances of all runs, compare each with the others of its object, and write the odd ones as picks.

    Picks that are there stay, of each object and run. progress: called with runs that are measured, and all.

    Raises UsageError, NotFoundError, FormatError (objects that share a label).
    """
    names = _names(project, runs, wanted)
    found: dict[str, dict[str, Measured]] = {}
    results: dict[str, RunResult] = {}
    for done, result in enumerate(each_run(runs, partial(_measure, project, wanted), workers=workers), start=1):
        results[result.run] = result
        if result.status == "done":
            found[result.run] = result.value
        progress(done, len(runs))
    objects: dict[str, ReviewedObject] = {}
    queue: list[Suspect] = []
    for name in names:
        own = {run: sets[name] for run, sets in found.items() if name in sets}
        objects[name], suspects = _judged(name, own)
        queue += suspects[: wanted.top]
    queue.sort(key=lambda s: (-s.suspicion, s.object, s.run, s.id))
    of_run: dict[str, list[Suspect]] = {run: [] for run in found}
    for suspect in queue:
        of_run[suspect.run].append(suspect)
    for run, suspects in of_run.items():
        write = partial(
            _write, project, wanted, run, partial(_lacking, project, wanted, names, overwrite, run), suspects
        )
        results[run] = outcome(run, write, partial(_is_finished, project, wanted, names, overwrite, run))
    rows = [results[run] for run in runs]
    return ReviewResult(
        config=str(project.config),
        input=str(wanted.segmentation),
        output=str(wanted.output),
        objects=objects,
        runs=[RunOutcome(run=r.run, status=r.status, error=r.error, hint=r.hint, counts=r.value) for r in rows],
        queue=queue,
    )


def _names(project: Project, runs: Sequence[str], wanted: Reviewing) -> list[str]:
    """The objects that get picks, whether there are any or not."""
    if wanted.segmentation.kind not in ("instance", "panoptic"):
        raise UsageError(
            f"'{wanted.segmentation}' names no instances", "its URI ends in ?instance=true or ?panoptic=true"
        )
    if wanted.top is not None and wanted.top < 1:
        raise UsageError(f"--top is {wanted.top}, but has to be at least 1")
    if wanted.segmentation.kind == "panoptic":
        known = [entry.name for entry in project.objects.values() if entry.label]
        check_labels(project, known)
    else:
        stored = [v for run in runs for v in read.find_segmentations(project, run, wanted.segmentation)]
        known = sorted({volume.entry.name for volume in stored if volume.entry.name in project.objects})
        if not stored and runs:
            read.read_segmentation(project, runs[0], wanted.segmentation)  # its error names what is there instead
    names = [name for name in known if wanted.output.names(name)]
    if not names:
        raise NotFoundError(f"no instances of {wanted.output.object} to review", nearest(wanted.output.object, known))
    return names


def _measure(project: Project, wanted: Reviewing, run: str) -> dict[str, Measured]:
    found = read.find_segmentations(project, run, wanted.segmentation)
    if not found:
        read.read_segmentation(project, run, wanted.segmentation)
    sets: dict[str, Measured] = {}
    for stored in found:
        if stored.entry.segmentation_type == "panoptic":
            stored = read.read_segmentation(project, run, wanted.segmentation)  # the only one
            sets |= _by_object(project, stored)
        elif stored.entry.name in sets:
            raise UsageError(f"several instance segmentations of {stored.entry.name} in run {run}", "name one of them")
        else:
            sets[stored.entry.name] = Measured(measured(Ids(stored)), stored.voxel_spacing)
    return sets


def _by_object(project: Project, stored: read.StoredVolume) -> dict[str, Measured]:
    every = measured(Coded(stored))
    labels = every.ids >> BITS
    names = {entry.label: entry.name for entry in project.objects.values()}
    unknown = sorted(set(labels.tolist()) - set(names))
    if unknown:
        raise FormatError(f"run {stored.run}: {stored.name} holds label {unknown[0]}, which no object has")
    sets = {}
    for label, name in names.items():
        own = every.take(labels == label)
        sets[name] = Measured(replace(own, ids=own.ids & ((1 << BITS) - 1)), stored.voxel_spacing)
    return sets


def _judged(name: str, own: Mapping[str, Measured]) -> tuple[ReviewedObject, list[Suspect]]:
    """Statistics of an object, and its instances, the most suspicious first. own: by run."""
    each = [(run, one.shapes, one.voxel_spacing / NANOMETER) for run, one in own.items()]
    voxels = _joined([shapes.voxels for _, shapes, _ in each])
    volumes = _joined([shapes.voxels * spacing**3 for _, shapes, spacing in each])
    compact, round_ = (_joined([getattr(s, key) for _, s, _ in each]) for key in ("compactness", "sphericity"))
    cut = _joined([shapes.at_border for _, shapes, _ in each]).astype(bool)
    found = suspicion(volumes, compact, cut)
    about = ReviewedObject(
        instances=len(voxels),
        runs=sum(len(shapes) > 0 for _, shapes, _ in each),
        at_border=int(cut.sum()),
        compared_with=int(found.usual.sum()),
        bins=_bins(voxels),
        voxels=_spread(voxels),
        volume_nm3=_spread(volumes),
        sphericity=_spread(round_),
        compactness=_spread(compact),
    )
    suspects, before = [], 0
    for run, shapes, spacing in each:
        part = slice(before, before + len(shapes))
        before += len(shapes)
        suspects += _suspects(name, run, shapes, spacing, (found.scores[part], found.reasons[part]))
    return about, sorted(suspects, key=lambda s: (-s.suspicion, s.run, s.id))


def _suspects(
    name: str, run: str, shapes: Shapes, nanometers: float, judged: tuple[Floats, np.ndarray]
) -> list[Suspect]:
    """One row for each instance. nanometers: voxel spacing. judged: scores and reasons."""
    xyz = to_angstrom(shapes.centers, nanometers * NANOMETER)
    extents, round_ = (shapes.high - shapes.low)[:, ::-1] * nanometers, shapes.sphericity
    return [
        Suspect(
            run=run,
            object=name,
            id=int(shapes.ids[row]),
            suspicion=float(judged[0][row]),
            reason=cast(Reason, str(judged[1][row])),
            voxels=int(shapes.voxels[row]),
            volume_nm3=float(shapes.voxels[row] * nanometers**3),
            surface_nm2=float(shapes.surface[row] * nanometers**2),
            sphericity=float(round_[row]),
            compactness=float(shapes.compactness[row]),
            at_border=bool(shapes.at_border[row]),
            x=float(xyz[row, 0]),
            y=float(xyz[row, 1]),
            z=float(xyz[row, 2]),
            extent_nm=(float(extents[row, 0]), float(extents[row, 1]), float(extents[row, 2])),
        )
        for row in range(len(shapes))
    ]


def _lacking(project: Project, wanted: Reviewing, names: Sequence[str], overwrite: bool, run: str) -> list[str]:
    """The objects whose picks are to be written."""
    return [name for name in names if overwrite or not has_picks(project, run, _picks(wanted, name))]


def _is_finished(project: Project, wanted: Reviewing, names: Sequence[str], overwrite: bool, run: str) -> bool:
    return not _lacking(project, wanted, names, overwrite, run)


def _write(
    project: Project, wanted: Reviewing, run: str, lacking: Callable[[], list[str]], suspects: Sequence[Suspect]
) -> dict[str, int]:
    """The suspects of a run as picks, the most suspicious first; how many of each object that lacked them."""
    counts = {}
    for name in lacking():
        own = [suspect for suspect in suspects if suspect.object == name]
        points = Points.at([[s.x, s.y, s.z] for s in own], [s.suspicion for s in own])
        ids = np.array([s.id for s in own], dtype=np.int64)
        write_picks(project, run, _picks(wanted, name), replace(points, instance_ids=ids))
        counts[name] = len(own)
    return counts


def _picks(wanted: Reviewing, name: str) -> PicksUri:
    return PicksUri(name, wanted.output.user, wanted.output.session)


def _bins(voxels: Floats) -> list[SizeBin]:
    counts = np.histogram(voxels, [*BINS, np.inf])[0]
    ends = [*BINS[1:], None]
    return [SizeBin(at_least=a, below=b, instances=int(n)) for a, b, n in zip(BINS, ends, counts)]


def _spread(values: Floats) -> Spread | None:
    if not len(values):
        return None
    low, q25, median, q75, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Spread(min=low, q25=q25, median=median, q75=q75, max=high)


def _joined(parts: Sequence[Floats | Integers | Mask]) -> Floats:
    return np.concatenate([np.empty(0), *parts])
