"""Match predicted points to reference points within a distance, by a named rule.

Two rules exist in the field and they differ, so the rule is always named:

- ``one-to-one``: a maximum-cardinality matching; among those, one of least total distance.
- ``czii``: the official code of the CZII challenge. A true positive is a reference point with any prediction in
  reach, and false positives are what is left of the predictions: one prediction between two reference points gives
  tp 2 and fp -1.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from copick_tools.metrics.augment import isolated, largest
from copick_tools.metrics.reach import Reach, in_reach, nearest
from copick_tools.types import Floats, Integers, Match

Rule = Literal["one-to-one", "czii"]
CLUSTER = 20_000  # points that hang together; in a larger cluster any maximum matching is taken
EDGES = 2_000_000  # pairs in reach within a cluster; the same beyond that
BATCH = 2_000  # points that are solved together: the solver's time grows with their square


def match(reference: Floats, prediction: Floats, distance: float, rule: Rule = "one-to-one") -> Match:
    """Match points of one object in one run.

    reference: (N, 3) xyz in angstrom. prediction: (M, 3) xyz in angstrom.
    distance: angstrom; the ball is closed (a pair exactly at ``distance`` matches).

    Raises ValueError for an unknown rule, a wrong shape, a non-finite coordinate or a distance that isn't positive, and
    where more pairs are in reach than fit in memory.

    >>> import numpy as np
    >>> truth, between = np.array([[0.0, 0, 0], [20, 0, 0]]), np.array([[10.0, 0, 0]])
    >>> found = match(truth, between, distance=15)
    >>> found.tp, found.fp, found.fn
    (1, 0, 1)
    >>> found = match(truth, between, distance=15, rule="czii")
    >>> found.tp, found.fp, found.fn
    (2, -1, 0)
    """
    _validate(reference, prediction, distance, rule)
    if rule == "czii":
        found, squared = nearest(reference, prediction, distance)
        hit = np.flatnonzero(found >= 0)
        pairs, distances = np.column_stack([hit, found[hit]]), np.sqrt(squared[hit])
    else:
        reach = in_reach(reference, prediction, distance)
        chosen = one_to_one(reach, reference, prediction)
        pairs = np.column_stack([reach.reference[chosen], reach.prediction[chosen]])
        distances = np.sqrt(reach.squared[chosen])
    tp = len(pairs)
    return Match(tp=tp, fp=len(prediction) - tp, fn=len(reference) - tp, pairs=pairs, distances=distances)


def _validate(reference: Floats, prediction: Floats, distance: float, rule: str) -> None:
    if rule not in get_args(Rule):
        raise ValueError(f"Expected argument `rule` to be one of {list(get_args(Rule))}, but got {rule!r}")
    if not (np.isfinite(distance) and distance > 0):
        raise ValueError(f"Expected argument `distance` to be a positive number of angstrom, but got {distance}")
    for name, points in (("reference", reference), ("prediction", prediction)):
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"Expected argument `{name}` to have shape (N, 3), but got {points.shape}")
        require_finite(name, points)


def require_finite(name: str, values: Floats) -> None:
    """Raise ValueError that names the first row of ``values`` (N, ...) that isn't finite."""
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise ValueError(f"Expected finite numbers in `{name}`, but row {row} holds {values[row].tolist()}")


def one_to_one(reach: Reach, reference: Floats, prediction: Floats) -> Integers:
    """Rows of ``reach`` that form a maximum matching of least total distance, by reference row.

    reference: (N, ...), prediction: (M, ...) what tells the points apart, their coordinates first: the choice follows it
    and not their order. Clusters of more than `CLUSTER` points (or `EDGES` pairs) get a maximum matching, not always the
    shortest.

    >>> import numpy as np
    >>> truth, guesses = np.array([[0.0, 0, 0]]), np.array([[3.0, 0, 0], [1, 0, 0]])
    >>> reach = in_reach(truth, guesses, 5.0)
    >>> reach.prediction[one_to_one(reach, truth, guesses)].tolist()
    [1]
    """
    single = isolated(reach, len(reference), len(prediction))
    chosen = [np.flatnonzero(single)]
    rest = np.flatnonzero(~single)
    if len(rest):
        i = _ranks(reference, reach.reference[rest])
        j = _ranks(prediction, reach.prediction[rest])
        for edges in _batches(i, j):
            picked = _matching(i[edges], j[edges], np.sqrt(reach.squared[rest[edges]]))
            chosen.append(rest[edges[picked]])
    rows = np.concatenate(chosen)
    return np.asarray(rows[np.argsort(reach.reference[rows], kind="stable")])


def _ranks(points: Floats, rows: Integers) -> Integers:
    """Place of each row's point in lexicographic order among the points that occur, from 0."""
    present = np.flatnonzero(np.bincount(rows, minlength=len(points)))
    ranks = np.empty(len(points), dtype=np.int32)
    ranks[present[np.lexsort(points[present].T[::-1])]] = np.arange(len(present))
    return np.asarray(ranks[rows])


def _batches(i: Integers, j: Integers) -> list[Integers]:
    """Edge numbers of whole connected clusters: small ones together, each with more than `BATCH` points by itself."""
    n, m = int(i.max()) + 1, int(j.max()) + 1
    graph = coo_array((np.ones(len(i), np.int8), (i, n + j)), shape=(n + m, n + m))
    clusters, cluster = connected_components(graph, directed=False)
    points = np.bincount(cluster, minlength=clusters)
    small = points <= BATCH
    batch = np.cumsum(np.where(small, points, 0)) // BATCH
    batch[~small] = clusters + np.arange(int((~small).sum()))
    of_edge = batch[cluster[i]]
    order = np.argsort(of_edge, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(of_edge[order])) + 1)


def _matching(i: Integers, j: Integers, distance: Floats) -> Integers:
    """Edge numbers of a maximum matching of edges (i, j), the shortest unless it is one cluster too large for that.

    Every reference point also gets a costly partner of its own, so that a full matching always exists, and the cheapest
    one leaves as few reference points as possible without a real partner.
    """
    left, i = np.unique(i, return_inverse=True)
    right, j = np.unique(j, return_inverse=True)
    n, m = len(left), len(right)
    if n + m > CLUSTER or len(i) > EDGES:
        return largest(i, j, distance)
    cost = distance + 1.0  # a stored zero would read as no edge
    own = np.arange(n)
    costs = np.concatenate([cost, np.full(n, cost.max() * (n + 1))])
    ends = np.concatenate([i, own]), np.concatenate([j, m + own])
    _, partner = min_weight_full_bipartite_matching(csr_array(coo_array((costs, ends), shape=(n, m + n))))
    return np.flatnonzero(partner[i] == j)
