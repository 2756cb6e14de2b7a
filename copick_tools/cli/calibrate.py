"""popsicle calibrate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output, predicting
from copick_tools.cli.base import Command

if TYPE_CHECKING:
    from copick_tools.recipes.thresholds import Thresholds


@click.command(cls=Command, sections=predicting.SECTIONS)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...", type=click.Path(path_type=Path))
@options.config
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", required=True, help="For example wbp@10.012.")
@click.option("--reference", multiple=True, metavar="PICKS", help="The truth; repeat for more. [default: the task's]")
@click.option("--beta", multiple=True, type=float, help="Also for this one, beside the task's and 1; repeat for more.")
@click.option("--method", multiple=True, type=click.Choice(predicting.METHODS), help="Try only this; repeat for more.")
@click.option(
    "--calibration",
    type=click.Choice(["auto", "isotonic", "temperature", "none"]),
    default="auto",
    help="Of the scores; auto: isotonic where there are enough picks.",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: thresholds.yaml beside CHECKPOINT]")
@predicting.tiling
@options.run_names
@click.option("--split", metavar="NAME", help="The runs to learn from. [default: the recipe's validation split]")
@options.device
@options.overwrite
@options.as_json
def calibrate(
    checkpoints: tuple[Path, ...],
    config: Path,
    tomogram: str,
    reference: tuple[str, ...],
    split: str | None,
    run_names: tuple[str, ...],
    device: str,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Learn score thresholds, volumes and methods for CHECKPOINT on validation runs, and calibrate its scores.

    \b
    Writes thresholds.yaml beside CHECKPOINT; localize uses it from then on. One set of thresholds for the task's beta,
    one for beta 1, which plain files use. The score is cross-validated. For several checkpoints, whose probabilities are
    averaged, --out says where they go, and localize takes them by --thresholds.
    Example: popsicle calibrate best.ckpt -i wbp@10.012 --split val
    See also: popsicle localize, popsicle evaluate
    """
    from copick_tools.data import uris
    from copick_tools.data.project import open_project

    source = uris.tomogram_uri(tomogram)
    truth = tuple(uris.picks_uri(text) for text in reference)
    project = open_project(config)
    from copick_tools.workflows import calibrate as workflow
    from copick_tools.workflows.adopt import own_checkpoints
    from copick_tools.workflows.predict import NONE, Model, Options

    asked = workflow.Calibrating(source, truth, given["beta"], given["method"], given["calibration"], split)
    tiling = predicting.take_options({key: given[key] for key in predicting.TILING}).tiling
    checkpoint, *others = own_checkpoints(checkpoints)
    model = Model.open(checkpoint, device, Options(tiling=tiling, thresholds=NONE, others=tuple(others)))
    plan = workflow.plan_calibration(model, checkpoint, project, run_names, asked, out)
    finished = None if overwrite else workflow.finished(plan)
    if finished is not None:
        output.note(f"{plan.out} is finished already; --overwrite makes it again")
    else:
        with output.progress("calibrate") as progress:
            finished = workflow.calibrate(plan, progress)
    if as_json:
        output.document(finished)
    else:
        _show(finished)
        output.note(f"thresholds: {plan.out}")


def _show(thresholds: Thresholds) -> None:
    """A table for each beta."""
    for setting in thresholds.settings:
        rows = [
            [
                name,
                o.method,
                f"{o.threshold:g}",
                f"{o.min_score:.3f}",
                f"{o.min_volume:g}",
                "" if o.max_volume is None else f"{o.max_volume:g}",
                _text(o.precision),
                _text(o.recall),
                _text(o.fbeta),
                o.references,
            ]
            for name, o in setting.objects.items()
        ]
        header = ["object", "method", "threshold", "least score", "volume from", "to", "precision", "recall"]
        output.table(rows, [*header, f"F{setting.beta:g}", "references"])
        spread = "" if setting.ci95 is None else f" [{setting.ci95[0]:.4f}, {setting.ci95[1]:.4f}]"
        name = f"F{setting.beta:g}"
        output.result(f"{name} {_text(setting.score)}{spread} cross-validated, rule {setting.rule}")
        output.result(f"{name} {_text(setting.fitted)} on the runs that were learned from, as the table's numbers")
        output.result(f"{name} {_text(setting.recipe_score)} with the recipe's thresholds\n")
    for text in thresholds.warnings:
        output.note(f"Warning: {text}")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
