"""What the commands that walk through runs do with the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from copick_tools.cli import output

if TYPE_CHECKING:
    from copick_tools.types import RunResult


def walk(
    results: Iterable[RunResult], runs: Sequence[str], destination: str, as_json: bool, scores: str | None = None
) -> None:
    """Follow the runs, print what each gave, and exit with 1 if any failed. scores: what those of picks are."""
    command = str(click.get_current_context().info_name)
    tell(output.follow(command, results, len(runs)), runs, destination, as_json, scores)


def tell(
    results: Iterable[RunResult], runs: Sequence[str], destination: str, as_json: bool, scores: str | None = None
) -> None:
    """Print what each run gave, and exit with 1 if any failed."""
    context = click.get_current_context()
    seen = sorted(results, key=lambda result: runs.index(result.run))
    if as_json:
        from copick_tools.recipes.results import RunOutcome, RunsResult

        rows = [
            RunOutcome(run=r.run, status=r.status, error=r.error, hint=r.hint, counts=r.value, seconds=r.seconds)
            for r in seen
        ]
        output.document(RunsResult(command=str(context.info_name), output=destination, runs=rows, scores=scores))
    else:
        names = list(dict.fromkeys(name for result in seen for name in result.value or ()))
        rows = [[r.run, r.status, *((r.value or {}).get(name, "") for name in names)] for r in seen]
        output.table(rows, ["run", "status", *names])
    if any(result.status == "failed" for result in seen):
        context.exit(1)
