"""`popsicle segment`: tomograms to label volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project, check_objects
from copick_tools.data.uris import SegmentationUri, TomogramUri, same_spacing
from copick_tools.data.write import has_segmentation, write_segmentation_slabs
from copick_tools.errors import UsageError
from copick_tools.recipes.task import Task as KnownTask
from copick_tools.types import RunResult
from copick_tools.volumes.blocks import SIZE
from copick_tools.volumes.decoding import Instances
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.sparse import occupied
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.learned_instances import Learned, learned_instances
from copick_tools.workflows.pipeline import Stages, in_memory
from copick_tools.workflows.predict import NONE, Model, Options
from copick_tools.workflows.prompting import Asked
from copick_tools.workflows.segment_instances import Telling, are_finished, checked
from copick_tools.workflows.where import Where, find_sample

if TYPE_CHECKING:
    from copick_tools.inference.extract import Prediction

Tomogram = tuple[read.StoredVolume, Volume]  # where it is stored, and what was read of it


@dataclass(frozen=True)
class Segmenting:
    """A checkpoint, the tomograms that it labels and where to write; a `pipeline.Task`. where: only its sample counts.
    asked: what answers prompts.

    An output of instances (all of a panoptic one, an object's, or each object's) takes a network that tells them apart.
    """

    checkpoint: Path
    project: Project
    tomogram: TomogramUri
    output: SegmentationUri
    options: Options = Options()
    overwrite: bool = False
    where: Where = Where()
    asked: Asked = Asked()

    def check(self) -> None:
        """Raises UsageError for an output that can't hold what the model says, NotFoundError for an object that isn't there."""
        from copick_tools.training.checkpoint import read_card

        self.where.check()
        card, output = read_card(self.checkpoint), self.output
        check_objects(self.project, card.task)
        names = [entry.name for entry in card.task.targets]
        if output.kind == "binary" and names != [output.name]:
            raise UsageError(f"'{output}' is binary, but the model knows {len(names)} objects", "add ?multilabel=true")
        if self.tells_apart:
            checked(card, output, self.settings, bool(self.options.others))
            _without_threshold(self.options)
            self.asked.check()
        elif self.options.instances or self.asked != Asked() or self.options.instance_thresholds not in (None, NONE):
            what = "--promptable and --embeddings are" if self.asked != Asked() else "--thresholds is"
            what = "--set is" if self.options.instances else what
            raise UsageError(
                f"{what} about instances, the output has none", "end -o with ?instance=true or ?panoptic=true"
            )

    def finished(self, run: str) -> bool:
        """Whether the segmentations of a run are there."""
        if self.overwrite:
            return False
        if self.tells_apart:
            return are_finished(self.project, run, self.output, self.known)
        return has_segmentation(self.project, run, self.output)

    @property
    def tells_apart(self) -> bool:
        """Whether instances are wanted."""
        return self.output.kind in ("instance", "panoptic")

    @cached_property
    def learned(self) -> Learned:
        """Thresholds of instances that are used. Raises as `learned_instances`."""
        from copick_tools.training.checkpoint import read_card

        recipe = read_card(self.checkpoint).recipe
        if not self.tells_apart or not recipe.instanced:
            return Learned()
        return learned_instances(self.checkpoint, recipe, self.options, self.asked)

    @property
    def settings(self) -> tuple[str, ...]:
        """How instances are made: as it was learned, then as it was typed, which counts."""
        return *self.learned.settings, *self.options.instances

    @cached_property
    def known(self) -> KnownTask:
        """The task of the checkpoint."""
        from copick_tools.training.checkpoint import read_card

        return read_card(self.checkpoint).task

    def stages(self, device: str) -> Stages:
        """Open the checkpoint on a device."""
        opened = _Opened(self, Model.open(self.checkpoint, device, self.options))
        if self.tells_apart:
            telling = _telling(self, opened.model).prompted(self.asked, self.project, device)
            return Stages(opened.read, partial(_tell, self, telling), partial(_write, self, telling))
        return Stages(opened.read, opened.compute, opened.finish)


def segment(task: Segmenting, runs: Sequence[str], devices: Sequence[str] = ("auto",)) -> Iterator[RunResult]:
    """Write one segmentation per run, on the grid of its tomogram. A result's value counts the voxels per object, or instances.

    Raises UsageError for an output that can't hold the labels.
    """
    task.check()
    return on_devices(task, runs, devices, task.project)


def _without_threshold(options: Options) -> None:
    """Raise UsageError where the threshold of labels is given."""
    if "threshold" in options.given:
        given = options.given["threshold"]
        raise UsageError(
            "--threshold is about labels, the output holds instances", f"-s instances.foreground={given:g}"
        )


@dataclass(frozen=True)
class _Opened:
    """The stages, on one device."""

    task: Segmenting
    model: Model

    def read(self, run: str) -> Tomogram:
        stored = read.read_tomogram(self.task.project, run, self.task.tomogram)
        asked, found = self.task.output.voxel_spacing, stored.voxel_spacing
        if not same_spacing(asked, found):
            raise UsageError(f"the tomogram of run {run} has {found:g} A per voxel, the output {asked:g}")
        return stored, in_memory(stored)

    def compute(self, run: str, tomogram: Tomogram) -> tuple[read.StoredVolume, Prediction]:
        stored, volume = tomogram
        sample = find_sample(self.task.project, run, self.task.where)
        wanted = self.model.for_labels
        return stored, self.model.predict(volume, stored.voxel_spacing, f"run {run}", wanted=wanted, sample=sample)

    def finish(self, run: str, predicted: tuple[read.StoredVolume, Prediction]) -> dict[str, int]:
        stored, prediction = predicted
        labels = prediction.labels(self.model.pick.threshold, stored.voxel_spacing, stored.shape)
        uri = replace(self.task.output, voxel_spacing=stored.key_spacing)
        counts = np.zeros(256, dtype=int)
        slabs = _slabs(labels, counts, uri.kind == "binary")
        write_segmentation_slabs(self.task.project, run, uri, stored.shape, slabs, np.uint8)
        return {name: int(counts[label]) for name, label in self.model.predictor.objects.items()}


def _telling(task: Segmenting, model: Model) -> Telling:
    recipe = checked(model.card, task.output, task.settings, model.several)
    return Telling.of(model.predictor, model.card.task, recipe, task.output)


def _tell(
    task: Segmenting, telling: Telling, run: str, tomogram: Tomogram
) -> tuple[read.StoredVolume, Instances, float]:
    stored, volume = tomogram
    sample = find_sample(task.project, run, task.where)
    return stored, *telling.found(stored, volume, sample)


def _write(
    task: Segmenting, telling: Telling, run: str, found: tuple[read.StoredVolume, Instances, float]
) -> dict[str, int]:
    stored, instances, spacing = found
    return telling.write(task.project, stored, (instances, spacing), overwrite=task.overwrite)


def _slabs(labels: Volume, counts: np.ndarray, binary: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of chunks of uint8 labels, zyx; counts: (256,) voxels of each label, added up on the way."""
    for z in range(0, labels.shape[0], SIZE):
        slab = np.ascontiguousarray(labels[z : z + SIZE, :, :])
        counts += np.bincount(slab.reshape(-1)[occupied(slab)], minlength=len(counts))
        yield z, slab > 0 if binary else slab
