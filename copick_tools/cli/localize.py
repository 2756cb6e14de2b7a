"""popsicle localize"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options, output, predicting
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import walk
from copick_tools.errors import UsageError

OF_PROJECT = {
    "tomogram": "-i",
    "picks": "-o",
    "run_names": "-r",
    "split": "--split",
    "instances": "--instances",
    "exclude": "--exclude",
    "sample": "--sample",
    "select": "--select",
    "one_per_tomogram": "--one-per-tomogram",
}
OF_FILES = {"out": "--out", "voxel_spacing": "--voxel-spacing", "invert": "--invert"}


@click.command(cls=Command, sections=predicting.SECTIONS)
@click.argument("paths", nargs=-1, required=True, metavar="CHECKPOINT... [FILE...]", type=FilePath())
@options.config_or_files
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", help="Tomograms of the project, for example wbp@10.012.")
@click.option("-o", "--output", "picks", metavar="PICKS", help="Where to write, for example :unet/1 for all objects.")
@click.option("--out", type=FilePath(), help="Table for FILES: .star, .csv or .json.")
@click.option("--voxel-spacing", type=float, help="Angstrom; overrides the headers of FILES.")
@click.option("--invert", is_flag=True, help="FILES have bright particles.")
@click.option(
    "--beta",
    type=float,
    help="Which of the learned thresholds: precision counts at 1, recall at 4. [default: see above]",
)
@click.option(
    "--thresholds",
    metavar="FILE|none",
    help="Learned ones. [default: thresholds.yaml beside CHECKPOINT, if it is there]",
)
@predicting.method
@predicting.threshold
@predicting.sizes("learned, else the recipe's")
@predicting.smoothing
@predicting.bandwidth
@predicting.where
@predicting.sampling
@predicting.instances
@click.option(
    "--select",
    metavar="HOW",
    help="Only these tomograms have picks: threshold=SCORE, quantile=SHARE, top-k=NUMBER, by their best pick.",
)
@click.option("--one-per-tomogram", is_flag=True, help="Only the best pick of a tomogram stays.")
@predicting.tiling
@predicting.task
@options.run_names
@options.split
@options.devices
@options.overwrite
@options.as_json
def localize(paths: tuple[Path, ...], config: Path | None, device: str, as_json: bool, **given: Any) -> None:
    """Find particles with CHECKPOINT, in a project's tomograms or in plain FILES (.mrc, .tif).

    \b
    popsicle localize best.ckpt -c sim/copick.json -i wbp@10.012 -o :unet/1 --split test
    popsicle localize best.ckpt tomogram.mrc --out picks.star
    Thresholds that `popsicle calibrate` learned are used: in a project those for the task's beta, for FILES those for
    beta 1, since few false picks matter more there.
    The probabilities of several checkpoints are averaged. A training folder of Octopi or nnU-Net will do as one.
    See also: popsicle calibrate, popsicle segment, popsicle evaluate
    """
    checkpoints, files = predicting.models_and_files(paths)
    wrong = [name for key, name in (OF_PROJECT if files else OF_FILES).items() if given[key]]
    if wrong:
        raise UsageError(
            f"{wrong[0]} goes with {'a project, not with files' if files else 'files, not with a project'}"
        )
    needed = {"--out": given["out"]} if files else {"-c": config, "-i": given["tomogram"], "-o": given["picks"]}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing", "give -c, -i and -o for a project, or files and --out")
    devices = options.device_names(device)
    if files:
        _files(checkpoints, files, devices, as_json, given)
    else:
        _project(checkpoints, config or Path(), devices, as_json, given)


def _project(
    checkpoints: tuple[Path, ...], config: Path, devices: tuple[str, ...], as_json: bool, given: dict[str, Any]
) -> None:
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project

    tomogram, picks = uris.tomogram_uri(given["tomogram"]), uris.picks_uri(given["picks"], output=True)
    where = predicting.take_where(given)
    project = open_project(config)
    runs = splits.runs(project, given["split"], given["run_names"])
    from copick_tools.workflows.adopt import opened as adopted
    from copick_tools.workflows.localize import Localizing
    from copick_tools.workflows.localize import localize as run_localize
    from copick_tools.workflows.predict import scored_by
    from copick_tools.workflows.select import localize_selected, parse_selection

    with adopted(checkpoints, given["task"], project, tomogram.voxel_spacing) as (checkpoint, *others):
        chosen = replace(predicting.take_options(given), others=tuple(others))
        task = Localizing(checkpoint, project, tomogram, picks, chosen, where, given["instances"], given["overwrite"])
        scores, words = scored_by(checkpoint, chosen)
        output.note(words)
        selection = parse_selection(task, given["select"], given["one_per_tomogram"])
        if selection is None:
            results = run_localize(task, runs, devices)
        else:
            results = localize_selected(task, runs, selection, devices)
        walk(results, runs, given["picks"], as_json, scores)


def _files(
    checkpoints: tuple[Path, ...],
    files: tuple[Path, ...],
    devices: tuple[str, ...],
    as_json: bool,
    given: dict[str, Any],
) -> None:
    from copick_tools.workflows.adopt import opened as adopted
    from copick_tools.workflows.localize_files import Files, FilesTask, localize_files
    from copick_tools.workflows.predict import scored_by

    where = predicting.take_where(given)
    inputs = Files(files, given["voxel_spacing"], given["invert"])
    with adopted(checkpoints, given["task"], None, given["voxel_spacing"]) as (checkpoint, *others):
        chosen = replace(predicting.take_options(given, plain=True), others=tuple(others))
        scores, words = scored_by(checkpoint, chosen)
        output.note(words)
        task = FilesTask(checkpoint, inputs, given["out"], chosen, where, given["overwrite"])
        walk(localize_files(task, devices), inputs.names, str(given["out"]), as_json, scores)
