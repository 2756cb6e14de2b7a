"""popsicle annotate"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.workflows.annotate import Annotating, Scene


@click.command(cls=Command)
@options.config
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", required=True, help="For example wbp@20.")
@click.option(
    "-o",
    "--output",
    "segmentation",
    metavar="SEGMENTATION",
    required=True,
    help="Instances of one object, under your user id: vesicle:alice/1?instance=true.",
)
@click.option("--initial", metavar="SEGMENTATION", help="Instances to begin with. [default: what is at the output]")
@click.option("--microsam", is_flag=True, help="Open micro-SAM's annotator, not napari alone.")
@click.option(
    "--checkpoint",
    metavar="SAM",
    help="micro-SAM's: a file of its models, or a name in its cache. [default with --microsam: vit_b_em_organelles]",
)
@click.option(
    "--embeddings",
    type=FilePath(file_okay=False),
    metavar="DIR",
    help="micro-SAM's: keep what it made of the tomogram here, so that it is there next time.",
)
@click.option(
    "--draft",
    type=click.Choice(["use", "undo", "discard"]),
    help="What to do with a draft that a window left: go on with it, with the state before its last commit, or drop it. "
    "[default: use, where --initial doesn't say else]",
)
@click.option(
    "--autosave", type=click.FloatRange(min=1), default=30.0, metavar="SECONDS", help="How often a draft is kept."
)
@click.option("--write-empty", is_flag=True, help="Write a segmentation also where there is no object.")
@options.run_names
@options.device
@options.overwrite
@options.as_json
def annotate(
    config: Path,
    tomogram: str,
    segmentation: str,
    initial: str | None,
    run_names: tuple[str, ...],
    overwrite: bool,
    write_empty: bool,
    draft: Any,
    autosave: float,
    as_json: bool,
    **given: Any,
) -> None:
    """Annotate the instances of one object in one run, in napari or in micro-SAM's annotator.

    \b
    popsicle annotate -c cells -i wbp@20 -r TS_1 -o "vesicle:alice/1?instance=true"
    popsicle annotate -c cells -i wbp@20 -r TS_1 -o "vesicle:alice/1?instance=true" --initial "vesicle:ais/1?instance=true"
    popsicle annotate -c cells -i wbp@20 -r TS_1 -o "mitochondrion:alice/1?instance=true" --checkpoint vit_b.pt --embeddings emb/
    The layer committed_objects is what counts: it is stored when the window is closed. Until then drafts are kept beside the
    project; Control-U goes back by one, and a draft that a crash left is taken up by the same command.
    See also: popsicle review, popsicle consensus, popsicle segment
    """
    from copick_tools.data import uris
    from copick_tools.data.project import open_project
    from copick_tools.workflows import annotate as workflow

    if len(run_names) != 1:
        raise UsageError("one run is annotated at a time", "name it with -r RUN")
    asked = workflow.Annotating(
        open_project(config),
        run_names[0],
        uris.tomogram_uri(tomogram),
        uris.segmentation_uri(segmentation, output=True),
        None if initial is None else uris.segmentation_uri(initial),
        draft,
        overwrite,
        write_empty,
    )
    asked.check()
    with ExitStack() as stack:
        window = _window(asked, given, stack)
        result = workflow.annotate(asked, window, autosave)
    if as_json:
        output.document(result)
    else:
        changes = f"{result.added} new, {result.removed} removed, {result.changed} changed"
        output.table([[result.run, result.objects, changes]], ["run", "objects", "since the start"])
    if not result.written:
        output.note("nothing is there, so nothing was written; --write-empty says that nothing is there")


def _window(asked: Annotating, given: dict[str, Any], stack: ExitStack) -> Any:
    """What opens the window."""
    from copick_tools.engines import annotator

    checkpoint, embeddings = given["checkpoint"], given["embeddings"]
    if not (given["microsam"] or checkpoint):
        if embeddings is not None:
            raise UsageError("--embeddings is micro-SAM's", "add --microsam, or leave --embeddings out")
        return lambda scene: annotator.napari_window(scene.title, scene.image, scene.ids)
    from copick_tools.engines import microsam_files

    files = stack.enter_context(microsam_files.sam_files(checkpoint or microsam_files.DEFAULT))
    kept = embeddings and microsam_files.embeddings_file(embeddings, asked.run, str(asked.tomogram), files)
    opened = annotator.microsam_window(files, kept, given["device"])

    def window(scene: Scene) -> Any:
        return opened(scene.title, scene.image, scene.ids)

    return window
