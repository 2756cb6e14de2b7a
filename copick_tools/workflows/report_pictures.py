"""The pictures of a report: slices of a few runs, crops of telling picks. Tomograms are read run by run, no more than needed."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import segmentation_uri
from copick_tools.errors import FormatError, PopsicleError
from copick_tools.recipes.instance_results import InstancesResult, Scored
from copick_tools.recipes.results import PointsResult, SemanticResult
from copick_tools.recipes.task import Task
from copick_tools.reports import pictures as draw
from copick_tools.reports.gallery import ORDER, examples, telling_runs
from copick_tools.reports.html import Gallery, Pictures
from copick_tools.reports.pictures import Mark, Outline, Picture
from copick_tools.volumes.normalize import Volume

SHOWN = 8  # runs with a picture, per evaluation
WHOLE = 512 * 2**20  # bytes as float32; a smaller tomogram is read once, not chunk by chunk for every crop
MANY = 4  # crops of a run


@dataclass
class Budget:
    """Bytes of pictures in the file, and how many pictures found no room."""

    bytes: int
    used: int = 0
    dropped: int = 0

    def take(self, picture: Picture) -> bool:
        """Whether there is room for a picture, which then counts."""
        fits = self.used + picture.bytes <= self.bytes
        self.used += picture.bytes if fits else 0
        self.dropped += not fits
        return fits


def pictures(folder: Path, project: Project, result: Scored, task: Task | None, budget: Budget) -> Pictures:
    """Slices and crops of an evaluation. What can't be read is said in a note. Raises FormatError (matches.csv)."""
    runs = telling_runs({run: row.score for run, row in result.by_run.items()}, SHOWN)
    if not isinstance(result, PointsResult):
        return _overlays(project, result, task, runs, budget)
    path = folder / "matches.csv"
    if not path.is_file():
        return Pictures(note=f"No pictures: no {path}; run popsicle evaluate --out again.")
    marks = read_marks(path, result, _radii(project, result, task), set(runs))
    chosen = {
        (name, outcome): examples([mark for run in runs for mark in marks[run] if mark.object == name], outcome)
        for name in result.objects
        for outcome in ORDER
    }
    wanted: dict[str, list[Mark]] = defaultdict(list)
    for mark in (mark for some in chosen.values() for mark in some):
        wanted[mark.run].append(mark)
    slices, crops, notes = [], {}, []
    for run in runs:
        try:
            tomogram = _tomogram(project, run, task)
            picture, made = _run_pictures(tomogram, marks[run], wanted[run])
        except PopsicleError as error:
            notes.append(f"No picture of {run}: {error.message}.")
            continue
        slices.append(picture)
        crops.update(made)
    slices = [picture for picture in slices if budget.take(picture)]
    every = [_gallery(name, chosen, crops, marks, budget) for name in result.objects]
    galleries = [gallery for gallery in every if gallery.rows]
    return Pictures(slices, galleries, budget.dropped, _note(notes))


