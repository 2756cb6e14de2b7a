"""`popsicle robustness`: what a model still finds in tomograms that were made worse (Pachitariu et al. 2025, figure 3)."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools.data.hashing import text_hash
from copick_tools.data.project import Project, write_text
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri, picks_uri, segmentation_uri
from copick_tools.errors import PopsicleError
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.results import Evaluation
from copick_tools.recipes.robustness_results import RobustnessLevel, RobustnessResult
from copick_tools.recipes.task import Task
from copick_tools.volumes.degrade import IDENTITY, MEANS, Degradation, degraded
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.evaluate import Question, evaluate
from copick_tools.workflows.evaluate_instances import InstanceQuestion, evaluate_instances
from copick_tools.workflows.evaluate_segmentations import SegmentationQuestion, evaluate_segmentations
from copick_tools.workflows.learned_instances import Learned, learned_instances
from copick_tools.workflows.localize import Localizing
from copick_tools.workflows.pipeline import Stages
from copick_tools.workflows.predict import Options, basis
from copick_tools.workflows.prompting import Asked as Prompts
from copick_tools.workflows.scoring import PACKAGES
from copick_tools.workflows.segment import Segmenting
from copick_tools.workflows.versions import versions

log = logging.getLogger("copick_tools")
USER, FILE = "robustness", "robustness.json"
METRICS = {"dice": "mean Dice", "instances": "mean segmentation accuracy"}
KEYS = {"fbeta": "fbeta", "dice": "dice", "instances": "mean_segmentation_accuracy"}


@dataclass(frozen=True)
class Asked:
    """What to try. reference: URI, None for the recipe's or the task's. split: name of the runs, where all of it is meant."""

    checkpoint: Path
    project: Project
    tomogram: TomogramUri
    runs: tuple[str, ...]
    levels: tuple[Degradation, ...]
    reference: str | None = None
    split: str | None = None
    options: Options = Options()
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Degrading:
    """A `pipeline.Task` that sees degraded tomograms."""

    task: Localizing | Segmenting
    how: Degradation
    seed: int

    def finished(self, run: str) -> bool:
        """As the task's."""
        return self.task.finished(run)

    def stages(self, device: str) -> Stages:
        """Those of the task; what was read is made worse."""
        stages = self.task.stages(device)

        def read(run: str) -> tuple[Any, ...]:
            stored, volume, *rest = stages.read(run)
            if self.how.kind == IDENTITY:
                return stored, volume, *rest
            seed = zlib.crc32(f"{self.seed} {run} {self.how}".encode())
            try:
                worse = degraded(np.asarray(volume[:, :, :]), self.how, seed)
            except ValueError as error:
                raise PopsicleError(f"run {run}: {error}") from error
            return stored, worse, *rest

        return Stages(read, stages.compute, stages.finish)


def robustness(
    asked: Asked, progress: Callable[[int, int], None], devices: Sequence[str] = ("auto",)
) -> RobustnessResult:
    """Predict and score each level, the undegraded first. A level where a run fails has no score, and the others go on.

    Predictions are stored as `localize` and `segment` store theirs, by user ``robustness`` in a session of the level, the
    checkpoint and the options, so that finished ones are never made again, and can be looked at.

    Raises NotFoundError, FormatError, UsageError; PopsicleError where the undegraded tomograms can't be scored.
    """
    from copick_tools.training.checkpoint import read_card

    card = read_card(asked.checkpoint)
    reference = asked.reference or card.recipe.reference or card.task.reference
    every = [Degradation(IDENTITY), *asked.levels]
    found: list[RobustnessLevel] = []
    failures: dict[str, str] = {}
    warnings: list[str] = []
    learned = _learned(asked, card.recipe, card.task)
    for done, how in enumerate(every):
        progress(done * len(asked.runs), len(every) * len(asked.runs))
        output = _output(asked, card.task, card.recipe.instanced, how, learned.settings)
        try:
            _predict(asked, how, output, devices)
            result = _score(asked, card.task, output, reference, found[0].output if found else None)
        except PopsicleError as error:
            if not found:
                raise
            failures[str(how)] = error.message
            log.warning("%s: %s", how, error.message)
            continue
        if not found:
            warnings = result.warnings
        found.append(_level(how, result, card.task, str(output)))
    progress(len(every) * len(asked.runs), len(every) * len(asked.runs))
    return RobustnessResult(
        task=card.task.name,
        metric=METRICS.get(card.task.metric.name) or f"F{card.task.metric.beta:g}, rule {card.task.metric.rule}",
        simulated=card.task.simulated,
        split=asked.split,
        runs=len(asked.runs),
        run_names=list(asked.runs),
        config=str(asked.project.config),
        checkpoint=str(asked.checkpoint),
        input=str(asked.tomogram),
        reference=reference,
        seed=asked.seed,
        command=_typed(asked),
        identity=found[0],
        levels=found[1:],
        meaning={how.kind: MEANS[how.kind] for how in asked.levels},
        failures=failures,
        versions=versions(PACKAGES),
        warnings=warnings,
    )


