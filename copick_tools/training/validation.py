"""Score a network as it will be used: the tiler and the picking of inference, the metric of the task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from copick_tools.data import read, uris
from copick_tools.data.project import Project
from copick_tools.inference.extract import label_volume
from copick_tools.inference.tiler import Predictor
from copick_tools.metrics.dice import dice, overlap_counts
from copick_tools.metrics.points import score_points
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.rules import point_rule
from copick_tools.recipes.task import Task, TaskObject
from copick_tools.types import Mask, Points
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.particles import Filter, Particle, picks


@dataclass(frozen=True)
class ValidationRun:
    """A held-out run. reference: points by object, or a stored label volume. region: mask, None where all counts."""

    name: str
    tomogram: read.StoredVolume
    reference: Any
    region: Mask | None

    @classmethod
    def load(cls, project: Project, run: str, recipe: Recipe, task: Task, region: Mask | None) -> ValidationRun:
        """Read what the task scores against."""
        tomogram = read.read_tomogram(project, run, uris.tomogram_uri(recipe.input))
        uri = recipe.reference or task.reference
        if task.metric.name == "dice":
            reference: Any = read.read_segmentation(project, run, uris.segmentation_uri(recipe.target.uri or uri))
        else:
            reference = read.read_picks(project, run, [uris.picks_uri(uri)])
        return cls(run, tomogram, reference, region)


def validation_score(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Particle F-beta under the task's rule, or mean Dice; 0 where it is undefined."""
    score = (
        _mean_dice(predictor, runs, recipe, task)
        if task.metric.name == "dice"
        else _fbeta(predictor, runs, recipe, task)
    )
    return 0.0 if math.isnan(score) else score


def particles(objects: tuple[TaskObject, ...], recipe: Recipe) -> list[Particle]:
    """The objects to pick, with the radius of the balls that the network was trained to paint."""
    fraction = 2 * recipe.target.sigma_fraction if recipe.target.kind == "gaussian" else recipe.target.radius_fraction
    return [Particle(entry.name, entry.label, fraction * (entry.radius or 0)) for entry in objects if entry.is_particle]


def _fbeta(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    reference, prediction = {}, {}
    keep = Filter(recipe.pick.min_volume, recipe.pick.min_score)
    for run in runs:
        labels, certainty = _predict(predictor, run, recipe)
        spacing = run.tomogram.voxel_spacing
        found = picks(labels, certainty, particles(task.targets, recipe), spacing, keep)
        prediction[run.name] = {name: _inside(points, run.region, spacing) for name, points in found.items()}
        reference[run.name] = {name: _inside(points, run.region, spacing) for name, points in run.reference.items()}
    radii = {entry.name: entry.radius or 0 for entry in task.targets}
    return score_points(reference, prediction, point_rule(task, radii)).score()


def _mean_dice(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Mean over objects of the mean over runs; an object absent on both sides of a run is left out."""
    labels = np.array([entry.label for entry in task.targets])
    rows = []
    for run in runs:
        found, _ = _predict(predictor, run, recipe)
        truth = run.reference.numpy()
        known = np.ones(truth.shape, bool) if run.region is None else run.region.copy()
        if recipe.target.ignore_label is not None:
            known &= truth != recipe.target.ignore_label
        rows.append(dice(overlap_counts(truth, found, labels, known)))
    scores = np.array(rows)
    present = ~np.isnan(scores).all(axis=0)
    return float(np.nanmean(scores[:, present], axis=0).mean()) if present.any() else float("nan")


def _predict(predictor: Predictor, run: ValidationRun, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    slabs = predictor.slabs(run.tomogram)
    return label_volume(slabs, run.tomogram.shape, list(predictor.objects.values()), recipe.pick.threshold)


def _inside(points: Points, region: Mask | None, voxel_spacing: float) -> Points:
    """The points in the annotated region."""
    if region is None or not len(points):
        return points
    voxels = np.round(to_voxels(points.positions, voxel_spacing)).astype(int)
    inside = ((voxels >= 0) & (voxels < region.shape)).all(axis=1)
    inside[inside] = region[tuple(voxels[inside].T)]
    return Points.at(points.positions[inside], points.scores[inside])
