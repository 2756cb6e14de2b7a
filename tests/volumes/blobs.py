"""Objects to tell apart: blobs that touch, and what maps say of them when a network is perfect."""

import numpy as np

from copick_tools.metrics.contingency import contingency
from copick_tools.metrics.instances import instance_numbers, match_instances
from copick_tools.volumes.decoding import FULL, UNIT, Maps
from copick_tools.volumes.flow_fields import flow_fields
from copick_tools.volumes.object_maps import boundary_map, distance_maps


def ball(shape, center, radius):
    """(z, y, x) mask of a ball, or of an ellipsoid with three radii."""
    grid = np.ogrid[tuple(map(slice, shape))]
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, center, np.broadcast_to(radius, 3))) <= 1


def touching(shape=(24, 40, 40), count=8, reach=8.0, seed=0):
    """(z, y, x) ids of blobs that share faces: the voxels within ``reach`` of some places, each of the nearest one."""
    rng = np.random.default_rng(seed)
    places, sides = [], np.array(shape)
    while len(places) < count:
        place = rng.uniform(0.1, 0.9, 3) * sides
        if all(np.linalg.norm(place - other) > reach for other in places):
            places.append(place)
    grid = np.indices(shape)
    away = np.stack([np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, place))) for place in places])
    return np.where(away.min(axis=0) <= reach, 1 + away.argmin(axis=0), 0)


def perfect(kind, ids, labels=None):
    """The maps of a network that is right. labels: of each voxel, 1 in objects by default."""
    labels = (ids > 0).astype(np.uint8) if labels is None else labels.astype(np.uint8)
    made = {"distances": distance_maps, "flows": flow_fields, "boundary": lambda ids: boundary_map(ids)[None]}[kind](
        ids
    )
    scale, dtype = (UNIT, np.int8) if kind == "flows" else (FULL, np.uint8)
    foreground = np.where(labels > 0, FULL, 0).astype(np.uint8)
    return Maps(kind, foreground, labels, np.round(made.astype(float) * scale).astype(dtype))


def accuracy(reference, found):
    """The mean segmentation accuracy of ids."""
    counts = match_instances(contingency(reference, found)).counts()
    return float(instance_numbers(counts[None])[0, 0])
