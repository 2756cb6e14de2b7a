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
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from copick_tools.types import Floats, Integers, Match

Rule = Literal["one-to-one", "czii"]


def match(reference: Floats, prediction: Floats, distance: float, rule: Rule = "one-to-one") -> Match:
    """Match points of one object in one run.

    reference: (N, 3) xyz in angstrom. prediction: (M, 3) xyz in angstrom.
    distance: angstrom; the ball is closed (a pair exactly at ``distance`` matches).

    Raises ValueError for an unknown rule, a wrong shape, a non-finite coordinate or a distance that isn't positive.

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
    candidates = _in_reach(reference, prediction, distance)
    pairs = _one_to_one(reference, prediction, candidates) if rule == "one-to-one" else _nearest(candidates)
    tp = len(pairs)
    rows = pairs[:, :2].astype(int)
    return Match(tp=tp, fp=len(prediction) - tp, fn=len(reference) - tp, pairs=rows, distances=pairs[:, 2])


def _validate(reference: Floats, prediction: Floats, distance: float, rule: str) -> None:
    if rule not in get_args(Rule):
        raise ValueError(f"Expected argument `rule` to be one of {list(get_args(Rule))}, but got {rule!r}")
    if not (np.isfinite(distance) and distance > 0):
        raise ValueError(f"Expected argument `distance` to be a positive number of angstrom, but got {distance}")
    for name, points in (("reference", reference), ("prediction", prediction)):
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"Expected argument `{name}` to have shape (N, 3), but got {points.shape}")
        if not np.isfinite(points).all():
            row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
            raise ValueError(f"Expected finite coordinates in `{name}`, but row {row} holds {points[row].tolist()}")


def _in_reach(reference: Floats, prediction: Floats, distance: float) -> Floats:
    """All pairs within ``distance`` as rows (reference index, prediction index, distance)."""
    if not len(reference) or not len(prediction):
        return np.empty((0, 3))
    hits = cKDTree(prediction).query_ball_tree(cKDTree(reference), distance)
    j = np.repeat(np.arange(len(prediction)), [len(hit) for hit in hits])
    i = np.fromiter((index for hit in hits for index in hit), dtype=int, count=len(j))
    return np.column_stack([i, j, np.linalg.norm(reference[i] - prediction[j], axis=1)])


def _nearest(candidates: Floats) -> Floats:
    """Of each reference point in reach of any prediction, the nearest prediction."""
    order = np.lexsort((candidates[:, 1], candidates[:, 2], candidates[:, 0]))
    ordered = candidates[order]
    firsts = np.unique(ordered[:, 0], return_index=True)[1]
    return np.asarray(ordered[firsts])


def _one_to_one(reference: Floats, prediction: Floats, candidates: Floats) -> Floats:
    """Maximum-cardinality matching of least total distance, the same whatever the order of the points.

    Every reference point also gets a costly dummy partner of its own, so that a full matching always exists, and the
    cheapest one leaves as few reference points as possible without a real partner.
    """
    if not len(candidates):
        return candidates
    rank_i, rank_j = _ranks(reference), _ranks(prediction)
    i, j = rank_i[candidates[:, 0].astype(int)], rank_j[candidates[:, 1].astype(int)]
    n, m, cost = len(reference), len(prediction), candidates[:, 2] + 1.0  # + 1: a stored zero would read as no edge
    dummy = cost.max() * (n + 1)
    rows = np.concatenate([i, np.arange(n)])
    columns = np.concatenate([j, m + np.arange(n)])
    costs = np.concatenate([cost, np.full(n, dummy)])
    graph = csr_array(coo_array((costs, (rows, columns)), shape=(n, m + n)))
    _, partner = min_weight_full_bipartite_matching(graph)
    kept = candidates[partner[i] == j]
    by_reference = np.argsort(kept[:, 0], kind="stable")
    return np.asarray(kept[by_reference])


def _ranks(points: Floats) -> Integers:
    """Place of each point in lexicographic order."""
    ranks = np.empty(len(points), dtype=int)
    ranks[np.lexsort(points.T[::-1])] = np.arange(len(points))
    return ranks
