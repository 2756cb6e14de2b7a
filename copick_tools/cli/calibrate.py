"""popsicle calibrate"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copick_tools.cli import options, output, predicting
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from copick_tools.data.project import Project
    from copick_tools.data.uris import TomogramUri
    from copick_tools.recipes.instance_thresholds import InstanceThresholds
    from copick_tools.recipes.thresholds import Thresholds
    from copick_tools.workflows.predict import Model

    Known = tuple[Project, TomogramUri, list[Any]]  # and the references

OF_PICKS = {"beta": "--beta", "method": "--method", "calibration": "--calibration"}
OF_INSTANCES = {"settings": "--set", "promptable": "--promptable", "embeddings": "--embeddings"}


@click.command(cls=Command, sections=predicting.SECTIONS)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...", type=FilePath())
@options.config
@click.option("-i", "--input", "tomogram", metavar="TOMOGRAM", required=True, help="For example wbp@10.012.")
@click.option(
    "--reference",
    multiple=True,
    metavar="URI",
    help="The truth: picks, repeat for more; or instances, as cells:expert/1?panoptic=true. [default: the task's]",
)
@click.option("--beta", multiple=True, type=float, help="Also for this one, beside the task's and 1; repeat for more.")
@click.option("--method", multiple=True, type=click.Choice(predicting.METHODS), help="Try only this; repeat for more.")
@click.option(
    "--calibration",
    type=click.Choice(["auto", "isotonic", "temperature", "none"]),
    default="auto",
    help="Of the scores; auto: isotonic where there are enough picks.",
)
@click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="How instances are made, for example prompting.mode=amg: it stays, and what it leaves open is learned.",
)
@predicting.prompting
@click.option(
    "--out",
    type=FilePath(),
    help="[default: thresholds.yaml, of instances instance-thresholds.yaml, beside CHECKPOINT]",
)
@predicting.tiling
@options.run_names
@click.option("--split", metavar="NAME", help="The runs to learn from. [default: the recipe's validation split]")
@options.device
@options.overwrite
@options.as_json
def calibrate(
    checkpoints: tuple[Path, ...], config: Path, tomogram: str, overwrite: bool, as_json: bool, **given: Any
) -> None:
    """Learn on validation runs, for CHECKPOINT, which picks to believe, or how its output becomes instances.

    \b
    Picks: score thresholds, volumes and methods, and calibrated scores, in thresholds.yaml beside CHECKPOINT; localize uses
    it from then on. One set of thresholds for the task's beta, one for beta 1, which plain files use. For several
    checkpoints, whose probabilities are averaged, --out says where they go, and localize takes them by --thresholds.
    Instances: the settings of recipes that decide, in instance-thresholds.yaml; segment uses it from then on.
    Scores are cross-validated.
    popsicle calibrate best.ckpt -c sim -i wbp@10.012 --split val
    popsicle calibrate ais.ckpt -c cells -i wbp@20 --reference "*:expert/1?instance=true" --split val
    popsicle calibrate sam.ckpt -c cells -i wbp@20 --reference "vesicle:expert/1?instance=true" -s prompting.mode=amg
    See also: popsicle localize, popsicle segment, popsicle evaluate
    """
    from copick_tools.data import uris
    from copick_tools.data.project import open_project

    source = uris.tomogram_uri(tomogram)
    named = any(uris.names_segmentation(text) for text in given["reference"])
    truth = [(uris.segmentation_uri if named else uris.picks_uri)(text) for text in given["reference"]]
    project = open_project(config)
    from copick_tools.training.checkpoint import read_card
    from copick_tools.workflows.adopt import own_checkpoints
    from copick_tools.workflows.calibrate_instances_plan import of_instances

    paths, known = own_checkpoints(checkpoints), (project, source, truth)
    if of_instances(read_card(paths[0]), given["reference"]):
        _instances(paths, known, overwrite, as_json, given)
    else:
        _picks(paths, known, overwrite, as_json, given)


def _picks(paths: tuple[Path, ...], known: Known, overwrite: bool, as_json: bool, given: dict[str, Any]) -> None:
    from copick_tools.workflows import calibrate as workflow

    _refuse(given, OF_INSTANCES, "picks are")
    project, source, truth = known
    asked = workflow.Calibrating(
        source, tuple(truth), given["beta"], given["method"], given["calibration"], given["split"]
    )
    plan = workflow.plan_calibration(_opened(paths, given), paths[0], project, given["run_names"], asked, given["out"])
    finished = None if overwrite else workflow.finished(plan)
    _learned(plan, finished, workflow.calibrate, _show, as_json)


def _instances(paths: tuple[Path, ...], known: Known, overwrite: bool, as_json: bool, given: dict[str, Any]) -> None:
    from copick_tools.workflows import calibrate_instances as workflow
    from copick_tools.workflows.calibrate_instances_plan import Calibrating, finished, plan_calibration

    _refuse(given, OF_PICKS, "instances are")
    project, source, truth = known
    if len(truth) > 1:
        raise UsageError(
            "--reference was given twice, and instances have one", "'*:user/session?instance=true' names all"
        )
    with ExitStack() as stack:
        asked = predicting.take_asked(stack, project, source.voxel_spacing, given)
        wanted = Calibrating(source, *truth[:1] or [None], given["settings"], asked, given["split"], given["out"])
        model = _opened(paths, given)
        plan = plan_calibration(model, paths[0], project, given["run_names"], wanted, given["device"])
        found = None if overwrite else finished(plan)
        _learned(plan, found, workflow.calibrate, _show_instances, as_json)


def _learned(plan: Any, found: Any, learn: Callable[..., Any], show: Callable[[Any], None], as_json: bool) -> None:
    """Learn what wasn't found learned already, and say it."""
    if found is not None:
        output.note(f"{plan.out} is finished already; --overwrite makes it again")
    else:
        with output.progress("calibrate") as progress:
            found = learn(plan, progress)
    if as_json:
        output.document(found)
    else:
        show(found)
        output.note(f"thresholds: {plan.out}")


