"""From a recipe and a project to what a training reads: which runs, on which grid, with which targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.data import read, splits, uris
from copick_tools.data.project import Project, check_objects
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.recipes.load import load_task
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task
from copick_tools.training.patches import TrainingRun
from copick_tools.training.targets import Source, painted, stored
from copick_tools.training.validation import ValidationRun
from copick_tools.volumes.normalize import Volume, intensity, normalize
from copick_tools.volumes.resample import Resampled

CLIP = 0.1  # percent of the intensities cut off at either end
SAME = 0.01  # relative difference of voxel spacings that counts as none


@dataclass(frozen=True)
class TrainingData:
    """What a recipe means in a project, checked. voxel_spacing: angstrom, of the grid that the network sees."""

    project: Project
    recipe: Recipe
    task: Task
    train: list[str]
    validation: list[str]
    voxel_spacing: float

    @classmethod
    def resolve(cls, project: Project, recipe: Recipe) -> TrainingData:
        """Check all that can be checked without reading voxels. Raises NotFoundError, UsageError, PopsicleError."""
        task = load_task(recipe.task)
        check_objects(project, task)
        train = splits.runs(project, recipe.train_split)
        held_out = splits.runs(project, recipe.validation_split) if recipe.validation_split else []
        both = sorted(set(train) & set(held_out))
        if both:
            raise UsageError(f"splits {recipe.train_split} and {recipe.validation_split} share runs: {', '.join(both)}")
        if recipe.target.kind != "segmentation":
            reference = [uris.picks_uri(recipe.reference or task.reference)]
            read.require_picks(project, train, reference, "reference")
        data = cls(project, recipe, task, train, held_out, recipe.voxel_spacing or 0.0)
        return data if recipe.voxel_spacing else cls(project, recipe, task, train, held_out, data._common_spacing())

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

    def training_run(self, run: str) -> TrainingRun:
        """Tomogram and target of a run; a run without reference picks is a negative."""
        volume, target = self.tomogram_and_target(run)
        try:
            if self.recipe.train.cache:
                whole = np.asarray(volume[:, :, :])
                return TrainingRun(run, normalize(whole, intensity(whole, CLIP)), None, target)
            return TrainingRun(run, volume, intensity(volume, CLIP), target)
        except FormatError:
            raise
        except ValueError as error:
            raise PopsicleError(f"run {run}: tomogram {self.tomogram(run).name}: {error}") from error

    def tomogram_and_target(self, run: str) -> tuple[Volume, Source]:
        """Both on the network's grid; the tomogram zyx, its voxels as they are stored, or resampled from those."""
        tomogram = self.tomogram(run)
        volume, spacing, origin = self._on_grid(tomogram)
        return volume, self._target(run, tomogram, (spacing, origin))

    def validation_run(self, run: str) -> ValidationRun:
        """A held-out run with what the task scores against."""
        tomogram = self.tomogram(run)
        uri = self.recipe.reference or self.task.reference
        if self.task.metric.name == "fbeta":
            points = read.read_picks(self.project, run, [uris.picks_uri(uri)])
            return ValidationRun(run, tomogram, points, None, self._region(run, tomogram))
        labels = read.read_segmentation(self.project, run, uris.segmentation_uri(uri))
        labels.require_shape(tomogram)
        return ValidationRun(run, tomogram, {}, labels, self._region(run, tomogram))

    def _on_grid(self, tomogram: read.StoredVolume) -> tuple[Volume, float, float]:
        """The tomogram on the network's grid, with its voxel spacing and origin in angstrom."""
        if abs(tomogram.voxel_spacing / self.voxel_spacing - 1) <= SAME:
            return tomogram, tomogram.voxel_spacing, 0.0
        resampled = Resampled(tomogram, tomogram.voxel_spacing, self.voxel_spacing)
        return resampled, self.voxel_spacing, resampled.origin

    def _target(self, run: str, tomogram: read.StoredVolume, grid: tuple[float, float]) -> Source:
        settings, resampled = self.recipe.target, grid[1] != 0
        region = self._region(run, tomogram)
        if resampled and (region is not None or settings.kind == "segmentation"):
            raise UsageError(
                f"run {run} would be resampled, and with it its segmentations",
                "store targets and regions at the recipe's voxel_spacing",
            )
        reference = self.recipe.reference or self.task.reference
        if settings.kind == "segmentation":
            labels = read.read_segmentation(self.project, run, uris.segmentation_uri(settings.uri or reference))
            labels.require_shape(tomogram)
            whole = labels.numpy() if self.recipe.train.cache else labels
            return stored(whole, self.task.targets, settings, region)
        points = read.read_picks(self.project, run, [uris.picks_uri(reference)])
        return painted(points, self.task.targets, settings, grid, region)

    def _region(self, run: str, tomogram: read.StoredVolume) -> np.ndarray | None:
        """The annotated region of a run as a mask, None where all of it is annotated."""
        if self.recipe.target.region is None:
            return None
        region = read.read_segmentation(self.project, run, uris.segmentation_uri(self.recipe.target.region))
        region.require_shape(tomogram)
        return region.numpy() != 0
