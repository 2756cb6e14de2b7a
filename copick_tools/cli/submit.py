"""popsicle submit"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath


@click.command(cls=Command)
@options.config
@click.option("-i", "--input", "picks", multiple=True, required=True, metavar="PICKS", help='For example "*:unet/1".')
@click.option("--task", required=True, metavar="TASK", help="phantom or motorbench.")
@click.option("--out", type=FilePath(), required=True, help="The CSV file.")
@click.option("--threshold", type=float, help="Least score of a pick. [default: 0]")
@click.option(
    "--tomogram",
    metavar="TOMOGRAM",
    help="motorbench: whose voxels to count in. [default: the run's, where they agree]",
)
@options.missing
@options.run_names
@options.split
@options.overwrite
@options.as_json
def submit(
    config: Path,
    picks: tuple[str, ...],
    task: str,
    out: Path,
    threshold: float | None,
    tomogram: str | None,
    missing: str | None,
    run_names: tuple[str, ...],
    split: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write picks as a challenge's submission. It only formats: no pick is moved.

    \b
    phantom: a row per pick in angstrom. motorbench: a row per run with its best pick in voxels (z y x), or -1.
    Example: popsicle submit -c project -i "*:unet/1" --task phantom --split test --out submission.csv
    See also: popsicle score
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_task
    from copick_tools.workflows.submit import Submit
    from copick_tools.workflows.submit import submit as run_submit

    given = {"threshold": threshold, "tomogram": uris.tomogram_uri(tomogram) if tomogram else None, "missing": missing}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    wanted = Submit(tuple(uris.picks_uri(text) for text in picks), load_task(task), **chosen)
    project = open_project(config)
    result = run_submit(project, splits.runs(project, split, run_names), wanted, out, overwrite=overwrite)
    for warning in result.warnings:
        output.words(f"Warning: {warning}")
    if as_json:
        output.document(result)
    else:
        output.result(f"{result.output}: {result.picks} picks in {result.runs} runs")
