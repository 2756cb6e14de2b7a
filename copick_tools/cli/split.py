"""popsicle split"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.recipes.data_results import SplitResult

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


@click.command(cls=Command)
@options.config
@click.option("--fractions", metavar="NAME=SHARE,…", help="Parts of the runs. [default: train=0.7,val=0.1,test=0.2]")
@click.option("--counts", metavar="NAME=NUMBER,…", help="Exact numbers of runs, all of them.")
@click.option("--folds", type=int, metavar="K", help="Splits fold-1 to fold-K, each run in one.")
@click.option(
    "--from",
    "source",
    type=FilePath(),
    help="A published list: JSON, CSV (run, split) or a Croissant's metadata.json.",
)
@click.option("--task", metavar="TASK", help="The numbers of runs that the paper states.")
@click.option("--partial", is_flag=True, help="With --from: leave out runs that only one side has.")
@click.option(
    "--group-by",
    multiple=True,
    metavar="KEY",
    help="Runs that share it stay together: dataset, species, a column of --metadata (specimen, grid, …), "
    "regex:PATTERN (its first group, of the run's name) or none; repeat for more. [default: specimen and grid, else "
    "dataset, as far as they are known]",
)
@click.option("--metadata", type=FilePath(), help="CSV with columns run and what is known of it.")
@click.option(
    "--reference", multiple=True, metavar="URI", help="Picks or segmentation to balance. [default: the task's]"
)
@click.option("--seed", type=int, default=0, help="Of the draw.")
@options.workers
@options.overwrite
@options.dry_run
@options.as_json
def split(
    config: Path,
    fractions: str | None,
    counts: str | None,
    folds: int | None,
    source: Path | None,
    task: str | None,
    workers: int,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Divide the runs of a project into train, val and test, or folds.

    \b
    Every split gets its share of each object and species, and runs that belong together are never torn apart.
    Example: popsicle split -c project --fractions train=0.8,test=0.2 --metadata runs.csv --group-by grid
    Written are splits.json and groups.json in the project's folder .popsicle.
    """
    ways = {"--fractions": fractions, "--counts": counts, "--folds": folds, "--from": source, "--task": task}
    chosen = [option for option, value in ways.items() if value is not None]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other", "give one of them")
    if given["seed"] < 0:
        raise UsageError(f"--seed {given['seed']}: a seed isn't negative")
    numbers = _shares(fractions) | _whole(counts)
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_task
    from copick_tools.workflows.split import SplitRequest
    from copick_tools.workflows.split import split as run_split

    benchmark = load_task(task) if task else None
    request = SplitRequest(**numbers, **given, folds=folds, source=source, task=benchmark)
    project = open_project(config)
    with output.progress("split") as move:
        result = run_split(project, request, overwrite=overwrite, dry_run=dry_run, workers=workers, progress=move)
    _show(result, project.sidecar / "splits.json", as_json)


def _show(result: SplitResult, written: Path, as_json: bool) -> None:
    from copick_tools.workflows.split_table import table

    for note in result.notes:
        output.note(note)
    for warning in result.warnings:
        output.words(f"Warning: {warning}")
    if as_json:
        output.document(result)
    else:
        header, rows = table(result.splits, result.unit)
        output.table(rows, header)
    if result.status != "kept":
        output.note("dry run: nothing is written" if result.status == "planned" else f"written: {written}")


def _shares(fractions: str | None) -> dict[str, Any]:
    return {} if fractions is None else {"fractions": _numbers("--fractions", fractions, "train=0.8,test=0.2")}


def _whole(counts: str | None) -> dict[str, Any]:
    parsed = {} if counts is None else _numbers("--counts", counts, "train=15,test=4")
    if any(value != int(value) for value in parsed.values()):
        raise UsageError(f"--counts {counts}: runs come whole", "--fractions takes shares")
    return {"counts": {name: int(value) for name, value in parsed.items()}} if parsed else {}


def _numbers(option: str, text: str, example: str) -> dict[str, float]:
    """`a=1,b=2` as numbers by name."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (NAME.fullmatch(name) and 0 <= number < math.inf):
            raise UsageError(f"{option} {text}: '{part.strip()}' is no NAME=NUMBER", f"for example {option} {example}")
        if name in found:
            raise UsageError(f"{option} {text}: {name} is there twice")
        found[name] = number
    return found
