"""popsicle targets"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options
from copick_tools.cli.base import Command
from copick_tools.cli.walking import walk
from copick_tools.errors import UsageError


@click.command(cls=Command)
@click.argument("recipe", required=False)
@options.config
@click.option(
    "-i",
    "--input",
    "reference",
    multiple=True,
    metavar="PICKS",
    help="Picks to paint; repeat for more. [default: the recipe's]",
)
@click.option(
    "-o",
    "--output",
    "segmentation",
    metavar="SEGMENTATION",
    required=True,
    help="For example targets:popsicle/0?multilabel=true.",
)
@click.option("--tomogram", metavar="TOMOGRAM", help="Sets the grid, for example wbp@10.012. [default: the recipe's]")
@click.option(
    "--kind", metavar="spheres|gaussian", help="gaussian: heatmaps, stored as features. [default: the recipe's]"
)
@click.option("--radius-fraction", type=float, help="Of the radius, for spheres. [default: the recipe's]")
@click.option("--sigma-fraction", type=float, help="Of the radius, for heatmaps. [default: the recipe's]")
@click.option(
    "--region", metavar="SEGMENTATION", help="Binary; outside, voxels get the ignore label. [default: the recipe's]"
)
@click.option("--ignore-label", type=int, help="What voxels outside the region get. [default: 255]")
@options.run_names
@options.split
@options.settings
@options.workers
@options.overwrite
@options.as_json
def targets(
    recipe: str | None, config: Path, segmentation: str, run_names: tuple[str, ...], split: str | None, **given: Any
) -> None:
    """Paint dense targets from picks: by RECIPE, or by -i and --tomogram.

    \b
    Where spheres overlap, the nearest center (relative to the radius) wins. A run without picks is all background.
    Example: popsicle targets -c sim/copick.json -i "*:simulation/0" --tomogram wbp@10.012 -o "targets:popsicle/0?multilabel=true"
    `train` paints its targets itself; these are for looking at and for other tools.
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_recipe, load_task, parse
    from copick_tools.recipes.recipe import Target
    from copick_tools.workflows.targets import Painting
    from copick_tools.workflows.targets import targets as run_targets

    base = load_recipe(recipe, given["settings"]) if recipe else None
    reference = given["reference"] or ((base.reference or load_task(base.task).reference,) if base else ())
    tomogram = given["tomogram"] or (base.input if base else None)
    if not reference or not tomogram:
        raise UsageError("nothing says what to paint", "give a recipe, or -i and --tomogram")
    keys = ("kind", "radius_fraction", "sigma_fraction", "region", "ignore_label")
    chosen = {key: given[key] for key in keys if given[key] is not None}
    target = parse(Target, {**(base.target.model_dump() if base else {}), **chosen}, where="target")
    painting = Painting(
        uris.tomogram_uri(tomogram),
        tuple(uris.picks_uri(text) for text in reference),
        uris.segmentation_uri(segmentation, output=True),
        target,
        uris.segmentation_uri(target.region) if target.region else None,
    )
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    results = run_targets(project, runs, painting, overwrite=given["overwrite"], workers=given["workers"])
    walk(results, runs, segmentation, given["as_json"])
