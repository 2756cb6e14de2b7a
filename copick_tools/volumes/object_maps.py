"""Maps that tell touching objects apart, made from instance ids: what networks learn beside the objects' labels."""

from __future__ import annotations

from itertools import product

import edt
import numpy as np

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.flow_fields import solids


def distance_maps(ids: Integers) -> Floats:
    """(2, z, y, x) float32: how far each voxel is from its object's center, and how far from its deepest place.

    As micro-SAM learns them (Archit et al., Nature Methods 2025): the distance to the center over the object's largest one,
    and 1 less the distance to the boundary over the largest one. So 0 is in the middle, 1 at the rim and in the background.
    The center is that of `flow_fields`. ids: zyx integers from 1 up, 0 is background; faces of the volume are no boundary.

    >>> distance_maps(np.array([[[0, 4, 4, 4, 0]]]))[:, 0, 0].tolist()
    [[1.0, 1.0, 0.0, 1.0, 1.0], [1.0, 0.5, 0.0, 0.5, 1.0]]
    """
    maps = np.ones((2, *ids.shape), np.float32)
    depth = edt.edt(np.ascontiguousarray(ids), black_border=False, parallel=1)
    for solid in solids(ids):
        there = maps[(slice(None), *solid.box)]
        away = np.linalg.norm(np.argwhere(solid.mask) - solid.center, axis=1)
        deep = depth[solid.box][solid.mask]
        there[0, solid.mask] = away / max(float(away.max()), 1.0)
        there[1, solid.mask] = 1 - deep / deep.max() if np.isfinite(deep.max()) else 0.0
    return maps


def boundary_map(ids: Integers) -> Mask:
    """(z, y, x): the voxels of objects that have a neighbor, by faces or edges, which isn't of their object.

    What lies beyond the faces of the volume is no neighbor. What is left of two objects that touch doesn't touch, not even
    by corners.

    >>> boundary_map(np.array([[[0, 4, 4, 4, 7, 7]]])).astype(int).tolist()
    [[[0, 1, 0, 1, 1, 0]]]
    """
    padded = np.pad(ids, 1, mode="edge")
    found = np.zeros(ids.shape, bool)
    for step in product((0, 1, 2), repeat=3):
        if step.count(1) in (1, 2):
            near = padded[tuple(slice(s, s + side) for s, side in zip(step, ids.shape))]
            found |= near != ids
    return found & (ids > 0)
