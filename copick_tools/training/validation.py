"""Score a network as it will be used: the tiler and the picking of inference, the metric of the task."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from copick_tools.data import read
from copick_tools.inference.extract import Wanted, predict
from copick_tools.inference.mapped import predict_instances
from copick_tools.inference.tiler import Predictor
from copick_tools.metrics.contingency import of_object, panoptic_contingency
from copick_tools.metrics.dice import dice, overlap_counts
from copick_tools.metrics.instances import NUMBERS, instance_numbers, match_instances
from copick_tools.metrics.points import score_points
from copick_tools.metrics.semantic import mean_score
from copick_tools.metrics.table import PointTable
from copick_tools.recipes import picking
from copick_tools.recipes.decoding import decoding
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.rules import particles, point_rule
from copick_tools.recipes.task import Task
from copick_tools.training import team
from copick_tools.training.instance_targets import Annotated
from copick_tools.types import Mask, Points
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.decoding import Instances
from copick_tools.volumes.extraction import Particle, from_probabilities
from copick_tools.volumes.meanshift import TooManySeeds

log = logging.getLogger("copick_tools")
Picks = Mapping[str, Points]  # by object
ACCURACY = NUMBERS.index("mean_segmentation_accuracy")


@dataclass(frozen=True)
class ValidationRun:
    """A held-out run, with points by object, labels or instances as reference. region: mask, None where all is annotated."""

    name: str
    tomogram: read.StoredVolume
    points: Mapping[str, Points]
    labels: read.StoredVolume | None
    region: Mask | None
    annotated: Annotated | None = None


def validation_score(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Particle F-beta under the task's rule, mean Dice, or mean segmentation accuracy; 0 where it is undefined. Of a model that
    only answers prompts: the mean Dice of its answers.

    runs: this process's share of them; all get the score of all.
    """
    of_instances = recipe.instanced and task.metric.name == "instances"
    metric = _fbeta if task.metric.name == "fbeta" else _mean_accuracy if of_instances else _mean_dice
    if recipe.target.kind == "instances" and hasattr(predictor, "prompted_dice"):
        metric = _prompted_dice
    score = metric(predictor, runs, recipe, task)
    return 0.0 if math.isnan(score) else score


def _fbeta(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    known = particles(task, recipe.target)
    mine = team.everywhere(lambda: list(_picked(predictor, runs, recipe, known)))
    reference, prediction = {}, {}
    for found in team.merged(mine):
        if found is None:
            return 0.0
        name, reference[name], prediction[name] = found
    radii = {entry.name: entry.radius or 0 for entry in task.targets}
    sides = (PointTable.of(picks, tuple(reference), tuple(radii)) for picks in (reference, prediction))
    return score_points(*sides, point_rule(task, radii)).score()


def _picked(
    predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, known: Sequence[Particle]
) -> Iterator[tuple[str, Picks, Picks] | None]:
    """Name, reference and prediction of each run; at the end None where a run can't be picked."""
    settings = dict.fromkeys((particle.name for particle in known), recipe.pick)
    wanted = Wanted.for_picks(settings, known)
    for run in runs:
        spacing = run.tomogram.voxel_spacing
        found = predict(predictor, run.tomogram, spacing, wanted, f"run {run.name}")
        try:
            candidates = from_probabilities(
                found.probabilities, known, found.voxel_spacing, picking.extractions(settings)
            )
        except TooManySeeds as error:  # a network that learned nothing yet, and a method that is no use for noise
            log.warning("run %s: %s; it counts as score 0", run.name, error.message)
            yield None
            return
        picks = picking.chosen(candidates, known, settings, found.voxel_spacing)
        grid = picking.Grid(found.shape, found.voxel_spacing, found.origin)
        prediction = {name: _inside(picking.points(p, grid), run.region, spacing) for name, p in picks.items()}
        yield run.name, {name: _inside(p, run.region, spacing) for name, p in run.points.items()}, prediction


def _mean_dice(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Mean over objects of the mean over runs; an object absent on both sides of a run is left out."""
    labels = np.array([entry.label for entry in task.targets])
    rows = team.merged(team.everywhere(lambda: list(_dice_rows(predictor, runs, recipe, labels))))
    return mean_score(np.array(rows)) if rows else float("nan")


def _dice_rows(
    predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, labels: np.ndarray
) -> Iterator[np.ndarray]:
    """Dice of each run that has a reference, by label."""
    for run in runs:
        if run.labels is None:
            continue
        spacing, truth = run.tomogram.voxel_spacing, run.labels.numpy()
        found = predict(predictor, run.tomogram, spacing, Wanted(recipe.pick.threshold), f"run {run.name}")
        labels_found = found.labels(recipe.pick.threshold, spacing, run.tomogram.shape)[:, :, :]
        known = np.ones(truth.shape, bool) if run.region is None else run.region.copy()
        if recipe.target.ignore_label is not None:
            known &= truth != recipe.target.ignore_label
        yield dice(overlap_counts(truth, labels_found, labels, known))


def _mean_accuracy(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Mean over objects of the mean over runs of the mean segmentation accuracy; what neither side of a run has is left out."""
    rows = team.merged(team.everywhere(lambda: list(_accuracy_rows(predictor, runs, recipe, task))))
    return mean_score(np.array(rows)) if rows else float("nan")


def _accuracy_rows(predictor: Any, runs: list[ValidationRun], recipe: Recipe, task: Task) -> Iterator[np.ndarray]:
    """Mean segmentation accuracy of each run, by label."""
    for run in runs:
        wanted, spacing = run.annotated, run.tomogram.voxel_spacing
        if wanted is None:
            continue
        how = partial(decoding, recipe, task)
        instances, found = predict_instances(predictor, run.tomogram, spacing, f"run {run.name}", how)
        labels = [entry.label for entry in task.targets]
        yield instance_accuracy(instances, found / spacing, wanted, labels, recipe.target.ignore_label)


def instance_accuracy(
    found: Instances, factor: float, wanted: Annotated, labels: Sequence[int], ignored: int | None
) -> np.ndarray:
    """(K,) mean segmentation accuracy of the objects of ``labels`` in a run, NaN for what neither side has.

    factor: voxel spacing of what was found by that of the reference. ignored: label of voxels that nobody annotated.
    """
    z, y, x = wanted.labels.shape
    ids = OnGrid(found.ids, factor, (z, y, x))[:, :, :]
    known = np.ones(ids.shape, bool) if wanted.region is None else wanted.region.copy()
    if ignored is not None:
        known &= wanted.labels != ignored
    table = panoptic_contingency((wanted.labels, wanted.ids), (found.objects[ids], ids), known)
    counts = [match_instances(of_object(table, label)[0]).counts() for label in labels]
    return instance_numbers(np.array(counts))[:, ACCURACY]


def _prompted_dice(predictor: Any, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Mean over runs of the mean Dice of answers to simulated prompts."""
    rows: list[float] = team.merged(team.everywhere(lambda: list(predictor.prompted_dice(runs))))
    return sum(rows) / len(rows) if rows else float("nan")


def _inside(points: Points, region: Mask | None, voxel_spacing: float) -> Points:
    """The points in the annotated region."""
    if region is None or not len(points):
        return points
    voxels = np.round(to_voxels(points.positions, voxel_spacing)).astype(int)
    inside = ((voxels >= 0) & (voxels < region.shape)).all(axis=1)
    inside[inside] = region[tuple(voxels[inside].T)]
    return Points.at(points.positions[inside], points.scores[inside])
