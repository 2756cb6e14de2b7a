"""popsicle learning-curve"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.recipes.learning_curve_results import AnnotatedSubset, LearningCurvePlan, LearningCurveResult


@click.command(cls=Command)
@click.argument("recipe", metavar="RECIPE")
@options.config
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder of all trainings.")
@click.option(
    "--objects", metavar="N,N,…", help="Numbers of annotated objects, or all. [default: 1, 2, 4, … and all there are]"
)
@click.option("--repeats", type=click.IntRange(1), default=1, help="Trainings of each, with other objects.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the choice of objects, and of the trainings.")
@click.option("--split", default="test", metavar="NAME", help="The runs to score.")
@options.settings
@options.devices
@click.option("-w", "--workers", type=click.IntRange(1), default=1, help="Trainings at a time on each device.")
@options.dry_run
@options.as_json
def learning_curve(
    recipe: str,
    config: Path,
    out: Path,
    objects: str | None,
    repeats: int,
    seed: int,
    split: str,
    settings: tuple[str, ...],
    device: str,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train RECIPE with more and more annotated objects, and score each: how many does it take?

    \b
    Of each training tomogram only a part is annotated, which holds so many objects; more hold fewer. Every step is a command
    that you could type (--dry-run shows them), and none is done twice: started again, it goes on where it was.
    Example: popsicle learning-curve phantom-sim/tiny -c sim --objects 1,4,16,all --out curve
    See also: popsicle bench, popsicle report
    """
    from copick_tools.data.project import open_project
    from copick_tools.workflows import learning_curve as workflow

    devices = options.device_names(device) * workers
    asked = workflow.Asked(recipe, out, _objects(objects), repeats, seed, settings, split)
    plan = workflow.plan_curve(open_project(config), asked)
    if dry_run:
        _show_left(workflow.left(plan, devices[0]), as_json)
        return
    with output.progress("learning curve") as progress:
        result = workflow.learning_curve(plan, progress, devices)
    if as_json:
        output.document(result)
    else:
        _show(result)
    if any(step.status == "failed" for step in result.steps):
        click.get_current_context().exit(1)


def _objects(text: str | None) -> tuple[int | None, ...]:
    """``1,2,all``; None is all. Raises UsageError."""
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word == "all" or (word.isdecimal() and int(word) > 0) for word in words):
        raise UsageError(f"--objects {text}: expected numbers from 1 up, or all", "for example --objects 1,4,16,all")
    return tuple(None if word == "all" else int(word) for word in words)


def _show_left(left: LearningCurvePlan, as_json: bool) -> None:
    """What would be done."""
    import shlex

    if as_json:
        output.document(left)
        return
    for subset in left.subsets:
        output.note(f"seed {subset.seed}: {_said(subset)}")
    if any(subset.region for subset in left.subsets):
        output.note("annotated regions are stored in the project when it starts, by user learning-curve")
    for command in left.commands:
        output.result(shlex.join(command))


def _said(subset: AnnotatedSubset) -> str:
    from copick_tools.reports.words import plural

    kinds = ", ".join(f"{count} {name}" for name, count in subset.by_object.items())
    of_all = f"{100 * subset.share:.1f} % of the voxels"
    return f"{plural(subset.objects, 'object')} ({kinds}) in {plural(len(subset.runs), 'run')}, {of_all}"


def _show(result: LearningCurveResult) -> None:
    """A row for each number of objects."""
    from copick_tools.reports.learning_curve import columns, rows
    from copick_tools.reports.words import plural

    output.table(rows(result), columns(result))
    for point in result.points:
        for error in point.errors:
            output.words(f"{plural(point.objects, 'object')}, {error}")
    for note in result.notes:
        output.note(note)
    output.note(f"{result.metric}, {plural(result.runs, 'run')} of split {result.split}; objects are {result.unit}")
