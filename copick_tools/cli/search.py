"""popsicle search"""

from __future__ import annotations

from pathlib import Path

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath


@click.command(cls=Command)
@click.argument("recipe")
@options.config
@click.option(
    "--trials", type=click.IntRange(1), default=100, help="Trainings in all, those of earlier starts included."
)
@click.option(
    "--space",
    type=FilePath(),
    help="YAML of what to search. [default: the family's, around the recipe]",
)
@click.option("--out", type=FilePath(file_okay=False), help="Search folder. [default: searches/TASK/FAMILY[/NAME]]")
@options.settings
@options.devices
@click.option("-w", "--workers", type=click.IntRange(1), default=1, help="Trainings at a time on each device.")
@options.dry_run
@options.as_json
def search(
    recipe: str,
    config: Path,
    trials: int,
    space: Path | None,
    out: Path | None,
    settings: tuple[str, ...],
    device: str,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Search for a better recipe than RECIPE: Bayesian optimization of the score on the validation runs.

    \b
    Each trial is a training in a process of its own; those that lag behind end early. The best one is written as
    best.yaml, a recipe like any other, and its path is printed. Started again, or in several processes and on several
    machines at once, a search goes on where it is. Keys set by -s stay as they are set.
    --space FILE holds lines like
      optimizer.lr: {low: 1.0e-4, high: 1.0e-3, log: true}
      train.patch: {choices: [[64, 64, 64], [96, 96, 96]]}
    Example: popsicle search phantom-sim/tiny -c sim --trials 20
    See also: popsicle train, popsicle bench, popsicle report
    """
    from copick_tools.data.project import open_project
    from copick_tools.workflows import search as workflow

    devices = options.device_names(device) * workers
    plan = workflow.plan_search(open_project(config), recipe, settings, space, out)
    for name, parameter in plan.parameters.items():
        output.note(f"search {name}: {parameter}")
    if dry_run:
        output.note(f"maximize {plan.record.metric}; would write to {plan.folder}")
        if as_json:
            output.document(plan.record)
        return
    with output.progress("search") as progress:
        result = workflow.search(plan, progress, trials=trials, devices=devices)
    if as_json:
        output.document(result)
        return
    counts = {
        state: sum(t.state == state for t in result.trials) for state in ("complete", "pruned", "failed", "running")
    }
    output.note(f"search: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}")
    if counts["running"]:
        output.note("trials that run in other processes aren't waited for")
    if result.score is None:
        output.note("no trial has ended well yet")
        return
    output.note(f"best: trial {result.best}, {result.score:.4f} {result.metric}")
    output.result(str(result.recipe))
