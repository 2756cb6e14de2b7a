"""popsicle report"""

from __future__ import annotations

from pathlib import Path

import click

from copick_tools.cli import output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath


@click.command(cls=Command)
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=FilePath())
@click.option("--out", type=FilePath(), required=True, help="The HTML file.")
@click.option("--csv", "numbers", type=FilePath(), help="The numbers too, one in each line.")
@click.option("--baseline", metavar="METHOD", help="Compare the other methods with this one, in percent.")
def report(folders: tuple[Path, ...], out: Path, numbers: Path | None, baseline: str | None) -> None:
    """Make one HTML file from evaluations, searches, benchmark runs, learning curves and tests of robustness.

    \b
    DIR is what `popsicle evaluate --out DIR`, `popsicle search`, `bench` or `learning-curve` wrote; they may mix. Several methods
    on several data sets are ranked: a method is the user id of its predictions, or the recipe of a benchmark run.
    Example: popsicle report experiments/phantom-sim/octopi searches/phantom-sim/octopi --out report.html
    The file is below 5 MB and needs no other file and no network.
    """
    from copick_tools.workflows.report import report as run_report

    run_report(folders, out, numbers, baseline)
    output.result(str(out))
    if numbers is not None:
        output.result(str(numbers))
