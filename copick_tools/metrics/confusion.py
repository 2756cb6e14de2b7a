"""Which object is picked as which."""

from __future__ import annotations

import numpy as np

from copick_tools.metrics.match import one_to_one
from copick_tools.metrics.reach import in_reach
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.types import Integers


def confusion(
    reference: PointTable, prediction: PointTable, rule: PointRule, pairs: tuple[Integers, Integers]
) -> Integers:
    """(K + 1, K + 1) reference objects by predicted objects; the last row and column are ``nothing``.

    pairs: rows of reference and prediction that match as the same object, one-to-one. What they leave over is matched
    one-to-one across objects, within the distance of the reference's object.
    """
    left, right = (np.ones(len(table), bool) for table in (reference, prediction))
    left[pairs[0]] = right[pairs[1]] = False
    i, j = np.flatnonzero(left), np.flatnonzero(right)
    reach = in_reach(
        prediction.positions[j],
        reference.positions[i],
        reference.distances(rule)[i],
        (prediction.run[j], reference.run[i]),
    )
    apart = [
        np.column_stack([table.positions, table.object]) for table in (prediction, reference)
    ]  # where they coincide
    chosen = one_to_one(reach, apart[0][j], apart[1][i])
    rows = np.concatenate([pairs[0], i[reach.prediction[chosen]]])
    columns = np.concatenate([pairs[1], j[reach.reference[chosen]]])
    size = len(reference.objects)
    counts = np.zeros((size + 1, size + 1), dtype=int)
    np.add.at(counts, (reference.object[rows], prediction.object[columns]), 1)
    counts[:size, size] = np.bincount(reference.object, minlength=size) - counts[:size].sum(axis=1)
    counts[size, :size] = np.bincount(prediction.object, minlength=size) - counts[:, :size].sum(axis=0)
    return counts
