"""popsicle tasks"""

from __future__ import annotations

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command


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
@options.as_json
def show_task(task: str, as_json: bool) -> None:
    """Show TASK, a shipped one or a YAML file."""
    from copick_tools.recipes.load import dump_yaml, load_task

    found = load_task(task)
    if as_json:
        output.document(found)
    else:
        output.result(dump_yaml(found).rstrip())
