"""popsicle demo"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath

if TYPE_CHECKING:
    from copick_tools.types import RunResult


class Show:
    """The demo's steps on the terminal."""

    def runs(self, label: str, results: Iterable[RunResult], total: int) -> list[RunResult]:
        """With a bar over runs."""
        return output.follow(label, results, total)

    def steps(self, label: str, work: Callable[[Callable[[int, int], None]], tuple[Path, bool]]) -> tuple[Path, bool]:
        """With a bar over steps."""
        with output.progress(label) as move:
            return work(move)


@click.command(cls=Command)
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder for everything the demo makes.")
@click.option("--preset", metavar="easy|hard", help="Difficulty of the simulation. [default: hard]")
@click.option("--runs", type=click.IntRange(3), help="Tomograms. [default: 8]")
@click.option("--seed", type=click.IntRange(0), help="[default: 0]")
@options.settings
@options.device
@options.as_json
def demo(
    out: Path,
    preset: str | None,
    runs: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """The whole path on simulated data, in minutes: simulate, train, localize, evaluate, report."""
    from copick_tools.cli.scores import show_points
    from copick_tools.workflows.demo import demo as run_demo
    from copick_tools.workflows.simulate import PhantomProject

    given = {"preset": preset, "runs": runs, "seed": seed}
    plan = PhantomProject(**{key: value for key, value in given.items() if value is not None})
    result = run_demo(out, plan, Show(), settings=settings, device=device)
    if as_json:
        output.document(result)
    else:
        show_points(result)
    output.note(f"report: {out / 'report.html'}")
