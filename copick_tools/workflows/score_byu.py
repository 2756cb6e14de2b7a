"""Submission and reference of the BYU challenge as tables of picks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from copick_tools.data import challenge
from copick_tools.data.columns import Columns
from copick_tools.errors import FormatError, nearest
from copick_tools.metrics.table import PointTable
from copick_tools.recipes.task import Task
from copick_tools.types import Floats, Mask
from copick_tools.workflows.score_columns import cell, listed, places, refuse_duplicates


def read_reference(path: Path, task: Task) -> tuple[PointTable, list[str]]:
    """The reference motors, in voxels, and warnings."""
    objects = tuple(entry.name for entry in task.targets)
    table = challenge.read_byu_reference(path)
    table.require_finite((*challenge.AXES, challenge.SPACING))
    tomograms = table.names[challenge.TOMOGRAM]
    motor, warnings = _motors(table)
    positions = _positions(table)
    refuse_duplicates(table, tomograms.codes, positions, "tomogram")
    reference = PointTable(
        tomograms.values,
        objects,
        tomograms.codes[motor],
        np.zeros(int(motor.sum()), int),
        positions[motor],
        np.ones(int(motor.sum())),
        unit=_spacings(table),
    )
    return reference, warnings


def _motors(table: Columns) -> tuple[Mask, list[str]]:
    """(N,) whether a row of a reference is a motor, and warnings where its columns disagree."""
    column = challenge.HAS_MOTOR if challenge.HAS_MOTOR in table.numbers else challenge.MOTORS
    table.require_finite((column,))
    stated = table.numbers[column]
    odd = ~np.isin(stated, (0, 1)) if column == challenge.HAS_MOTOR else stated < 0
    if odd.any():
        row = int(odd.argmax())
        raise table.error(
            row,
            column,
            f"{stated[row]:g} isn't " + ("0 or 1" if column == challenge.HAS_MOTOR else "a number of motors"),
        )
    motor = stated > 0
    differ = motor != ~_none(table)
    if not differ.any():
        return motor, []
    name = cell(table, challenge.TOMOGRAM, int(differ.argmax()))
    return motor, [
        f"{table.path}: {column} and the axes disagree in {int(differ.sum())} rows, for example {name}: {column} counts"
    ]


def _spacings(table: Columns) -> Floats:
    """(R,) angstrom per voxel of each tomogram."""
    spacing, tomograms = table.numbers[challenge.SPACING], table.names[challenge.TOMOGRAM]
    if (spacing <= 0).any():
        row = int((spacing <= 0).argmax())
        raise table.error(row, challenge.SPACING, f"{spacing[row]:g} isn't a voxel spacing in angstrom")
    units = np.ones(len(tomograms.values))
    units[tomograms.codes] = spacing
    differ = units[tomograms.codes] != spacing
    if differ.any():
        row = int(differ.argmax())
        raise table.error(row, challenge.SPACING, "another row of this tomogram has another voxel spacing")
    return units


def read_submission(path: Path, reference: PointTable) -> PointTable:
    """The predicted motors, in voxels. One row for each tomogram of the reference, no more, no less."""
    table = challenge.read_byu(path)
    runs = places(table, challenge.TOMOGRAM, reference.runs)
    if (runs < 0).any():
        row = int((runs < 0).argmax())
        name = cell(table, challenge.TOMOGRAM, row)
        raise table.error(
            row, challenge.TOMOGRAM, f"no tomogram '{name}' in the reference", nearest(name, reference.runs)
        )
    again = np.ones(len(runs), bool)
    again[np.unique(runs, return_index=True)[1]] = False
    if again.any():
        row = int(again.argmax())
        name = cell(table, challenge.TOMOGRAM, row)
        raise table.error(row, challenge.TOMOGRAM, f"'{name}' is there twice", "give one row for each tomogram")
    if len(runs) < len(reference.runs):
        names = [reference.runs[run] for run in np.setdiff1d(np.arange(len(reference.runs)), runs)]
        raise FormatError(
            f"{path}: {len(names)} tomograms of the reference have no row: {listed(names)}",
            "a tomogram without a motor is a row with -1,-1,-1",
        )
    table.require_finite(challenge.AXES)
    found = ~_none(table)
    count = int(found.sum())
    return replace(
        reference,
        run=runs[found],
        object=np.zeros(count, int),
        positions=_positions(table)[found],
        scores=np.ones(count),
    )


def _none(table: Columns) -> Mask:
    """(N,) rows that say that there is no motor."""
    return np.any([table.numbers[axis] == challenge.NO_MOTOR for axis in challenge.AXES], axis=0)


def _positions(table: Columns) -> Floats:
    """(N, 3) xyz in voxels."""
    return np.column_stack([table.numbers[axis] for axis in reversed(challenge.AXES)])
