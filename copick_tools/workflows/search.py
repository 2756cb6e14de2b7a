"""`popsicle search`: Octopi's Bayesian model search (POPSICLE B.3) for any family, in a folder that survives its processes."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data.documents import read_document
from copick_tools.data.locking import locked
from copick_tools.data.project import Project, write_text
from copick_tools.engines import registry
from copick_tools.engines.bridge.folder import WORKSPACE, remove
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.load import dump_yaml, flat, load_recipe, load_task
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.space import (
    Choice,
    FamilySpace,
    Parameter,
    common,
    read_space,
    require_known,
    require_valid,
    varied,
)
from copick_tools.recipes.study_results import SearchRecord, SearchResult
from copick_tools.recipes.task import Task
from copick_tools.workflows.children import Interrupted, on_each, require_devices
from copick_tools.workflows.search_study import Study, require_optuna
from copick_tools.workflows.search_trial import Outcome, run_trial
from copick_tools.workflows.train import Plan as Training
from copick_tools.workflows.train import plan_training

log = logging.getLogger("copick_tools")
Progress = Callable[[int, int], None]
HOPELESS = 3  # trials that failed while none had a score: then it is no accident


@dataclass(frozen=True)
class Plan:
    """A search that can be carried out. parameters: what is searched. command: as it is typed."""

    training: Training
    task: Task
    family: FamilySpace
    parameters: Mapping[str, Parameter]
    folder: Path
    record: SearchRecord
    command: tuple[str, ...] = ()


def plan_search(
    project: Project,
    recipe_name: str,
    settings: tuple[str, ...] = (),
    space: Path | None = None,
    out: Path | None = None,
) -> Plan:
    """Resolve a recipe and its space. space: YAML that replaces the family's. What ``settings`` set isn't searched.

    Raises NotFoundError, FormatError; UsageError where there is nothing to validate on or to search.
    """
    require_optuna()
    training = plan_training(project, recipe_name, settings)
    recipe = training.recipe
    task = load_task(recipe.task)
    if not training.data.validation:
        raise UsageError(
            "a search compares scores on validation runs, and there are none", "make some: popsicle split, or fetch"
        )
    family = registry.space(recipe.family)
    parameters = read_space(space) if space else {**common(recipe), **family.parameters}
    require_known(parameters, recipe, family)
    require_valid(parameters, recipe, family)
    free = _free(parameters, family, settings, recipe)
    if space is None:
        parameters = _fitting(free, recipe, _largest(project, recipe, training.data.train))
    elif twice := [name for name in parameters if name not in free]:
        raise UsageError(f"{', '.join(twice)}: set by -s and searched by {space}", "leave one of the two away")
    if not parameters:
        raise UsageError("nothing is left to search", "set fewer keys with -s, or give a --space")
    folder = out or Path("searches").joinpath(*training.folder.parts[1:])
    record = SearchRecord(
        recipe=recipe.model_dump(mode="json"),
        space={name: parameter.model_dump(mode="json") for name, parameter in parameters.items()},
        project=str(project.config),
        metric=f"{_metric(task)} on split {recipe.validation_split}",
        seed=recipe.train.seed,
        train=training.data.train,
        validation=training.data.validation,
    )
    command = [recipe_name, "-c", str(project.config), *(part for text in settings for part in ("-s", text))]
    command += [*(["--space", str(space)] if space else []), "--out", str(folder)]
    return Plan(training, task, family, parameters, folder, record, tuple(command))


def _metric(task: Task) -> str:
    """What is maximized, in words."""
    named = {"dice": "mean Dice", "instances": "mean segmentation accuracy"}
    return named.get(task.metric.name) or f"F{task.metric.beta:g} by rule {task.metric.rule}"


def _free(
    parameters: Mapping[str, Parameter], family: FamilySpace, settings: Sequence[str], recipe: Recipe
) -> dict[str, Parameter]:
    """Without what the user has set, be it by a family's word."""
    fixed = [setting.partition("=")[0].removesuffix(".preset") for setting in settings]  # a preset sets several
    first = {name: parameter.examples[0] for name, parameter in parameters.items() if name in family.own}
    own = family.own if any(_is_in(key, fixed) for key in family.expanded(first, recipe)) else []
    known = {*flat(recipe.model_dump(mode="json")), *family.own}
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name in known and name not in own and not _is_in(name, fixed)
    }


