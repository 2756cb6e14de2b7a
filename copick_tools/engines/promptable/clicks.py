"""Prompts as a user would give them: a first point or box, then points where the last mask was wrong (Archit et al. 2025, Methods)."""

from __future__ import annotations

import cc3d
import numpy as np

from copick_tools.inference.promptable import BACKGROUND, OBJECT, PADDING
from copick_tools.types import Integers, Mask


def pieces(ids: Integers, known: Mask, smallest: int) -> Integers:
    """(y, x) what hangs together of each object that is known in a slice, numbered from 1; small pieces are left out."""
    found = cc3d.connected_components(np.where(known, ids, 0).astype(np.uint32), connectivity=8)
    return np.asarray(cc3d.dust(found, threshold=smallest, connectivity=8) if smallest > 1 else found)


def chosen(numbered: Integers, most: int, rng: np.random.Generator) -> Mask:
    """(N, y, x) masks of at most so many pieces, any of them. numbered: as `pieces`."""
    numbers = np.unique(numbered[numbered > 0])
    some = rng.permutation(numbers)[:most]
    return np.asarray(numbered[None] == some[:, None, None])


def box_of(mask: Mask) -> Integers:
    """(4,) y and x of the first pixel, y and x one past the last.

    >>> box_of(np.array([[0, 0, 0], [0, 1, 1]], bool)).tolist()
    [1, 1, 2, 3]
    """
    sides = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    return np.array([side[0] for side in sides] + [side[-1] + 1 for side in sides])


def pixel_of(mask: Mask, rng: np.random.Generator) -> Integers | None:
    """(2,) y, x of any pixel; None where there is none."""
    places = np.flatnonzero(mask)
    if not len(places):
        return None
    return np.array(np.unravel_index(places[rng.integers(len(places))], mask.shape))


def corrections(wanted: Mask, found: Mask, known: Mask, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Two points of each object: places (N, 2, 2) y, x, and labels (N, 2).

    wanted, found: (N, y, x). known: (y, x), where an answer can be judged. The first is where the object was missed, the second
    where something else was taken for it; where nothing was, any place on the object, and off it. Where the object is all that
    is known, the second is `PADDING`.
    """
    places, labels = np.zeros((len(wanted), 2, 2), np.int64), np.full((len(wanted), 2), PADDING)
    for row, (true, said) in enumerate(zip(wanted, found)):
        off = known & ~true
        for column, (label, wrong, right) in enumerate([(OBJECT, true & ~said, true), (BACKGROUND, off & said, off)]):
            place = pixel_of(wrong if wrong.any() else right, rng)
            if place is not None:
                places[row, column], labels[row, column] = place, label
    return places, labels
