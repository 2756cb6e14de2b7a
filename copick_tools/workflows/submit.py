"""`popsicle submit`: picks of a project become a challenge's submission file. It only formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from copick_tools.data import challenge, read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, TomogramUri, same_spacing
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.results import SubmitResult
from copick_tools.recipes.task import Task
from copick_tools.types import Floats, Points
from copick_tools.volumes.coordinates import to_voxels
from copick_tools.workflows.predictions import read_predictions


@dataclass(frozen=True)
class Submit:
    """What to write.

    threshold: least score of a pick. tomogram: whose voxels count (BYU), None: the run's, where they agree. missing: what
    a run without any prediction means, ``error`` or ``empty``.
    """

    picks: tuple[PicksUri, ...]
    task: Task
    threshold: float = 0.0
    tomogram: TomogramUri | None = None
    missing: str = "error"


def submit(
    project: Project, runs: Sequence[str], wanted: Submit, out: Path, *, overwrite: bool = False
) -> SubmitResult:
    """Write the submission of these runs; experiments and tomograms are called as the runs are.

    Raises UsageError (no challenge), NotFoundError (nothing matches), PopsicleError (a run without prediction, a file
    that is there already, a run whose voxel spacing can't be told).
    """
    if wanted.task.metric.official is None:
        raise UsageError(f"task {wanted.task.name} has no challenge", "submit is for phantom and motorbench")
    if not 0 <= wanted.threshold <= 1:
        raise UsageError(f"--threshold is {wanted.threshold}, but scores lie in [0, 1]")
    if wanted.tomogram and wanted.task.metric.official != "byu":
        raise UsageError("--tomogram is for motorbench", "phantom's coordinates are in angstrom")
    if out.exists() and not overwrite:
        raise PopsicleError(f"{out} is there already", "--overwrite replaces it; or choose another --out")
    found, _ = read_predictions(project, runs, wanted.picks, wanted.missing)
    names = [entry.name for entry in wanted.task.targets]
    strays = sorted({name for picks in found.values() for name in picks} - set(names))
    kept = {
        run: {name: _reaching(picks[name], wanted.threshold) for name in names if name in picks}
        for run, picks in found.items()
    }
    if wanted.task.metric.official == "byu":
        rows = [_motor_row(project, run, picks, wanted) for run, picks in kept.items()]
        challenge.write_byu(out, rows)
        picks = sum(challenge.NO_MOTOR not in row for row in rows)
    else:
        points = [
            (run, name, *xyz) for run, sets in kept.items() for name, p in sets.items() for xyz in p.positions.tolist()
        ]
        challenge.write_czii(out, points)
        picks = len(points)
    warnings = [f"left out, for the task doesn't know them: {', '.join(strays)}"] if strays else []
    if not picks:
        warnings.append(f"no pick reaches the score {wanted.threshold:g}")
    return SubmitResult(
        output=str(out),
        task=wanted.task.name,
        runs=len(runs),
        picks=picks,
        warnings=warnings,
    )


def _reaching(points: Points, threshold: float) -> Points:
    keep = points.scores >= threshold
    return Points.at(points.positions[keep], points.scores[keep])


def _motor_row(
    project: Project, run: str, picks: Mapping[str, Points], wanted: Submit
) -> tuple[str, float, float, float]:
    """Tomogram, and z, y, x in voxels of the best pick; -1 where there is none."""
    best: Floats | None = None
    score = -np.inf
    for points in picks.values():
        if len(points) and points.scores.max() > score:
            best, score = points.positions[points.scores.argmax()], points.scores.max()
    if best is None:
        return (run, *[challenge.NO_MOTOR] * 3)
    z, y, x = to_voxels(best[None], _voxel_spacing(project, run, wanted))[0].tolist()
    if challenge.NO_MOTOR in (z, y, x):
        raise PopsicleError(
            f"run {run}: a pick at voxel -1 would read as no motor", "it lies outside the tomogram: remove it"
        )
    return run, z, y, x


def _voxel_spacing(project: Project, run: str, wanted: Submit) -> float:
    """Angstrom per voxel of the tomogram that the challenge knows."""
    if wanted.tomogram:
        return read.read_tomogram(project, run, wanted.tomogram).voxel_spacing
    stored = read.list_tomograms(project, run)
    spacing = stored[0].voxel_spacing or 0.0
    if not all(same_spacing(uri.voxel_spacing, spacing) for uri in stored):
        names = ", ".join(str(uri) for uri in stored)
        raise PopsicleError(f"run {run} has tomograms of several voxel spacings: {names}", "choose by --tomogram")
    return read.read_tomogram(project, run, stored[0]).voxel_spacing
