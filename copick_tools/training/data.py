"""From a recipe and a project to what a training reads: which runs, on which grid, with which targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from copick_tools.data import read, splits, uris
from copick_tools.data.project import Project, check_objects
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.recipes.decoding import uncut
from copick_tools.recipes.load import load_task
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task
from copick_tools.training.annotated import grid_of, read_annotated
from copick_tools.training.instance_targets import Annotated, Seen, shapes
from copick_tools.training.patches import TrainingRun
from copick_tools.training.targets import Source, painted, stored
from copick_tools.training.validation import ValidationRun
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.components import zyx
from copick_tools.volumes.normalize import Volume, normalize, scale_of
from copick_tools.volumes.resample import Resampled
from copick_tools.volumes.turned import VIEWS, Turned

CLIP = 0.1  # percent of the intensities cut off at either end
PAINTED = ("spheres", "gaussian")  # targets that are made of picks
SAME = 0.01  # relative difference of voxel spacings that counts as none


@dataclass(frozen=True)
class TrainingData:
    """What a recipe means in a project, checked. voxel_spacing: angstrom, of the grid that the network sees. ids: whether the
    network learns from the ids of instances themselves.
    """

    project: Project
    recipe: Recipe
    task: Task
    train: list[str]
    validation: list[str]
    voxel_spacing: float
    ids: bool = False

    @classmethod
    def resolve(cls, project: Project, recipe: Recipe, *, ids: bool = False) -> TrainingData:
        """Check all that can be checked without reading voxels. Raises NotFoundError, UsageError, PopsicleError."""
        task = load_task(recipe.task)
        check_objects(project, task)
        uncut(recipe, task)
        train = splits.runs(project, recipe.train_split)
        if recipe.train_runs is not None:
            if unknown := [run for run in recipe.train_runs if run not in train]:
                raise NotFoundError(
                    f"train_runs: no run '{unknown[0]}' in split {recipe.train_split}", nearest(unknown[0], train)
                )
            train = [run for run in train if run in recipe.train_runs]
        held_out = splits.runs(project, recipe.validation_split) if recipe.validation_split else []
        both = sorted(set(train) & set(held_out))
        if both:
            raise UsageError(f"splits {recipe.train_split} and {recipe.validation_split} share runs: {', '.join(both)}")
        if recipe.target.kind in PAINTED:
            reference = [uris.picks_uri(recipe.reference or task.reference)]
            read.require_picks(project, train, reference, "reference")
        data = cls(project, recipe, task, train, held_out, recipe.voxel_spacing or 0.0, ids)
        return data if recipe.voxel_spacing else replace(data, voxel_spacing=data._common_spacing())

    def _common_spacing(self) -> float:
        spacings = sorted({round(self.tomogram(run).voxel_spacing, 3) for run in self.train})
        if spacings[-1] > spacings[0] * (1 + SAME):
            raise UsageError(
                f"the training tomograms have {spacings[0]:g} to {spacings[-1]:g} A per voxel",
                f"resample them, for example -s voxel_spacing={spacings[-1]:g}",
            )
        return spacings[0]

    def tomogram(self, run: str) -> read.StoredVolume:
        """The input of a run, as stored."""
        return read.read_tomogram(self.project, run, uris.tomogram_uri(self.recipe.input))

    def shape(self, run: str) -> tuple[int, ...]:
        """Voxels along z, y, x of a run's tomogram, on the network's grid."""
        return self._on_grid(self.tomogram(run))[0].shape

    def training_runs(self, run: str) -> list[TrainingRun]:
        """Tomogram and target of a run, from each side that the network learns to see; without picks it is a negative."""
        volume, spacing, origin = self._on_grid(self.tomogram(run))
        try:
            statistics = None
            if self.recipe.train.cache:
                whole = np.asarray(volume[:, :, :])
                volume = normalize(whole, scale_of(whole, CLIP, self.recipe.scaling))
            else:
                statistics = scale_of(volume, CLIP, self.recipe.scaling)
        except FormatError:
            raise
        except ValueError as error:
            raise PopsicleError(f"run {run}: tomogram {self.tomogram(run).name}: {error}") from error
        if not self.recipe.instanced:
            target = self._target(run, self.tomogram(run), (spacing, origin))
            return [TrainingRun(run, volume, statistics, target)]
        annotated = self._annotated(run, volume, spacing)
        return [
            TrainingRun(run, Turned(volume, axes) if number else volume, statistics, self._shapes(annotated, axes))
            for number, axes in enumerate(self.views)
        ]

    @property
    def views(self) -> Sequence[tuple[int, int, int]]:
        """Orders of the axes in which the network sees a volume: as it is, and a network of slices in three planes."""
        recipe = self.recipe
        return VIEWS if recipe.instanced and recipe.planar and recipe.instances.views == "averaged" else VIEWS[:1]

    def tomogram_and_target(self, run: str) -> tuple[Volume, Source]:
        """Both on the network's grid; the tomogram zyx, its voxels as they are stored, or resampled from those."""
        tomogram = self.tomogram(run)
        volume, spacing, origin = self._on_grid(tomogram)
        return volume, self._target(run, tomogram, (spacing, origin))

    def validation_run(self, run: str) -> ValidationRun:
        """A held-out run with what the task scores against; where that is instances and none are learned, with labels."""
        tomogram = self.tomogram(run)
        uri = self.recipe.reference or self.task.reference
        if self.task.metric.name == "instances" and self.recipe.instanced:
            annotated = self._annotated(run, tomogram, tomogram.voxel_spacing)
            return ValidationRun(run, tomogram, {}, None, annotated.region, annotated)
        if self.task.metric.name == "fbeta":
            points = read.read_picks(self.project, run, [uris.picks_uri(uri)])
            return ValidationRun(run, tomogram, points, None, self._region(run, tomogram))
        labels = labels_of(read.read_segmentation(self.project, run, uris.segmentation_uri(uri)))
        labels.require_shape(tomogram)
        return ValidationRun(run, tomogram, {}, labels, self._region(run, tomogram))

    def _on_grid(self, tomogram: read.StoredVolume) -> tuple[Volume, float, float]:
        """The tomogram on the network's grid, with its voxel spacing and origin in angstrom."""
        if abs(tomogram.voxel_spacing / self.voxel_spacing - 1) <= SAME:
            return tomogram, tomogram.voxel_spacing, 0.0
        resampled = Resampled(tomogram, tomogram.voxel_spacing, self.voxel_spacing)
        return resampled, self.voxel_spacing, resampled.origin

    def _target(self, run: str, tomogram: read.StoredVolume, grid: tuple[float, float]) -> Source:
        settings, region = self.recipe.target, self._region(run, tomogram)
        region = None if region is None else np.asarray(self._labels_on_grid(region, tomogram)[:, :, :])
        reference = self.recipe.reference or self.task.reference
        if settings.kind == "segmentation":
            labels = labels_of(
                read.read_segmentation(self.project, run, uris.segmentation_uri(settings.uri or reference))
            )
            labels.require_shape(tomogram)
            seen = self._labels_on_grid(labels, tomogram)
            whole = np.asarray(seen[:, :, :]) if self.recipe.train.cache else seen
            return stored(whole, self.task.targets, settings, region)
        points = read.read_picks(self.project, run, [uris.picks_uri(reference)])
        return painted(points, self.task.targets, settings, grid, region)

    def _labels_on_grid(self, labels: Volume, tomogram: read.StoredVolume) -> Volume:
        """Labels of a tomogram, or a mask, on the network's grid, by nearest neighbor."""
        seen = self._on_grid(tomogram)[0]
        if seen is tomogram:
            return labels
        return OnGrid(labels, tomogram.voxel_spacing / self.voxel_spacing, zyx(seen))

    def _annotated(self, run: str, volume: Volume, voxel_spacing: float) -> Annotated:
        """The instances of a run, on the grid of ``volume``: the network's, or the tomogram's."""
        uri = uris.segmentation_uri(self.recipe.target.uri or self.recipe.reference or self.task.reference)
        found = read_annotated(self.project, run, uri, self.task.targets, grid_of(volume, voxel_spacing))
        tomogram = self.tomogram(run)
        region = self._region(run, tomogram)
        if region is not None and region.shape != volume.shape:
            region = np.asarray(self._labels_on_grid(region, tomogram)[:, :, :])
        ids = found.ids.astype(np.min_scalar_type(found.ids.max(initial=0)), copy=False)  # held while training lasts
        return replace(found, ids=ids, region=region)

    def _shapes(self, annotated: Annotated, axes: tuple[int, int, int]) -> Source:
        region = None if annotated.region is None else np.transpose(annotated.region, axes)
        seen = Annotated(np.transpose(annotated.labels, axes), np.transpose(annotated.ids, axes), region)
        recipe = self.recipe
        how = Seen(recipe.planar, recipe.train.cache, self.ids)
        return shapes(seen, self.task.targets, recipe.target, uncut(recipe, self.task), how)

    def _region(self, run: str, tomogram: read.StoredVolume) -> np.ndarray | None:
        """The annotated region of a run as a mask, None where all of it is annotated."""
        if self.recipe.target.region is None:
            return None
        region = read.read_segmentation(self.project, run, uris.segmentation_uri(self.recipe.target.region))
        region.require_shape(tomogram)
        return region.numpy() != 0


def labels_of(stored: read.StoredVolume) -> read.StoredVolume:
    """The labels of a segmentation that may be panoptic. Raises UsageError for one of instances, whose ids are no labels."""
    if stored.entry.segmentation_type == "instance":
        raise UsageError(
            f"{stored.name} of run {stored.run} holds ids of instances, not labels",
            "name a multilabel or panoptic segmentation; or train with a target.kind that tells instances apart",
        )
    return stored.of_channel("label") if stored.entry.segmentation_type == "panoptic" else stored
