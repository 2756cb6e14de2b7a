"""Named columns of a CSV file, millions of rows in seconds, and errors that name file, row and column."""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.errors import FormatError, NotFoundError, nearest
from copick_tools.types import Floats, Integers, Mask

if TYPE_CHECKING:
    import pandas as pd

HEAD = 65_536  # bytes that have to hold the column names
LARGEST = 1e100  # its square is still a number
SEPARATORS = (",", ";", "\t")
SHOWN = 20  # columns, and letters of each, that a message shows
NAN = ("nan", "NaN", "NAN", "-nan")


@dataclass(frozen=True)
class Names:
    """A column of names. values: the distinct ones. codes: (N,) the place of each row's in ``values``."""

    values: tuple[str, ...]
    codes: Integers


@dataclass(frozen=True)
class Columns:
    """A CSV file's columns. Rows count from 1, after the column names."""

    path: Path
    names: dict[str, Names]
    numbers: dict[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.names.values())).codes)

    def error(self, row: int, column: str, what: str, hint: str | None = None) -> FormatError:
        """row: from 0."""
        return FormatError(f"{self.path}: {_place(self.path, row + 1)}, column {column}: {what}", hint)

    def require_finite(self, columns: Sequence[str], rows: Mask | None = None) -> None:
        """Raise FormatError for the first number that isn't finite, or far beyond any tomogram, among ``rows`` (N,)."""
        for column in columns:
            bad = ~(np.abs(self.numbers[column]) < LARGEST) & (True if rows is None else rows)
            if bad.any():
                row = int(bad.argmax())
                value = self.numbers[column][row]
                what = "is no coordinate" if np.isfinite(value) else "isn't a finite number"
                raise self.error(row, column, f"{value:g} {what}", "correct that row")


def read_columns(path: Path, names: Sequence[str], numbers: Sequence[str], optional: Sequence[str] = ()) -> Columns:
    """Read some columns of a CSV file; others are ignored. ``optional`` ones of numbers may be missing.

    The separator is a comma, or a semicolon or tab if the first line has no comma. A byte-order mark and any line ends
    are fine. Numbers may be infinite or NaN (see `Columns.require_finite`), but not words or empty.

    Raises NotFoundError (no such file), FormatError (not a CSV file, a column missing or there twice, a cell that is no
    number, an empty name, a row of the wrong length).
    """
    separator, header = _header(path)
    missing = [column for column in (*names, *numbers) if column not in header]
    if missing:
        raise FormatError(
            f"{path}: no column {', '.join(missing)}; columns: {_short(header)}",
            nearest(missing[0], [name[:SHOWN] for name in header]),
        )
    wanted = [*names, *numbers, *(column for column in optional if column in header)]
    twice = sorted({column for column in wanted if header.count(column) > 1})
    if twice:
        raise FormatError(f"{path}: column {', '.join(twice)} is there twice", "keep one of them")
    table = _table(path, separator, header, dict.fromkeys(names, object), wanted)  # "category" would make 1 of 001
    return Columns(
        path,
        {column: _names(path, table[column], column) for column in names},
        {column: np.asarray(table[column].to_numpy(), dtype=float) for column in wanted if column not in names},
    )


def _short(header: Sequence[str]) -> str:
    more = f" and {len(header) - SHOWN} more" if len(header) > SHOWN else ""
    return ", ".join(name[:SHOWN] for name in header[:SHOWN]) + more


def _header(path: Path) -> tuple[str, list[str]]:
    """The separator and the column names."""
    if path.is_dir():
        raise FormatError(f"{path} is a folder, not a CSV file", "give the file in it")
    if not path.is_file():
        raise NotFoundError(f"no file {path}", "check the path")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip():
        raise FormatError(f"{path} is empty", "the first line names the columns")
    try:
        if b"\0" in head:
            raise UnicodeDecodeError("utf-8", head, 0, 1, "it holds zero bytes")
        text = head.decode("utf-8-sig", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: not a CSV file ({error.reason})", "save it as comma-separated text in UTF-8"
        ) from error
    line = next(line for line in re.split(r"\r\n|\n|\r", text) if line.strip())
    separator = next((mark for mark in SEPARATORS if mark in line), ",")
    return separator, [name.strip() for name in next(csv.reader([line], delimiter=separator))]


def _table(
    path: Path, separator: str, header: list[str], types: dict[str, type], wanted: Sequence[str]
) -> pd.DataFrame:
    """The wanted columns, numbers as exact as Python reads them."""
    import pandas as pd

    places = [f"{place} {name}" for place, name in enumerate(header)]  # distinct, whatever the header says
    keys = {f"{header.index(column)} {column}": column for column in wanted}
    numbers = {key: column for key, column in keys.items() if column not in types}
    settings: dict[str, Any] = {
        "sep": separator,
        "encoding": "utf-8-sig",
        "header": 0,
        "names": places,
        "index_col": False,
    }
    settings |= {"keep_default_na": False, "na_values": dict.fromkeys(numbers, NAN)}
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):  # later ones read exactly, and deprecate the argument
        settings["float_precision"] = "round_trip"
    kinds = {key: "float64" if key in numbers else types[column] for key, column in keys.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # of columns that aren't wanted
            table = pd.read_csv(path, dtype=kinds, **settings)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise FormatError(
            f"{path}: {_reason(error)}", "each row has as many cells as there are column names"
        ) from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: not a CSV file ({error.reason})", "save it as comma-separated text in UTF-8"
        ) from error
    except ValueError as error:
        raise _no_number(path, numbers, settings) or FormatError(f"{path}: {error}") from error
    words = {key: column for key, column in numbers.items() if len(table) and table[key].isin((0, 1)).all()}
    wrong = _no_number(path, words, settings) if words else None  # pandas takes True and False for numbers
    if wrong:
        raise wrong
    return table[list(keys)].rename(columns=keys)


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
    return "rows have more cells than there are column names" if reason.startswith("Length of header") else reason


def _no_number(path: Path, numbers: dict[str, str], settings: dict[str, Any]) -> FormatError | None:
    """Which cell is no number: the slow way, once it is known that there is one."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, **(settings | {"na_values": []}))
    for key, column in numbers.items():
        for row, cell in enumerate(table[key].tolist(), start=1):
            if not _is_number(cell):
                where = f"{_place(path, row)}, column {column}"
                return FormatError(f"{path}: {where}: {cell!r} is no number", "correct that row")
    return None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()


def _place(path: Path, row: int) -> str:
    """Which row, and its line in the file where blank ones shift it."""
    with path.open("rb") as file:
        filled = (line for line, text in enumerate(file, start=1) if text.strip())
        line = next(itertools.islice(filled, row, None), row + 1)
    return f"row {row}" if line == row + 1 else f"row {row} (line {line})"


def _names(path: Path, column: pd.Series, name: str) -> Names:
    import pandas as pd

    codes, distinct = pd.factorize(column, sort=True)
    values = tuple(str(value) for value in distinct)
    if len(codes) and (codes.min() < 0 or "" in values):
        empty = (codes < 0) | (np.array(["", *values]) == "")[codes + 1] if values else codes < 0
        raise FormatError(
            f"{path}: {_place(path, int(np.argmax(empty)) + 1)}, column {name}: empty", "fill in the name"
        )
    return Names(values, codes.astype(int))
