"""popsicle fetch"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import tell
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.data.project import Project
    from copick_tools.workflows.fetch import FetchPlan
    from copick_tools.workflows.fetch_portal import Request

IDS = ("dataset", "deposition", "run")
NUMBER = click.IntRange(1, 2**31 - 1)  # the portal's ids


@click.command(cls=Command)
@click.argument("task", required=False)
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder of the project.")
@click.option("--dataset-id", type=NUMBER, multiple=True, help="Portal dataset; repeat for more.")
@click.option("--deposition-id", type=NUMBER, multiple=True, help="Portal deposition; repeat for more.")
@click.option("--run-id", type=NUMBER, multiple=True, help="Portal run; repeat for more.")
@click.option(
    "--croissant", metavar="URL|PATH|none", help="Manifest that runs and splits (without TASK: all data) come from."
)
@options.split
@options.run_names
@click.option("--limit", type=click.IntRange(1), help="Only the first so many runs.")
@click.option("--objects", multiple=True, metavar="NAME", help="Only annotations of this object; repeat for more.")
@options.radius
@click.option("--tomo-type", help="Kind of reconstruction. [default: the task's, else the portal's default]")
@click.option("--voxel-spacing", type=click.FloatRange(0, min_open=True), help="Angstrom. [default: the task's]")
@click.option("-w", "--workers", type=click.IntRange(1, 256), default=32, help="Files on their way at once.")
@options.overwrite
@click.option("--verify", is_flag=True, help="Read what is there, and compare it with the hashes of the fetch.")
@click.option("--trust-listing", is_flag=True, help="Sizes are those of the server, whatever the portal states.")
@click.option("--stream", "as_stream", is_flag=True, help="Copy nothing: a project that reads from where the data are.")
@options.dry_run
@options.as_json
def fetch(
    task: str | None,
    out: Path,
    croissant: str | None,
    as_stream: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Bring the data of a TASK, or portal datasets, depositions and runs, here as a copick project.

    \b
    Tomograms come as they are; points in angstrom; masks as one multilabel volume where the task wants it. Reference
    annotations are data-portal/0, everything else has its own user id. Run the same command again after any
    interruption: what is complete is kept.
    Examples: popsicle fetch phantom --split train --out phantom
              popsicle fetch --dataset-id 10440 --limit 2 --out data --dry-run
    """
    from copick_tools.workflows.fetch import How, fetch
    from copick_tools.workflows.fetch_request import plan_fetch, stream

    how = How(*(given.pop(key) for key in ("workers", "overwrite", "verify", "trust_listing")))
    request = _request(task, bool(croissant), given)
    if as_stream:
        output.note("nothing is copied: the data are read from where they are")
        _show_streamed(stream(request, croissant, out), as_json)
        return
    plan = plan_fetch(request, croissant, out)
    if dry_run:
        _show(plan, out, as_json)
        return
    with output.progress("fetch", in_bytes=True) as move:
        project, results = fetch(plan, out, how, move)
        output.note(f"project: {project.config}")
        seen = output.follow("fetch", results, len(plan.names), bar=False)
    tell(seen, plan.names, str(project.config), as_json)


def _request(task: str | None, has_manifest: bool, given: dict[str, Any]) -> Request:
    """What is asked for. Raises UsageError."""
    ids = {kind: given.pop(f"{kind}_id") for kind in IDS}
    if task and any(ids.values()):
        raise UsageError("give a task or ids, not both", "runs of a task are chosen with -r")
    if not (task or any(ids.values()) or has_manifest):
        raise UsageError("what is to be fetched?", "a task (popsicle tasks ls), --dataset-id, --run-id or --croissant")
    if task and given["radius"]:
        raise UsageError("--radius: the radii are those of the task")
    if not math.isfinite(given["voxel_spacing"] or 1.0):
        raise UsageError(f"--voxel-spacing {given['voxel_spacing']}: no number of angstrom")
    radii = dict(map(options.object_radius, given.pop("radius")))
    from copick_tools.recipes.load import load_task
    from copick_tools.workflows.fetch_portal import Ids, Request

    return Request(
        load_task(task) if task else None,
        Ids(ids["dataset"], ids["deposition"], ids["run"]),
        runs=given.pop("run_names"),
        radii=radii,
        **given,
    )


def _show_streamed(project: Project, as_json: bool) -> None:
    from copick_tools.types import RunResult

    if as_json:
        tell([RunResult(run, "done") for run in project.run_names], project.run_names, str(project.config), True)
    else:
        output.result(str(project.config))


def _show(plan: FetchPlan, out: Path, as_json: bool) -> None:
    """What would be fetched, and whether there is room for it."""
    from copick_tools.workflows.fetch import estimate, in_words

    document = estimate(plan, out)
    if as_json:
        output.document(document)
    else:
        header = ["run", "split", "dataset", "tomogram", "picks", "masks", "MB", ""]
        rows = [
            [
                r.run,
                r.split or "",
                r.dataset_id or "",
                r.tomogram or "",
                r.picks,
                r.masks,
                _megabytes(r.bytes),
                r.note(),
            ]
            for r in document.runs
        ]
        output.table(rows, header)
        output.note(
            f"{len(document.runs)} runs, {document.items} tomograms, masks and pick files, {in_words(document.bytes)}; "
            f"{in_words(document.missing_bytes)} of it to be fetched; {in_words(document.free_bytes)} are free"
        )
    if document.missing_bytes > document.free_bytes:
        output.failure("there isn't room for it", "fetch less: --split, --limit, -r")
    if document.missing_bytes > document.free_bytes or any(run.error for run in document.runs):
        click.get_current_context().exit(1)


def _megabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e6:.1f}"
