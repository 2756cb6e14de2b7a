"""popsicle review"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command

if TYPE_CHECKING:
    from copick_tools.recipes.review_results import ReviewResult

SHOWN = 10  # suspects of the table


@click.command(cls=Command)
@options.config
@click.option(
    "-i",
    "--input",
    "segmentation",
    metavar="SEGMENTATION",
    required=True,
    help="Instances: vesicle:unet/1?instance=true or cells:unet/1?panoptic=true.",
)
@click.option("-o", "--output", "picks", metavar="PICKS", required=True, help="For example :review/1 for all objects.")
@click.option(
    "--top", type=int, metavar="N", help="Only the N most suspicious instances of each object. [default: all]"
)
@options.run_names
@options.split
@options.workers
@options.overwrite
@options.as_json
def review(
    config: Path,
    segmentation: str,
    picks: str,
    top: int | None,
    run_names: tuple[str, ...],
    split: str | None,
    workers: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Rank instances by how suspicious their size and shape are; write their centers as picks to look at.

    \b
    The score of a pick is the suspicion: 0.5 is three deviations from the other instances of its object in these runs.
    The picks carry the ids of the instances. Statistics of each object go to stdout.
    Example: popsicle review -i "cells:unet/1?panoptic=true" -o :review/1 --top 50
    See also: popsicle instances
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.workflows import review as workflow

    wanted = workflow.Reviewing(uris.segmentation_uri(segmentation), uris.picks_uri(picks, output=True), top)
    project = open_project(config)
    runs = splits.runs(project, split, run_names)
    with output.progress("review") as progress:
        result = workflow.review(project, runs, wanted, progress, overwrite=overwrite, workers=workers)
    for row in result.runs:
        if row.status == "failed":
            output.words(f"run {row.run} failed: {row.error}" + (f" ({row.hint})" if row.hint else ""))
    if as_json:
        output.document(result)
    else:
        _show(result)
    counts = {status: sum(row.status == status for row in result.runs) for status in ("done", "skipped", "failed")}
    kept = " (picks are there; --overwrite replaces them)" if counts["skipped"] else ""
    output.note(f"review: {counts['done']} done, {counts['skipped']} skipped{kept}, {counts['failed']} failed")
    if counts["failed"]:
        click.get_current_context().exit(1)


def _show(result: ReviewResult) -> None:
    """Statistics of each object, then the first of the queue."""
    bins = next((about.bins for about in result.objects.values()), [])
    sizes = [f"{b.at_least:,}+ voxels" if b.below is None else f"{b.at_least:,}-{b.below - 1:,}" for b in bins]
    rows = []
    for name, about in result.objects.items():
        volume, shape = about.volume_nm3, about.sphericity
        quartiles = [f"{v:.4g}" for v in (volume.q25, volume.median, volume.q75)] if volume else ["-"] * 3
        sphericity = f"{shape.median:.2f}" if shape else "-"
        counts = [each.instances for each in about.bins]
        rows.append([name, about.instances, about.at_border, *counts, *quartiles, sphericity])
    output.table(rows, ["object", "instances", "at border", *sizes, "nm3 at 25%", "median", "75%", "median sphericity"])
    output.result("")
    first = [
        [s.run, s.object, s.id, f"{s.suspicion:.3f}", s.reason, f"{s.volume_nm3:.4g}", f"{s.sphericity:.2f}"]
        for s in result.queue[:SHOWN]
    ]
    output.table(first, ["run", "object", "id", "suspicion", "reason", "nm3", "sphericity"])
    if len(result.queue) > SHOWN:
        output.note(f"and {len(result.queue) - SHOWN} more, see the picks {result.output} or --json")
