"""`popsicle localize`: tomograms straight to picks with scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from copick_tools.data import read
from copick_tools.data.files import read_volume
from copick_tools.data.project import Project
from copick_tools.data.rows import Frame, PicksTable
from copick_tools.data.tables import write_picks_table
from copick_tools.data.uris import PicksUri, TomogramUri
from copick_tools.data.write import has_picks, write_picks
from copick_tools.errors import NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.types import Points, RunResult
from copick_tools.workflows.predict import Model
from copick_tools.workflows.runs import each_run


def localize(
    model: Model,
    project: Project,
    runs: Sequence[str],
    tomogram: TomogramUri,
    output: PicksUri,
    *,
    overwrite: bool = False,
) -> Iterator[RunResult]:
    """Write one pick set per object and run, an empty one where nothing is found. A result's value counts the picks.

    Raises NotFoundError for an object that the model or the project doesn't know.
    """
    objects = output_objects(model, project, output)

    def finished(run: str) -> bool:
        return not overwrite and all(has_picks(project, run, uri) for uri in objects.values())

    return each_run(runs, partial(_localize_run, model, project, tomogram, objects), finished)


def output_objects(model: Model, project: Project, output: PicksUri) -> dict[str, PicksUri]:
    """The pick sets to write, by object."""
    known = [entry.name for entry in model.card.task.targets if entry.is_particle]
    if output.object != "*" and output.object not in known:
        raise NotFoundError(f"the model doesn't know '{output.object}'", nearest(output.object, known))
    chosen = known if output.object == "*" else [output.object]
    return {project.object(name).name: PicksUri(name, output.user, output.session) for name in chosen}


def _localize_run(
    model: Model, project: Project, tomogram: TomogramUri, objects: dict[str, PicksUri], run: str
) -> dict[str, int]:
    stored = read.read_tomogram(project, run, tomogram)
    found = model.points(stored, stored.voxel_spacing, f"run {run}")
    for name, uri in objects.items():
        write_picks(project, run, uri, found[name])
    return {name: len(found[name]) for name in objects}


@dataclass(frozen=True)
class Files:
    """Plain tomogram files. voxel_spacing: angstrom, overrides the headers. invert: the particles are bright."""

    paths: tuple[Path, ...]
    voxel_spacing: float | None = None
    invert: bool = False

    @property
    def names(self) -> list[str]:
        """What the runs are called in the table."""
        return [path.name.removesuffix(".gz").rpartition(".")[0] or path.name for path in self.paths]


def localize_files(model: Model, files: Files, out: Path, *, overwrite: bool = False) -> Iterator[RunResult]:
    """Write the picks of all files into one table (.star, .csv, .json), once the last is done.

    Raises PopsicleError when the table is there already, unless ``overwrite``: whose picks it holds can't be told.

    A file that can't be read is recorded and the others go on; the table then holds the others.

    Raises UsageError (two files of one name, a kind of table that can't be written).
    """
    if out.suffix.lower() not in (".star", ".csv", ".json"):
        raise UsageError(f"--out {out} isn't a table of picks", "name it .star, .csv or .json")
    names = files.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two files are named {twice[0]}", "the table couldn't tell them apart")
    paths = dict(zip(names, files.paths))
    table: PicksTable = {}
    frames: dict[str, Frame] = {}
    if out.exists() and not overwrite:
        raise PopsicleError(f"{out} is there already", "--overwrite replaces it; or choose another --out")
    for outcome in each_run(names, lambda name: _localize_file(model, files, paths[name])):
        if outcome.status == "done":
            found, frame = outcome.value
            table.update({(outcome.run, name): points for name, points in found.items()})
            frames[outcome.run] = frame
        yield RunResult(outcome.run, outcome.status, outcome.error, outcome.hint, _counts(outcome))
    if frames:
        write_picks_table(out, table, frames)


def _counts(outcome: RunResult) -> dict[str, int] | None:
    return {name: len(points) for name, points in outcome.value[0].items()} if outcome.value else None


def _localize_file(model: Model, files: Files, path: Path) -> tuple[dict[str, Points], Frame]:
    volume = read_volume(path, files.voxel_spacing)
    if volume.voxel_spacing is None:
        raise PopsicleError(f"{path} doesn't state its voxel spacing", "give --voxel-spacing in angstrom")
    array = -np.asarray(volume.array, dtype=np.float32) if files.invert else volume.array
    found = model.points(array, volume.voxel_spacing, path.name)
    z, y, x = array.shape
    return found, Frame(volume.voxel_spacing, (z, y, x))
