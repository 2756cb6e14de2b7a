"""popsicle manifest"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.recipes.data_results import ManifestBuild, ManifestCheck

workers = click.option("-w", "--workers", type=click.IntRange(1), help="Files that are read at once. [default: 4]")


@click.group(context_settings=CONTEXT)
def manifest() -> None:
    """Croissant manifests: hashes, splits, licenses; and checking them."""


@manifest.command(cls=Command)
@options.config_or_files
@click.option("--task", metavar="TASK", help="Instead of a project: what is public of a portal task, without data.")
@click.option("--out", type=FilePath(file_okay=False), help="Folder of the manifest. [default: PROJECT/Croissant]")
@click.option("--base-url", metavar="URL", help="https address of the published project. [default: relative names]")
@click.option("--name", help="[default: the project's]")
@click.option("--description", help="[default: the project's]")
@click.option("--license", "license", metavar="SPDX|URL", help="[default: what fetched data state]")
@click.option("--cite-as", help="[default: what fetched data state]")
@click.option("--date-published", "date", metavar="YYYY-MM-DD", help="[default: the existing manifest's, else today]")
@click.option("--rai", multiple=True, metavar="KEY=TEXT", help="A text on the data, such as dataLimitations; repeat.")
@click.option("--picks", multiple=True, metavar="PICKS", help="Only these picks; repeat for more.")
@click.option("--tomograms", multiple=True, metavar="TOMOGRAM", help="Only these tomograms; repeat for more.")
@click.option("--segmentations", multiple=True, metavar="SEGMENTATION", help="Only these; repeat for more.")
@options.run_names
@options.split
@workers
@options.overwrite
@options.as_json
def build(
    config: Path | None,
    task: str | None,
    run_names: tuple[str, ...],
    split: str | None,
    workers: int | None,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """List a project in a Croissant: every file with its hash, splits, groups, licence, where it comes from.

    \b
    Building again says `unchanged`, or asks for --overwrite when the data have changed.
    Example: popsicle manifest build -c project --license CC0-1.0 --cite-as "A. Author, 2026"
    See also: popsicle manifest check
    """
    from copick_tools.data import splits
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_task
    from copick_tools.workflows import manifest as workflow
    from copick_tools.workflows.manifest_check import WORKERS

    wanted = _wanted(given)
    if task is not None:
        if wanted.picks or wanted.tomograms or wanted.segmentations or run_names or split or wanted.base_url:
            raise UsageError("--task lists no data", "choose runs, picks and the like of a project: -c PROJECT")
        result = workflow.build_task(load_task(task), wanted, overwrite=overwrite)
    elif config is None:
        raise UsageError("no project", "give one by -c/--config or COPICK_CONFIG, or a task by --task")
    else:
        project = open_project(config)
        runs = splits.runs(project, split, run_names)
        with output.progress("hash") as move:
            result = workflow.build(
                project, runs, wanted, overwrite=overwrite, workers=workers or WORKERS, progress=move
            )
    _show_build(result, as_json)


def _wanted(given: dict[str, Any]) -> Any:
    from copick_tools.data import uris
    from copick_tools.workflows.manifest import Wanted

    kinds = {"picks": uris.picks_uri, "tomograms": uris.tomogram_uri, "segmentations": uris.segmentation_uri}
    parsed = {name: tuple(parse(text) for text in given.pop(name)) for name, parse in kinds.items()}
    rai: dict[str, list[str]] = {}
    for text in given.pop("rai"):
        key, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise UsageError(f"--rai {text}: expected KEY=TEXT", "for example --rai dataBiases='one species only'")
        rai.setdefault(key, []).append(value.strip())
    return Wanted(**given, **parsed, rai=rai)


def _show_build(result: ManifestBuild, as_json: bool) -> None:
    for warning in result.warnings:
        output.words(f"Warning: {warning}")
    if as_json:
        output.document(result)
        return
    parts = ", ".join(f"{name} {count}" for name, count in result.splits.items())
    splits = f" ({parts})" if parts else ""
    output.result(
        f"{result.manifest}: {result.status}, {result.runs} runs{splits}, {result.stores} stores, "
        f"{result.files} files, {result.bytes / 1e6:.1f} MB"
    )


@manifest.command(cls=Command)
@click.argument("paths", nargs=-1, type=FilePath())
@options.config_or_files
@click.option("--data", type=FilePath(file_okay=False), help="Folder of the data, if it isn't the manifest's own.")
@workers
@options.as_json
def check(paths: tuple[Path, ...], config: Path | None, data: Path | None, workers: int | None, as_json: bool) -> None:
    """Find everything that is wrong with manifests: metadata.json files, their folders, or projects that have one.

    \b
    Structure (with plain mlcroissant), every hash, every split, local paths, and whether copick opens it.
    Exits with 1 if anything is wrong.
    Example: popsicle manifest check project
    """
    if not paths and config is None:
        raise UsageError("which manifest?", "give its path, or a project by -c/--config or COPICK_CONFIG")
    from copick_tools.recipes.data_results import ManifestChecks
    from copick_tools.workflows import manifest_check as workflow

    results = []
    for path in paths or (config,):
        with output.progress("check") as move:
            results.append(workflow.check(path, data, workers=workers or workflow.WORKERS, progress=move))
    ok = all(result.ok for result in results)
    if as_json:
        output.document(ManifestChecks(ok=ok, manifests=results))
    else:
        for result in results:
            _show_check(result)
    if not ok:
        click.get_current_context().exit(1)


def _show_check(result: ManifestCheck) -> None:
    for finding in result.findings:
        output.result(f"{finding.level}: {finding.where}: {finding.message}")
    counts = {level: sum(f.level == level for f in result.findings) for level in ("error", "warning")}
    unread = f", {result.unread} not read" if result.unread else ""
    output.result(
        f"{result.manifest}: {'ok' if result.ok else 'wrong'}; {result.record_sets} record sets, {result.runs} runs, "
        f"{result.files} files ({result.bytes / 1e6:.1f} MB) read{unread}; "
        f"{counts['error']} errors, {counts['warning']} warnings"
    )
