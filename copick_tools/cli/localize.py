"""popsicle localize"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options
from copick_tools.cli.base import Command
from copick_tools.cli.walking import walk
from copick_tools.errors import UsageError


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@options.config_or_files
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", help="Tomograms of the project, for example wbp@10.012.")
@click.option("-o", "--output", "picks", metavar="PICKS", help="Where to write, for example :unet/1 for all objects.")
@click.option("--out", type=click.Path(path_type=Path), help="Table for FILES: .star, .csv or .json.")
@click.option("--voxel-spacing", type=float, help="Angstrom; overrides the headers of FILES.")
@click.option("--invert", is_flag=True, help="FILES have bright particles.")
@click.option("--threshold", type=float, help="Least probability of not being background. [default: the recipe's]")
@click.option("--min-score", type=float, help="Least score of a pick. [default: the recipe's]")
@options.run_names
@options.split
@options.device
@options.overwrite
@options.as_json
def localize(
    checkpoint: Path,
    files: tuple[Path, ...],
    config: Path | None,
    threshold: float | None,
    min_score: float | None,
    device: str,
    **given: Any,
) -> None:
    """Find particles with CHECKPOINT, in a project's tomograms or in plain FILES (.mrc, .tif).

    \b
    popsicle localize best.ckpt -c sim/copick.json -i wbp@10.012 -o :unet/1 --split test
    popsicle localize best.ckpt tomogram.mrc --out picks.star
    See also: popsicle segment, popsicle evaluate
    """
    project_options = {
        "-i": given["tomogram"],
        "-o": given["picks"],
        "-r": given["run_names"],
        "--split": given["split"],
    }
    file_options = {"--out": given["out"], "--voxel-spacing": given["voxel_spacing"], "--invert": given["invert"]}
    wrong = [name for name, value in (project_options if files else file_options).items() if value]
    if wrong:
        raise UsageError(
            f"{wrong[0]} goes with {'a project, not with files' if files else 'files, not with a project'}"
        )
    needed = {"--out": given["out"]} if files else {"-c": config, "-i": given["tomogram"], "-o": given["picks"]}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing", "give -c, -i and -o for a project, or files and --out")
    overrides = {"threshold": threshold, "min_score": min_score}
    if files:
        _files(checkpoint, files, device, overrides, given)
    else:
        _project(checkpoint, config, device, overrides, given)


def _project(
    checkpoint: Path, config: Path | None, device: str, overrides: dict[str, float | None], given: dict[str, Any]
) -> None:
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project

    tomogram, picks = uris.tomogram_uri(given["tomogram"]), uris.picks_uri(given["picks"], output=True)
    project = open_project(config or "")
    runs = splits.runs(project, given["split"], given["run_names"])
    from copick_tools.workflows.localize import localize as run_localize
    from copick_tools.workflows.predict import Model

    model = Model.open(checkpoint, device, **overrides)
    results = run_localize(model, project, runs, tomogram, picks, overwrite=given["overwrite"])
    walk(results, runs, given["picks"], given["as_json"])


def _files(
    checkpoint: Path, files: tuple[Path, ...], device: str, overrides: dict[str, float | None], given: dict[str, Any]
) -> None:
    from copick_tools.workflows.localize import Files, localize_files
    from copick_tools.workflows.predict import Model

    model = Model.open(checkpoint, device, **overrides)
    inputs = Files(files, given["voxel_spacing"], given["invert"])
    walk(
        localize_files(model, inputs, given["out"], overwrite=given["overwrite"]),
        inputs.names,
        str(given["out"]),
        given["as_json"],
    )
