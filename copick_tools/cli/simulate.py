"""popsicle simulate"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import CONTEXT, Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import walk

if TYPE_CHECKING:
    from copick_tools.workflows.simulating import SimulationPlan

F = TypeVar("F", bound=Callable[..., Any])
PLAN = ("runs", "shape", "voxel_spacing", "preset", "seed", "positions")  # the other options change the settings


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


def _of_the_project(runs: str, shape: str, voxel_spacing: str, preset: str) -> Callable[[F], F]:
    """What every simulation may be asked for; the texts are defaults, and what `hard` is."""
    given = (
        click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder of the project."),
        click.option("--runs", type=click.IntRange(1), help=f"Tomograms. [default: {runs}]"),
        click.option("--shape", type=Shape(), help=f"Voxels along z, y, x. [default: {shape}]"),
        click.option("--voxel-spacing", type=float, help=f"Angstrom. [default: {voxel_spacing}]"),
        click.option("--preset", metavar="easy|hard", help=f"{preset} [default: hard]"),
        click.option("--seed", type=click.IntRange(0), help="Same seed, same bytes. [default: 0]"),
    )
    return _all(*given)


def _all(*given: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(command: F) -> F:
        for option in reversed(given):
            command = option(command)
        return command

    return decorate


_of_the_microscope = _all(
    click.option("--dose", type=float, help="Electrons per square angstrom and tilt."),
    click.option("--defocus", type=float, help="Angstrom."),
    click.option("--tilt-range", type=float, help="Degrees to either side."),
    click.option("--tilt-step", type=float, help="Degrees."),
    click.option("--thickness", type=float, help="Angstrom of ice that the electrons cross."),
)


@simulate.command(cls=Command)
@_of_the_project("8, or one for each --positions", "64,256,256", "10.012", "hard: as hard as the real phantom.")
@click.option(
    "--positions",
    multiple=True,
    type=FilePath(),
    help="Picks (STAR, CSV, copick JSON, or a folder of them) to place particles at; repeat for more runs.",
)
@click.option(
    "--counts", multiple=True, type=Counts(), help="Copies in 64 x 256 x 256 voxels of 10 A; repeat for more."
)
@_of_the_microscope
@options.workers
@options.overwrite
@options.as_json
def phantom(
    out: Path, counts: tuple[tuple[str, float], ...], workers: int, overwrite: bool, as_json: bool, **given: Any
) -> None:
    """Six macromolecular complexes with membranes and decoys (task phantom-sim).

    \b
    Writes tomograms wbp, reference picks *:simulation/0 with true orientations, a multilabel segmentation
    phantom:simulation/0 and one instance segmentation for each object.
    Example: popsicle simulate phantom --out sim --runs 8 && export COPICK_CONFIG=sim/copick.json
    """
    from dataclasses import replace

    from copick_tools.workflows.simulate import PhantomProject

    chosen, changes = _sorted(given)
    if chosen.get("positions"):
        chosen.setdefault("runs", len(chosen["positions"]))
    plan = PhantomProject(**chosen)
    if counts:
        changes["counts"] = {**plan.settings().counts, **dict(counts)}
    _simulate(out, replace(plan, changes=changes), workers, overwrite, as_json)


@simulate.command(cls=Command)
@_of_the_project("13", "48,160,160", "20", "easy: more dose and contrast.")
@_of_the_microscope
@options.workers
@options.overwrite
@options.as_json
def organelles(out: Path, workers: int, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Touching vesicles, mitochondria, networks of ER and bacteria, each with an id (task organelle-sim).

    \b
    Writes tomograms wbp, the panoptic truth organelles:simulation/0 (labels, and ids from 1 within each object),
    the same as a multilabel segmentation, and one instance segmentation for each object. No picks.
    Example: popsicle simulate organelles --out cells && export COPICK_CONFIG=cells/copick.json
    """
    from copick_tools.workflows.simulate_organelles import OrganelleProject

    chosen, changes = _sorted(given)
    _simulate(out, OrganelleProject(**chosen, changes=changes), workers, overwrite, as_json)


def _sorted(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given: for the plan, and for the settings."""
    known = {key: value for key, value in given.items() if value is not None}
    return {k: v for k, v in known.items() if k in PLAN}, {k: v for k, v in known.items() if k not in PLAN}


def _simulate(out: Path, plan: SimulationPlan, workers: int, overwrite: bool, as_json: bool) -> None:
    """Simulate, and say what each run holds."""
    from copick_tools.workflows.simulating import simulate as run_simulation

    project, names, results = run_simulation(out, plan, workers, overwrite)
    output.note(f"project: {project.config}")
    walk(results, names, str(project.config), as_json)
