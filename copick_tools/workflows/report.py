"""`popsicle report`: evaluations, as `evaluate --out` writes them, become one HTML file."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project, open_project, write_text
from copick_tools.data.uris import TomogramUri
from copick_tools.errors import FormatError, NotFoundError, PopsicleError
from copick_tools.recipes.load import load_task, parse, task_names
from copick_tools.recipes.results import PointsResult
from copick_tools.recipes.task import Task
from copick_tools.reports.figures import Mark, bar_figure, curve_figure, slice_figure
from copick_tools.reports.html import Section, render

SHOWN = 12  # runs with a picture, per evaluation


def report(folders: Sequence[Path], out: Path) -> None:
    """Write the report of evaluation folders. Raises NotFoundError, FormatError."""
    write_text(out, render([_section(folder) for folder in folders]))


def _section(folder: Path) -> Section:
    result = _scores(folder)
    task = load_task(result.task) if result.task in task_names() else None  # a task of the user's own isn't found again
    slices, note = _slices(folder, result, task)
    intervals = [entry.ci95.get("fbeta") for entry in result.objects.values()]
    return Section(
        name=folder.name or str(folder.absolute().name),
        result=result,
        bars=bar_figure(
            list(result.objects), [entry.fbeta for entry in result.objects.values()], intervals, result.beta
        ),
        simulated=bool(task and task.simulated),
        curve=_curve(folder),
        slices=slices,
        left_out=max(0, len(result.run_names) - SHOWN) if slices else 0,
        note=note,
    )


def _scores(folder: Path) -> PointsResult:
    path = folder / "scores.json"
    if not path.is_file():
        raise NotFoundError(f"no {path}", "give folders that `popsicle evaluate --out DIR` wrote")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise FormatError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} holds no scores")
    return parse(PointsResult, document, where=str(path))


def _curve(folder: Path) -> str | None:
    """The training's curve, where the evaluation lies in an experiment folder."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return curve_figure(rows) if rows else None
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(f"{path} isn't the log of a training: {error}") from error


def _slices(folder: Path, result: PointsResult, task: Task | None) -> tuple[dict[str, str], str | None]:
    """A picture of the first runs, and a note where there are none."""
    try:
        project = open_project(result.config)
        marks = _marks(folder, project, result, task)
        shown = {}
        for run in result.run_names[:SHOWN]:
            tomogram = _tomogram(project, run, task)
            shown[run] = slice_figure(tomogram, tomogram.voxel_spacing, marks[run])
    except PopsicleError as error:
        return {}, f"no pictures: {error.message}"
    return shown, None


def _tomogram(project: Project, run: str, task: Task | None) -> read.StoredVolume:
    """The task's kind of tomogram, else the first there is."""
    stored = [
        TomogramUri(tomogram.tomo_type, spacing.voxel_size)
        for spacing in project.run(run).voxel_spacings
        for tomogram in spacing.tomograms
    ]
    if not stored:
        raise NotFoundError(f"run {run} has no tomogram")
    wanted = {name: rank for rank, name in enumerate(task.tomo_types)} if task else {}
    best = min(stored, key=lambda uri: (wanted.get(uri.tomo_type, len(wanted)), uri.voxel_spacing or 0))
    return read.read_tomogram(project, run, best)


def _marks(folder: Path, project: Project, result: PointsResult, task: Task | None) -> dict[str, list[Mark]]:
    path = folder / "matches.csv"
    if not path.is_file():
        raise NotFoundError(f"no {path}", "run popsicle evaluate --out again")
    radii = {entry.name: entry.radius for entry in (task.objects if task else project.objects.values())}
    marks: dict[str, list[Mark]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                position = np.array([float(row[axis]) for axis in "xyz"])
                radius = radii.get(row["object"]) or 2 * result.objects[row["object"]].distance
                marks[row["run"]].append(Mark(row["object"], position, radius, row["outcome"]))
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(f"{path} isn't what evaluate writes: {error}") from error
    return marks
