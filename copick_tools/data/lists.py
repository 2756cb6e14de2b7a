"""Small tables in plain files, and published lists of which run belongs to which split."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data.project import Project
from copick_tools.data.provenance import read_records
from copick_tools.errors import FormatError, NotFoundError, nearest

SHOWN = 5  # runs that a message names


@dataclass(frozen=True)
class Listed:
    """One run of a published list. portal_run_id: as text, empty where the list has none."""

    run: str
    split: str
    portal_run_id: str = ""


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
    splits = _json(path)
    valid = isinstance(splits, dict) and all(
        isinstance(runs, list) and all(isinstance(run, str) for run in runs) for runs in splits.values()
    )
    if not valid:
        raise FormatError(f"{path} isn't an object of split names and lists of run names")
    return splits


def read_split_list(path: Path) -> list[Listed]:
    """A published list: JSON as splits.json, CSV or TSV with columns run and split, or a Croissant's metadata.json.

    A run whose cell of split is empty is in none. Raises NotFoundError, FormatError (a run listed twice, an empty list).
    """
    if path.suffix.lower() != ".json":
        rows = [Listed(row["run"], row["split"]) for row in read_rows(path, ("run", "split"))]
    elif _is_croissant(path):
        columns = ("name", "portal_run_id", "split")
        table = read_rows(path.parent / "runs.csv", columns)
        rows = [Listed(*(row[column] for column in ("name", "split", "portal_run_id"))) for row in table]
    else:
        rows = [Listed(run, split) for split, runs in read_splits_file(path).items() for run in runs]
    rows = [row for row in rows if row.split]
    seen: dict[str, str] = {}
    for row in rows:
        if row.run in seen:
            raise FormatError(f"{path} lists run {row.run} twice, in {seen[row.run]} and {row.split}")
        seen[row.run] = row.split
    if not rows:
        raise FormatError(f"{path} puts no run into any split")
    return rows


def published_splits(path: Path, project: Project, *, partial: bool = False) -> dict[str, list[str]]:
    """The splits of a published list for the runs of a project, found by name, or else by portal run id.

    partial: runs that only the list or only the project has are left out. Raises NotFoundError where they aren't,
    FormatError.
    """
    rows = read_split_list(path)
    there = set(project.run_names)
    by_id = _runs_by_portal_id(project) if any(row.portal_run_id for row in rows) else {}
    splits: dict[str, list[str]] = {row.split: [] for row in rows}
    unknown = []
    for row in rows:
        run = row.run if row.run in there else by_id.get(row.portal_run_id)
        if run is None:
            unknown.append(row.run)
        else:
            splits[row.split].append(run)
    listed = {run for runs in splits.values() for run in runs}
    if unknown and not (partial and listed):
        also = f" and {len(unknown) - 1} others" if len(unknown) > 1 else ""
        hint = nearest(unknown[0], there - listed or there)
        hint += "; --partial leaves out what the project lacks" if listed else ""
        raise NotFoundError(f"{path} lists run {unknown[0]}{also}, which {project.config} lacks", hint)
    missing = sorted(there - listed)
    if missing and not partial:
        raise NotFoundError(
            f"{path} lacks {shown(missing)} of {project.config}", "--partial leaves them out of all splits"
        )
    return {split: sorted(splits[split]) for split in sorted(splits, key=_usual_order)}


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


def _usual_order(split: str) -> tuple[int, int, str]:
    usual = ("train", "val", "test")
    return usual.index(split) if split in usual else len(usual), len(split), split


def _runs_by_portal_id(project: Project) -> Mapping[str, str]:
    records = read_records(project)
    there = set(project.run_names)
    return {
        str(record.portal_run_id): run
        for run, record in records.items()
        if run in there and record.portal_run_id is not None
    }


def _is_croissant(path: Path) -> bool:
    document = _json(path)
    return isinstance(document, dict) and "@context" in document


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise FormatError(f"{path} is no JSON: {error}") from error


def _text(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"no file {path}", "check the path")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} isn't UTF-8 text: {error}") from error
