"""popsicle bench"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath

if TYPE_CHECKING:
    from copick_tools.recipes.study_results import BenchPlan


@click.command(cls=Command)
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@options.config
@click.option(
    "--family", "families", multiple=True, metavar="FAMILY", help="Each RECIPE with this model; repeat for more."
)
@click.option("--seeds", type=click.IntRange(1), default=1, help="Trainings of each; a ranking needs 3.")
@click.option("--split", default="test", metavar="NAME", help="The runs to score.")
@click.option("--out", type=FilePath(file_okay=False), help="Folder of all experiments. [default: bench/TASK]")
@options.settings
@options.devices
@click.option("-w", "--workers", type=click.IntRange(1), default=1, help="Recipes at a time on each device.")
@options.dry_run
@options.as_json
def bench(
    recipes: tuple[str, ...],
    config: Path,
    families: tuple[str, ...],
    seeds: int,
    split: str,
    out: Path | None,
    settings: tuple[str, ...],
    device: str,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train, calibrate, localize or segment, and evaluate each RECIPE, and print one table.

    \b
    Every step is a command that you could type (--dry-run shows them), and none is done twice: started again, bench
    goes on where it was. Writes bench.json and table.md, .csv and .html beside the experiments.
    Example: popsicle bench phantom-sim/tiny --family octopi --family swinunetr --seeds 3 -c sim
    See also: popsicle train, popsicle search, popsicle report
    """
    from copick_tools.data.project import open_project
    from copick_tools.workflows import bench as workflow

    devices = options.device_names(device) * workers
    asked = workflow.Asked(recipes, families, seeds, settings, split, out)
    plan = workflow.plan_bench(open_project(config), asked)
    if dry_run:
        _show(workflow.left(plan, devices[0]), as_json)
        return
    with output.progress("bench") as progress:
        result = workflow.bench(plan, progress, devices)
    counts = {status: sum(step.status == status for step in result.steps) for status in ("done", "skipped", "failed")}
    already = " (finished already)" if counts["skipped"] else ""
    output.note(f"bench: {counts['done']} steps done, {counts['skipped']} skipped{already}, {counts['failed']} failed")
    if as_json:
        output.document(result)
    else:
        output.result((plan.folder / "table.md").read_text(encoding="utf-8").rstrip())
    output.note(f"table: {plan.folder / 'table.html'}")
    if counts["failed"]:
        click.get_current_context().exit(1)


def _show(left: BenchPlan, as_json: bool) -> None:
    """What would be done."""
    import shlex

    for failure in left.failures:
        output.words(f"{failure.name}, seed {failure.seed} can't be trained: {failure.error}")
    if as_json:
        output.document(left)
        return
    for command in left.commands:
        output.result(shlex.join(command))
