"""popsicle train"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath

if TYPE_CHECKING:
    from copick_tools.workflows.train import Plan


@click.command(cls=Command)
@click.argument("recipe")
@options.config
@click.option(
    "--out", type=FilePath(file_okay=False), help="Experiment folder. [default: experiments/TASK/FAMILY[/NAME]]"
)
@click.option("--resume", is_flag=True, help="Go on with an unfinished experiment; start where there is none.")
@options.settings
@options.device
@options.overwrite
@options.dry_run
@options.as_json
def train(
    recipe: str,
    config: Path,
    out: Path | None,
    resume: bool,
    settings: tuple[str, ...],
    device: str,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train a model from RECIPE, a shipped one (TASK/FAMILY) or a YAML file.

    \b
    Writes recipe.yaml, versions.json, log.txt, metrics.csv, best.ckpt and last.ckpt into the experiment folder, and
    prints the path of best.ckpt.
    Example: popsicle train phantom-sim/unet-small -c sim/copick.json -s train.epochs=20
    See also: popsicle tasks show, popsicle models show, popsicle localize
    """
    from copick_tools.data.project import open_project
    from copick_tools.training import team
    from copick_tools.workflows import train as workflow

    with team.joined(device):
        if not team.is_main():
            output.hush()
        project = team.everywhere(lambda: open_project(config))
        plan = workflow.plan_training(project, recipe, settings, out, device)
        if dry_run:
            if team.is_main():
                _show(plan, as_json)
            return
        with output.progress("train") as progress:
            best, done = workflow.train(project, plan, progress, resume=resume, overwrite=overwrite, device=device)
        if not done:
            output.note(f"{plan.folder} is finished already; --overwrite trains again")
        if team.is_main() and as_json:
            output.document(workflow.summary(best, done))
        elif team.is_main():
            output.result(str(best))


def _show(plan: Plan, as_json: bool) -> None:
    """What a training would do."""
    from copick_tools.recipes.load import dump_yaml

    if as_json:
        output.document(plan.recipe)
    else:
        output.result(dump_yaml(plan.recipe).rstrip())
    output.note(f"train on {', '.join(plan.data.train)}; validate on {', '.join(plan.data.validation) or 'nothing'}")
    read = f"{plan.memory / 2**20:.0f} MiB of cached tomograms" if plan.memory else "patches are read from disk"
    output.note(f"{read}; would write to {plan.folder}")
