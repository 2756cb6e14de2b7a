"""Pairs of reference and predicted instance or panoptic segmentations, object by object, on grids that agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project, check_objects
from copick_tools.data.read import StoredVolume
from copick_tools.data.uris import SegmentationUri
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.recipe import IGNORED
from copick_tools.recipes.task import Task
from copick_tools.types import Integers, Mask
from copick_tools.volumes.blocks import Box, OnGrid
from copick_tools.volumes.normalize import Volume
from copick_tools.workflows.overlap import whole_numbers
from copick_tools.workflows.pairs import Missing, check_grids, same_grid, stored_pairs

KINDS = ("instance", "panoptic")
WILD = "*?["


@dataclass(frozen=True)
class InstanceSide:
    """Object ids on the grid of the reference, zyx. labels: of which object each is, in a panoptic segmentation."""

    ids: Volume
    labels: Volume | None = None

    def read(self, box: Box) -> Integers:
        """Ids of zyx slices."""
        return whole_numbers(self.ids, box)

    def read_labeled(self, box: Box, label: int) -> tuple[Integers, Integers]:
        """Labels and ids of zyx slices. label: of all objects, in an instance segmentation."""
        ids = self.read(box)
        if self.labels is not None:
            return whole_numbers(self.labels, box), ids
        return np.where(ids > 0, np.min_scalar_type(label).type(label), np.uint8(0)), ids

    def mask(self, box: Box, label: int) -> Mask:
        """Where an object is in zyx slices, with an id or without one."""
        return self.read(box) > 0 if self.labels is None else whole_numbers(self.labels, box) == label


@dataclass(frozen=True)
class Objects:
    """What is compared. labels: by name, in panoptic segmentations. each: an instance segmentation for each on a side.

    others: labels of objects that aren't compared. ignored: of voxels that nobody annotated, in a panoptic reference;
    mutual: or on the other side, for both are annotations.
    """

    labels: dict[str, int]
    each: bool
    others: frozenset[int] = frozenset()
    ignored: int | None = None
    mutual: bool = False

    @property
    def parts(self) -> list[str | None]:
        """What is read in one go: one object after the other, or all of them (None)."""
        return list(self.labels) if self.each else [None]

    def annotated(self, reference: Integers, other: Integers) -> Mask | None:
        """Which voxels are annotated, None where all are. Labels of the same voxels on both sides."""
        if self.ignored is None:
            return None
        mask = reference != self.ignored
        if self.mutual:
            mask &= other != self.ignored
        return None if mask.all() else mask


@dataclass(frozen=True)
class InstancePairs:
    """Stored references and predictions by part and run; a prediction that is missing and counts as empty is None."""

    objects: Objects
    references: dict[str | None, dict[str, StoredVolume]]
    predictions: dict[str | None, dict[str, StoredVolume | None]]

    @property
    def empty(self) -> list[str]:
        """Runs that lack a prediction."""
        return sorted({run for found in self.predictions.values() for run, volume in found.items() if volume is None})

    @property
    def resampled(self) -> bool:
        """Whether any prediction is brought onto its reference's grid."""
        return any(
            volume is not None and not same_grid(self.references[part][run], volume)
            for part, found in self.predictions.items()
            for run, volume in found.items()
        )

    def sides(self, part: str | None, run: str) -> tuple[InstanceSide, InstanceSide]:
        """Reference and prediction of a run."""
        reference, prediction = self.references[part][run], self.predictions[part][run]
        return _side(reference, reference), _side(prediction, reference)


def _side(stored: StoredVolume | None, reference: StoredVolume) -> InstanceSide:
    if stored is None:
        return InstanceSide(np.broadcast_to(np.uint8(0), reference.shape))
    if stored.entry.segmentation_type == "instance":
        return InstanceSide(_on_grid(stored, reference))
    ids, labels = (_on_grid(stored.of_channel(channel), reference) for channel in ("instance", "label"))
    return InstanceSide(ids, labels)


def _on_grid(stored: StoredVolume, reference: StoredVolume) -> Volume:
    if same_grid(reference, stored):
        return stored
    return OnGrid(stored, stored.voxel_spacing / reference.voxel_spacing, reference.shape)


