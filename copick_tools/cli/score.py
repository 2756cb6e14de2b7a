"""popsicle score"""

from __future__ import annotations

from pathlib import Path

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath


@click.command(cls=Command)
@click.argument("submission", metavar="SUBMISSION.csv", type=FilePath())
@click.argument("reference", metavar="REFERENCE.csv", type=FilePath())
@click.option(
    "--task", required=True, metavar="TASK", help="phantom or motorbench, or your own with a challenge's code."
)
@options.rule
@options.beta
@options.distance
@options.distance_multiplier
@click.option(
    "--strict/--lenient",
    default=True,
    help="Rows of an experiment that the reference doesn't know: an error, or dropped as the official code does.",
)
@click.option("--baseline", metavar="CSV", type=FilePath(), help="A second submission to compare with.")
@click.option(
    "--split", metavar="NAME", help="Which split of the task the reference is; the report's leaderboard asks."
)
@click.option("--out", type=FilePath(file_okay=False), help="Folder for scores.json.")
@options.as_json
def score(
    submission: Path,
    reference: Path,
    task: str,
    rule: str | None,
    beta: float | None,
    distance: float | None,
    distance_multiplier: float | None,
    strict: bool,
    baseline: Path | None,
    split: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score a challenge's submission exactly as the challenge does, and one-to-one beside it.

    \b
    phantom: experiment, particle_type, x, y, z (angstrom), as in the CZII challenge.
    motorbench: tomo_id, Motor axis 0, 1, 2 (voxels, z y x), as in the BYU challenge; the reference also has
    Voxel spacing and Has motor (or Number of motors, as the training labels).
    Example: popsicle score submission.csv solution.csv --task phantom
    See also: popsicle submit, popsicle evaluate
    """
    from copick_tools.cli.scores import show_points
    from copick_tools.recipes.load import load_task
    from copick_tools.recipes.rules import Overrides
    from copick_tools.workflows.score import Submission
    from copick_tools.workflows.score import score as run_score
    from copick_tools.workflows.scoring import write_scores

    overrides = Overrides(rule, beta, distance, distance_multiplier)
    result = run_score(Submission(submission, reference, load_task(task), overrides, strict, baseline, split))
    if out:
        write_scores(result, out)
        output.note(f"wrote {out / 'scores.json'}")
    if as_json:
        output.document(result)
    else:
        show_points(result)
