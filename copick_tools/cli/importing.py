"""popsicle import"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from copick_tools.cli import options, output
from copick_tools.cli.base import Command
from copick_tools.cli.paths import FilePath
from copick_tools.cli.walking import walk
from copick_tools.errors import UsageError


@click.command(name="import", cls=Command)
@click.argument("files", nargs=-1, required=True, type=FilePath())
@click.option("--out", type=FilePath(file_okay=False), required=True, help="Folder of the project.")
@click.option("--picks", multiple=True, type=FilePath(), help="STAR, CSV or JSON; repeat for more.")
@click.option("--voxel-spacing", type=float, help="Angstrom; overrides the headers.")
@click.option("--pixel-size", type=float, help="Angstrom per unit of voxel coordinates in --picks, if they don't say.")
@click.option("--object", "object_name", help="Object of picks that don't name theirs.")
@click.option("--task", help="Takes the objects, with labels and radii, from a task.")
@options.radius
@click.option("--tomo-type", help="Kind of reconstruction. [default: wbp]")
@click.option("--user-id", "user", help="Whose picks they are. [default: import]")
@click.option("--session-id", "session", help="[default: 0]")
@click.option("--invert", is_flag=True, help="The files have bright particles.")
@options.workers
@options.overwrite
@options.as_json
def import_(
    files: tuple[Path, ...],
    out: Path,
    task: str | None,
    radius: tuple[str, ...],
    workers: int,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a project from tomogram FILES (.mrc, .tif, or folders of them) and their picks.

    \b
    RELION 4 and 5 STAR files have their origin shifts applied; CSV needs x, y, z in angstrom.
    Example: popsicle import tomograms/ --picks particles.star --out project --radius ribosome=150
    """
    for path in files:
        if not path.exists():
            raise UsageError(f"no file or folder {path}")
    from copick_tools.recipes.load import load_task
    from copick_tools.workflows.importing import Import, import_files

    chosen = {key: value for key, value in given.items() if value is not None}
    request = Import(
        files, **chosen, task=load_task(task) if task else None, radii=dict(map(options.object_radius, radius))
    )
    project, runs, results = import_files(out, request, overwrite=overwrite, workers=workers)
    output.note(f"project: {project.config}")
    walk(results, runs, str(project.config), as_json)
