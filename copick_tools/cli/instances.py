"""popsicle instances"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import walk
from copick_tools.errors import FormatError, UsageError

if TYPE_CHECKING:
    from copick_tools.recipes.instancing import Methods
    from copick_tools.recipes.review_results import InstancesPlan

METHOD = (
    *("method", "connectivity", "min_volume", "max_volume", "neck", "seed_depth", "seed_distance"),
    *("boundary", "boundary_object", "threshold", "clearance", "join"),
)
SECTIONS = {
    "What is an instance": ("methods", "class_aware", *METHOD[:4], "voxel_spacing"),
    "Method watershed": METHOD[4:7],
    "Method bounded": METHOD[7:11],
    "Method network": METHOD[11:],
}


@click.command(cls=Command, sections=SECTIONS)
@options.config
@click.option(
    "-i",
    "--input",
    "segmentation",
    metavar="SEGMENTATION",
    required=True,
    help="For example cells:unet/1?multilabel=true.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    metavar="SEGMENTATION",
    required=True,
    help="One object: vesicle:unet/1?instance=true. Several: cells:unet/1?panoptic=true.",
)
@click.option(
    "--methods",
    type=FilePath(),
    help="YAML of a method for each object, in place of the options below.",
)
@click.option(
    "--class-aware/--no-class-aware",
    default=None,
    help="Only voxels of one object are an instance. [default: they are]",
)
@click.option(
    "--method", type=click.Choice(["components", "network", "watershed", "bounded"]), help="[default: components]"
)
@click.option(
    "--connectivity",
    type=click.Choice(["6", "18", "26"]),
    help="Neighbors of a voxel: by faces, edges, corners. [default: 26]",
)
@click.option("--min-volume", type=float, help="nm3; smaller instances are left out.")
@click.option("--max-volume", type=float, help="nm3; larger instances are left out.")
@click.option("--neck", type=float, help="Parts are two up to this width between them, of the narrower. [default: 0.7]")
@click.option("--seed-depth", type=float, help="nm by which a neck is narrower, at least. [default: a voxel]")
@click.option("--seed-distance", type=float, help="nm; of seeds that are nearer only the deepest one stays.")
@click.option("--boundary", metavar="URI", help="Binary segmentation, or a map stored as a tomogram.")
@click.option("--boundary-object", metavar="OBJECT", help="The one that counts in a multilabel boundary.")
@click.option("--threshold", type=float, help="From this value on a voxel is of a boundary. [default: 0.5]")
@click.option("--clearance", type=float, help="nm from boundaries where seeds begin; closes gaps. [default: 0]")
@click.option("--join", type=float, help="nm; fragments that near are one network. [default: 0]")
@click.option("--voxel-spacing", type=float, help="Angstrom; tell apart on this grid. [default: the input's]")
@options.run_names
@options.split
@options.workers
@options.overwrite
@options.dry_run
@options.as_json
def instances(
    config: Path,
    segmentation: str,
    destination: str,
    run_names: tuple[str, ...],
    split: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Turn semantic segmentations into instances: components (3D LPA), touching objects taken apart, networks.

    \b
    Examples: popsicle instances -i "cells:unet/1?multilabel=true" -o "cells:unet/1?panoptic=true"
      popsicle instances -i "vesicle:unet/1@10.012" -o "vesicle:unet/1?instance=true" --method watershed --min-volume 500
    See also: popsicle review, which ranks what to look at; popsicle pick --instances for particles
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.workflows import semantic_instances as workflow

    wanted = workflow.Instancing(
        uris.segmentation_uri(segmentation),
        uris.segmentation_uri(destination, output=True),
        _methods(given),
        given["voxel_spacing"],
    )
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    if given["dry_run"]:
        _show(workflow.plan(project, runs, wanted, overwrite=given["overwrite"]), as_json)
        return
    made = workflow.instances(project, runs, wanted, overwrite=given["overwrite"], workers=given["workers"])
    walk(made, runs, destination, as_json)


def _methods(given: dict[str, Any]) -> Methods:
    """Those of the YAML, or one for all objects. Raises UsageError, NotFoundError, FormatError."""
    from copick_tools.recipes.instancing import Methods
    from copick_tools.recipes.load import parse, read_yaml

    single = {key: given[key] for key in METHOD if given[key] is not None}
    aware = {} if given["class_aware"] is None else {"class_aware": given["class_aware"]}
    if given["methods"] is not None:
        if single or aware:
            option = next(iter([*single, "class_aware"])).replace("_", "-")
            raise UsageError(f"--{option} doesn't go with --methods", "say it in the YAML, for each object")
        return parse(Methods, read_yaml(given["methods"]), where=str(given["methods"]))
    if "connectivity" in single:
        single["connectivity"] = int(single["connectivity"])
    try:
        return parse(Methods, {**aware, "others": single}, where="--")
    except FormatError as error:
        raise UsageError(_as_typed(error.message), error.hint) from error


def _as_typed(message: str) -> str:
    """What `parse` says of keys, said of options.

    >>> _as_typed("--: others.min_volume: Input should be a number (got 'x')")
    "--min-volume: Input should be a number (got 'x')"
    >>> _as_typed("--: others: join goes with method network, not components (got {'join': 4})")
    'join goes with method network, not components'
    """
    said = message.removeprefix("--: ").replace("class_aware: false", "--no-class-aware")
    key, _, reason = said.partition(": ")
    if key == "others" or " " in key:  # it is about several options
        text = said.removeprefix("others: ").partition(" (got {")[0]
    else:
        text = f"--{key.removeprefix('others.')}: {reason}"
    return text.replace("_", "-")


def _show(plan: InstancesPlan, as_json: bool) -> None:
    """What would be done."""
    if as_json:
        output.document(plan)
        return
    for name in plan.objects:
        method = plan.methods.of(name)
        if method is not None:
            settings = method.model_dump(exclude_defaults=True)
            words = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "method")
            output.note(f"{name}: {method.method}" + (f", {words}" if words else ""))
    output.table([[row.run, row.status, row.error or ""] for row in plan.runs], ["run", "status", ""])
