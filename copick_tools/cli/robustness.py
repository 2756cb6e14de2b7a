"""popsicle robustness"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output, predicting
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.recipes.robustness_results import RobustnessLevel, RobustnessResult
    from copick_tools.volumes.degrade import Degradation


@click.command(cls=Command, sections=predicting.SECTIONS)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...", type=FilePath())
@options.config
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", required=True, help="For example wbp@10.012.")
@click.option("--reference", metavar="URI", help="The truth. [default: the recipe's, else the task's]")
@click.option(
    "--degradation",
    "kinds",
    multiple=True,
    metavar="KIND[=LEVEL,…]",
    help="poisson, blur, downsample, anisotropic, invert, wedge; repeat for more. [default: all, at the paper's levels]",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the noise.")
@click.option("--out", type=FilePath(file_okay=False), help="Folder for robustness.json, which report shows.")
@click.option(
    "-s", "--set", "settings", multiple=True, metavar="KEY=VALUE", help="How instances are made, as in segment."
)
@predicting.tiling
@options.run_names
@options.split
@options.devices
@options.overwrite
@options.as_json
def robustness(
    checkpoints: tuple[Path, ...],
    config: Path,
    tomogram: str,
    reference: str | None,
    kinds: tuple[str, ...],
    seed: int,
    out: Path | None,
    settings: tuple[str, ...],
    run_names: tuple[str, ...],
    split: str | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Score CHECKPOINT on tomograms that are made worse: noise, blur, coarse voxels, inverted contrast, a wider wedge.

    \b
    The score is that of localize or segment, then evaluate, by the checkpoint's task; of undegraded tomograms it is the same
    number. Predictions stay in the project, by user robustness, so that a second start goes on where the first was.
    Example: popsicle robustness best.ckpt -c sim -i wbp@10.012 --split test --degradation blur=2,4 --out robust
    See also: popsicle evaluate, popsicle report
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project

    levels, source = tuple(level for text in kinds or _all() for level in _levels(text)), uris.tomogram_uri(tomogram)
    project = open_project(config)
    runs = tuple(splits.runs(project, split, run_names))
    from copick_tools.workflows import robustness as workflow

    first, *others = checkpoints
    chosen = replace(predicting.take_options(given), others=tuple(others), instances=settings)
    asked = workflow.Asked(
        first, project, source, runs, levels, reference, None if run_names else split, chosen, seed, overwrite
    )
    with output.progress("robustness") as progress:
        result = workflow.robustness(asked, progress, options.device_names(device))
    if out:
        workflow.write(result, out)
    if as_json:
        output.document(result)
    else:
        _show(result)
    if result.failures:
        click.get_current_context().exit(1)


def _all() -> list[str]:
    from copick_tools.volumes.degrade import LEVELS

    return list(LEVELS)


def _levels(text: str) -> list[Degradation]:
    """``blur`` or ``blur=2,4``. Raises UsageError."""
    from copick_tools.errors import nearest
    from copick_tools.volumes.degrade import LEVELS, Degradation

    kind, equals, values = text.partition("=")
    if kind not in LEVELS:
        raise UsageError(f"--degradation {text}: no kind '{kind}'", nearest(kind, LEVELS))
    try:
        levels = [float(value) for value in values.split(",")] if equals else list(LEVELS[kind])
        return [Degradation(kind, level) for level in levels]
    except ValueError as error:
        reason = str(error) if "Expected" in str(error) else f"expected {kind}=LEVEL,LEVEL"
        raise UsageError(f"--degradation {text}: {reason}", f"for example {kind}={LEVELS[kind][0]:g}") from error


def _show(result: RobustnessResult) -> None:
    """A row for each level."""
    for warning in result.warnings:
        output.words(f"Warning: {warning}")
    rows = [_row(level) for level in (result.identity, *result.levels)]
    output.table(rows, ["degradation", "level", "score", "95% interval", "difference", *result.identity.objects])
    for name, reason in result.failures.items():
        output.words(f"{name} has no score: {reason}")
    output.note(f"{result.metric}, {result.runs} runs")


def _row(level: RobustnessLevel) -> list[str]:
    change = None if level.difference is None else level.difference.difference
    return [
        level.kind,
        "" if level.level is None else f"{level.level:g}",
        _number(level.score),
        "" if level.ci95 is None else f"{level.ci95[0]:.3f} to {level.ci95[1]:.3f}",
        "" if change is None else f"{change:+.3f}",
        *(_number(value) for value in level.objects.values()),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
