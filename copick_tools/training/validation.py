"""Score a network as it will be used: the tiler and the picking of inference, the metric of the task."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.data import read
from copick_tools.inference.extract import Wanted, predict
from copick_tools.inference.tiler import Predictor
from copick_tools.metrics.dice import dice, overlap_counts
from copick_tools.metrics.points import score_points
from copick_tools.metrics.semantic import mean_score
from copick_tools.metrics.table import PointTable
from copick_tools.recipes import picking
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.rules import particles, point_rule
from copick_tools.recipes.task import Task
from copick_tools.training import team
from copick_tools.types import Mask, Points
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.volumes.extraction import Particle, from_probabilities
from copick_tools.volumes.meanshift import TooManySeeds

log = logging.getLogger("copick_tools")
Picks = Mapping[str, Points]  # by object


@dataclass(frozen=True)
class ValidationRun:
    """A held-out run, with points by object or labels as reference. region: mask, None where all is annotated."""

    name: str
    tomogram: read.StoredVolume
    points: Mapping[str, Points]
    labels: read.StoredVolume | None
    region: Mask | None


def validation_score(predictor: Predictor, runs: list[ValidationRun], recipe: Recipe, task: Task) -> float:
    """Particle F-beta under the task's rule, or mean Dice; 0 where it is undefined.

    runs: this process's share of them; all get the score of all.
    """
    metric = _mean_dice if task.metric.name == "dice" else _fbeta
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


def _inside(points: Points, region: Mask | None, voxel_spacing: float) -> Points:
    """The points in the annotated region."""
    if region is None or not len(points):
        return points
    voxels = np.round(to_voxels(points.positions, voxel_spacing)).astype(int)
    inside = ((voxels >= 0) & (voxels < region.shape)).all(axis=1)
    inside[inside] = region[tuple(voxels[inside].T)]
    return Points.at(points.positions[inside], points.scores[inside])