def _refuse(given: dict[str, Any], names: dict[str, str], what: str) -> None:
    """Raise UsageError for options about what isn't learned here."""
    there = [option for key, option in names.items() if given[key] not in (None, (), "auto")]
    if there:
        raise UsageError(f"{what} learned here, and {there[0]} isn't about them", "see popsicle calibrate -h")


def _opened(paths: tuple[Path, ...], given: dict[str, Any]) -> Model:
    from copick_tools.workflows.predict import NONE, Model, Options

    tiling = predicting.take_options({key: given[key] for key in predicting.TILING}).tiling
    return Model.open(paths[0], given["device"], Options(tiling=tiling, thresholds=NONE, others=tuple(paths[1:])))


def _show_instances(found: InstanceThresholds) -> None:
    """What was learned, and what it is worth."""
    rows = [[key, _value(found.recipe_settings[key]), _value(value)] for key, value in found.settings.items()]
    output.table(rows, ["setting", "recipe", "learned"])
    output.result("")
    rows = [[name, *map(_text, (o.recipe, o.fitted, o.score))] for name, o in found.objects.items()]
    output.table(rows, ["object", "recipe", "fitted", "cross-validated"])
    spread = "" if found.ci95 is None else f" [{found.ci95[0]:.4f}, {found.ci95[1]:.4f}]"
    output.result(f"mean segmentation accuracy {_text(found.score)}{spread} cross-validated")
    output.result(f"mean segmentation accuracy {_text(found.fitted)} on the runs that were learned from")
    output.result(f"mean segmentation accuracy {_text(found.recipe_score)} with the recipe's settings")
    for text in found.warnings:
        output.note(f"Warning: {text}")


def _value(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"


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
