"""`popsicle import`: tomogram files, and picks of them, become a project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from copick_tools.data import files
from copick_tools.data.project import Project, ProjectObject, create_project, open_project, project_objects
from copick_tools.data.rows import Frame, PicksTable
from copick_tools.data.tables import read_picks_table
from copick_tools.data.uris import PicksUri, TomogramUri, picks_uri, tomogram_uri
from copick_tools.data.write import has_picks, has_tomogram, write_picks, write_tomogram
from copick_tools.errors import NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.recipes.task import Task
from copick_tools.types import Points, RunResult
from copick_tools.workflows.runs import each_run, with_splits

PALETTE = ((0, 117, 220), (153, 63, 0), (76, 0, 92), (0, 92, 49), (43, 206, 72), (255, 204, 153), (128, 128, 128))


@dataclass(frozen=True)
class Import:
    """voxel_spacing: angstrom, overrides the headers. invert: particles are bright in the files.

    picks: tables whose centers become reference picks ``*:user/session``. pixel_size: angstrom per unit of their voxel
    coordinates, where the table doesn't say. radii: angstrom per object, where no task says.
    """

    sources: tuple[Path, ...]
    picks: tuple[Path, ...] = ()
    voxel_spacing: float | None = None
    pixel_size: float | None = None
    tomo_type: str = "wbp"
    user: str = "import"
    session: str = "0"
    object_name: str | None = None
    invert: bool = False
    task: Task | None = None
    radii: Mapping[str, float] = field(default_factory=dict)


def import_files(
    out: Path, request: Import, *, overwrite: bool = False, workers: int = 1
) -> tuple[Project, list[str], Iterator[RunResult]]:
    """Make (or go on making) the project ``out``; a run is named after its file. A result's value counts the picks.

    With picks, every run gets a pick set of every object, an empty one where it has none: no picks is a statement.

    Raises NotFoundError, UsageError, FormatError for what concerns all runs.
    """
    paths = _runs(request.sources)
    frames = {run: frame for run, path in paths.items() if (frame := _frame(path, request)) is not None}
    table = _picks(request, list(paths), frames)
    objects = _objects(request, table, out)
    picks_uri(f":{request.user}/{request.session}", output=True)
    tomogram_uri(request.tomo_type)
    project = create_project(out, out.name, objects, "imported from files")
    names = [entry.name for entry in objects if entry.is_particle] if request.picks else []
    by_run = {run: {name: table.get((run, name), Points.at([])) for name in names} for run in paths}
    work = partial(_import_run, project, request, paths, by_run)
    finished = partial(_is_finished, project, request, by_run, overwrite)
    results = each_run(list(paths), work, finished, workers, project)
    return project, list(paths), with_splits(project, results)


def _runs(sources: Sequence[Path]) -> dict[str, Path]:
    """Run name -> file; folders stand for the volumes in them."""
    found: list[Path] = []
    for source in sources:
        inside = sorted(path for path in source.iterdir() if files.is_volume(path)) if source.is_dir() else [source]
        if not inside:
            raise NotFoundError(f"no tomograms in {source}", "expected .mrc, .rec, .map, .tif or .tiff files")
        found += inside
    paths: dict[str, Path] = {}
    for path in found:
        name = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        if name in paths:
            raise UsageError(f"two files give the run name '{name}': {paths[name]} and {path}", "rename one")
        paths[name] = path
    return paths


def _frame(path: Path, request: Import) -> Frame | None:
    """Shape and spacing of a file; None for one that can't be read, which its own run will report."""
    try:
        volume = files.read_volume(path, request.voxel_spacing)
    except PopsicleError:
        return None
    z, y, x = volume.array.shape
    return Frame(volume.voxel_spacing, (z, y, x)) if volume.voxel_spacing else None


def _picks(request: Import, runs: list[str], frames: Mapping[str, Frame]) -> PicksTable:
    table: PicksTable = {}
    for path in request.picks:
        only = runs[0] if len(runs) == 1 else None
        read = read_picks_table(
            path, run=only, object_name=request.object_name, frames=frames, pixel_size=request.pixel_size
        )
        for (run, name), points in read.items():
            if run not in runs:
                raise NotFoundError(
                    f"{path} has picks of run '{run}', and no tomogram of that name", nearest(run, runs)
                )
            if (run, name) in table:
                raise UsageError(f"{path} has picks of {name} in run {run}, as another table has")
            table[run, name] = points
    return table


def _objects(request: Import, table: PicksTable, out: Path) -> list[ProjectObject]:
    """The task's objects, else those of the tables; what the project knows already keeps its label."""
    names = sorted({name for _, name in table})
    if request.task:
        known = [entry.name for entry in request.task.objects]
        for name in names:
            if name not in known:
                raise NotFoundError(f"task {request.task.name} has no object '{name}'", nearest(name, known))
        return project_objects(request.task)
    for name in request.radii:
        if name not in names:
            raise NotFoundError(f"--radius {name}: no table has picks of it", nearest(name, names))
    for name in names:
        picks_uri(f"{name}:{request.user}/{request.session}", output=True)
    known = open_project(out).objects if (out / "copick.json").exists() else {}
    free = iter(set(range(1, 255)) - {entry.label for entry in known.values()})
    labels = {name: known[name].label if name in known else next(free) for name in names}
    return [
        ProjectObject(name, label, request.radii.get(name), True, (*PALETTE[(label - 1) % len(PALETTE)], 255))
        for name, label in labels.items()
    ]


def _is_finished(
    project: Project, request: Import, picks: Mapping[str, Mapping[str, Points]], overwrite: bool, run: str
) -> bool:
    return (
        not overwrite
        and has_tomogram(project, run, TomogramUri(request.tomo_type, None))
        and all(has_picks(project, run, PicksUri(name, request.user, request.session)) for name in picks[run])
    )


def _import_run(
    project: Project, request: Import, paths: Mapping[str, Path], picks: Mapping[str, Mapping[str, Points]], run: str
) -> dict[str, int]:
    volume = files.read_volume(paths[run], request.voxel_spacing)
    if volume.voxel_spacing is None:
        raise PopsicleError(f"{paths[run]} doesn't state its voxel spacing", "give --voxel-spacing in angstrom")
    array = np.asarray(volume.array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise PopsicleError(f"{paths[run]}: {int((~np.isfinite(array)).sum())} voxels aren't finite")
    for name, points in picks[run].items():
        write_picks(project, run, PicksUri(name, request.user, request.session), points)
    uri = TomogramUri(request.tomo_type, round(volume.voxel_spacing, 3))
    write_tomogram(project, run, uri, -array if request.invert else array)  # last: it marks the run as finished
    return {name: len(points) for name, points in picks[run].items()}