def _typed(asked: Asked) -> list[str]:
    """As arguments of `popsicle`."""
    found = ["robustness", *map(str, (asked.checkpoint, *asked.options.others)), "-c", str(asked.project.config)]
    found += ["-i", str(asked.tomogram), *(["--reference", asked.reference] if asked.reference else [])]
    for kind in dict.fromkeys(how.kind for how in asked.levels):
        levels = ",".join(f"{how.level:g}" for how in asked.levels if how.kind == kind)
        found += ["--degradation", kind if kind == "invert" else f"{kind}={levels}"]
    for key, value in asked.options.tiling.items():
        found += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    found += [part for setting in asked.options.instances for part in ("-s", setting)]
    found += ["--seed", str(asked.seed)] if asked.seed else []
    return found + (["--split", asked.split] if asked.split else [p for run in asked.runs for p in ("-r", run)])


def write(result: RobustnessResult, folder: Path) -> None:
    """robustness.json."""
    write_text(folder / FILE, result.model_dump_json(indent=2) + "\n")


Output = PicksUri | SegmentationUri


def _learned(asked: Asked, recipe: Recipe, task: Task) -> Learned:
    """Thresholds of instances that `segment` will use; says which. Raises as `learned_instances`."""
    if not (recipe.instanced and task.metric.name == "instances"):
        return Learned()
    found = learned_instances(asked.checkpoint, recipe, asked.options, Prompts())
    if found.words:
        log.info(found.words)
    return found


def _output(asked: Asked, task: Task, instanced: bool, how: Degradation, learned: Sequence[str]) -> Output:
    """Where the predictions of a level go: a session of what they are made of. learned: settings of instances."""
    settings = [*learned, *asked.options.instances]
    made_of = [basis(asked.checkpoint, asked.options), settings, str(asked.tomogram), asked.seed]
    session = f"{how}-{text_hash(json.dumps(made_of, sort_keys=True, default=str))[:10]}"
    if task.metric.name == "fbeta":
        return picks_uri(f":{USER}/{session}", output=True)
    kind = "panoptic" if instanced and task.metric.name == "instances" else "multilabel"
    return segmentation_uri(f"{task.name}:{USER}/{session}?{kind}=true", output=True)


def _predict(asked: Asked, how: Degradation, output: Output, devices: Sequence[str]) -> None:
    """Raises PopsicleError where a run fails."""
    task: Localizing | Segmenting
    if isinstance(output, PicksUri):
        task = Localizing(
            asked.checkpoint, asked.project, asked.tomogram, output, asked.options, overwrite=asked.overwrite
        )
    else:
        task = Segmenting(asked.checkpoint, asked.project, asked.tomogram, output, asked.options, asked.overwrite)
    task.check()
    failed = [
        result
        for result in on_devices(Degrading(task, how, asked.seed), asked.runs, devices, asked.project)
        if result.status == "failed"
    ]
    if failed:
        more = f" ({len(failed)} of {len(asked.runs)} runs)" if len(failed) > 1 else ""
        raise PopsicleError(f"{failed[0].error}{more}", failed[0].hint or "")


def _score(asked: Asked, task: Task, output: Output, reference: str, identity: str | None) -> Evaluation:
    """As `evaluate` scores it. identity: URI of the undegraded predictions."""
    if isinstance(output, PicksUri):
        base = () if identity is None else (picks_uri(identity),)
        question = Question((output,), (picks_uri(reference),), task, split=asked.split, baseline=base)
        return evaluate(asked.project, asked.runs, question).result
    named: Mapping[str, Any] = {
        "task": task,
        "split": asked.split,
        "baseline": None if identity is None else segmentation_uri(identity),
    }
    wanted = segmentation_uri(reference)
    if task.metric.name == "instances":
        return evaluate_instances(asked.project, asked.runs, InstanceQuestion(output, wanted, **named))
    return evaluate_segmentations(asked.project, asked.runs, SegmentationQuestion(output, wanted, **named))


def _level(how: Degradation, result: Evaluation, task: Task, output: str) -> RobustnessLevel:
    key, objects = KEYS[task.metric.name], getattr(result, "objects", {})
    return RobustnessLevel(
        kind=how.kind,
        level=None if how.kind in (IDENTITY, "invert") else how.level,
        score=result.score,
        ci95=result.ci95,
        difference=None if result.baseline is None else result.baseline.difference,
        objects={name: getattr(entry, key) for name, entry in objects.items()},
        output=output,
    )
