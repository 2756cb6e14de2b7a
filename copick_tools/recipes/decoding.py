"""How a recipe says that maps become instances, in voxels."""

from __future__ import annotations

from math import inf

from copick_tools.recipes.instancing import NANOMETER
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task
from copick_tools.volumes.decoding import Decoding


def decoding(recipe: Recipe, task: Task, voxel_spacing: float) -> Decoding:
    """voxel_spacing: angstrom, of the maps. The task says which objects are networks."""
    chosen, nanometers = recipe.instances, voxel_spacing / NANOMETER
    most = inf if chosen.max_volume is None else round(chosen.max_volume / nanometers**3, 6)
    return Decoding(
        foreground=chosen.foreground,
        center=chosen.center,
        boundary=chosen.boundary,
        smoothing=0.0 if recipe.target.kind == "boundary" else chosen.smoothing,
        distance=chosen.sink_distance,
        flow_error=chosen.flow_error,
        limits=(round(chosen.min_volume / nanometers**3, 6), most),
        most=chosen.max_size_fraction,
        networks=tuple(entry.label for entry in task.targets if entry.shape == "network"),
        join=chosen.join / nanometers,
        stitch=chosen.stitch if recipe.planar and chosen.views == "stitched" else None,
    )
