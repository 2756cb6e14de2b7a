"""popsicle evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.errors import UsageError

if TYPE_CHECKING:
    from copick_tools.recipes.results import PointsResult


@click.command(cls=Command)
@options.config
@click.option(
    "-i", "--input", "prediction", multiple=True, required=True, metavar="PICKS", help="For example *:unet/1."
)
@click.option("--reference", multiple=True, metavar="PICKS", help="For example *:simulation/0. [default: the task's]")
@click.option("--task", metavar="TASK", help="Takes objects, radii, weights, beta and rule from a task.")
@click.option("--rule", metavar="one-to-one|kaggle", help="[default: the task's, else one-to-one]")
@click.option("--beta", type=float, help="[default: the task's, else 1]")
@click.option("--distance", type=float, help="Angstrom, for all objects. [default: the task's, else half the radius]")
@click.option(
    "--missing", type=click.Choice(["error", "empty"]), default="error", help="What a run without prediction is."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for scores.json and matches.csv.")
@options.run_names
@options.split
@options.as_json
def evaluate(
    config: Path,
    prediction: tuple[str, ...],
    reference: tuple[str, ...],
    task: str | None,
    rule: str | None,
    beta: float | None,
    distance: float | None,
    missing: str,
    out: Path | None,
    run_names: tuple[str, ...],
    split: str | None,
    as_json: bool,
) -> None:
    """Score picks against reference picks.

    \b
    popsicle evaluate -c sim/copick.json -i "*:unet/1" --task phantom-sim --split test
    The rule kaggle is the official code of the task's challenge; one-to-one is a maximum matching.
    See also: popsicle report
    """
    from copick_tools.data import splits, uris
    from copick_tools.data.project import open_project
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import Overrides
    from copick_tools.workflows.evaluate import Question
    from copick_tools.workflows.evaluate import evaluate as run_evaluate

    if rule not in (None, "one-to-one", "kaggle"):
        raise UsageError(f"no rule '{rule}'", "one-to-one or kaggle")
    benchmark = load_task(task) if task else None
    if benchmark and benchmark.metric.name != "fbeta":
        raise UsageError(f"task {benchmark.name} is scored by {benchmark.metric.name}", "evaluate scores picks")
    wanted = reference or ((benchmark.reference,) if benchmark else ())
    if not wanted:
        raise UsageError("nothing to score against", "give --reference, or --task")
    question = Question(
        tuple(uris.picks_uri(text) for text in prediction),
        tuple(uris.picks_uri(text) for text in wanted),
        benchmark,
        Overrides(rule, beta, distance),
        missing,
    )
    project = open_project(config)
    answer = run_evaluate(project, splits.runs(project, split, run_names), question)
    if out:
        answer.write(out)
        output.note(f"wrote {out / 'scores.json'} and {out / 'matches.csv'}")
    if as_json:
        output.document(answer.result)
    else:
        show_points(answer.result)


def show_points(result: PointsResult) -> None:
    """The score table on stdout, warnings on stderr."""
    rows = [
        [
            name,
            o.tp,
            o.fp,
            o.fn,
            _text(o.precision),
            _text(o.recall),
            _text(o.fbeta),
            _range(o.ci95.get("fbeta")),
            f"{o.weight:g}",
            f"{o.distance:g}",
        ]
        for name, o in result.objects.items()
    ]
    output.table(
        rows,
        [
            "object",
            "tp",
            "fp",
            "fn",
            "precision",
            "recall",
            f"F{result.beta:g}",
            "95% interval",
            "weight",
            "distance/A",
        ],
    )
    output.result(
        f"\nscore {_text(result.score)} {_range(result.ci95)} (F{result.beta:g}, rule {result.rule}, {result.runs} runs)"
    )
    if result.other_rule:
        output.result(f"rule {result.other_rule.rule}: {_text(result.other_rule.score)}")
    for warning in result.warnings:
        output.words(f"Warning: {warning}")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
