"""popsicle tasks"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command

if TYPE_CHECKING:
    from copick_tools.recipes.leaderboard import Leaderboard


@click.group(context_settings=CONTEXT)
def tasks() -> None:
    """Benchmark tasks: splits, objects, how they are scored."""


@tasks.command(name="ls", cls=Command)
@options.as_json
def list_tasks(as_json: bool) -> None:
    """List the tasks."""
    from copick_tools.recipes.load import load_task, task_names

    found = [load_task(name) for name in task_names()]
    if as_json:
        output.document([task.model_dump(mode="json") for task in found])
        return
    rows = [
        [
            t.name,
            t.kind,
            len(t.targets),
            " ".join(f"{name} {'?' if s.runs is None else s.runs}" for name, s in t.splits.items()),
            t.title,
        ]
        for t in found
    ]
    output.table(rows, ["task", "kind", "objects", "runs", "title"])


@tasks.command(name="show", cls=Command)
@click.argument("task")
@click.option("--leaderboard", is_flag=True, help="The paper's table of the task, each aggregate recomputed.")
@options.as_json
def show_task(task: str, leaderboard: bool, as_json: bool) -> None:
    """Show TASK, a shipped one or a YAML file."""
    from copick_tools.errors import NotFoundError
    from copick_tools.recipes.leaderboard import leaderboard_names, load_leaderboard
    from copick_tools.recipes.load import dump_yaml, load_task

    found = load_task(task)
    if leaderboard:
        table = load_leaderboard(found.name)
        if table is None:
            raise NotFoundError(f"no leaderboard of task {found.name}", f"there is one of {_list(leaderboard_names())}")
        if as_json:
            output.document(table)
        else:
            _show(table)
    elif as_json:
        output.document(found)
    else:
        output.result(dump_yaml(found).rstrip())


def _list(names: list[str]) -> str:
    return ", ".join(names)


def _show(table: Leaderboard) -> None:
    """The table on stdout, where it comes from and what is odd about it on stderr."""
    digits = table.decimals
    rows = []
    for row in table.rows:
        spread = [f"±{sd:.{digits}f}" for sd in row.sd] if row.sd else [""] * len(row.values)
        rows.append(
            [
                row.name,
                row.kind,
                *(f"{value:.{digits}f}{sd}" for value, sd in zip(row.values, spread)),
                "-" if row.printed is None else f"{row.printed:.{digits}f}",
                f"{row.recomputed:.{digits}f}",
                "disagrees" if row.disagrees else "",
            ]
        )
    output.table(rows, ["row", "kind", *table.columns, "printed", "recomputed", ""])
    output.note(f"{table.title}, split {table.split}; {table.source}")
    for note in table.notes:
        output.note(f"- {note}")
