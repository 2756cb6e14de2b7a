"""popsicle pick"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options, predicting
from copick_tools.cli.base import Command
from copick_tools.cli.walking import walk


@click.command(cls=Command, sections=predicting.SECTIONS)
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
@click.option("--method", type=click.Choice(["components", "mean-shift", "watershed"]), help="[default: components]")
@click.option(
    "--radius-fraction",
    type=float,
    help="Of the radius, the ball that a whole particle was painted as. [default: told from the data]",
)
@predicting.sizes("as in recipes")
@predicting.bandwidth
@predicting.where
@predicting.instances
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
    """Turn label volumes into picks: connected components, touching particles taken apart, or clusters by mean shift.

    \b
    The score compares a pick's volume to a whole particle's; it isn't calibrated.
    Example: popsicle pick -c sim/copick.json -i "unet:unet/1?multilabel=true" -o :unet/1
    See also: popsicle localize, which scores by probability
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.recipes.recipe import Pick
    from copick_tools.workflows.pick import Picking
    from copick_tools.workflows.pick import pick as run_pick
    from copick_tools.workflows.predict import changed

    wanted = Picking(
        uris.segmentation_uri(segmentation),
        uris.picks_uri(picks, output=True),
        changed(Pick(), predicting.take_options(given).given),
        given["radius_fraction"],
        predicting.take_where(given),
        given["instances"],
    )
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    walk(run_pick(project, runs, wanted, overwrite=overwrite, workers=workers), runs, picks, as_json, "volume")