def _run_pictures(
    tomogram: read.StoredVolume, marks: Sequence[Mark], wanted: Sequence[Mark]
) -> tuple[Picture, dict[int, Picture]]:
    """The slice of a run, and crops by the id of their mark."""
    spacing, shape = tomogram.voxel_spacing, tomogram.shape
    whole = len(wanted) >= MANY and 4 * math.prod(shape) <= WHOLE
    volume: Volume = tomogram.numpy() if whole else tomogram
    slab = draw.central_slab(volume)
    gray = draw.contrast(slab)
    picture, scale = draw.slice_picture(slab, gray, tomogram.run, tomogram.name)
    circles = draw.slice_circles(marks, spacing, shape[0] // 2, scale, picture.height)
    return replace(picture, circles=circles), {
        id(mark): draw.crop_picture(volume, spacing, mark, gray) for mark in wanted
    }


def _gallery(
    name: str,
    chosen: Mapping[tuple[str, str], Sequence[Mark]],
    crops: Mapping[int, Picture],
    marks: Mapping[str, Sequence[Mark]],
    budget: Budget,
) -> Gallery:
    """The crops of one object."""
    rows = {}
    for outcome in ORDER:
        shown = [crops[id(mark)] for mark in chosen[name, outcome] if id(mark) in crops]
        shown = [picture for picture in shown if budget.take(picture)]
        if shown:
            rows[outcome] = shown
    every = [mark.outcome for some in marks.values() for mark in some if mark.object == name]
    return Gallery(name, rows, {outcome: every.count(outcome) for outcome in ORDER})


def _radii(project: Project, result: PointsResult, task: Task | None) -> dict[str, float]:
    """Of the objects, in angstrom: the task's, the project's, else twice the matching distance."""
    known = {entry.name: entry.radius for entry in (task.objects if task else project.objects.values())}
    return {name: known.get(name) or 2 * entry.distance for name, entry in result.objects.items()}


def read_marks(path: Path, result: PointsResult, radii: Mapping[str, float], runs: set[str]) -> dict[str, list[Mark]]:
    """The rows of matches.csv that belong to some runs. Raises FormatError."""
    marks: dict[str, list[Mark]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["run"] in runs:
                    marks[row["run"]].append(_mark(row, radii))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise FormatError(f"{path} isn't what evaluate writes: {error}") from error
    return marks


def _mark(row: Mapping[str, str], radii: Mapping[str, float]) -> Mark:
    position = np.array([float(row[axis]) for axis in "xyz"])
    if row["outcome"] not in draw.OUTCOMES or not np.isfinite(position).all():
        raise ValueError(f"outcome {row['outcome']!r} at {position.tolist()}")
    score, distance = (float(row[key]) if row[key] else None for key in ("score", "distance"))
    return Mark(row["run"], row["object"], position, radii[row["object"]], row["outcome"], score, distance)


def _tomogram(project: Project, run: str, task: Task | None, spacing: float | None = None) -> read.StoredVolume:
    """The task's kind of tomogram, else the first there is; nearest to a spacing (angstrom), where one is given."""
    wanted = {name: rank for rank, name in enumerate(task.tomo_types)} if task else {}
    best = min(
        read.list_tomograms(project, run),
        key=lambda uri: (
            abs((uri.voxel_spacing or 0) - spacing) > 0.05 if spacing else False,
            wanted.get(uri.tomo_type, len(wanted)),
            uri.voxel_spacing or 0,
            uri.tomo_type,
        ),
    )
    return read.read_tomogram(project, run, best)


def _overlays(
    project: Project, result: SemanticResult | InstancesResult, task: Task | None, runs: Sequence[str], budget: Budget
) -> Pictures:
    """Middle slices with the outlines of reference and prediction."""
    slices, notes = [], []
    for run in runs:
        try:
            picture = _overlay(project, result, task, run)
        except PopsicleError as error:
            notes.append(f"No picture of {run}: {error.message}.")
            continue
        slices += [picture] if budget.take(picture) else []
    return Pictures(slices, (), budget.dropped, _note(notes), list(result.objects))


def _overlay(project: Project, result: SemanticResult | InstancesResult, task: Task | None, run: str) -> Picture:
    masks = [*_masks(project, result, run, "reference"), *_masks(project, result, run, "prediction")]
    spacing = masks[0][0].voxel_spacing if masks else None
    tomogram = _tomogram(project, run, task, spacing)
    middle = tomogram.shape[0] // 2
    slab = draw.central_slab(tomogram, middle)
    picture, scale = draw.slice_picture(slab, draw.contrast(slab), run, tomogram.name)
    outlines = []
    for volume, kind, labels in masks:
        ratio = volume.voxel_spacing / tomogram.voxel_spacing
        plane = min(volume.shape[0] - 1, round(middle / ratio))
        section = np.asarray(volume[plane : plane + 1, :, :])[..., 0, :, :]
        for number, name in enumerate(result.objects):
            if name in labels:
                mask = _mask(section, labels[name], volume.entry.segmentation_type)
                path = draw.outline(mask, scale * ratio, picture.height)
                outlines += [Outline(path, number, kind)] if path else []
    return replace(picture, outlines=tuple(outlines))


def _mask(section: np.ndarray, label: int | None, kind: str) -> np.ndarray:
    """Where an object is in a yx section; of instances, less a border between those that touch."""
    if kind == "binary":
        return section > 0
    if kind == "multilabel":
        return section == label
    ids = section if kind == "instance" else np.where(section[0] == label, section[1], 0)
    mask = ids > 0
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        mask[one] &= (ids[one] == ids[other]) | (ids[other] == 0)
    return mask


def _masks(
    project: Project, result: SemanticResult | InstancesResult, run: str, side: str
) -> Iterator[tuple[read.StoredVolume, str, dict[str, int | None]]]:
    """The segmentations of one side, with the label of each object in them; None: every voxel that isn't 0."""
    for text in result.reference if side == "reference" else result.input:
        for volume in read.find_segmentations(project, run, segmentation_uri(text)):
            if volume.entry.is_multilabel or volume.entry.is_panoptic:
                yield volume, side, {name: project.object(name).label for name in result.objects}
            else:
                yield volume, side, {volume.entry.name: None}


def _note(notes: Sequence[str], most: int = 3) -> str | None:
    """The first few notes in one line."""
    more = f" And {len(notes) - most} more." if len(notes) > most else ""
    return " ".join(notes[:most]) + more if notes else None
