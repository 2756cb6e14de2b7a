"""Flow fields: at each voxel of an object the direction to its center, on ways that stay inside.

Cellpose (Stringer et al., Nature Methods 18, 100, 2021; Pachitariu et al. 2025 for 3D) lets heat spread from the center of
each object and takes the direction in which it rises. Heat is added at the center in each step, and a voxel becomes the mean
of itself and its neighbors, what lies outside being cold. What that comes to in the end is one sparse linear system for each
object, which is solved here: (n I - A) T = (I + A) e, with A the neighbors of one object, n their full number, e the center.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Box

SMALL = 128  # voxels of an object that are solved for at once
SOLVED = 1 << 18  # voxels of an object; larger ones are solved on a grid that is coarser by a whole factor
PRECISION = 1e-7  # of the solution
COLD = 1e-4  # of the largest heat; below it a solution isn't exact, and those voxels are solved for on their own
FLAT = 1e-6  # of a voxel's heat; smaller differences are none
FACES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))  # half of the neighbors, zyx
SQUARE = ((0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 1, -1))  # in a plane diagonals count as well, as they do in Cellpose
CUBE = tuple(step for step in np.ndindex(3, 3, 3) if step > (1, 1, 1))  # half of the 26, moved by one


@dataclass(frozen=True)
class Solid:
    """One object. id: its number. box: zyx, where it lies in the volume. mask: of the box. center: zyx in the box."""

    id: int
    box: Box
    mask: Mask
    center: tuple[int, int, int]


def solids(ids: Integers) -> Iterator[Solid]:
    """The objects of a zyx volume of ids from 1 up, gaps allowed, by rising id.

    The center is the object's voxel that is nearest to its center of mass, so that it lies inside. Cost and memory go with
    the largest id: number ids anew where they are sparse.
    """
    for index, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is not None:
            mask = ids[box] == index
            yield Solid(index, box, mask, _center(mask))


def flow_fields(ids: Integers, *, across: bool = False) -> Floats:
    """(3, z, y, x) float32: unit vectors along z, y, x that lead to the center of each object; 0 outside.

    ids: zyx integers from 1 up, 0 is background; in a volume of one slice the flows are those of 2D. across: at a voxel beside
    another object, the heat of that one counts as if it were the object's own, as in Cellpose's code, whose networks
    learned such flows; else what lies outside of an object is cold.

    >>> flow_fields(np.array([[[0, 5, 5, 5, 0]]]))[2].tolist()
    [[[0.0, 1.0, 0.0, -1.0, 0.0]]]
    """
    flows, planar = np.zeros((3, *ids.shape), np.float32), ids.shape[0] == 1
    if not across:
        for solid in solids(ids):
            there = flows[(slice(None), *solid.box)]
            there[:, solid.mask] = directions(solid.mask, solid.center, planar=planar)
        return flows
    heat = np.full([side + 2 for side in ids.shape], -np.inf)
    for solid in solids(ids):
        heat[1:-1, 1:-1, 1:-1][solid.box][solid.mask] = _level(solid.mask, solid.center, planar)[solid.mask]
    for solid in solids(ids):
        around = tuple(slice(part.start, part.stop + 2) for part in solid.box)
        flows[(slice(None), *solid.box)][:, solid.mask] = _units(_rise(heat[around], solid.mask))
    return flows


def directions(mask: Mask, center: tuple[int, int, int], *, planar: bool = False) -> Floats:
    """(3, N) float32 unit vectors zyx at the true voxels of a zyx mask, in raster order; 0 where no side is warmer.

    planar: of one slice, whose neighbors are those of the plane.
    """
    return _units(_rise(np.pad(_level(mask, center, planar), 1, constant_values=-np.inf), mask))


def _level(mask: Mask, center: tuple[int, int, int], planar: bool) -> Floats:
    """Logarithm of the heat at the voxels of a mask, zyx, -inf outside."""
    factor, voxels = 1, mask.sum()
    while voxels > SOLVED * factor ** (2 if planar else 3):
        factor += 1
    if voxels <= SMALL:
        return _small_heat(mask, center, planar)
    return _heat(mask, center, planar) if factor == 1 else _coarse_heat(mask, center, factor, planar)


def _units(rise: Floats) -> Floats:
    """(3, N) float32 the same directions, of length 1; 0 where there is hardly any."""
    length = np.linalg.norm(rise, axis=0)
    rise[:, length <= FLAT] = 0
    np.divide(rise, length, out=rise, where=length > FLAT)
    return rise.astype(np.float32)


def _center(mask: Mask) -> tuple[int, int, int]:
    voxels, away = int(mask.sum()), np.zeros((1, 1, 1))
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        place = np.arange(mask.shape[axis])
        middle = (mask.sum(axis=others) * place).sum() / voxels
        away = away + np.expand_dims((place - middle) ** 2, others)
    flat = int(np.where(mask, away, np.inf).argmin())
    z, y, x = (int(place) for place in np.unravel_index(flat, mask.shape))
    return z, y, x


def _small_heat(mask: Mask, center: tuple[int, int, int], planar: bool) -> Floats:
    """As `_heat`: for few voxels a dense matrix is quicker, and exact however cold it gets."""
    places = np.argwhere(mask)
    away = np.abs(places[:, None] - places)
    adjacent = (away.max(axis=2) if planar else away.sum(axis=2)) == 1
    source = (places == center).all(axis=1).astype(float)
    near = 2 * len(SQUARE if planar else FACES)
    heat = np.linalg.solve(near * np.eye(len(places)) - adjacent, adjacent @ source + source)
    reached = heat > 0
    level = np.log(heat, out=np.full(len(heat), -np.inf), where=reached)
    if not reached.all():
        level[~reached] = _beyond(mask, int(source.argmax()), level, np.flatnonzero(~reached))
    out = np.full(mask.shape, -np.inf)
    out[mask] = level
    return out


def _heat(mask: Mask, center: tuple[int, int, int], planar: bool) -> Floats:
    """Logarithm of the heat at the voxels of a mask, zyx, -inf outside.

    Far from the center of something thin, heat is too small beside the largest to be solved for with it: what is cold is
    solved for on its own, with what flows into it from the rest, and so on.
    """
    steps = SQUARE if planar else FACES
    adjacent, index = _adjacent(mask, steps)
    count = adjacent.shape[0]
    own = sparse.eye_array(count, format="csr") * (2 * len(steps))
    level, left, scale = np.full(count, -np.inf), np.arange(count), 0.0
    start = np.zeros(count)
    start[index[center]] = 1.0
    start += adjacent @ start
    while start.any():
        heat, _ = cg((own - adjacent)[left][:, left], start, rtol=PRECISION, maxiter=20 * 1000)
        hot = heat > COLD * heat.max()
        level[left[hot]] = np.log(heat[hot]) + scale
        cold = left[~hot]
        start = adjacent[cold][:, left[hot]] @ heat[hot]
        left, most = cold, start.max(initial=0.0)
        if most > 0:
            start, scale = start / most, scale + float(np.log(most))
    if len(left):
        level[left] = _beyond(mask, index[center], level, left)
    out = np.full(mask.shape, -np.inf)
    out[mask] = level
    return out


def _beyond(mask: Mask, center: int, level: Floats, left: Integers) -> Floats:
    """Levels of what hangs together with the center by edges, corners or not at all: they fall with the way to the center."""
    halves = [tuple(int(axis) - 1 for axis in step) for step in CUBE]
    ways, _ = _adjacent(mask, halves, lengths=True)
    away = sparse.csgraph.dijkstra(ways, indices=int(center))
    away = np.where(np.isfinite(away), away, away[np.isfinite(away)].max())
    return np.asarray(float(level[np.isfinite(level)].min()) - 1 - away[left])


def _adjacent(
    mask: Mask, steps: tuple[tuple[int, ...], ...] | list[tuple[int, ...]], lengths: bool = False
) -> tuple[sparse.csr_array, Integers]:
    """Which voxels of a mask are neighbors (N, N), by half of the steps to them; and the row of each voxel, zyx.

    lengths: hold the length of the step instead of 1.
    """
    index = np.full(mask.shape, -1, np.int32)
    count = int(mask.sum())
    index[mask] = np.arange(count, dtype=np.int32)
    ones, others, values = [], [], []
    for step in steps:
        here = tuple(slice(max(0, -s), length - max(0, s)) for s, length in zip(step, mask.shape))
        there = tuple(slice(max(0, s), length - max(0, -s)) for s, length in zip(step, mask.shape))
        both = mask[here] & mask[there]
        ones.append(index[here][both])
        others.append(index[there][both])
        values.append(np.full(len(ones[-1]), float(np.linalg.norm(step)) if lengths else 1.0))
    one, other, value = np.concatenate(ones), np.concatenate(others), np.concatenate(values)
    half = sparse.coo_array((value, (one, other)), shape=(count, count))
    return (half + half.T).tocsr(), index


def _coarse_heat(mask: Mask, center: tuple[int, int, int], factor: int, planar: bool) -> Floats:
    """As `_heat`, solved on a grid that is coarser by a factor, and interpolated."""
    factors = (1 if planar else factor, factor, factor)
    padded = np.pad(mask, [(0, -side % f) for side, f in zip(mask.shape, factors)])
    (z, y, x), (a, b, c) = (side // f for side, f in zip(padded.shape, factors)), factors
    coarse = np.asarray(padded.reshape(z, a, y, b, x, c).any(axis=(1, 3, 5)))
    level = _heat(coarse, (center[0] // a, center[1] // b, center[2] // c), planar)
    # what lies outside takes the coldest neighbor's level less one, so that interpolation leads inward
    cold = ndimage.minimum_filter(np.where(coarse, level, np.inf), 3, mode="nearest") - 1.0
    level = np.where(coarse, level, np.where(np.isfinite(cold), cold, level[coarse].min() - 2.0))
    places = [(np.arange(side) - (f - 1) / 2) / f for side, f in zip(mask.shape, factors)]
    fine = np.full(mask.shape, -np.inf)
    for place, plane, there in zip(places[0], fine, mask):
        row, column = np.nonzero(there)
        at = [np.full(len(row), place), places[1][row], places[2][column]]
        plane[there] = ndimage.map_coordinates(level, at, order=1, mode="nearest")
    return fine


def _rise(padded: Floats, mask: Mask) -> Floats:
    """(3, N) in which direction heat rises: differences of the heat of both neighbors.

    padded: logarithms, with a voxel more on each side. Both are taken relative to the voxel's own, which changes the length
    alone.
    """
    own, inner = padded[1:-1, 1:-1, 1:-1][mask], [slice(1, -1)] * 3
    found = np.empty((3, len(own)))
    for axis in range(3):
        after, before = list(inner), list(inner)
        after[axis], before[axis] = slice(2, None), slice(None, -2)
        ahead, behind = (padded[tuple(part)][mask] - own for part in (after, before))
        found[axis] = np.exp(np.minimum(ahead, 50.0)) - np.exp(np.minimum(behind, 50.0))
    return found
