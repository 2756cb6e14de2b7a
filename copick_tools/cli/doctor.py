"""popsicle doctor"""

from __future__ import annotations

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command


@click.command(cls=Command)
@options.as_json
def doctor(as_json: bool) -> None:
    """Versions, devices, extras, and what to install next."""
    from copick_tools.workflows.doctor import doctor as run_doctor

    found = run_doctor()
    if as_json:
        output.document(found)
    else:
        output.table([[c.name, c.status, c.detail] for c in found.checks], ["check", "status", "detail"])
        for check in found.checks:
            if check.hint:
                output.words(f"Hint: {check.name}: {check.hint}")
    if any(check.status == "broken" for check in found.checks):
        click.get_current_context().exit(1)
