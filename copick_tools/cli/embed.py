"""popsicle embed"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from copick_tools.cli import options, predicting
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import walk


@click.command(cls=Command)
@click.argument("checkpoint", metavar="CHECKPOINT", type=FilePath())
@options.config
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", required=True, help="For example wbp@10.012.")
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder that keeps the embeddings.")
@predicting.promptable
@click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="For example prompting.tile=512, prompting.halo=64. [default: the recipe's]",
)
@options.run_names
@options.split
@options.devices
@options.overwrite
@options.as_json
def embed(
    checkpoint: Path,
    config: Path,
    tomogram: str,
    out: Path,
    promptable: str | None,
    settings: tuple[str, ...],
    run_names: tuple[str, ...],
    split: str | None,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Encode the slices of tomograms by a promptable model, once: on a machine with a GPU, for one without.

    \b
    popsicle embed sam-vit-b/ -c cells/copick.json -i wbp@20 --out embeddings
    popsicle segment sam-vit-b/ -c cells/copick.json -i wbp@20 -o "vesicle:amg/1?instance=true" --embeddings embeddings
    Killed, it goes on where it was. Embeddings of other voxels, models or tiles are refused.
    See also: popsicle segment
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project

    source = uris.tomogram_uri(tomogram)
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    from copick_tools.workflows.adopt import opened_promptable
    from copick_tools.workflows.embed import Embedding
    from copick_tools.workflows.embed import embed as run_embed

    with ExitStack() as stack:
        own = stack.enter_context(opened_promptable(checkpoint, project, source.voxel_spacing))
        given = {"promptable": promptable, "embeddings": out}
        asked = predicting.take_asked(stack, project, source.voxel_spacing, given, overwrite=overwrite)
        task = Embedding(own, project, source, asked, settings)
        walk(run_embed(task, runs, options.device_names(device)), runs, str(out), as_json)
