"""`popsicle calibrate` of a model that tells instances apart: the settings that decide, learned on validation runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from copick_tools.data import read, uris
from copick_tools.data.project import write_text
from copick_tools.data.temporary import temporary_folder
from copick_tools.errors import PopsicleError
from copick_tools.metrics.choose import fold_of_runs
from copick_tools.metrics.semantic import mean_score, object_means, paired_score, score_interval
from copick_tools.recipes.instance_thresholds import InstanceThresholds, ObjectAccuracy, Setting, Tried, typed
from copick_tools.recipes.load import dump_yaml
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.results import Difference, interval, number
from copick_tools.types import Floats
from copick_tools.workflows.calibrate import seen_in_training
from copick_tools.workflows.calibrate_instances_plan import Plan, told
from copick_tools.workflows.instance_search import Measured, cross_validated, most, search, start
from copick_tools.workflows.scoring import few_runs
from copick_tools.workflows.segment_instances import Telling, set_parts

if TYPE_CHECKING:
    from copick_tools.training.instance_targets import Annotated
    from copick_tools.workflows.held_instances import Held

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Run:
    """A validation run: what its model says, and its reference, in files. spacing: angstrom, of the reference."""

    held: Held
    wanted: Callable[[], Annotated]
    spacing: float


def calibrate(plan: Plan, progress: Progress) -> InstanceThresholds:
    """Predict the runs, make instances of them in many ways, choose, and write, all at once.

    Memory: one run's maps, masks and instances. Raises NotFoundError (no reference), PopsicleError (a run that can't be
    predicted, no instance in any reference).
    """
    with temporary_folder() as folder:
        total = len(plan.runs) + most(plan.space)
        runs = []
        for done, (stored, reference) in enumerate(_references(plan, folder)):
            progress(done, total)
            runs.append(_held(plan, stored, reference, folder))

        def measure(settings: Sequence[Setting]) -> list[Floats]:
            done = len(runs) + len(measured.known)
            progress(min(done, total), total)
            return _measured(plan, runs, settings)

        measured = Measured(measure)
        best = search(plan.space, measured)
        folds = fold_of_runs(len(runs))
        honest = cross_validated(plan.space, measured, folds)
        progress(total, total)
    document = _document(plan, measured, best, honest, int(folds.max()) + 1)
    write_text(plan.out, dump_yaml(document))
    return document


def _references(plan: Plan, folder: Path) -> list[tuple[read.StoredVolume, Callable[[], Annotated]]]:
    """Each run's tomogram and what was annotated in it. Raises NotFoundError; PopsicleError where no run has an instance."""
    from copick_tools.workflows.held_instances import kept_annotated

    labels, found, there = _labels(plan), [], False
    for index, run in enumerate(plan.runs):
        stored = read.read_tomogram(plan.project, run, plan.asked.tomogram)
        wanted = _annotated(plan, stored)
        there = there or bool(np.any((wanted.ids > 0) & np.isin(wanted.labels, labels)))
        found.append((stored, kept_annotated(wanted, folder / f"reference-{index}")))
    if not there:
        raise PopsicleError(
            f"no run has an instance of {', '.join(plan.objects)} in {plan.reference}",
            "learn from runs that were annotated: --split, -r or --reference",
        )
    return found


def _annotated(plan: Plan, stored: read.StoredVolume) -> Annotated:
    """The reference of a run on its tomogram's grid. Raises NotFoundError, FormatError."""
    from copick_tools.training.annotated import grid_of, read_annotated

    grid, region = grid_of(stored, stored.voxel_spacing), plan.telling.recipe.target.region
    wanted = read_annotated(plan.project, stored.run, plan.reference, plan.telling.task.targets, grid)
    if region is None:
        return wanted
    mask = read.read_segmentation(plan.project, stored.run, uris.segmentation_uri(region))
    mask.require_shape(stored)
    return replace(wanted, region=mask.numpy() != 0)


def _labels(plan: Plan) -> list[int]:
    """Of the objects that are scored."""
    return [entry.label for entry in plan.telling.task.targets if entry.name in plan.objects]


