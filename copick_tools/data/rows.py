"""Picks as one long table, a row per pick: what CSV and STAR files hold, and how it becomes pick sets and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools.errors import FormatError
from copick_tools.types import Floats, Integers, Mask, Points

PicksTable = dict[tuple[str, str], Points]
"""(run, object) -> its picks, xyz in angstrom."""

POSITION_DECIMALS, SCORE_DECIMALS, ROTATION_DECIMALS = 4, 6, 8  # of what we write; positions in angstrom


@dataclass(frozen=True)
class Frame:
    """Where a run's coordinates live; only the file formats that count from a tomogram's center or in voxels need it.

    voxel_spacing: angstrom. shape: z y x in voxels. tomogram: its name in files, the run's name unless given.
    """

    voxel_spacing: float
    shape: tuple[int, int, int] | None = None
    tomogram: str | None = None

    @property
    def center(self) -> tuple[float, float, float] | None:
        """xyz in angstrom of the point that RELION counts from: half the number of voxels along each axis."""
        if self.shape is None:
            return None
        z, y, x = (length / 2 * self.voxel_spacing for length in self.shape)
        return x, y, z


Frames = Mapping[str, Frame]
"""run -> where its coordinates live."""


@dataclass(frozen=True)
class Rows:
    """A row per pick.

    positions: (N, 3) xyz in angstrom. scores: (N,). rotations: (N, 3, 3), reference to particle in the xyz basis.
    instance_ids: (N,), 0 for none. trusted: (N,) whether the rotation is known; None where the file doesn't say.
    """

    runs: Sequence[str]
    objects: Sequence[str]
    positions: Floats
    scores: Floats
    rotations: Floats
    instance_ids: Integers
    trusted: Mask | None = None


def flatten(picks: PicksTable) -> Rows:
    """Rows of pick sets; rotations that nobody trusts become the identity. A set without picks leaves no row."""
    sets = list(picks.values())
    counts = [len(points) for points in sets]
    none = Points.at([])
    return Rows(
        runs=[run for (run, _), count in zip(picks, counts) for _ in range(count)],
        objects=[name for (_, name), count in zip(picks, counts) for _ in range(count)],
        positions=np.concatenate([none.positions, *(points.positions for points in sets)]),
        scores=np.concatenate([none.scores, *(points.scores for points in sets)]),
        rotations=np.concatenate(
            [none.rotations, *(p.rotations if p.trust_orientation else Points.at(p.positions).rotations for p in sets)]
        ),
        instance_ids=np.concatenate([np.zeros(0, int), *map(_instance_ids, sets)]),
        trusted=np.repeat([points.trust_orientation for points in sets], counts).astype(bool),
    )


def members(keys: Iterable[Any]) -> dict[Any, Integers]:
    """key -> the rows that have it, in their order; keys in order of appearance."""
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return {key: np.array(index) for key, index in rows.items()}


def grouped(rows: Rows) -> PicksTable:
    """(run, object) -> picks, in the order of the rows."""
    return {key: _points(rows, index) for key, index in members(zip(rows.runs, rows.objects)).items()}


def runs_named(tomograms: Sequence[str], frames: Frames) -> list[str]:
    """The runs whose tomograms have these names in files; the names themselves unless a frame says otherwise."""
    runs = {frame.tomogram: run for run, frame in frames.items() if frame.tomogram is not None}
    return [runs.get(name, name) for name in tomograms]


def first_present(aliases: Sequence[str], columns: Iterable[str]) -> str | None:
    """The first of ``aliases`` that is among ``columns``."""
    present = set(columns)
    return next((alias for alias in aliases if alias in present), None)


def numbers(path: Path, column: str, cells: Sequence[Any]) -> Floats:
    """(N,) the cells of a column as finite numbers; an error names the data line, from 1, and the column."""
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            value = float(cell)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise FormatError(
                f"{path}: row {row + 1}, column {column}: {cell!r} isn't a finite number",
                "correct that line or take it out (rows count from 1, after the column names)",
            )
        values[row] = value
    return values


def names(path: Path, column: str, cells: Sequence[Any], default: str | None) -> list[str]:
    """The cells of a column as names; ``default`` where a cell is empty."""
    found = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    if default is None and "" in found:
        raise FormatError(f"{path}: row {found.index('') + 1}, column {column}: empty", "fill in the name")
    return [name or str(default) for name in found]


def require_rotations(path: Path, matrices: Floats) -> Floats:
    """(N, 3, 3) the matrices, if all of them are rotations."""
    errors = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0.0)
    bad = np.flatnonzero((errors > 1e-3) | (np.linalg.det(matrices) < 0))
    if bad.size:
        raise FormatError(
            f"{path}: row {bad[0] + 1}: the matrix isn't a rotation: {matrices[bad[0]].round(3).tolist()}",
            "correct it, or take the orientation out of the file to read the positions alone",
        )
    return matrices


def _instance_ids(points: Points) -> Integers:
    return np.zeros(len(points), int) if points.instance_ids is None else points.instance_ids


def _points(rows: Rows, index: Integers) -> Points:
    """The picks at ``index``. Where the file doesn't say, identity matrices throughout mean: no orientation."""
    rotations = rows.rotations[index]
    known = not np.allclose(rotations, np.eye(3)) if rows.trusted is None else bool(rows.trusted[index].all())
    points = Points.at(rows.positions[index], rows.scores[index], rotations if known else None)
    instance_ids = rows.instance_ids[index]
    return replace(points, instance_ids=instance_ids) if instance_ids.any() else points
