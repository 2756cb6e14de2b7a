"""Which sizes splits can have when some runs stay together: subset sums for several splits at once.

A table per group, in a fixed order, says for every size that the splits may still lack whether the groups from there on
can fill it. The largest split isn't kept: its size follows from the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.types import Integers, Mask

STATES = 4_000_000  # of one table
BITS = 2_000_000_000  # of all tables together: 250 MB


class Unreachable(ValueError):
    """No way to divide the groups has the wanted sizes. nearest: (S,) sizes that one has; None where it wasn't tried."""

    def __init__(self, message: str, nearest: tuple[int, ...] | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest


@dataclass(frozen=True)
class Room:
    """What groups may go where so that the splits end with the wanted sizes.

    sizes: (G,) runs of each group, groups of several first. wanted: (S,) runs of each split, positive.
    """

    sizes: Integers
    wanted: Integers
    tables: tuple[Integers, ...]

    @classmethod
    def of(cls, sizes: Integers, wanted: Integers) -> Room:
        """Raises Unreachable."""
        if int(sizes.sum()) != int(wanted.sum()):
            raise ValueError(f"Expected sizes that sum to {int(sizes.sum())}, but got {wanted.tolist()}")
        tied = sizes[: int((sizes > 1).sum())]
        others = np.delete(wanted, wanted.argmax())
        shape = tuple((others + 1).tolist())
        if len(tied) and (math.prod(shape) > STATES or math.prod(shape) * len(tied) > BITS):
            raise Unreachable(f"{len(wanted)} splits of exact sizes are too many where runs stay together")
        tables = (
            [np.packbits(table.ravel()) for table in _tables(tied, len(sizes) - len(tied), shape)] if len(tied) else []
        )
        room = cls(sizes, wanted, tuple(reversed(tables)))
        if tables and not room._fits(0, wanted):
            raise Unreachable("the sizes can't be reached", _nearest(tied, len(sizes) - len(tied), wanted))
        return room

    def allowed(self, place: int, left: Integers) -> Mask:
        """(S,) whether the group at ``place`` may go to each split. left: (S,) runs that each still lacks."""
        size = int(self.sizes[place])
        after = left - size * np.eye(len(left), dtype=int)
        return np.array([bool(left[s] >= size) and self._fits(place + 1, after[s]) for s in range(len(left))])

    def _fits(self, place: int, left: Integers) -> bool:
        """Whether the groups from ``place`` on can fill what is left; single runs fill everything."""
        if place >= len(self.tables):
            return True
        rest = int(self.wanted.argmax())
        shape = tuple((np.delete(self.wanted, rest) + 1).tolist())
        index = int(np.ravel_multi_index(tuple(np.delete(left, rest).tolist()), shape)) if shape else 0
        return bool(self.tables[place][index >> 3] >> (7 - (index & 7)) & 1)


def _tables(tied: Integers, singles: int, shape: tuple[int, ...]) -> Iterator[Mask]:
    """For the groups from the last to the first: whether they and all after can fill each size of all splits but one.

    What the other splits leave goes to that one, so at the end they mustn't lack more than there are single runs.
    """
    table = np.asarray(np.add.reduce(np.indices(shape), axis=0) <= singles) if shape else np.ones((), bool)
    for size in tied[::-1].tolist():
        filled = table.copy()
        for axis, length in enumerate(shape):
            if length > size:
                filled[_along(axis, slice(size, None))] |= table[_along(axis, slice(length - size))]
        table = filled
        yield table


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, part)


def _nearest(tied: Integers, singles: int, wanted: Integers) -> tuple[int, ...] | None:
    """(S,) the sizes that can be reached, none of them 0, with the least sum of absolute differences."""
    total, rest = int(wanted.sum()), int(wanted.argmax())
    others = np.delete(wanted, rest)
    shape = tuple((np.minimum(others + int(tied.max()), total) + 1).tolist())
    if math.prod(shape) > STATES:
        return None
    *_, table = _tables(tied, singles, shape)
    found = np.argwhere(table).reshape(-1, len(others))
    found = np.insert(found, rest, total - found.sum(axis=1), axis=1)
    found = found[(found > 0).all(axis=1)]
    if not len(found):
        return None
    best: Sequence[int] = found[np.abs(found - wanted).sum(axis=1).argmin()].tolist()
    return tuple(best)
