"""What CSV readers make of text: mlcroissant, and so copick, read tables by pandas, which guesses types.

A column of 01, 1 and NA becomes 1.0, 1.0 and nothing; no declared type prevents it (mlcroissant 1.1 converts afterwards).
Our own tables guard such columns; copick's tables have to be as copick reads and writes them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from copick_tools.data.manifests import tables as t
from copick_tools.errors import FormatError

SHOWN = 3  # cells that a message names


@dataclass(frozen=True)
class Retyped:
    """A cell that is read as something else. line: in the file, the header is 1."""

    line: int
    column: str
    cell: str
    read: str


def require_readable(found: Mapping[str, Sequence[t.Row]]) -> None:
    """Raise FormatError where names in copick's tables would be read as something else."""
    for name in (name for name in found if name not in t.OURS):
        fine = integers(name, found[name])
        wrong = [cell for cell in retyped(name, found[name]) if cell.column not in fine]
        if wrong:
            told = "; ".join(f"{w.column} '{w.cell}' (line {w.line}) as '{w.read}'" for w in wrong[:SHOWN])
            more = f" … ({len(wrong)} in all)" if len(wrong) > SHOWN else ""
            raise FormatError(
                f"{t.csv_name(name)} would not be read as it is by mlcroissant and copick: {told}{more}",
                "they take such names for numbers, logical values or nothing: rename the run, or use other ids",
            )


def guarded(record_set: str, rows: Sequence[t.Row]) -> set[str]:
    """The columns of one of our tables that need a guard."""
    return {found.column for found in retyped(record_set, rows)}


def integers(record_set: str, rows: Sequence[t.Row]) -> set[str]:
    """Columns of text that are read wrongly as text, but rightly as integers: ids, some of which are empty."""
    columns = {found.column for found in retyped(record_set, rows)}
    return {column for column in columns if all(_is_integer(row[column]) for row in rows if row.get(column))}


def retyped(record_set: str, rows: Sequence[t.Row]) -> Iterator[Retyped]:
    """The cells of text that are read as something else."""
    import pandas as pd

    if not rows:
        return
    texts = [column for column, kind in t.types(record_set).items() if kind in (t.TEXT, t.URL)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        frame = pd.read_csv(io.BytesIO(t.to_bytes(record_set, rows)))
    for column in texts:
        for line, (row, value) in enumerate(zip(rows, frame[column].tolist()), start=2):
            cell, read = t.cell(row.get(column)), "" if pd.isna(value) else str(value)
            if read != cell or isinstance(value, bool):
                yield Retyped(line, column, cell, read)


def _is_integer(text: str) -> bool:
    return text.isascii() and text.isdecimal() and str(int(text)) == text and int(float(text)) == int(text)
