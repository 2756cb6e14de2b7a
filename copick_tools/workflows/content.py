"""What the reference holds in each run: picks of each object, or voxels of each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.provenance import read_source
from copick_tools.data.uris import PicksUri, SegmentationUri, names_segmentation, picks_uri, segmentation_uri
from copick_tools.errors import NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.metrics.dice import overlap_counts
from copick_tools.recipes.load import load_task
from copick_tools.recipes.recipe import IGNORED
from copick_tools.recipes.task import Task
from copick_tools.types import Floats
from copick_tools.volumes.blocks import blocks
from copick_tools.workflows.overlap import Side
from copick_tools.workflows.runs import each_run


@dataclass(frozen=True)
class Reference:
    """What to count. picks, or a segmentation; neither: nothing is known. why: how it was found, for a person."""

    why: str
    picks: tuple[PicksUri, ...] = ()
    segmentation: SegmentationUri | None = None
    task: Task | None = None

    @classmethod
    def parse(cls, texts: Sequence[str], why: str, task: Task | None = None) -> Reference:
        """Raises UsageError."""
        if not any(map(names_segmentation, texts)):
            return cls(why, tuple(picks_uri(text) for text in texts), None, task)
        if len(texts) > 1:
            raise UsageError("one segmentation is the reference, or picks", "a multilabel one holds all objects")
        uri = segmentation_uri(texts[0])
        if uri.kind in ("instance", "panoptic"):
            raise UsageError(f"'{uri}' holds instances, not classes", "name a binary or multilabel segmentation")
        return cls(why, (), uri, task)

    @property
    def texts(self) -> list[str]:
        """The URIs."""
        return [str(uri) for uri in (*self.picks, *([self.segmentation] if self.segmentation else []))]

    def is_in(self, project: Project, runs: Sequence[str]) -> bool:
        """Whether any run has something that it names."""
        uri = self.segmentation
        if uri is not None:
            return any(read.find_segmentations(project, run, uri) for run in runs)
        return any(
            p.matches(q.object, q.user, q.session)
            for run in runs
            for q in read.list_picks(project, run)
            for p in self.picks
        )


@dataclass(frozen=True)
class Content:
    """objects: K names. amounts: (R, K) picks or voxels of each run and object."""

    reference: Reference
    unit: Literal["picks", "voxels"] | None
    objects: tuple[str, ...]
    amounts: Floats


def find_reference(project: Project, runs: Sequence[str], given: Sequence[str], task: Task | None) -> Reference:
    """What is counted: ``given``, else the reference of the task, of the task that was fetched, or the only picks there are.

    Raises NotFoundError where ``given`` matches nothing, UsageError.
    """
    if given:
        reference = Reference.parse(given, "as given", task)
        if reference.picks:
            read.require_picks(project, runs, reference.picks, "reference")
        elif not reference.is_in(project, runs):
            stored = {name for run in runs[:5] for name in _segmentations(project, run)}
            raise NotFoundError(f"no segmentation matches {given[0]}", nearest(given[0], stored))
        return reference
    source = read_source(project.folder)
    fetched = load_task(source.task) if source and source.task else None
    for candidate, why in ((task, "the reference of task"), (fetched, "the reference of the fetched task")):
        if candidate is not None:
            reference = Reference.parse([candidate.reference], f"{why} {candidate.name}", candidate)
            if reference.is_in(project, runs):
                return reference
    stored = {(uri.user, uri.session) for run in runs for uri in read.list_picks(project, run)}
    if len(stored) == 1:
        return Reference("the only picks there are", (PicksUri("*", *next(iter(stored))),))
    what = "there are no picks" if not stored else f"there are picks of {len(stored)} users and sessions"
    return Reference(f"{what}, and nothing says what the reference is (--reference)")


def count(
    project: Project,
    runs: Sequence[str],
    reference: Reference,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Content:
    """Count run by run, voxels block by block; a run without reference has nothing.

    Raises PopsicleError for a run that can't be read, UsageError.
    """
    if reference.segmentation is not None:
        labels = _labels(project, reference)
        work, unit = partial(_count_voxels, project, reference.segmentation, labels), "voxels"
    elif reference.picks:
        work, unit = partial(_count_picks, project, reference.picks), "picks"
    else:
        return Content(reference, None, (), np.zeros((len(runs), 0)))
    found: dict[str, dict[str, int]] = {}
    for result in each_run(runs, work, workers=workers):
        if result.status == "failed":
            raise PopsicleError(f"run {result.run} can't be counted: {result.error}", result.hint)
        found[result.run] = result.value
        if progress:
            progress(len(found), len(runs))
    names = {name for counts in found.values() for name, amount in counts.items() if amount}
    if reference.task:
        names = {entry.name for entry in reference.task.targets}
    objects = tuple(sorted(names))
    amounts = np.array([[found[run].get(name, 0) for name in objects] for run in runs], dtype=float)
    return Content(reference, unit, objects, amounts.reshape(len(runs), len(objects)))


def _labels(project: Project, reference: Reference) -> dict[str, int]:
    """Labels by name. Raises UsageError where two objects share one."""
    if reference.task:
        return {entry.name: entry.label for entry in reference.task.targets}
    labels = {name: entry.label for name, entry in project.objects.items() if entry.label}
    if len(set(labels.values())) < len(labels):
        raise UsageError(f"objects of {project.config} share a label", "give each its own")
    return labels


def _count_picks(project: Project, uris: Sequence[PicksUri], run: str) -> dict[str, int]:
    return {name: len(points) for name, points in read.read_picks(project, run, uris).items()}


def _count_voxels(project: Project, uri: SegmentationUri, labels: dict[str, int], run: str) -> dict[str, int]:
    if not read.find_segmentations(project, run, uri):
        return {}
    volume = read.read_segmentation(project, run, uri)
    binary = not volume.entry.is_multilabel
    if binary:
        labels = {volume.entry.name: labels.get(volume.entry.name, 1)}
    side = Side(volume, labels[volume.entry.name], IGNORED) if binary else Side(volume)
    known, total = np.array(list(labels.values())), np.zeros(len(labels), int)
    for block in blocks(volume.shape):
        part = side.labels(block.inner)
        total += overlap_counts(part, part, known)[:, 1]
    return dict(zip(labels, total.tolist()))


def _segmentations(project: Project, run: str) -> list[str]:
    every = SegmentationUri("*", "*", "*", None, "multilabel")
    return [volume.name for volume in read.find_segmentations(project, run, every)]
