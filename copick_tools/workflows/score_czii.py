"""Submission and reference of the CZII challenge as tables of picks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from copick_tools.data import challenge
from copick_tools.data.columns import Columns
from copick_tools.errors import nearest
from copick_tools.metrics.table import PointTable
from copick_tools.recipes.task import Task
from copick_tools.types import Integers, Mask
from copick_tools.workflows.score_columns import cell, listed, places, refuse_duplicates


def read_reference(path: Path, task: Task) -> tuple[PointTable, list[str]]:
    """The reference picks, in angstrom, and warnings."""
    objects = tuple(entry.name for entry in task.targets)
    table = challenge.read_czii(path)
    table.require_finite(challenge.XYZ)
    experiments = table.names[challenge.EXPERIMENT]
    reference = PointTable(
        experiments.values,
        objects,
        experiments.codes,
        _objects(table, objects, np.ones(len(table), bool)),
        np.column_stack([table.numbers[axis] for axis in challenge.XYZ]),
        np.ones(len(table)),
    )
    refuse_duplicates(table, experiments.codes, reference.positions, "experiment")
    return reference, [] if len(table) else [f"{path} holds no rows"]


def read_submission(path: Path, reference: PointTable, strict: bool) -> tuple[PointTable, list[str]]:
    """The predicted picks for the runs and objects of a reference, and warnings.

    strict: an experiment that the reference doesn't know is an error; otherwise its rows are dropped.
    """
    table = challenge.read_czii(path)
    runs = places(table, challenge.EXPERIMENT, reference.runs)
    known = runs >= 0
    warnings = []
    if not known.all():
        if strict:
            row = int((~known).argmax())
            name = cell(table, challenge.EXPERIMENT, row)
            raise table.error(
                row,
                challenge.EXPERIMENT,
                f"no experiment '{name}' in the reference",
                f"{nearest(name, reference.runs)}; --lenient drops such rows, as the official code does",
            )
        strays = listed(sorted({cell(table, challenge.EXPERIMENT, row) for row in np.flatnonzero(~known)}))
        warnings.append(f"{int((~known).sum())} rows dropped: the reference has no experiment {strays}")
    objects = _objects(table, reference.objects, known)[known]
    table.require_finite(challenge.XYZ, known)
    positions = np.column_stack([table.numbers[axis] for axis in challenge.XYZ])[known]
    missing = np.setdiff1d(np.arange(len(reference.runs)), runs[known])
    if len(missing):
        names = listed([reference.runs[run] for run in missing])
        warnings.append(f"{len(missing)} experiments have no row in {path} and count as nothing found: {names}")
    found = PointTable(reference.runs, reference.objects, runs[known], objects, positions, np.ones(len(positions)))
    return found, warnings


def _objects(table: Columns, objects: Sequence[str], rows: Mask) -> Integers:
    """(N,) place of each row's object. Raises FormatError for an unknown one among ``rows``."""
    found = places(table, challenge.PARTICLE, objects)
    bad = (found < 0) & rows
    if bad.any():
        row = int(bad.argmax())
        name = cell(table, challenge.PARTICLE, row)
        raise table.error(row, challenge.PARTICLE, f"no object '{name}' in the task", nearest(name, objects))
    return found
