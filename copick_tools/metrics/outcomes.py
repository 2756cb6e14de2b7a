"""One row per prediction and per missed reference point: true, false or missed, one-to-one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from copick_tools.metrics.table import PointTable
from copick_tools.types import Floats, Integers


@dataclass(frozen=True)
class Outcome:
    """position: (3,) xyz. outcome: ``tp``, ``fp`` or ``fn``. partner: its place on the other side, in this run and object.

    score, partner and distance are None where there is none.
    """

    run: str
    object: str
    position: Floats
    score: float | None
    outcome: str
    partner: int | None = None
    distance: float | None = None


def outcomes(reference: PointTable, prediction: PointTable, pairs: tuple[Integers, Integers]) -> Iterator[Outcome]:
    """By run and object: the predictions, in their order, then the reference points that none matches.

    pairs: rows of reference and prediction.
    """
    partner = np.full(len(prediction), -1)
    partner[pairs[1]] = pairs[0]
    missed = np.ones(len(reference), bool)
    missed[pairs[0]] = False
    place = _places(reference)
    ours, theirs = _cells(prediction), _cells(reference)
    for cell in range(len(reference.runs) * len(reference.objects)):
        run, name = (reference.runs[cell // len(reference.objects)], reference.objects[cell % len(reference.objects)])
        for row in ours.get(cell, ()):
            position, score, other = prediction.positions[row], float(prediction.scores[row]), int(partner[row])
            if other < 0:
                yield Outcome(run, name, position, score, "fp")
            else:
                gap = float(np.linalg.norm(position - reference.positions[other]))
                yield Outcome(run, name, position, score, "tp", int(place[other]), gap)
        for row in theirs.get(cell, ()):
            if missed[row]:
                yield Outcome(run, name, reference.positions[row], None, "fn")


def _cells(table: PointTable) -> dict[int, list[int]]:
    """Rows of each run and object."""
    rows: dict[int, list[int]] = {}
    for row, cell in enumerate((table.run * len(table.objects) + table.object).tolist()):
        rows.setdefault(cell, []).append(row)
    return rows


def _places(table: PointTable) -> Integers:
    """(N,) place of each pick among those of its run and object."""
    places = np.empty(len(table), int)
    for rows in _cells(table).values():
        places[rows] = np.arange(len(rows))
    return places
