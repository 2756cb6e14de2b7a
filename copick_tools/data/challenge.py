"""The CSV files of the CZII and BYU challenges, as their official codes read them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from copick_tools.data.columns import Columns, read_columns
from copick_tools.data.replace import replacing
from copick_tools.errors import FormatError

EXPERIMENT, PARTICLE = "experiment", "particle_type"
XYZ = ("x", "y", "z")  # angstrom
TOMOGRAM, SPACING, HAS_MOTOR, MOTORS = "tomo_id", "Voxel spacing", "Has motor", "Number of motors"
AXES = ("Motor axis 0", "Motor axis 1", "Motor axis 2")  # voxels, z y x
NO_MOTOR = -1.0


def read_czii(path: Path) -> Columns:
    """A submission or reference of the CZII challenge: experiment, particle_type, x, y, z in angstrom."""
    return read_columns(path, (EXPERIMENT, PARTICLE), XYZ)


def read_byu(path: Path) -> Columns:
    """A submission of the BYU challenge: tomo_id and three axes (z y x) in voxels; -1 in any of them is no motor."""
    return read_columns(path, (TOMOGRAM,), AXES)


def read_byu_reference(path: Path) -> Columns:
    """A reference of the BYU challenge, or its training labels: also the voxel spacing, and whether there is a motor."""
    table = read_columns(path, (TOMOGRAM,), (*AXES, SPACING), optional=(HAS_MOTOR, MOTORS))
    if HAS_MOTOR not in table.numbers and MOTORS not in table.numbers:
        raise FormatError(f"{path}: no column {HAS_MOTOR}", f"{HAS_MOTOR} is 0 or 1; training labels say {MOTORS}")
    return table


def write_czii(path: Path, rows: Iterable[tuple[str, str, float, float, float]]) -> None:
    """A submission of the CZII challenge. rows: experiment, particle type, x, y, z in angstrom."""
    _write(path, ("id", EXPERIMENT, PARTICLE, *XYZ), ((number, *row) for number, row in enumerate(rows)))


def write_byu(path: Path, rows: Iterable[tuple[str, float, float, float]]) -> None:
    """A submission of the BYU challenge. rows: tomogram, z, y, x in voxels, -1 for no motor."""
    _write(path, (TOMOGRAM, *AXES), rows)


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
