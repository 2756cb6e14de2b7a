"""`popsicle calibrate`: thresholds that are learned on validation runs, and scores that mean what they say."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools import __version__
from copick_tools.data import read, splits, uris
from copick_tools.data.documents import read_document
from copick_tools.data.parts import Parts
from copick_tools.data.project import Project, write_text
from copick_tools.data.uris import PicksUri, TomogramUri
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.metrics.choose import fold_of_runs
from copick_tools.metrics.reach import TooDense
from copick_tools.recipes import picking
from copick_tools.recipes.load import dump_yaml, parse, read_yaml
from copick_tools.recipes.recipe import Pick
from copick_tools.recipes.results import ExperimentData
from copick_tools.recipes.rules import LARGEST_BETA
from copick_tools.recipes.thresholds import Thresholds
from copick_tools.types import Points
from copick_tools.volumes.extraction import Found, Particle, from_probabilities
from copick_tools.workflows.learn import Learning, Sized, learn
from copick_tools.workflows.predict import THRESHOLDS, Model
from copick_tools.workflows.scoring import few_runs

Progress = Callable[[int, int], None]

VOXELS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)  # least 1 - P(background) that are tried
PEAK = 0.1  # least probability of a peak that is looked at; its score then decides
SMOOTHINGS = (0.25, 0.5)  # of peaks
MASKS = (0.35, 0.5, 0.65)  # least probabilities of a voxel for the methods of other tools
OTHERS = ("mean-pool", "mean-shift")  # those methods: slower, and tried only where they are asked for, or the recipe's


@dataclass(frozen=True)
class Calibrating:
    """What to learn from; reference: empty: the task's. betas: beside the task's and 1. methods: empty: all.

    calibration: auto, isotonic, temperature or none.
    """

    tomogram: TomogramUri
    reference: tuple[PicksUri, ...]
    betas: tuple[float, ...] = ()
    methods: tuple[str, ...] = ()
    calibration: str = "auto"
    split: str | None = None

    @property
    def options(self) -> list[str]:
        """As they are typed."""
        given = [("--beta", f"{beta:g}") for beta in self.betas] + [("--method", method) for method in self.methods]
        return [part for pair in (*given, ("--calibration", self.calibration)) for part in pair]


@dataclass(frozen=True)
class Plan:
    """A calibration that can be carried out. warnings: what makes its result mean less."""

    model: Model
    checkpoint: Path
    project: Project
    runs: tuple[str, ...]
    asked: Calibrating
    out: Path
    warnings: tuple[str, ...] = ()


def plan_calibration(
    model: Model,
    checkpoint: Path,
    project: Project,
    run_names: Sequence[str],
    asked: Calibrating,
    out: Path | None = None,
) -> Plan:
    """Find the runs: of the split that is asked for, else of the recipe's validation split.

    Raises UsageError (compartments, no validation split), NotFoundError (no such run or split).
    """
    recipe = model.card.recipe
    if not model.particles:
        raise UsageError("there is nothing to calibrate")
    split = asked.split or (None if run_names else recipe.validation_split)
    if split is None and not run_names:
        raise UsageError("the recipe has no validation split", "say which runs: --split NAME or -r")
    if asked.calibration not in ("auto", "isotonic", "temperature", "none"):
        raise UsageError(f"no calibration '{asked.calibration}'", "auto, isotonic, temperature or none")
    if any(not 0 < beta < LARGEST_BETA for beta in asked.betas):
        raise UsageError(f"--beta has to be a positive number below {LARGEST_BETA:g}")
    if out is None and model.several:
        raise UsageError("the thresholds of several checkpoints belong beside none of them", "say where: --out FILE")
    runs = tuple(sorted(splits.runs(project, split, run_names)))
    reference = asked.reference or (uris.picks_uri(recipe.reference or model.card.task.reference),)
    asked = replace(asked, split=split, reference=reference)
    return Plan(
        model,
        checkpoint,
        project,
        runs,
        asked,
        out or checkpoint.with_name(THRESHOLDS),
        seen_in_training(model.paths, runs),
    )


def finished(plan: Plan) -> Thresholds | None:
    """The thresholds that are there already; None where there are none. Raises PopsicleError where they are others."""
    if not plan.out.exists():
        return None
    found = parse(Thresholds, read_yaml(plan.out), where=str(plan.out))
    asked = plan.asked
    same = (
        found.checkpoint == plan.model.identity
        and found.config == str(plan.project.config)
        and found.runs == list(plan.runs)
        and found.tomogram == str(asked.tomogram)
        and found.reference == [str(uri) for uri in asked.reference]
        and found.asked == asked.options
        and found.inference == inference_of(plan.model)
    )
    if not same:
        raise PopsicleError(
            f"{plan.out} holds thresholds of another checkpoint or project, of other runs or of other options",
            "--overwrite replaces them; or choose another --out",
        )
    return found


def calibrate(plan: Plan, progress: Progress) -> Thresholds:
    """Predict the runs, extract candidates in several ways, choose, and write; runs that an earlier call predicted aren't again.

    Raises NotFoundError (no reference), PopsicleError (a run that can't be predicted, picks too dense to match).
    """
    model, project, runs, asked = plan.model, plan.project, plan.runs, plan.asked
    ways = ways_to_pick(model.card.recipe.pick, asked.methods)
    reference = {run: read.read_picks(project, run, asked.reference) for run in runs}
    read.require_picks(project, runs, asked.reference, "reference")
    parts = Parts(plan.out, _fingerprint(plan, ways))
    found: list[Any] = []
    for number, run in enumerate(runs):
        progress(number, len(runs))
        held = parts.read(run)
        if held is None:
            held = _candidates(model, project, run, asked.tomogram, ways)
            parts.write(run, held)
        found.append(held)
    progress(len(runs), len(runs))
    learning = Learning(
        model.card.task, reference, ways, _by_way(runs, found, len(ways)), asked.calibration, asked.methods
    )
    betas = tuple(dict.fromkeys((model.card.task.metric.beta, 1.0, *asked.betas)))
    try:
        settings, warnings = learn(learning, betas)
    except TooDense as error:
        raise PopsicleError(str(error), "are the reference picks those of these tomograms?") from error
    thresholds = Thresholds(
        task=model.card.task.name,
        checkpoint=plan.model.identity,
        config=str(project.config),
        tomogram=str(asked.tomogram),
        reference=[str(uri) for uri in asked.reference],
        split=asked.split,
        runs=list(runs),
        folds=int(fold_of_runs(len(runs)).max()) + 1,
        inference=inference_of(model),
        asked=asked.options,
        settings=settings,
        warnings=[*plan.warnings, *few_runs(len(runs)), *warnings],
    )
    write_text(plan.out, dump_yaml(thresholds))
    parts.clear()
    return thresholds


def seen_in_training(checkpoints: Sequence[Path], runs: Sequence[str]) -> tuple[str, ...]:
    """A warning for each checkpoint whose own experiment says that some of the runs were trained on."""
    found = []
    for path in checkpoints:
        data = read_document(path.with_name("data.json"), ExperimentData, "train again")
        trained = sorted(set(data.train) & set(runs)) if data else []
        which = f"checkpoint {path}" if len(checkpoints) > 1 else "the checkpoint"
        if trained:
            found.append(f"{which} was trained on {', '.join(trained)}: thresholds learned there are too sure of it")
    return tuple(found)


def ways_to_pick(recipe: Pick, methods: Sequence[str] = ()) -> tuple[Pick, ...]:
    """What is tried: the recipe's way first, then each method at several thresholds. methods: empty: all but `OTHERS`.

    Mean shift clusters all objects that are picked by it together: candidates are learned from with all of them at one
    threshold.
    """
    tried: list[dict[str, Any]] = [{"method": "components", "threshold": value} for value in VOXELS]
    tried += [{"method": "watershed", "threshold": 0.35}]
    tried += [{"method": "peaks", "threshold": PEAK, "smoothing": value} for value in SMOOTHINGS]
    tried += [{"method": method, "threshold": value} for method in OTHERS for value in MASKS]
    wanted = methods or ("components", "watershed", "peaks", recipe.method)
    others = [recipe.model_copy(update=way) for way in tried if way["method"] in wanted]
    return tuple(dict.fromkeys((recipe, *others)))


def _candidates(
    model: Model, project: Project, run: str, tomogram: TomogramUri, ways: Sequence[Pick]
) -> list[dict[str, dict[str, Any]]]:
    """One run's candidates, of each way and object, as JSON."""
    from copick_tools.inference.extract import Wanted

    stored, particles = read.read_tomogram(project, run, tomogram), model.particles
    by_way = [dict.fromkeys((p.name for p in particles), way) for way in ways]
    wanted = functools.reduce(operator.or_, (Wanted.for_picks(settings, particles) for settings in by_way))
    prediction = model.predict(stored, stored.voxel_spacing, f"run {run}", wanted=wanted)
    grid = picking.Grid(prediction.shape, prediction.voxel_spacing, prediction.origin)
    rows = []
    for settings in by_way:
        found = from_probabilities(
            prediction.probabilities, particles, grid.voxel_spacing, picking.extractions(settings)
        )
        rows.append({p.name: _row(found[p.name], p, grid) for p in particles})
    return rows


def _row(found: Found, particle: Particle, grid: picking.Grid) -> dict[str, Any]:
    points = picking.points(found, grid)
    fractions = picking.volume_fractions(found, particle, grid.voxel_spacing)
    return {"xyz": points.positions.tolist(), "scores": points.scores.tolist(), "volumes": fractions.tolist()}


def _by_way(runs: Sequence[str], found: Sequence[Any], ways: int) -> tuple[dict[str, dict[str, Sized]], ...]:
    return tuple(
        {
            run: {
                name: Sized(Points.at(row["xyz"], row["scores"]), np.asarray(row["volumes"], dtype=float))
                for name, row in held[way].items()
            }
            for run, held in zip(runs, found)
        }
        for way in range(ways)
    )


def _fingerprint(plan: Plan, ways: Sequence[Pick]) -> Any:
    """What the candidates of a run depend on."""
    return {
        "checkpoint": plan.model.identity,
        "project": str(plan.project.config),
        "tomogram": str(plan.asked.tomogram),
        "ways": [way.model_dump() for way in ways],
        "inference": inference_of(plan.model),
        "version": __version__,
    }


def inference_of(model: Model) -> dict[str, float | str]:
    """How the predictor tiles, where it says so; of several that are averaged, what they have in common."""
    members = getattr(model.predictor, "members", [model.predictor])
    told = {key: {getattr(member, key, None) for member in members} for key in ("overlap", "tta")}
    return {key: value for key, (value, *others) in told.items() if value is not None and not others}
