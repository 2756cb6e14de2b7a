"""Options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from copick_tools.cli.paths import FilePath
from copick_tools.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def _config(required: bool) -> Callable[[F], F]:
    return click.option(
        "-c",
        "--config",
        type=FilePath(),
        envvar="COPICK_CONFIG",
        show_envvar=True,
        required=required,
        help="The project's copick.json, or its folder.",
    )


config = _config(required=True)
config_or_files = _config(required=False)
run_names = click.option(
    "-r", "--run-names", "run_names", multiple=True, metavar="NAME", help="Only this run; repeat for more."
)
split = click.option("--split", metavar="NAME", help="Only the runs of this split.")
workers = click.option("-w", "--workers", type=click.IntRange(1), default=1, help="Processes.")
overwrite = click.option("--overwrite/--no-overwrite", default=False, help="Make finished outputs again.")
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
settings = click.option(
    "-s", "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe."
)
device = click.option("--device", default="auto", metavar="auto|cpu|cuda|cuda:1|mps", help="Where to compute.")
devices = click.option(
    "--device",
    default="auto",
    metavar="auto|cpu|cuda|cuda:1|mps",
    help="Where to compute; several with commas, a process each: cuda:0,cuda:1.",
)
rule = click.option("--rule", metavar="one-to-one|kaggle", help="[default: the task's, else one-to-one]")
beta = click.option("--beta", type=float, help="[default: the task's, else 1]")
distance = click.option(
    "--distance", type=float, help="Angstrom, for all objects. [default: the task's, else half the radius]"
)
distance_multiplier = click.option(
    "--distance-multiplier", type=float, help="Matching distance as a fraction of each object's radius."
)
missing = click.option(
    "--missing", type=click.Choice(["error", "empty"]), help="What a run without prediction is. [default: error]"
)
radius = click.option(
    "--radius", multiple=True, metavar="OBJECT=ANGSTROM", help="Radius of an object; repeat for more."
)


def object_radius(text: str) -> tuple[str, float]:
    """The value of ``--radius``. Raises UsageError."""
    name, _, value = text.partition("=")
    try:
        radius = float(value)
    except ValueError:
        radius = -1.0
    if not 0 < radius < float("inf"):
        raise UsageError(f"--radius {text}: expected OBJECT=ANGSTROM", "for example --radius ribosome=150")
    return name, radius


def device_names(text: str) -> tuple[str, ...]:
    """The devices of ``--device``. Raises UsageError."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"--device {text}: a name is missing", "for example --device cuda:0,cuda:1")
    return names
