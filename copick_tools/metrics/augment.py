"""Maximum matchings that grow point by point (Berge's augmenting paths), so that an order of merit is kept."""

from __future__ import annotations

import numpy as np

from copick_tools.metrics.reach import Reach
from copick_tools.types import Floats, Integers, Mask


def credited(reach: Reach, references: int, predictions: int, order: Integers | None = None) -> Mask:
    """(predictions,) which predictions count as true when they are taken in ``order``, by falling score, say.

    A prediction is true if the largest one-to-one matching of those up to it is larger than without it. So the trues
    among the first k are as many as any matching of the first k can have, for every k: a precision-recall curve that is
    exact at each threshold. Without an order: how many there are is what counts.

    >>> import numpy as np
    >>> two_on_one = Reach(np.array([0, 0]), np.array([0, 1]), np.zeros(2))
    >>> credited(two_on_one, 1, 2, order=np.array([1, 0]))
    array([False,  True])
    """
    true = np.zeros(predictions, bool)
    single = isolated(reach, references, predictions)
    true[reach.prediction[single]] = True
    rest = np.flatnonzero(~single)
    if len(rest):
        rest = rest[np.lexsort((reach.squared[rest], reach.prediction[rest]))]
        first = np.searchsorted(reach.prediction[rest], np.arange(predictions + 1))
        rows = np.unique(reach.prediction[rest]) if order is None else order[np.diff(first)[order] > 0]
        grown = _Growing(reach.reference[rest], first, references)
        true[[row for row in rows.tolist() if grown.add(row)]] = True
    return true


def largest(reference: Integers, prediction: Integers, distance: Floats) -> Integers:
    """Edge numbers of a maximum matching, nearest pairs first; seldom the very shortest, but in seconds for millions.

    reference, prediction, distance: (P,) the edges, by numbers that start at 0. What is chosen doesn't depend on the
    edges' order. (scipy's maximum matching takes minutes for points in the order of their coordinates.)

    >>> import numpy as np
    >>> largest(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([2.0, 1.0, 1.0]))
    array([0, 2])
    """
    if not len(reference):
        return np.empty(0, int)
    order = np.lexsort((reference, distance, prediction))
    count = int(prediction.max()) + 1
    first = np.searchsorted(prediction[order], np.arange(count + 1))
    grown = _Growing(reference[order], first, int(reference.max()) + 1)
    for row in np.argsort(distance[order][first[:-1]], kind="stable").tolist():
        grown.add(row)
    return np.flatnonzero(np.array(grown.partner)[reference] == prediction)


def isolated(reach: Reach, references: int, predictions: int) -> Mask:
    """(P,) pairs whose two points have no other in reach."""
    alone = np.bincount(reach.reference, minlength=references) == 1
    lone = np.bincount(reach.prediction, minlength=predictions) == 1
    return np.asarray(alone[reach.reference] & lone[reach.prediction])


class _Growing:
    """A maximum matching of the predictions that were added.

    neighbors: reference points, those of prediction j from first[j] to first[j + 1]. A reference point that a search
    visited in vain can never help again, for a failed search has seen all that can be reached from there and all of it is
    taken: a later path that enters couldn't leave. So all failures together visit each point once.
    """

    def __init__(self, neighbors: Integers, first: Integers, references: int) -> None:
        self.neighbors, self.first = neighbors, first.tolist()
        self.partner = [-1] * references
        self.dead = bytearray(references)

    def add(self, prediction: int) -> bool:
        """Whether the matching grows by one when this prediction joins."""
        came_from: dict[int, tuple[int, int]] = {}  # point -> prediction that reached it, the point it had until then
        stack = [(prediction, -1)]
        while stack:
            current, own = stack.pop()
            near = self.neighbors[self.first[current] : self.first[current + 1]].tolist()
            for point in near:
                if self.partner[point] < 0:
                    self._flip(point, current, own, came_from)
                    return True
            for point in near:
                if point not in came_from and not self.dead[point]:
                    came_from[point] = current, own
                    stack.append((self.partner[point], point))
        for point in came_from:
            self.dead[point] = 1
        return False

    def _flip(self, point: int, current: int, own: int, came_from: dict[int, tuple[int, int]]) -> None:
        """Give each prediction on the path the reference point that it reached, back to the first."""
        while True:
            self.partner[point] = current
            if own < 0:
                return
            point = own
            current, own = came_from[point]
