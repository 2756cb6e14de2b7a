"""popsicle pick"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options
from copick_tools.cli.base import Command
from copick_tools.cli.walking import walk


@click.command(cls=Command)
@options.config
@click.option(
    "-i",
    "--input",
    "segmentation",
    metavar="SEGMENTATION",
    required=True,
    help="For example cells:unet/1?multilabel=true.",
)
@click.option("-o", "--output", "picks", metavar="PICKS", required=True, help="For example :unet/1 for all objects.")
@click.option(
    "--radius-fraction", type=float, help="Size of a whole particle's ball, of the radius. [default: the target's]"
)
@click.option("--min-volume", type=float, help="Least volume, as a fraction of that ball's. [default: the recipe's]")
@click.option("--min-score", type=float, help="Least score. [default: 0]")
@options.run_names
@options.split
@options.workers
@options.overwrite
@options.as_json
def pick(
    config: Path,
    segmentation: str,
    picks: str,
    run_names: tuple[str, ...],
    split: str | None,
    workers: int,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Turn label volumes into picks: connected components, one pick each.

    \b
    The score compares a component's size to a whole particle's; it isn't calibrated.
    Example: popsicle pick -c sim/copick.json -i "unet:unet/1?multilabel=true" -o :unet/1
    See also: popsicle localize, which scores by probability
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.workflows.pick import Picking
    from copick_tools.workflows.pick import pick as run_pick

    chosen = {key: value for key, value in given.items() if value is not None}
    picking = Picking(uris.segmentation_uri(segmentation), uris.picks_uri(picks, output=True), **chosen)
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    walk(run_pick(project, runs, picking, overwrite=overwrite, workers=workers), runs, picks, as_json)
