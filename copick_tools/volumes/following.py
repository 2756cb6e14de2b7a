"""Gradient tracking: voxels follow a flow field, and those that come to the same place are one object (Cellpose).

Cellpose takes hundreds of small steps with each voxel. Here each takes a few, in float, and is put down on the voxel where
it arrives; that map of voxels to voxels is then applied to itself, which doubles the number of steps each time. Flows lead
to a center from all sides, so what rounding moves they move back.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.flow_fields import CUBE
from copick_tools.volumes.near import best

STEPS = 6  # in float, each at most a voxel long
DOUBLINGS = 8  # 1536 steps in all
CHUNK = 1 << 18  # voxels that are moved at a time
REACH = 5.0  # voxels from a sink to the places that count as it


def followed(flows: Integers | Floats, mask: Mask, full: float = 1.0) -> Integers:
    """(N,) int64, the flat position where each true voxel of a zyx mask comes to rest, in raster order.

    flows: (3, z, y, x), zyx steps; those of length ``full`` lead one voxel on. What leaves the mask stays where it left.
    """
    start = np.flatnonzero(mask)
    kept: Any = flows * mask  # as they are, floats or bytes
    field = np.ascontiguousarray(np.moveaxis(kept, 0, -1)).reshape(-1, 3)
    rest = np.concatenate([np.empty(0, np.int64), *(_moved(field, mask.shape, part, full) for part in _parts(start))])
    for _ in range(DOUBLINGS):
        row = np.minimum(np.searchsorted(start, rest), len(start) - 1) if len(start) else rest
        inside = start[row] == rest
        further = np.where(inside, rest[row], rest)
        if np.array_equal(further, rest):
            break
        rest = further
    return rest


def grouped(rest: Integers, shape: tuple[int, int, int], fewest: int = 10, distance: float = 3.0) -> Integers:
    """(N,) from 1 up, the sink of each voxel by where it came to rest; 0 where that is no sink.

    rest: (N,) flat positions in a volume of ``shape`` (zyx). fewest: arrivals at a sink and its neighbors. distance: voxels,
    of sinks that are nearer than that only the one with most arrivals is one. Places up to `REACH` from a sink count as it.
    """
    places, place, arrivals = np.unique(rest, return_inverse=True, return_counts=True)
    points = np.column_stack(np.unravel_index(places, shape)).astype(float)
    if not len(points):
        return np.zeros(0, np.int64)
    crowd = _crowds(places, arrivals, shape)
    busy = np.flatnonzero(crowd >= fewest)
    sinks = busy[best(points[busy], crowd[busy].astype(float), distance)]
    if not len(sinks):
        return np.zeros(len(rest), np.int64)
    away, nearest = cKDTree(points[np.sort(sinks)]).query(points, distance_upper_bound=REACH)
    return np.where(np.isfinite(away), nearest + 1, 0)[place]


def _crowds(places: Integers, arrivals: Integers, shape: tuple[int, int, int]) -> Integers:
    """(P,) arrivals in the 3 x 3 x 3 voxels around each place. places: (P,) flat positions, rising."""
    crowd, zyx = arrivals.copy(), np.unravel_index(places, shape)
    for step in CUBE:
        beside = [axis + (s - 1) for axis, s in zip(zyx, step)]
        one = np.flatnonzero(np.logical_and.reduce([(a >= 0) & (a < side) for a, side in zip(beside, shape)]))
        wanted = np.ravel_multi_index(tuple(axis[one] for axis in beside), shape)
        other = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
        both = places[other] == wanted
        one, other = one[both], other[both]
        crowd[one] += arrivals[other]
        crowd[other] += arrivals[one]
    return crowd


def _parts(start: Integers) -> list[Integers]:
    return [start[first : first + CHUNK] for first in range(0, len(start), CHUNK)]


def _moved(field: Integers | Floats, shape: tuple[int, ...], start: Integers, full: float) -> Integers:
    """Flat positions after `STEPS` steps. field: (voxels, 3) flows zyx, 0 outside of the mask."""
    at = np.column_stack(np.unravel_index(start, shape)).astype(np.float32)
    limit = np.array(shape, np.float32) - 1
    for _ in range(STEPS):
        at += _interpolated(field, shape, at) / np.float32(full)
        np.clip(at, 0, limit, out=at)
    return np.asarray(np.ravel_multi_index(tuple(np.round(at).astype(np.int64).T), shape))


def _interpolated(field: Integers | Floats, shape: tuple[int, ...], at: Floats) -> Floats:
    """(N, 3) flows at positions (N, 3) zyx, trilinear."""
    low = at.astype(np.int64)
    high = np.minimum(low + 1, np.array(shape) - 1)
    rest = at - low
    strides = (shape[1] * shape[2], shape[2], 1)
    place = [(low[:, n] * stride, high[:, n] * stride) for n, stride in enumerate(strides)]
    weight = [(1 - rest[:, n], rest[:, n]) for n in range(3)]
    out = np.zeros_like(at)
    for z, y, x in product((0, 1), repeat=3):
        corner = field.take(place[0][z] + place[1][y] + place[2][x], axis=0)
        out += corner * (weight[0][z] * weight[1][y] * weight[2][x])[:, None]
    return out
