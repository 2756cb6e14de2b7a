"""Which voxels are of which pick: an instance segmentation beside picks, with the same ids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from copick_tools.data.project import Project
from copick_tools.data.read import StoredVolume
from copick_tools.data.uris import SegmentationUri
from copick_tools.data.write import write_segmentation_slabs
from copick_tools.errors import UsageError
from copick_tools.recipes.picking import Grid
from copick_tools.volumes.blocks import SIZE, OnGrid
from copick_tools.volumes.normalize import Volume


def require_instances(uri: SegmentationUri | None) -> None:
    """Raise UsageError for a segmentation that can't hold instances."""
    if uri is not None and uri.kind != "instance":
        raise UsageError(f"--instances '{uri}' isn't an instance segmentation", "add ?instance=true")


def write_instances(
    project: Project, uri: SegmentationUri, instances: Volume, count: int, grid: Grid, stored: StoredVolume
) -> None:
    """Store instance ids (zyx, on ``grid``) for the run and on the grid of ``stored``. count: the largest id."""
    if (grid.shape, grid.voxel_spacing) != (stored.shape, stored.voxel_spacing):
        instances = OnGrid(instances, grid.voxel_spacing / stored.voxel_spacing, stored.shape)
    dtype = np.uint16 if count < 2**16 else np.uint32
    slabs = ((z, np.asarray(instances[z : z + SIZE, :, :])) for z in range(0, stored.shape[0], SIZE))
    uri = replace(uri, voxel_spacing=stored.key_spacing)
    write_segmentation_slabs(project, stored.run, uri, stored.shape, slabs, dtype)
