"""Portal point files: a JSON object per line, in voxels of the spacing that the file is attached to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from copick_tools.errors import FormatError
from copick_tools.types import Points


def read_ndjson(path: Path, voxel_spacing: float, oriented: bool | None = None) -> Points:
    """Points in xyz angstrom, of a file in xyz voxels of ``voxel_spacing`` angstrom.

    oriented: whether rotations are expected; they map reference to particle in the xyz basis. None: as the first has.
    Raises FormatError: a line that is no point, a number that isn't finite, a matrix that is no rotation.
    """
    locations, matrices, instances = [], [], []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(_lines(lines, path), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                locations.append([_number(entry["location"][axis]) for axis in "xyz"])
                instances.append(_identity(entry.get("instance_id")))
                if oriented is None:
                    oriented = "xyz_rotation_matrix" in entry
                if oriented:
                    matrices.append(np.array(entry["xyz_rotation_matrix"], dtype=float).reshape(3, 3))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                raise FormatError(f"{path.name}, line {number}: no {'oriented ' if oriented else ''}point") from error
    positions = np.array(locations, dtype=float).reshape(-1, 3) * voxel_spacing
    if not np.isfinite(positions).all():
        raise FormatError(f"{path.name}: a coordinate isn't finite")
    rotations = _rotations(np.array(matrices).reshape(-1, 3, 3), path) if oriented else None
    found = Points.at(positions, rotations=rotations)
    ids = np.array(instances, dtype=np.int64)
    return Points(found.positions, found.scores, found.rotations, bool(oriented), ids)


def _number(value: object) -> float:
    """A JSON number, and nothing else that Python would take for one. Raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def _identity(value: object) -> int:
    """An instance id that fits. Raises ValueError, TypeError."""
    number = int(value or 0)  # type: ignore[call-overload]
    if abs(number) >= 2**53:
        raise ValueError(number)
    return int(number)


def count_points(path: Path) -> int:
    """The number of points in a copick JSON. Raises FormatError: it is none."""
    try:
        points = json.loads(path.read_text(encoding="utf-8"))["points"]
        return len([point["location"]["x"] for point in points])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path.name} isn't copick's JSON of picks") from error


def _lines(lines: Any, path: Path) -> Any:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name} is no text") from error


def _rotations(matrices: np.ndarray, path: Path) -> np.ndarray:
    """The matrices, if they are rotations within what is printed of them. Raises FormatError."""
    products = matrices @ matrices.transpose(0, 2, 1)
    sound = np.isfinite(matrices).all(axis=(1, 2)) & (abs(products - np.eye(3)) < 1e-2).all(axis=(1, 2))
    sound[sound] = np.linalg.det(matrices[sound]) > 0  # no reflection
    if not sound.all():
        raise FormatError(f"{path.name}: point {int(np.flatnonzero(~sound)[0])} has a matrix that is no rotation")
    return matrices
