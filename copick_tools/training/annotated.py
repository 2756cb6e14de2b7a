"""Read the instances that a recipe learns from, on the network's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.task import TaskObject
from copick_tools.training.instance_targets import Annotated
from copick_tools.types import Integers
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.components import zyx
from copick_tools.volumes.normalize import Volume

LARGEST = 1 << 31  # ids from here on aren't told by scores


def read_annotated(
    project: Project,
    run: str,
    uri: SegmentationUri,
    objects: Sequence[TaskObject],
    grid: tuple[tuple[int, int, int], float],
) -> Annotated:
    """Labels and ids of a run, from one panoptic segmentation, or from an instance segmentation of each object.

    grid: zyx voxels and voxel spacing in angstrom of what is wanted; stored ones are brought there by nearest neighbor. An
    object whose instance segmentation a run lacks has none in it, if the URI leaves the object open and the run has others.

    Raises NotFoundError, PopsicleError, FormatError (ids or grids that won't do), UsageError (no instances).
    """
    if uri.kind == "panoptic":
        stored = read.read_segmentation(project, run, uri)
        labels, ids = (_on(stored.of_channel(channel), grid) for channel in ("label", "instance"))
        return Annotated(_small(labels, stored), ids)
    if uri.kind != "instance":
        raise UsageError(f"{uri} names no instances", "its URI ends in ?instance=true or ?panoptic=true")
    names = {entry.name for entry in objects}
    found = {stored.entry.name for stored in read.find_segmentations(project, run, uri)} & names
    if not found:
        if not any(fnmatchcase(name, uri.name) for name in names):
            raise NotFoundError(f"{uri} names no object of the task", nearest(uri.name, names))
        read.read_segmentation(project, run, uri)  # its error names what is there instead
    labels, ids = np.zeros(grid[0], np.uint8), np.zeros(grid[0], np.int64)
    for entry in objects:
        if entry.name not in found:
            continue
        own = _on(read.read_segmentation(project, run, replace(uri, name=entry.name)), grid)
        labels[own > 0] = entry.label
        ids = np.where(own > 0, own, ids)
    return Annotated(labels, ids)


def _on(stored: read.StoredVolume, grid: tuple[tuple[int, int, int], float]) -> Integers:
    shape, spacing = grid
    factor = stored.voxel_spacing / spacing
    if any(abs(length * factor - wanted) > 1 + factor for length, wanted in zip(stored.shape, shape)):
        raise FormatError(
            f"run {stored.run}: {stored.name} has {stored.shape} voxels of {stored.voxel_spacing:g} A, its tomogram covers "
            f"{shape} of {spacing:g} A",
            "a reference has to cover what its tomogram shows",
        )
    volume: Volume = stored if stored.shape == shape else OnGrid(stored, factor, shape)
    values = np.asarray(volume[:, :, :])
    if values.dtype.kind not in "iu" or (values.size and values.min() < 0):
        raise FormatError(f"{stored.name} of run {stored.run} holds {values.dtype} values, not ids from 0 up")
    if values.max(initial=0) >= LARGEST:
        raise FormatError(
            f"{stored.name} of run {stored.run} holds id {values.max()}: ids are below 2**31", "number them from 1 up"
        )
    return values


def _small(labels: Integers, stored: read.StoredVolume) -> Integers:
    if labels.max(initial=0) > 255:
        raise FormatError(f"{stored.name} of run {stored.run} holds label {labels.max()}: labels are at most 255")
    return labels.astype(np.uint8)


def grid_of(volume: Volume, voxel_spacing: float) -> tuple[tuple[int, int, int], float]:
    """The grid of a zyx volume."""
    return zyx(volume), voxel_spacing
