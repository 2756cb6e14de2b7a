"""popsicle evaluate"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.data.project import Project
    from copick_tools.recipes.rules import Overrides
    from copick_tools.recipes.task import Task


@dataclass(frozen=True)
class Asked:
    """What picks and segmentations have in common."""

    prediction: tuple[str, ...]
    reference: tuple[str, ...]
    baseline: tuple[str, ...]
    task: Task | None
    missing: str
    split: str | None


@click.command(cls=Command)
@options.config
@click.option(
    "-i",
    "--input",
    "prediction",
    multiple=True,
    required=True,
    metavar="URI",
    help='Picks ("*:unet/1") or a segmentation.',
)
@click.option("--reference", multiple=True, metavar="URI", help='For example "*:simulation/0". [default: the task\'s]')
@click.option("--baseline", multiple=True, metavar="URI", help="A second prediction to compare with, run by run.")
@click.option("--task", metavar="TASK", help="Takes objects, radii, weights, beta and rule from a task.")
@options.rule
@options.beta
@options.distance
@options.distance_multiplier
@click.option(
    "--missing", type=click.Choice(["error", "empty"]), default="error", help="What a run without prediction is."
)
@click.option(
    "--absent",
    type=click.Choice(["skip", "one"]),
    default="skip",
    help="Segmentations: an object on neither side of a run is left out, or scores 1.",
)
@click.option("--resample", is_flag=True, help="Segmentations: bring predictions onto the reference's grid.")
@click.option(
    "--tolerance",
    type=float,
    help="Segmentations: of surface Dice, in angstrom. [default: two voxels of the reference]",
)
@click.option("--surface", multiple=True, metavar="OBJECT", help="Segmentations: surface Dice of this one, too.")
@click.option("--centerline", multiple=True, metavar="OBJECT", help="Segmentations: centre-line Dice of this one, too.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for scores.json, and matches.csv of picks.")
@options.run_names
@options.split
@options.as_json
def evaluate(
    config: Path,
    prediction: tuple[str, ...],
    reference: tuple[str, ...],
    baseline: tuple[str, ...],
    task: str | None,
    rule: str | None,
    beta: float | None,
    distance: float | None,
    distance_multiplier: float | None,
    missing: str,
    absent: str,
    resample: bool,
    tolerance: float | None,
    surface: tuple[str, ...],
    centerline: tuple[str, ...],
    out: Path | None,
    run_names: tuple[str, ...],
    split: str | None,
    as_json: bool,
) -> None:
    """Score picks, or segmentations, against a reference.

    \b
    popsicle evaluate -c sim/copick.json -i "*:unet/1" --task phantom-sim --split test
    popsicle evaluate -c sim/copick.json -i "cells:unet/1@10.012?multilabel=true" --task yeast --split test
    For picks the rule kaggle is the official code of the task's challenge; one-to-one is a maximum matching.
    See also: popsicle report, popsicle score
    """
    from copick_tools.data import splits
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import Overrides

    benchmark = load_task(task) if task else None
    wanted = reference or ((benchmark.reference,) if benchmark else ())
    if not wanted:
        raise UsageError("nothing to score against", "give --reference, or --task")
    overrides = Overrides(rule, beta, distance, distance_multiplier)
    semantic = {"--resample": resample, "--tolerance": tolerance, "--surface": surface, "--centerline": centerline}
    points = {
        "--rule": rule,
        "--beta": beta,
        "--distance": distance,
        "--distance-multiplier": distance_multiplier,
    }
    segmentations = _segmentations(prediction, wanted, benchmark)
    _refuse("segmentations" if segmentations else "picks", points if segmentations else semantic)
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    asked = Asked(prediction, wanted, baseline, benchmark, missing, split if not run_names else None)
    if segmentations:
        extra = Extra(cast(Literal["skip", "one"], absent), tolerance, resample, surface, centerline)
        _evaluate_segmentations(project, runs, asked, extra, Destination(out, as_json))
    else:
        _evaluate_points(project, runs, asked, overrides, Destination(out, as_json))


@dataclass(frozen=True)
class Extra:
    """What only segmentations have."""

    absent: Literal["skip", "one"]
    tolerance: float | None
    resample: bool
    surface: tuple[str, ...]
    centerline: tuple[str, ...]


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    out: Path | None
    as_json: bool


def _segmentations(prediction: Sequence[str], reference: Sequence[str], task: Task | None) -> bool:
    """Whether segmentations are meant: by the task, else by their URIs, which have a voxel spacing or a kind."""
    if task:
        return task.metric.name == "dice"
    return any("@" in text or "=" in text for text in (*prediction, *reference))


def _refuse(what: str, foreign: dict[str, object]) -> None:
    given = [option for option, value in foreign.items() if value not in (None, False, ())]
    if given:
        raise UsageError(f"{given[0]} isn't for {what}", "see popsicle evaluate --help")


def _evaluate_points(
    project: Project, runs: list[str], asked: Asked, overrides: Overrides, destination: Destination
) -> None:
    from copick_tools.cli.scores import show_points
    from copick_tools.data.uris import picks_uri
    from copick_tools.workflows.evaluate import Question, evaluate

    prediction, reference, baseline = (
        tuple(picks_uri(text) for text in texts) for texts in (asked.prediction, asked.reference, asked.baseline)
    )
    answer = evaluate(
        project, runs, Question(prediction, reference, asked.task, overrides, asked.missing, baseline, asked.split)
    )
    out = destination.out
    if out:
        answer.write(out)
        output.note(f"wrote {out / 'scores.json'} and {out / 'matches.csv'}")
    if destination.as_json:
        output.document(answer.result)
    else:
        show_points(answer.result)


def _evaluate_segmentations(
    project: Project, runs: list[str], asked: Asked, extra: Extra, destination: Destination
) -> None:
    from copick_tools.cli.scores import show_segmentations
    from copick_tools.data.uris import segmentation_uri
    from copick_tools.workflows.evaluate_segmentations import (
        SegmentationQuestion,
        evaluate_segmentations,
        write_semantic,
    )

    several = [texts for texts in (asked.prediction, asked.reference, asked.baseline) if len(texts) > 1]
    if several:
        raise UsageError(f"{' '.join(several[0])}: one segmentation is scored against one", "give each option once")
    question = SegmentationQuestion(
        prediction=segmentation_uri(asked.prediction[0]),
        reference=segmentation_uri(asked.reference[0]),
        task=asked.task,
        absent=extra.absent,
        tolerance=extra.tolerance,
        resample=extra.resample,
        surface=extra.surface,
        centerline=extra.centerline,
        baseline=segmentation_uri(asked.baseline[0]) if asked.baseline else None,
        missing=asked.missing,
        split=asked.split,
    )
    with output.progress("evaluate") as move:
        result = evaluate_segmentations(project, runs, question, move)
    out = destination.out
    if out:
        write_semantic(result, out)
        output.note(f"wrote {out / 'scores.json'}")
    if destination.as_json:
        output.document(result)
    else:
        show_segmentations(result)
