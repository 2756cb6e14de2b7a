"""Which predictions are in reach of which reference points, in many groups (runs) at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from copick_tools.types import Floats, Integers

PAIRS = 30_000_000  # kept in memory; more of them mean that the distance or the unit of the points is wrong
SLACK = 1 + 1e-9  # the search is this much wider than the ball, the comparison that counts is exact


class TooDense(ValueError):
    """More pairs in reach than fit in memory."""


@dataclass(frozen=True)
class Reach:
    """All pairs within the distance. reference, prediction: (P,) row numbers. squared: (P,) their squared distances."""

    reference: Integers
    prediction: Integers
    squared: Floats

    def __len__(self) -> int:
        return len(self.reference)


def in_reach(
    reference: Floats,
    prediction: Floats,
    distance: Floats | float,
    groups: tuple[Integers, Integers] | None = None,
    room: int | None = None,
) -> Reach:
    """All pairs of a reference point and a prediction of its group within a closed ball.

    reference: (N, 3), prediction: (M, 3), in one unit. distance: in that unit, one for all or (M,) of each prediction.
    groups: of the reference points (N,) and of the predictions (M,); points of different groups never meet. room: how
    many pairs may be, `PAIRS` unless given.

    Raises ValueError for other shapes, TooDense before there are more than ``room`` pairs.

    >>> import numpy as np
    >>> found = in_reach(np.zeros((1, 3)), np.array([[3.0, 4, 0], [3, 4, 1]]), 5.0)
    >>> found.prediction.tolist(), found.squared.tolist()
    ([0], [25.0])
    """
    for name, points in (("reference", reference), ("prediction", prediction)):
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"Expected argument `{name}` to have shape (N, 3), but got {points.shape}")
    if not len(reference) or not len(prediction):
        return Reach(np.empty(0, int), np.empty(0, int), np.empty(0))
    radii = np.broadcast_to(np.asarray(distance, dtype=float), len(prediction))
    widest = float(radii.max()) * SLACK
    here, there = (cKDTree(points) for points in _apart(reference, prediction, groups, 4 * widest))
    _require_room(here, there, widest, PAIRS if room is None else room)
    near = there.sparse_distance_matrix(here, widest, output_type="ndarray")
    i, j = near["j"].astype(np.int32), near["i"].astype(np.int32)
    del near
    order = np.lexsort((i, j))
    i, j = i[order], j[order]
    del order
    squared = np.empty(len(i))
    for part in _parts(len(i), 1_000_000):
        squared[part] = _squared(reference[i[part]] - prediction[j[part]])
    inside = squared <= radii[j] ** 2
    return Reach(i[inside], j[inside], squared[inside])


def nearest(
    reference: Floats,
    prediction: Floats,
    distance: Floats | float,
    groups: tuple[Integers, Integers] | None = None,
) -> tuple[Integers, Floats]:
    """The nearest prediction in reach of each reference point, and its squared distance, in linear memory.

    Arguments as `in_reach`, but distances of (N,) reference points. Returns (N,) rows, -1 where there is none, and (N,).

    >>> import numpy as np
    >>> nearest(np.array([[0.0, 0, 0], [9, 0, 0]]), np.array([[1.0, 0, 0]]), 1.0)[0]
    array([ 0, -1])
    """
    found, squared = np.full(len(reference), -1), np.full(len(reference), np.inf)
    radii = np.broadcast_to(np.asarray(distance, dtype=float), len(reference))
    if not len(reference) or not len(prediction):
        return found, squared
    widest = float(radii.max()) * SLACK
    here, there = _apart(reference, prediction, groups, 4 * widest)
    distinct, rows = np.unique(there, axis=0, return_index=True)  # a tree can't split coinciding points
    _, near = cKDTree(distinct).query(here, distance_upper_bound=widest)
    hit = np.flatnonzero(near < len(distinct))
    found[hit] = rows[near[hit]]
    squared[hit] = _squared(reference[hit] - prediction[found[hit]])
    far = squared > radii**2
    found[far] = -1
    return found, squared


def _apart(
    reference: Floats, prediction: Floats, groups: tuple[Integers, Integers] | None, gap: float
) -> tuple[Floats, Floats]:
    """The points with their group as a fourth coordinate, ``gap`` between neighboring groups."""
    if groups is None:
        return reference, prediction
    return np.column_stack([reference, groups[0] * gap]), np.column_stack([prediction, groups[1] * gap])


def _squared(offsets: Floats) -> Floats:
    """Squared lengths, summed in the order of scipy's trees, so that ties fall alike."""
    return np.asarray((offsets[:, 0] ** 2 + offsets[:, 1] ** 2) + offsets[:, 2] ** 2)


def _parts(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]


def _require_room(here: cKDTree, there: cKDTree, distance: float, room: int) -> None:
    """Raise TooDense where the pairs wouldn't fit, from a sample first: counting very many takes minutes."""
    step = max(1, there.n // 1000)
    guess = step * here.count_neighbors(cKDTree(there.data[::step]), distance)
    if guess > 4 * room + 1000 * step or here.count_neighbors(there, distance) > room:
        raise TooDense(
            f"more than {PAIRS:,} pairs are within the distance: is it, and are the coordinates, in angstrom?"
        )
