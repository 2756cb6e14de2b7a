"""popsicle evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.data.project import Project
    from copick_tools.recipes.results import Evaluation
    from copick_tools.recipes.task import Task
    from copick_tools.workflows.evaluate import Question
    from copick_tools.workflows.evaluate_instances import InstanceQuestion
    from copick_tools.workflows.evaluate_segmentations import SegmentationQuestion

POINTS = ("rule", "beta", "distance", "distance_multiplier")
SEMANTIC = ("absent", "tolerance", "resample", "surface", "centerline")
INSTANCES = ("resample", "network")
KINDS = {"picks": POINTS, "segmentations": SEMANTIC, "instances": INSTANCES}


@click.command(cls=Command)
@options.config
@click.option(
    "-i",
    "--input",
    "prediction",
    multiple=True,
    required=True,
    metavar="URI",
    help='Picks ("*:unet/1") or a segmentation; of instances with ?instance=true or ?panoptic=true.',
)
@click.option("--reference", multiple=True, metavar="URI", help='For example "*:simulation/0". [default: the task\'s]')
@click.option("--baseline", multiple=True, metavar="URI", help="A second prediction to compare with, run by run.")
@click.option("--task", metavar="TASK", help="Takes objects, radii, weights, beta and rule from a task.")
@options.rule
@options.beta
@options.distance
@options.distance_multiplier
@options.missing
@click.option(
    "--absent",
    type=click.Choice(["skip", "one"]),
    help="Segmentations: an object on neither side of a run is left out, or scores 1. [default: skip]",
)
@click.option("--resample", is_flag=True, help="Segmentations: bring predictions onto the reference's grid.")
@click.option(
    "--tolerance",
    type=float,
    help="Segmentations: of surface Dice, in angstrom. [default: two voxels of the reference]",
)
@click.option("--surface", multiple=True, metavar="OBJECT", help="Segmentations: surface Dice of this one, too.")
@click.option("--centerline", multiple=True, metavar="OBJECT", help="Segmentations: centre-line Dice of this one, too.")
@click.option(
    "--network", multiple=True, metavar="OBJECT", help="Instances: VOI, adapted Rand error and clDice of this one, too."
)
@click.option("--out", type=FilePath(file_okay=False), help="Folder for scores.json, and matches.csv of picks.")
@options.run_names
@options.split
@options.as_json
def evaluate(
    config: Path,
    prediction: tuple[str, ...],
    reference: tuple[str, ...],
    baseline: tuple[str, ...],
    task: str | None,
    missing: str | None,
    out: Path | None,
    run_names: tuple[str, ...],
    split: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Score picks, or segmentations, against a reference.

    \b
    popsicle evaluate -c sim/copick.json -i "*:unet/1" --task phantom-sim --split test
    popsicle evaluate -c sim/copick.json -i "cells:unet/1@10.012?multilabel=true" --task yeast --split test
    popsicle evaluate -c sim/copick.json -i "*:unet/1?instance=true" --reference "*:simulation/0?instance=true"
    For picks the rule kaggle is the official code of the task's challenge; one-to-one is a maximum matching.
    See also: popsicle report, popsicle score
    """
    from copick_tools.data import splits
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_task

    benchmark = load_task(task) if task else None
    wanted = reference or ((benchmark.reference,) if benchmark else ())
    if not wanted:
        raise UsageError("nothing to score against", "give --reference, or --task")
    kind = _kind(prediction, (*reference, *baseline), benchmark)
    if kind == "instances" and benchmark and benchmark.metric.name != "instances" and not reference:
        raise UsageError(
            f"the reference of task {benchmark.name}, {benchmark.reference}, names no instances",
            "name one with --reference, which ends in ?instance=true or ?panoptic=true",
        )
    for foreign in dict.fromkeys(name for names in KINDS.values() for name in names):
        if foreign not in KINDS[kind] and given[foreign] not in (None, False, ()):
            raise UsageError(f"--{foreign.replace('_', '-')} isn't for {kind}", "see popsicle evaluate --help")
    common: dict[str, Any] = {"task": benchmark, "split": None if run_names else split}
    common |= {"missing": missing} if missing else {}
    ask = {"picks": _about_picks, "segmentations": _about_segmentations, "instances": _about_instances}[kind]
    asked = ask((prediction, wanted, baseline), given, common)
    project = open_project(config)
    _answer(project, splits.runs(project, split, run_names), asked, out, as_json)


