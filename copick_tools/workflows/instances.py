"""Which voxels are of which pick: an instance segmentation beside each pick set, with the same ids."""

from __future__ import annotations

import numpy as np

from copick_tools.data.project import Project
from copick_tools.data.read import StoredVolume
from copick_tools.data.uris import PicksUri, SegmentationUri
from copick_tools.data.write import has_segmentation, remove_segmentation, write_segmentation_slabs
from copick_tools.recipes.picking import Grid
from copick_tools.volumes.blocks import SIZE, OnGrid
from copick_tools.volumes.normalize import Volume


def has_instances(project: Project, run: str, picks: PicksUri) -> bool:
    """Whether the instance segmentation of a pick set is there, at any voxel spacing."""
    return has_segmentation(project, run, beside(picks, None))


def clear_instances(project: Project, run: str, picks: PicksUri) -> None:
    """Remove the instance segmentation of a pick set that is about to be replaced: its ids would mean other picks."""
    if has_instances(project, run, picks):
        remove_segmentation(project, run, beside(picks, None))


def beside(picks: PicksUri, voxel_spacing: float | None) -> SegmentationUri:
    """What the instances of a pick set are called: as it, for copick names instance segmentations after an object."""
    return SegmentationUri(picks.object, picks.user, picks.session, voxel_spacing, "instance")


def write_instances(
    project: Project, picks: PicksUri, instances: Volume, count: int, grid: Grid, stored: StoredVolume
) -> None:
    """Store ids (zyx, on ``grid``) for the run and on the grid of ``stored``. count: the largest id."""
    if (grid.shape, grid.voxel_spacing) != (stored.shape, stored.voxel_spacing):
        instances = OnGrid(instances, grid.voxel_spacing / stored.voxel_spacing, stored.shape)
    dtype = np.uint16 if count < 2**16 else np.uint32
    slabs = ((z, np.asarray(instances[z : z + SIZE, :, :])) for z in range(0, stored.shape[0], SIZE))
    write_segmentation_slabs(project, stored.run, beside(picks, stored.key_spacing), stored.shape, slabs, dtype)
