"""What the readers of both challenges' files need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from copick_tools.data.columns import Columns
from copick_tools.errors import FormatError
from copick_tools.types import Floats, Integers

NAMED = 5  # names that a message lists


def places(table: Columns, column: str, order: Sequence[str]) -> Integers:
    """(N,) place of each row's name in ``order``, -1 where it isn't."""
    place = {name: index for index, name in enumerate(order)}
    known = np.array([place.get(name, -1) for name in table.names[column].values], dtype=int)
    return known[table.names[column].codes] if len(known) else np.empty(0, int)


def cell(table: Columns, column: str, row: int) -> str:
    return table.names[column].values[table.names[column].codes[row]]


def refuse_duplicates(table: Columns, runs: Integers, positions: Floats, what: str) -> None:
    """Raise FormatError where a reference holds the same position twice: the official code gives up there, too."""
    keys = np.column_stack([runs, positions])
    order = np.lexsort(keys.T[::-1])
    same = (keys[order][1:] == keys[order][:-1]).all(axis=1)
    if same.any():
        place = int(same.argmax())
        first, second = sorted(order[place : place + 2].tolist())
        raise FormatError(
            f"{table.path}: rows {first + 1} and {second + 1} hold the same position in the same {what}",
            "take one of them out: a reference point counts once",
        )


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
