"""popsicle simulate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command
from copick_tools.cli.walking import walk


class Shape(click.ParamType):
    """``z,y,x`` in voxels."""

    name = "z,y,x"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Three positive whole numbers."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f"'{value}' isn't three positive numbers of voxels, such as 64,256,256", param, ctx)
        return tuple(int(part) for part in parts)


class Counts(click.ParamType):
    """``object=number``."""

    name = "object=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """A name and a number that isn't negative."""
        name, _, number = str(value).partition("=")
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"'{value}' isn't object=number, such as ribosome=30", param, ctx)


@click.group(context_settings=CONTEXT)
def simulate() -> None:
    """Make a project of simulated tomograms, with its truth."""


@simulate.command(cls=Command)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the project.")
@click.option("--runs", type=click.IntRange(1), help="Tomograms. [default: 8, or one for each --positions]")
@click.option("--shape", type=Shape(), help="Voxels along z, y, x. [default: 64,256,256]")
@click.option("--voxel-spacing", type=float, help="Angstrom. [default: 10.012]")
@click.option("--preset", metavar="easy|hard", help="hard: as hard as the real phantom. [default: hard]")
@click.option("--seed", type=click.IntRange(0), help="Same seed, same bytes. [default: 0]")
@click.option(
    "--positions",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Picks (STAR, CSV, copick JSON, or a folder of them) to place particles at; repeat for more runs.",
)
@click.option(
    "--counts", multiple=True, type=Counts(), help="Copies in 64 x 256 x 256 voxels of 10 A; repeat for more."
)
@click.option("--dose", type=float, help="Electrons per square angstrom and tilt.")
@click.option("--defocus", type=float, help="Angstrom.")
@click.option("--tilt-range", type=float, help="Degrees to either side.")
@click.option("--tilt-step", type=float, help="Degrees.")
@click.option("--thickness", type=float, help="Angstrom of ice that the electrons cross.")
@options.workers
@options.overwrite
@options.as_json
def phantom(
    out: Path,
    runs: int | None,
    counts: tuple[tuple[str, float], ...],
    workers: int,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Six macromolecular complexes with membranes and decoys (task phantom-sim).

    \b
    Writes tomograms wbp, reference picks *:simulation/0 with true orientations, a multilabel segmentation
    phantom:simulation/0 and one instance segmentation for each object.
    Example: popsicle simulate phantom --out sim --runs 8 && export COPICK_CONFIG=sim/copick.json
    """
    from dataclasses import replace

    from copick_tools.workflows.simulate import PhantomProject
    from copick_tools.workflows.simulate import simulate as run_simulation

    plan_keys = ("shape", "voxel_spacing", "preset", "seed", "positions")
    chosen = {key: given[key] for key in plan_keys if given[key] is not None}
    changes = {key: value for key, value in given.items() if key not in plan_keys and value is not None}
    plan = PhantomProject(**chosen)
    if runs or plan.positions:
        plan = PhantomProject(**chosen, runs=runs or len(plan.positions))
    if counts:
        changes["counts"] = {**plan.settings().counts, **dict(counts)}
    project, names, results = run_simulation(out, replace(plan, changes=changes), workers, overwrite)
    output.note(f"project: {project.config}")
    walk(results, names, str(project.config), as_json)
