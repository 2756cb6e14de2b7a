"""`popsicle localize` for plain files: volumes in, one table of picks out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.data.files import Volume, read_volume
from copick_tools.data.parts import Parts
from copick_tools.data.rows import Frame, PicksTable
from copick_tools.data.tables import require_writable, write_picks_table
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes import picking
from copick_tools.types import Points, RunResult
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.pipeline import HELD, Stages
from copick_tools.workflows.predict import Model, Options, basis
from copick_tools.workflows.where import Where, allowed

if TYPE_CHECKING:
    from copick_tools.inference.extract import Prediction

log = logging.getLogger("copick_tools")


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


@dataclass(frozen=True)
class FilesTask:
    """A checkpoint, files and the table to write; a `pipeline.Task`. The picks of each file are kept until all are there."""

    checkpoint: Path
    files: Files
    out: Path
    options: Options = Options()
    where: Where = Where()
    overwrite: bool = False

    def finished(self, name: str) -> bool:
        """Never: an earlier call's picks of this file are as good as new ones, and count as done."""
        return False

    def stages(self, device: str) -> Stages:
        """Open the checkpoint on a device."""
        opened = _Opened(self, Model.open(self.checkpoint, device, self.options))
        return Stages(opened.read, opened.compute, opened.finish)

    @cached_property
    def parts(self) -> Parts:
        """Where the picks of each file are kept."""
        depends = [self.files.voxel_spacing, self.files.invert, self.where.border]
        return Parts(self.out, [basis(self.checkpoint, self.options), depends])

    def state(self, name: str) -> list[Any]:
        """What tells a file from a later one of the same path."""
        path = dict(zip(self.files.names, self.files.paths))[name]
        try:
            held = path.stat()
        except OSError:
            return [str(path)]
        return [str(path.absolute()), held.st_size, held.st_mtime_ns]


def localize_files(task: FilesTask, devices: Sequence[str] = ("auto",)) -> Iterator[RunResult]:
    """Write the picks of all files into one table (.star, .csv, .json), once the last is done.

    A file that can't be read is recorded and the others go on; the table then holds the others. Killed in the middle, the
    same call takes up the files that were finished.

    Raises UsageError (two files of one name, a kind of table that can't be written); PopsicleError when the table is there
    already, unless ``overwrite``: whose picks it holds can't be told.
    """
    task.where.check()
    if task.where.needs_project:
        raise UsageError("--exclude and --sample name something in a project, and these are plain files")
    names, out = task.files.names, task.out
    require_writable(out, names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two files are named {twice[0]}", "the table couldn't tell them apart")
    if out.exists() and not task.overwrite:
        kept = "; files whose picks were kept aren't computed again" if task.parts.folder.is_dir() else ""
        raise PopsicleError(f"{out} is there already", f"--overwrite replaces it{kept}; or choose another --out")
    there: dict[str, Any] = {}
    for result in on_devices(task, names, devices):
        if result.status == "done":
            there[result.run] = result.value
            result = replace(result, value={kind: len(row["scores"]) for kind, row in result.value["picks"].items()})
        yield result
    if there:
        _write(out, {name: there[name] for name in names if name in there})
    if len(there) == len(names):
        task.parts.clear()
    elif there:
        log.info("%s holds the other files; mend the bad ones and repeat with --overwrite: the others are kept", out)


def _write(out: Path, held: Mapping[str, Any]) -> None:
    table: PicksTable = {}
    frames: dict[str, Frame] = {}
    for name, document in held.items():
        frames[name] = Frame(document["voxel_spacing"], tuple(document["shape"]))
        for kind, row in document["picks"].items():
            points = Points.at(row["xyz"], row["scores"])
            table[name, kind] = replace(points, volumes=np.asarray(row["volumes"], dtype=float))
    write_picks_table(out, table, frames)


@dataclass(frozen=True)
class _Held:
    """A file that was read. state: of the file, before. document: its picks, where they are there already, else None."""

    state: list[Any]
    document: Any = None
    volume: Volume | None = None


@dataclass(frozen=True)
class _Predicted:
    """A file that was predicted. voxel_spacing: angstrom, shape: zyx of the file."""

    state: list[Any]
    voxel_spacing: float
    shape: tuple[int, ...]
    prediction: Prediction


@dataclass(frozen=True)
class _Opened:
    """The stages, on one device."""

    task: FilesTask
    model: Model

    def read(self, name: str) -> _Held:
        state, files = self.task.state(name), self.task.files
        document = self.task.parts.read(name, state)
        if document is not None:
            return _Held(state, document)
        path = dict(zip(files.names, files.paths))[name]
        volume = read_volume(path, files.voxel_spacing)
        if volume.voxel_spacing is None:
            raise PopsicleError(f"{path} doesn't state its voxel spacing", "give --voxel-spacing in angstrom")
        if files.invert:
            volume = replace(volume, array=-np.asarray(volume.array, dtype=np.float32))
        elif volume.array.size <= HELD:
            volume = replace(volume, array=np.array(volume.array))
        return _Held(state, volume=volume)

    def compute(self, name: str, held: _Held) -> _Held | _Predicted:
        if held.volume is None:
            return held
        array, spacing = held.volume.array, held.volume.voxel_spacing or 0.0
        prediction = self.model.predict(array, spacing, name, wanted=self.model.for_picks)
        return _Predicted(held.state, spacing, array.shape, prediction)

    def finish(self, name: str, done: _Held | _Predicted) -> Any:
        """The document of a file's picks."""
        if isinstance(done, _Held):
            return done.document
        prediction = done.prediction
        grid = picking.Grid(prediction.shape, prediction.voxel_spacing, prediction.origin)
        found = allowed(None, name, self.task.where, self.model.candidates(prediction), grid, None)
        rows = {kind: _row(picking.points(candidates, grid)) for kind, candidates in found.items()}
        document = {"voxel_spacing": done.voxel_spacing, "shape": list(done.shape), "picks": rows}
        self.task.parts.write(name, document, done.state)
        return document


def _row(points: Points) -> dict[str, list[Any]]:
    volumes = [] if points.volumes is None else points.volumes.tolist()
    return {"xyz": points.positions.tolist(), "scores": points.scores.tolist(), "volumes": volumes}