def _kind(prediction: tuple[str, ...], others: tuple[str, ...], task: Task | None) -> str:
    """What is scored, one of KINDS: instances where the URIs say so; else as the task is scored, or as all URIs say."""
    from copick_tools.data.uris import names_instances, names_segmentation

    uris = (*prediction, *others)
    if any(names_instances(uri) for uri in uris):
        for plain in (uri for uri in uris if not names_instances(uri)):
            raise UsageError(
                f"{plain} names no instances, others do", "all URIs end in ?instance=true or ?panoptic=true"
            )
        return "instances"
    named = [uri for uri in uris if names_segmentation(uri)]
    if task is None:
        if named and len(named) < len(uris):
            plain = next(uri for uri in uris if uri not in named)
            raise UsageError(
                f"{named[0]} is a segmentation, {plain} reads as picks",
                "a segmentation's URI ends in @SPACING, ?multilabel=true or both",
            )
        return "segmentations" if named else "picks"
    if named and task.metric.name == "fbeta":
        raise UsageError(f"{named[0]} is a segmentation, task {task.name} is scored by picks", "see popsicle pick")
    if task.metric.name == "instances":
        plain = (named or uris)[0]
        raise UsageError(f"{plain} names no instances, task {task.name} is scored by them", "see popsicle instances")
    return "segmentations" if task.metric.name == "dice" else "picks"


def _about_picks(sides: tuple[tuple[str, ...], ...], given: dict[str, Any], common: dict[str, Any]) -> Question:
    from copick_tools.data.uris import picks_uri
    from copick_tools.recipes.rules import Overrides
    from copick_tools.workflows.evaluate import Question

    prediction, reference, baseline = (tuple(picks_uri(text) for text in texts) for texts in sides)
    overrides = Overrides(**{name: given[name] for name in POINTS})
    return Question(prediction, reference, overrides=overrides, baseline=baseline, **common)


def _about_segmentations(
    sides: tuple[tuple[str, ...], ...], given: dict[str, Any], common: dict[str, Any]
) -> SegmentationQuestion:
    from copick_tools.workflows.evaluate_segmentations import SegmentationQuestion

    chosen = {name: given[name] for name in SEMANTIC if given[name] is not None}
    return SegmentationQuestion(**_one_each(sides), **chosen, **common)


def _about_instances(
    sides: tuple[tuple[str, ...], ...], given: dict[str, Any], common: dict[str, Any]
) -> InstanceQuestion:
    from copick_tools.workflows.evaluate_instances import InstanceQuestion

    return InstanceQuestion(**_one_each(sides), **{name: given[name] for name in INSTANCES}, **common)


def _one_each(sides: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """The URIs of a question: prediction, reference, baseline."""
    from copick_tools.data.uris import segmentation_uri

    for texts in sides:
        if len(texts) > 1:
            raise UsageError(f"{' '.join(texts)}: one segmentation is scored against one", "give each option once")
    prediction, reference, baseline = (segmentation_uri(texts[0]) if texts else None for texts in sides)
    if prediction is None or reference is None:
        raise UsageError("a segmentation is scored against one", "give -i and --reference")
    return {"prediction": prediction, "reference": reference, "baseline": baseline}


def _answer(
    project: Project,
    runs: list[str],
    asked: InstanceQuestion | SegmentationQuestion | Question,
    out: Path | None,
    as_json: bool,
) -> None:
    from copick_tools.cli.scores import show
    from copick_tools.workflows.evaluate import Question, evaluate
    from copick_tools.workflows.evaluate_instances import InstanceQuestion, evaluate_instances
    from copick_tools.workflows.evaluate_segmentations import evaluate_segmentations
    from copick_tools.workflows.scoring import write_scores

    result: Evaluation
    if isinstance(asked, Question):
        answer = evaluate(project, runs, asked)
        result = answer.result
        if out:
            answer.write(out)
    else:
        with output.progress("evaluate") as move:
            if isinstance(asked, InstanceQuestion):
                result = evaluate_instances(project, runs, asked, move)
            else:
                result = evaluate_segmentations(project, runs, asked, move)
        if out:
            write_scores(result, out)
    if out:
        output.note(f"wrote {out / 'scores.json'}")
    if as_json:
        output.document(result)
    else:
        show(result)