def _is_in(key: str, parents: Sequence[str]) -> bool:
    """Whether a key is one of these, or lies below one."""
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _largest(project: Project, recipe: Recipe, runs: Sequence[str]) -> list[int]:
    """Sides of the largest training tomogram, zyx in the network's voxels."""
    from copick_tools.training.data import TrainingData

    data = TrainingData.resolve(project, recipe)
    return list(max((data.shape(run) for run in runs), key=math.prod))


def _fitting(parameters: Mapping[str, Parameter], recipe: Recipe, largest: Sequence[int]) -> dict[str, Parameter]:
    """With the patches alone that the tomograms hold and the family takes."""
    patches = parameters.get("train.patch")
    if not isinstance(patches, Choice):
        return dict(parameters)
    limits = [max(longest // 16 * 16, own) for longest, own in zip(largest, recipe.train.patch or largest)]
    kept = []
    for patch in patches.choices:
        smaller = [min(wanted, limit) for wanted, limit in zip(patch, limits)]
        with suppress(PopsicleError):
            registry.engine(recipe.family).check(varied(recipe, {"train.patch": smaller}))
            kept.append(smaller)
    rest = {name: parameter for name, parameter in parameters.items() if name != "train.patch"}
    unique = list(dict.fromkeys(map(tuple, kept)))
    return {**rest, "train.patch": Choice(choices=tuple(map(list, unique)))} if len(unique) > 1 else rest


def search(
    plan: Plan,
    progress: Progress,
    *,
    trials: int,
    devices: Sequence[str] = ("auto",),
    options: Sequence[str] = (),
) -> SearchResult:
    """Begin trials until there are ``trials`` of them, one at a time on each device, and write what was found.

    Any number of processes may do so in the same folder; what one of them leaves unfinished goes on in another. options:
    of `popsicle train`.

    Raises PopsicleError when the folder holds another search, and when every trial fails; UsageError for a device that
    isn't here.
    """
    require_devices(devices)
    folder = plan.folder
    with locked(folder / "lock"):
        _require_same(plan)
        write_text(folder / "search.json", plan.record.model_dump_json(indent=2) + "\n")
    study = Study(folder, plan.parameters, plan.record.seed, warm_up=plan.training.recipe.train.epochs // 3)
    study.open(_start(plan))
    worker = _Worker(plan, study, trials, progress, tuple(options))
    worker.report(None)
    try:
        on_each(devices, worker.work, worker.stop)
    finally:
        with locked(folder / "lock"):  # so that none writes what is older than what another wrote
            result = conclude(plan, study)
    if result.best is None and all(trial.state != "running" for trial in result.trials):
        raise PopsicleError("no trial has ended well", f"see {folder / 'trials'}")
    return result


def _start(plan: Plan) -> dict[str, Any]:
    """The recipe itself in the words of the space, as far as it can be said in them."""
    known = flat(plan.training.recipe.model_dump(mode="json"))
    return {**known, **plan.family.words(plan.training.recipe)}


@dataclass
class _Worker:
    """What the threads share, one for each device."""

    plan: Plan
    study: Study
    trials: int
    progress: Progress
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        self.stop = threading.Event()

    def work(self, device: str) -> None:
        """Trials on a device, until there are no more."""
        while not self.stop.is_set():
            with ExitStack() as mine:
                trial = self.study.next(self.trials, mine)
                if trial is None:
                    return
                self._one(trial, device)

    def _one(self, trial: Any, device: str) -> None:
        plan = self.plan
        options = ["-c", plan.record.project, "--device", device, *self.options]
        values = self.study.values(trial)
        log.info("trial %d: %s", trial.number, ", ".join(f"{name}={value}" for name, value in values.items()))
        try:
            base = plan.training.recipe
            recipe = registry.resolved(varied(base, plan.family.expanded(values, base)))
            outcome = run_trial(trial, recipe, plan.folder / "trials", options, self.stop)
        except PopsicleError as error:
            outcome = Outcome(None, error=error.message)
        except Interrupted:
            self.study.leave(trial.number)
            raise
        if outcome.score is None:
            self.study.fail(trial.number, outcome.error or "unknown")
        else:
            self.study.complete(trial.number, outcome.score, pruned=outcome.pruned)
        remove(plan.folder / "trials" / f"{trial.number:04d}" / WORKSPACE)  # an ended one won't need it
        self.report(trial.number, outcome)
        self._require_hope()

    def report(self, number: int | None, outcome: Outcome | None = None) -> None:
        """Move the bar, and say what became of a trial."""
        results = self.study.results()
        ended = [result for result in results if result.state != "running"]
        self.progress(len(ended), max(self.trials, len(ended)))
        if outcome is None:
            if ended:
                log.info("finished already: %d trials", len(ended))
            return
        best = max((r for r in results if r.state == "complete"), key=lambda r: r.score or 0.0, default=None)
        words = f"failed: {outcome.error}" if outcome.score is None else f"{outcome.score:.4f}"
        words += " (ended early)" if outcome.pruned else ""
        known = f"; best: {best.score:.4f} of trial {best.number}" if best else ""
        log.info("trial %d: %s%s", number, words, known)

    def _require_hope(self) -> None:
        failed = [result for result in self.study.results() if result.state == "failed"]
        if len(failed) >= HOPELESS and not self.study.promising():
            raise PopsicleError(
                f"the first {len(failed)} trials failed, the last one: {failed[-1].error}",
                f"see {self.plan.folder / 'trials' / f'{failed[-1].number:04d}.log'}",
            )


def _require_same(plan: Plan) -> None:
    """Raise PopsicleError when the folder holds another search."""
    path = plan.folder / "search.json"
    before = read_document(path, SearchRecord, "choose another --out")
    if before is None or before == plan.record:
        return
    old, new = (flat(record.model_dump(mode="json")) for record in (before, plan.record))
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    raise PopsicleError(
        f"{plan.folder} holds another search ({', '.join(keys[:4])}{' …' if len(keys) > 4 else ''})",
        f"see {path}; choose another --out",
    )


def conclude(plan: Plan, study: Study) -> SearchResult:
    """Write result.json, and best.yaml where a trial is complete."""
    folder, results = plan.folder, study.results()
    complete = [result for result in results if result.state == "complete"]
    best = max(complete, key=lambda result: (result.score or 0.0, -result.number), default=None)
    recipe = folder / "best.yaml"
    result = SearchResult(
        task=plan.task.name,
        family=plan.training.recipe.family,
        metric=plan.record.metric,
        simulated=plan.task.simulated,
        trials=results,
        best=best.number if best else None,
        score=best.score if best else None,
        recipe=str(recipe) if best else None,
        checkpoint=str(folder / "trials" / f"{best.number:04d}" / "best.ckpt") if best else None,
        importances=study.importances(),
        command=list(plan.command),
    )
    if best is not None:
        found = load_recipe(folder / "trials" / f"{best.number:04d}.yaml")
        note = f"found by popsicle search: trial {best.number} of {len(results)}, {best.score:.4f} {plan.record.metric}"
        write_text(recipe, dump_yaml(found.model_copy(update={"notes": (*found.notes, note)})))
    write_text(folder / "result.json", result.model_dump_json(indent=2) + "\n")
    return result
