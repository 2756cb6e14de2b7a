"""How a recipe says that maps become instances, in voxels."""

from __future__ import annotations

from math import inf

from copick_tools.errors import UsageError, nearest
from copick_tools.recipes.instancing import NANOMETER, voxels_of
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task
from copick_tools.volumes.decoding import Decoding


def decoding(recipe: Recipe, task: Task, voxel_spacing: float) -> Decoding:
    """voxel_spacing: angstrom, of the maps. The task says which objects are networks."""
    chosen, nanometers = recipe.instances, voxel_spacing / NANOMETER
    most = inf if chosen.max_volume is None else voxels_of(chosen.max_volume, nanometers)
    return Decoding(
        foreground=chosen.foreground,
        center=chosen.center,
        boundary=chosen.boundary,
        smoothing=0.0 if recipe.target.kind == "boundary" else chosen.smoothing,
        distance=chosen.sink_distance,
        flow_error=chosen.flow_error,
        limits=(voxels_of(chosen.min_volume, nanometers), most),
        most=chosen.max_size_fraction,
        networks=uncut(recipe, task),
        join=chosen.join / nanometers,
        stitch=chosen.stitch if recipe.planar and chosen.views == "stitched" else None,
    )


def check_views(recipe: Recipe) -> None:
    """Raise UsageError for views that the network hasn't, or that hold nothing that could be averaged."""
    views, kind = recipe.instances.views, recipe.target.kind
    if not recipe.planar and views == "stitched":
        raise UsageError("views stitched is for networks that see slices, this one sees volumes", "leave views out")
    if recipe.instanced and recipe.planar and views == "averaged" and kind != "flows":
        raise UsageError(
            f"instances.views averaged is for flows, and target.kind is {kind}",
            "-s instances.views=stitched, or -s target.kind=flows",
        )


def uncut(recipe: Recipe, task: Task) -> tuple[int, ...]:
    """Labels of the objects that are never cut: networks of the task, and those that the recipe names.

    Raises UsageError for an object that the task lacks.
    """
    names = [entry.name for entry in task.targets]
    for name in recipe.instances.whole:
        if name not in names:
            raise UsageError(f"instances.whole: task {task.name} has no object '{name}'", nearest(name, names))
    chosen = recipe.instances.whole
    return tuple(entry.label for entry in task.targets if entry.shape == "network" or entry.name in chosen)
