"""popsicle models"""

from __future__ import annotations

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command


@click.group(context_settings=CONTEXT)
def models() -> None:
    """Model families: sizes, licenses, what to install."""


@models.command(name="ls", cls=Command)
@options.as_json
def list_models(as_json: bool) -> None:
    """List the model families."""
    from copick_tools.engines.describe import describe
    from copick_tools.engines.registry import FAMILIES

    found = [describe(name) for name in FAMILIES]
    if as_json:
        output.document([entry.model_dump(mode="json") for entry in found])
        return
    rows = [
        [m.family, f"{m.parameters / 1e6:.2f}M" if m.parameters else "-", m.extra or "-", m.license, m.title]
        for m in found
    ]
    output.table(rows, ["family", "parameters", "extra", "license", "title"])


@models.command(name="show", cls=Command)
@click.argument("family")
@options.as_json
def show_model(family: str, as_json: bool) -> None:
    """Show FAMILY: a shipped one, or the module path of your own."""
    from copick_tools.engines.describe import describe
    from copick_tools.recipes.load import dump_yaml

    found = describe(family)
    if as_json:
        output.document(found)
    else:
        output.result(dump_yaml(found).rstrip())
