"""popsicle models"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.predicting import MODELS


@click.group(context_settings=CONTEXT)
def models() -> None:
    """Model families: sizes, licenses, what to install."""


@models.command(name="ls", cls=Command)
@options.as_json
def list_models(as_json: bool) -> None:
    """List the model families."""
    from copick_tools.engines.describe import describe
    from copick_tools.engines.registry import FAMILIES

    found = [describe(name) for name in FAMILIES]
    if as_json:
        output.document([entry.model_dump(mode="json") for entry in found])
        return
    rows = [
        [m.family, _millions(m.parameters), _millions(m.state_dict_elements), m.extra or "-", m.license, m.title]
        for m in found
    ]
    output.table(rows, ["family", "parameters", "state_dict", "extra", "license", "title"])
    for hint in dict.fromkeys(m.missing for m in found if m.missing):
        output.note(f"not installed: {hint}")


def _millions(count: int | None) -> str:
    return f"{count / 1e6:.2f}M" if count else "-"


@models.command(name="show", cls=Command)
@click.argument("family")
@options.as_json
def show_model(family: str, as_json: bool) -> None:
    """Show FAMILY: a shipped one, the module path of your own, or what a checkpoint or an experiment folder holds.

    \b
    A name that is both a family's and a folder's is the family's: show ./nnunet shows the folder.
    parameters are what is trained; state_dict_elements what summing a checkpoint's tensors gives: shared ones count twice.
    Example: popsicle models show nnunet
    """
    from copick_tools.engines.describe import describe, describe_checkpoint
    from copick_tools.recipes.load import dump_yaml

    path = _checkpoint(family)
    found = describe(family) if path is None else describe_checkpoint(path)
    if as_json:
        output.document(found)
    else:
        output.result(dump_yaml(found).rstrip())


def _checkpoint(text: str) -> Path | None:
    """The checkpoint that is meant, None where it's a family. Raises UsageError for a model of another tool."""
    from copick_tools.engines.registry import FAMILIES
    from copick_tools.workflows.adopt import own_checkpoints

    path = Path(text)
    named = path.exists() or path.suffix in MODELS or any(mark in text for mark in "/\\")
    return own_checkpoints([path])[0] if named and text not in FAMILIES else None


@models.command(name="convert", cls=Command)
@click.argument("path", type=FilePath())
@click.option("--out", type=FilePath(), required=True, help="Checkpoint to write, for example best.ckpt.")
@click.option("--task", metavar="TASK", help="Whose objects the model knows. [default: those of the project -c]")
@options.config_or_files
@click.option("--voxel-spacing", type=float, help="Angstrom, of the training data, where PATH doesn't say it.")
@click.option(
    "--radius-fraction", type=float, help="Of the balls it was trained on. [default: Octopi 0.7, else the recipe's]"
)
@click.option(
    "--object",
    "named",
    metavar="NAME",
    help="What a model of one kind of object finds (Cellpose-SAM, micro-SAM, SAM). [default: the only object]",
)
@options.overwrite
@options.as_json
def convert_model(
    path: Path,
    out: Path,
    task: str | None,
    config: Path | None,
    voxel_spacing: float | None,
    radius_fraction: float | None,
    named: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a checkpoint of PATH: a model of Octopi, nnU-Net, Cellpose-SAM, micro-SAM or SAM; docs/checkpoints.md says which files.

    \b
    popsicle models convert results/ --task phantom --out best.ckpt
    popsicle models convert nnUNetTrainer__nnUNetPlans__3d_fullres -c copick.json --voxel-spacing 10.012 --out best.ckpt
    popsicle models convert cpsam -c copick.json --object vesicle --voxel-spacing 20 --out best.ckpt
    Of several folds of nnU-Net each becomes a checkpoint, named for its fold; localize and segment average them.
    No code in the files of PATH is run.
    See also: popsicle localize, popsicle segment, popsicle calibrate
    """
    from copick_tools.data.project import open_project
    from copick_tools.workflows import adopt

    project = None if task or config is None else open_project(config)
    known = adopt.stated(task, project, voxel_spacing=voxel_spacing, radius_fraction=radius_fraction)
    said = replace(known, named=named)
    found = adopt.convert(path, out, said, overwrite)
    if not found.converted:
        output.note(f"{', '.join(found.checkpoints)} was there already; --overwrite converts again")
    if as_json:
        output.document(found)
        return
    for file in found.checkpoints:
        output.result(file)
    objects = ", ".join(f"{name} ({label})" for name, label in found.objects.items())
    output.note(f"{found.family} of {found.origin}: {objects}; {found.voxel_spacing:g} A, windows of {found.patch}")