def find_objects(
    project: Project, runs: Sequence[str], uris: Sequence[SegmentationUri], task: Task | None, mutual: bool = False
) -> Objects:
    """The objects to compare. uris: the reference, then what is compared with it, all of instances or panoptic.

    All of a task, or of the project, where all are panoptic; else those that instance segmentations are called after.
    mutual: see `Objects`. Raises NotFoundError, UsageError.
    """
    known = {name: entry.label for name, entry in project.objects.items() if entry.label}
    every = frozenset(known.values()) | frozenset(entry.label for entry in (task.objects if task else ()))
    annotations = uris if mutual else uris[:1]
    ignored = IGNORED if any(uri.kind == "panoptic" for uri in annotations) and IGNORED not in every else None
    if task:
        known = {entry.name: entry.label for entry in task.targets}
    if any(uri.kind not in KINDS for uri in uris):
        odd = next(uri for uri in uris if uri.kind not in KINDS)
        raise UsageError(f"{odd} names no instances", "its URI ends in ?instance=true or ?panoptic=true")
    panoptic = [uri for uri in uris if uri.kind == "panoptic"]
    if panoptic and task:
        check_objects(project, task)
    if len(panoptic) == len(uris):
        if not known:
            raise NotFoundError(f"no object in {project.config} has a label", "give objects labels, or name a --task")
        check_labels(project, known)
        return Objects(known, False, every - frozenset(known.values()), ignored, mutual)
    names = _names(project, runs, [uri for uri in uris if uri.kind == "instance"], task is None)
    unknown = [name for name in names if name not in known and (task or panoptic)]
    if len(unknown) == len(names):
        where = f"task {task.name}" if task else str(project.config)
        raise NotFoundError(f"no object '{unknown[0]}' in {where}", nearest(unknown[0], known))
    chosen = {name: known.get(name, 1) for name in names if name not in unknown}
    return Objects(chosen, True, every - frozenset(chosen.values()), ignored, mutual)


def check_labels(project: Project, names: Iterable[str]) -> None:
    """Raise FormatError unless each of these objects of a project has a label of its own."""
    seen: dict[int, str] = {}
    for name in names:
        label = project.object(name).label
        if label in seen:
            raise FormatError(
                f"objects {seen[label]} and {name} of {project.config} both have label {label}",
                "a panoptic segmentation tells objects apart by their labels: give each its own",
            )
        seen[label] = name


def _names(project: Project, runs: Sequence[str], uris: Sequence[SegmentationUri], shared: bool) -> list[str]:
    """The object that any of the URIs names; where all have wildcards those that the first finds.

    shared: only those that the second finds as well.
    """
    first = uris[0]
    if not _wild(first):
        return [first.name]
    found = _found(project, runs, first)
    for name in (uri.name for uri in uris[1:] if not _wild(uri)):
        if name not in found:
            raise NotFoundError(f"no {replace(first, name=name)} in these {len(runs)} runs", nearest(name, found))
        return [name]
    both = [name for name in found if name in _found(project, runs, uris[1])] if shared and len(uris) > 1 else found
    if not both:
        raise NotFoundError(f"{first} and {uris[1]} have no object in common", f"objects: {', '.join(found)}")
    return both


def _found(project: Project, runs: Sequence[str], uri: SegmentationUri) -> list[str]:
    """The objects whose instance segmentations a URI names in any of the runs. Raises NotFoundError for none."""
    found = sorted({volume.entry.name for run in runs for volume in read.find_segmentations(project, run, uri)})
    if not found:
        read.read_segmentation(project, runs[0], uri)  # its error names what is there instead
    return found


def find_instance_pairs(
    project: Project,
    runs: Sequence[str],
    uris: tuple[SegmentationUri, SegmentationUri],
    objects: Objects,
    missing: Missing,
    resample: bool,
) -> InstancePairs:
    """What to compare in each run. uris: of the reference and of the prediction. resample: grids may differ.

    Raises NotFoundError (no reference, no prediction at all), PopsicleError (a run without prediction, grids that differ).
    """
    references: dict[str | None, dict[str, StoredVolume]] = {}
    predictions: dict[str | None, dict[str, StoredVolume | None]] = {}
    for part in objects.parts:
        one, other = (uri if part is None or not _wild(uri) else replace(uri, name=part) for uri in uris)
        references[part], predictions[part] = stored_pairs(
            project, runs, one, other, replace(missing, all_of_them=other != uris[1])
        )
        for run, prediction in predictions[part].items():
            check_grids(references[part][run], prediction, resample)
    return InstancePairs(objects, references, predictions)


def left_out(project: Project, runs: Sequence[str], uri: SegmentationUri, objects: Mapping[str, int]) -> list[str]:
    """Objects of instance segmentations that a URI with wildcards finds and that aren't compared."""
    return [name for name in _found(project, runs, uri) if name not in objects] if _wild(uri) else []


def _wild(uri: SegmentationUri) -> bool:
    return uri.kind == "instance" and any(character in uri.name for character in WILD)
