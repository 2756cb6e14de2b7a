"""Picks in CSV files: a row per pick, xyz in angstrom, with the columns that copick's own CSV reader knows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from copick_tools.data.rows import (
    POSITION_DECIMALS,
    ROTATION_DECIMALS,
    SCORE_DECIMALS,
    Frames,
    PicksTable,
    Rows,
    first_present,
    flatten,
    names,
    numbers,
    require_rotations,
    runs_named,
)
from copick_tools.errors import FormatError
from copick_tools.types import Floats, Mask

RUN = ("run_name", "run", "tomogram", "tomo_name", "tomo_id", "experiment", "micrograph")
OBJECT = ("object", "object_name", "pickable_object_name", "particle_type")
SCORE = ("score", "confidence")
MATRIX = tuple(f"transform_{row}{column}" for row in range(4) for column in range(4))
TRUST, INSTANCE = "trust_orientation", "instance_id"
FLAGS = {"1": True, "true": True, "0": False, "false": False}


def write_csv(path: Path, picks: PicksTable) -> None:
    """Columns run_name, object, x, y, z (angstrom), score; volume, instance_id and the 4x4 matrix where there are any.

    volume: cubic angstrom.
    """
    rows = flatten(picks)
    header = ["run_name", "object", "x", "y", "z", "score"]
    columns = [rows.runs, rows.objects, *rows.positions.round(POSITION_DECIMALS).T.tolist()]
    columns.append(rows.scores.round(SCORE_DECIMALS).tolist())
    if any(points.volumes is not None for points in picks.values()):
        header.append("volume")
        volumes = [np.full(len(p), np.nan) if p.volumes is None else p.volumes for p in picks.values()]
        columns.append(["" if np.isnan(value) else round(value) for value in np.concatenate(volumes).tolist()])
    if rows.instance_ids.any():
        header.append(INSTANCE)
        columns.append(rows.instance_ids.tolist())
    if rows.trusted is not None and rows.trusted.any():
        matrices = np.tile(np.eye(4), (len(rows.runs), 1, 1))
        matrices[:, :3, :3] = rows.rotations.round(ROTATION_DECIMALS)
        header += [TRUST, *MATRIX]
        columns += [rows.trusted.astype(int).tolist(), *matrices.reshape(-1, 16).T.tolist()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(*columns))


def read_csv(path: Path, run: str | None, object_name: str | None, frames: Frames, pixel_size: float | None) -> Rows:
    """Rows of a CSV; x y z are angstrom, or voxels of ``pixel_size`` angstrom where that is given.

    ``run`` and ``object_name`` serve where the file has no such column or an empty cell.
    """
    table = _table(path)
    count = len(table["x"])
    positions = np.column_stack([numbers(path, axis, table[axis]) for axis in "xyz"]) * (pixel_size or 1.0)
    score = first_present(SCORE, table)
    matrices = _matrices(path, table, count)
    instance_ids = numbers(path, INSTANCE, table[INSTANCE]) if INSTANCE in table else np.zeros(count)
    return Rows(
        runs=runs_named(_named(path, table, RUN, run), frames),
        objects=_named(path, table, OBJECT, object_name),
        positions=positions + matrices[:, :3, 3],
        scores=np.ones(count) if score is None else numbers(path, score, table[score]),
        rotations=require_rotations(path, matrices[:, :3, :3]),
        instance_ids=instance_ids.astype(int),
        trusted=_trusted(path, table),
    )


def _table(path: Path) -> dict[str, Sequence[str | None]]:
    """Column name, in lower case -> cells."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file, strict=True) if any(cell.strip() for cell in line)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a CSV file ({error})", "save it as comma-separated text in UTF-8") from error
    header = [name.strip().lower() for name in lines[0]] if lines else []
    missing = [axis for axis in "xyz" if axis not in header]
    if missing:
        raise FormatError(
            f"{path}: no column {', '.join(missing)}; columns: {', '.join(header) or 'none'}",
            "the first line names the columns, separated by commas: x, y, z in angstrom",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise FormatError(f"{path}: column {', '.join(twice)} is there twice", "keep one of them")
    for row, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise FormatError(f"{path}: row {row} has {len(line)} cells, not {len(header)}", "correct that line")
    return dict(zip(header, zip(*lines[1:]))) if len(lines) > 1 else dict.fromkeys(header, ())


def _named(
    path: Path, table: dict[str, Sequence[str | None]], aliases: Sequence[str], default: str | None
) -> list[str]:
    column = first_present(aliases, table)
    if column is not None:
        return names(path, column, table[column], default)
    if default is None and len(table["x"]):
        raise FormatError(
            f"{path}: no column says which {aliases[0].split('_')[0]}; columns: {', '.join(table)}",
            f"add one ({', '.join(aliases)}) or name it yourself",
        )
    return [str(default)] * len(table["x"])


def _matrices(path: Path, table: dict[str, Sequence[str | None]], count: int) -> Floats:
    """(N, 4, 4) copick's transformations; the identity where the file has none."""
    present = [column for column in MATRIX if column in table]
    if not present:
        return np.tile(np.eye(4), (count, 1, 1))
    if len(present) < len(MATRIX):
        missing = [column for column in MATRIX if column not in table]
        raise FormatError(f"{path}: no column {', '.join(missing)}", "give all 16 of the matrix, or none")
    return np.column_stack([numbers(path, column, table[column]) for column in MATRIX]).reshape(count, 4, 4)


def _trusted(path: Path, table: dict[str, Sequence[str | None]]) -> Mask | None:
    if TRUST not in table:
        return None
    flags = [FLAGS.get(str(cell).strip().lower()) for cell in table[TRUST]]
    if None in flags:
        row = flags.index(None)
        raise FormatError(f"{path}: row {row + 1}, column {TRUST}: {table[TRUST][row]!r}", "write 0 or 1")
    return np.array(flags, dtype=bool)
