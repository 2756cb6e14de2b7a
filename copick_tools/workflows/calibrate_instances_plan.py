"""What `popsicle calibrate` of a model that tells instances apart is asked for: which settings are tried, on which runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copick_tools.data import splits, uris
from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri, TomogramUri
from copick_tools.errors import NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.recipes.instance_thresholds import GRID, InstanceThresholds, deciding, value_of
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.rules import particles
from copick_tools.recipes.task import Task
from copick_tools.workflows.calibrate import inference_of
from copick_tools.workflows.instance_search import Space
from copick_tools.workflows.learned_instances import INSTANCE_THRESHOLDS, promptable_of, read_thresholds
from copick_tools.workflows.predict import Model
from copick_tools.workflows.prompting import Asked
from copick_tools.workflows.segment_instances import Telling, checked

if TYPE_CHECKING:
    from copick_tools.training.checkpoint import Card


@dataclass(frozen=True)
class Calibrating:
    """What to learn from, and how instances are made. reference: None: the recipe's, or the task's. settings: as ``-s``; they stay.
    out: None: beside the checkpoint.
    """

    tomogram: TomogramUri
    reference: SegmentationUri | None = None
    settings: tuple[str, ...] = ()
    asked: Asked = Asked()
    split: str | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A calibration that can be carried out. space: what is tried. objects: which are scored."""

    telling: Telling
    model: Model
    checkpoint: Path
    project: Project
    runs: tuple[str, ...]
    asked: Calibrating
    reference: SegmentationUri
    space: Space
    objects: tuple[str, ...]
    out: Path


def of_instances(card: Card, references: Sequence[str]) -> bool:
    """Whether instances are what is learned from: by the reference, else by what the task scores."""
    if references:
        return any(uris.names_segmentation(text) for text in references)
    scored = card.task.metric.name == "instances" or not particles(card.task, card.recipe.target)
    return card.recipe.instanced and scored


def plan_calibration(
    model: Model,
    checkpoint: Path,
    project: Project,
    run_names: Sequence[str],
    asked: Calibrating,
    device: str = "auto",
) -> Plan:
    """Find the runs (as `calibrate.plan_calibration`), and what there is to learn.

    Raises UsageError (no instances, no validation split, nothing to learn), NotFoundError (no such run, split or object).
    """
    task, recipe = model.card.task, model.card.recipe
    reference = asked.reference or uris.segmentation_uri(recipe.target.uri or recipe.reference or task.reference)
    if reference.kind not in ("instance", "panoptic"):
        given = "its URI ends in ?instance=true or ?panoptic=true"
        hint = given if asked.reference else "say by --reference, for example 'OBJECT:USER/SESSION?instance=true'"
        raise UsageError(f"the reference {reference} names no instances", hint)
    objects = _scored(reference, task)
    telling = _telling(model, objects, asked, project, device)
    split = asked.split or (None if run_names else recipe.validation_split)
    if split is None and not run_names:
        raise UsageError("the recipe has no validation split", "say which runs: --split NAME or -r")
    runs = tuple(sorted(splits.runs(project, split, run_names)))
    out = asked.out or checkpoint.with_name(INSTANCE_THRESHOLDS)
    space = _space(telling.recipe, asked.settings)
    asked = replace(asked, split=split)
    return Plan(telling, model, checkpoint, project, runs, asked, reference, space, objects, out)


def _scored(reference: SegmentationUri, task: Task) -> tuple[str, ...]:
    """The objects that a reference is of. Raises NotFoundError."""
    names = tuple(entry.name for entry in task.targets)
    found = tuple(name for name in names if reference.kind == "panoptic" or fnmatchcase(name, reference.name))
    if not found:
        raise NotFoundError(f"{reference} names no object of task {task.name}", nearest(reference.name, names))
    return found


def _telling(model: Model, objects: Sequence[str], asked: Calibrating, project: Project, device: str) -> Telling:
    """The opened network with all that is fixed. Raises UsageError, NotFoundError."""
    kind = f"{objects[0]}:calibrate/1?instance=true" if len(objects) == 1 else "all:calibrate/1?panoptic=true"
    output, task = uris.segmentation_uri(kind, output=True), model.card.task
    recipe = checked(model.card, output, asked.settings, model.several)
    if recipe.prompting.mode is not None and len(objects) > 1 and getattr(model.predictor, "geometry", None) is None:
        raise UsageError(
            f"the model finds masks and no objects' names, and the reference is of {', '.join(objects)}",
            f"name one object, for example --reference '{objects[0]}:user/session?instance=true'",
        )
    return Telling.of(model.predictor, task, recipe, output).prompted(asked.asked, project, device)


def _space(recipe: Recipe, settings: Sequence[str]) -> dict[str, tuple[float | None, ...]]:
    """By key the values that are tried, the recipe's first. Raises UsageError for none."""
    fixed = {setting.partition("=")[0].strip() for setting in settings}
    keys = deciding(recipe)
    space = {
        key: tuple(dict.fromkeys((value_of(recipe, key), *GRID[key]))) for key in keys if not _is_fixed(key, fixed)
    }
    if not space:
        raise UsageError(f"there is nothing to learn: -s says {', '.join(keys)}", "leave one of them out")
    return space


def _is_fixed(key: str, fixed: set[str]) -> bool:
    """Whether a key, or a mapping that it is in, was set."""
    parts = key.split(".")
    return any(".".join(parts[:length]) in fixed for length in range(1, len(parts) + 1))


def finished(plan: Plan) -> InstanceThresholds | None:
    """The thresholds that are there already; None where there are none. Raises PopsicleError where they are others."""
    if not plan.out.exists():
        return None
    found = read_thresholds(plan.out)
    if any(getattr(found, key) != value for key, value in told(plan).items()):
        raise PopsicleError(
            f"{plan.out} holds thresholds of another checkpoint or project, of other runs or of other options",
            "--overwrite replaces them; or choose another --out",
        )
    return found


def told(plan: Plan) -> dict[str, Any]:
    """What a calibration depends on, as the document has it."""
    asked = plan.asked
    return {
        "task": plan.telling.task.name,
        "checkpoint": plan.model.identity,
        "promptable": None if plan.telling.answering is None else promptable_of(asked.asked),
        "mode": plan.telling.recipe.prompting.mode,
        "config": str(plan.project.config),
        "tomogram": str(asked.tomogram),
        "reference": str(plan.reference),
        "split": asked.split,
        "runs": list(plan.runs),
        "inference": inference_of(plan.model),
        "fixed": list(asked.settings),
    }