def _held(plan: Plan, stored: read.StoredVolume, wanted: Callable[[], Annotated], folder: Path) -> _Run:
    from copick_tools.workflows.held_instances import hold

    own = folder / f"run-{plan.runs.index(stored.run)}"
    own.mkdir()
    telling = _with_embeddings(plan.telling, folder)
    lowest = {key.rpartition(".")[2]: min(values) for key, values in plan.space.items() if ".amg." in key}
    amg = telling.recipe.prompting.amg.model_copy(update=lowest)
    return _Run(hold(telling, stored, own, amg), wanted, stored.voxel_spacing)


def _with_embeddings(telling: Telling, folder: Path) -> Telling:
    """Images are encoded once, where masks are asked for again and again."""
    answering = telling.answering
    if answering is None or answering.asked.embeddings or telling.recipe.prompting.mode != "apg":
        return telling
    kept = replace(answering.asked, embeddings=folder / "embeddings")
    return replace(telling, answering=replace(answering, asked=kept))


def _measured(plan: Plan, runs: Sequence[_Run], settings: Sequence[Setting]) -> list[Floats]:
    """(R, K) of each setting: mean segmentation accuracy of runs and of the objects that are scored."""
    from copick_tools.training.validation import instance_accuracy

    recipes = [_set(plan.telling.recipe, setting) for setting in settings]
    labels = _labels(plan)
    ignored = plan.telling.recipe.target.ignore_label
    rows = np.empty((len(settings), len(runs), len(labels)))
    for column, run in enumerate(runs):
        wanted = run.wanted()
        for row, (found, spacing) in enumerate(run.held.made(recipes)):
            rows[row, column] = instance_accuracy(found, spacing / run.spacing, wanted, labels, ignored)
    return list(rows)


def _set(recipe: Recipe, setting: Setting) -> Recipe:
    instances, prompting = set_parts(recipe, typed(setting))
    return recipe.model_copy(update={"instances": instances, "prompting": prompting})


def _document(plan: Plan, measured: Measured, best: Setting, honest: Floats | None, folds: int) -> InstanceThresholds:
    """The thresholds, and what they are worth."""
    recipe = start(plan.space)
    fitted, before = measured.rows([best, recipe])
    tables = {"score": honest, "fitted": fitted, "recipe": before}
    means = {key: None if table is None else object_means(table) for key, table in tables.items()}
    objects = {
        name: ObjectAccuracy(**{key: None if found is None else number(found[k]) for key, found in means.items()})
        for k, name in enumerate(plan.objects)
    }
    return InstanceThresholds(
        **told(plan),
        folds=folds,
        settings=best,
        recipe_settings=recipe,
        score=None if honest is None else number(mean_score(honest)),
        ci95=None if honest is None else interval(score_interval(honest)),
        fitted=number(mean_score(fitted)),
        recipe=None if honest is None else _gain(honest, before),
        recipe_score=number(mean_score(before)),
        objects=objects,
        tried=[Tried(settings=s, score=number(mean_score(rows))) for s, rows in measured.known.values()],
        warnings=_warnings(plan, best, honest, (before, fitted)),
    )


def _gain(honest: Floats, before: Floats) -> Difference:
    """What is cross-validated over the recipe's; with an interval where there are runs enough."""
    found = paired_score(honest, before)
    if found is None:
        return Difference(difference=number(mean_score(honest) - mean_score(before)))
    low, high, p = (float(part) for part in (found.low, found.high, found.p))
    return Difference(difference=number(float(found.difference)), ci95=interval((low, high)), p=number(p))


def _warnings(plan: Plan, best: Setting, honest: Floats | None, scores: tuple[Floats, Floats]) -> list[str]:
    """scores: of the recipe's settings and of the fitted ones."""
    before, fitted = scores
    found = [*seen_in_training(plan.model.paths, plan.runs), *few_runs(len(plan.runs))]
    prompting = plan.telling.recipe.prompting
    if prompting.mode == "amg" and prompting.space == "volume":
        found.append(
            "amg's thresholds were learned on slices put together, as with prompting.space slices; in space volume objects are "
            "followed besides, and scores differ"
        )
    if not mean_score(fitted) > 0:
        found.append("no setting that was tried makes an instance that fits one of the reference")
    if honest is None:
        found.append("a single run can't be held out of itself: nothing is cross-validated")
    elif best != start(plan.space) and mean_score(honest) <= mean_score(before):
        found.append("cross-validated, what was learned is no better than the recipe's: more runs would tell")
    return found
