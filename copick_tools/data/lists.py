"""Small tables and lists in plain files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.errors import FormatError, NotFoundError, nearest

SHOWN = 5  # runs that a message names


@dataclass(frozen=True)
class Listed:
    """A run of a published list: its name, its id on the portal as far as known, and its split, if it is in one."""

    name: str
    portal_run_id: int | None
    split: str | None


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV or TSV file, cells stripped. Raises NotFoundError, FormatError (no such column, a ragged row)."""
    text = _text(path)
    first = text.partition("\n")[0]
    separator = next((mark for mark in (",", "\t", ";") if mark in first), ",")
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else separator)
    try:
        rows: list[dict[Any, Any]] = list(reader)
    except csv.Error as error:
        raise FormatError(f"{path} is no table: {error}") from error
    header = [name.strip() for name in reader.fieldnames or ()]
    for column in columns:
        if column not in header:
            raise FormatError(f"{path}: no column {column}; columns: {', '.join(header)}", nearest(column, header))
    if len(set(header)) < len(header):
        raise FormatError(f"{path}: two columns have the same name: {', '.join(header)}")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise FormatError(f"{path}: row {number} hasn't {len(header)} cells", "a name with a comma needs quotes")
    return [{key.strip(): cell.strip() for key, cell in row.items()} for row in rows]


def read_splits_file(path: Path) -> dict[str, list[str]]:
    """A JSON object of split names and lists of run names. Raises NotFoundError, FormatError."""
    splits = read_json(path)
    valid = isinstance(splits, dict) and all(
        isinstance(runs, list) and all(isinstance(run, str) for run in runs) for runs in splits.values()
    )
    if not valid:
        raise FormatError(f"{path} isn't an object of split names and lists of run names")
    return splits


def shown(runs: Sequence[str]) -> str:
    """Some runs in a sentence: their number, and the first few names."""
    more = " …" if len(runs) > SHOWN else ""
    return f"{len(runs)} run{'s' if len(runs) != 1 else ''}: {', '.join(runs[:SHOWN])}{more}"


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that occurs twice; None where all differ."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def read_json(path: Path) -> Any:
    """A JSON document. Raises NotFoundError, FormatError."""
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from error


def _text(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"no file {path}", "check the path")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} isn't UTF-8 text: {error}") from error
