"""Picks in RELION STAR files, through copick's RELION functions; in memory xyz in angstrom from the corner.

We write what RELION 5 reads: coordinates in angstrom from the tomogram's center. We read these, and the voxel
coordinates of RELION 3 and 4. Shifts (rlnOrigin) are subtracted; angles are inverted, for RELION's turn the particle
into the reference.
"""

from __future__ import annotations

import linecache
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from copick_tools.data.rows import Frames, PicksTable, Rows, first_present, flatten, members, names, numbers, runs_named
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.types import Floats

if TYPE_CHECKING:
    import pandas as pd

CENTERED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
VOXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SUBTOMOGRAM_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
SHIFTS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
VOXEL_SHIFTS = tuple(f"rlnOrigin{axis}" for axis in "XYZ")  # RELION 3.0
DETECTOR, MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
RUN = ("rlnTomoName", "rlnMicrographName")
SCORE = ("rlnAutopickFigureOfMerit", "rlnLCCmax")  # the second is pytom-match-pick's
OBJECT, TRUST, INSTANCE = "copickObjectName", "copickTrustOrientation", "copickInstanceId"  # ours; RELION carries them
INSTANCES = (INSTANCE, "rlnHelicalTubeID")
NUMERIC = (*CENTERED, *VOXELS, *ANGLES, *SUBTOMOGRAM_ANGLES, *SHIFTS, *VOXEL_SHIFTS, DETECTOR, MAGNIFICATION)
UNQUOTABLE = re.compile(r"""[#'"\t\r\n]""")
IMAGE_SUFFIX = re.compile(r"\.(mrc|rec|map|st|tomostar)$")


def write_star(path: Path, picks: PicksTable, frames: Frames) -> None:
    """One RELION 5 particle table: centered angstrom, the score as figure of merit, the object in a column of ours.

    Angles are written if the orientation of any pick is trusted; a column of ours then says of which.
    """
    from copick.util.formats import build_relion_star_tables, points_and_rotations_to_transforms, write_star_particles

    tomograms = _tomograms(picks, frames)
    order = {run: number for number, run in enumerate(tomograms)}
    rows = flatten(dict(sorted(picks.items(), key=lambda item: order[item[0][0]])))  # as the table will have them
    index = members(rows.runs)
    poses = {}
    for run, name in tomograms.items():
        mine = index.get(run, np.zeros(0, int))
        turns = points_and_rotations_to_transforms(np.zeros((len(mine), 3)), rows.rotations[mine])
        poses[name] = (rows.positions[mine], turns)
    centers = {name: frames[run].center for run, name in tomograms.items()}
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # gimbal lock: one triple of many, and right
        table, _ = build_relion_star_tables(poses, tomogram_centers=centers, coordinates="centered")
    table[SCORE[0]] = rows.scores
    table[OBJECT] = list(rows.objects)
    if rows.instance_ids.any():
        table[INSTANCE] = rows.instance_ids
    if rows.trusted is not None and rows.trusted.any():
        table[TRUST] = rows.trusted.astype(int)
    else:
        table = table.drop(columns=list(ANGLES), errors="ignore")
    write_star_particles(str(path), table)


def read_star(path: Path, run: str | None, object_name: str | None, frames: Frames, pixel_size: float | None) -> Rows:
    """Rows of a RELION particle table, xyz in angstrom; ``run`` and ``object_name`` serve where it names none.

    Centered coordinates are taken where the tomogram's size is known, else voxel coordinates. A voxel has
    ``pixel_size`` angstrom if given, else what the file says, else the voxel spacing of the run's frame.
    """
    table, optics = _blocks(path)
    count = len(table)
    for column in NUMERIC:
        if column in table:
            table[column] = numbers(path, column, table[column].tolist())
    runs = _runs(path, table, run, frames)
    positions, rotations = np.zeros((count, 3)), np.zeros((count, 3, 3))
    for name, mine in members(runs).items():
        part = table.iloc[mine].reset_index(drop=True)
        scales = _scales(path, part, optics, pixel_size)
        if scales is None and name in frames:
            scales = np.full(len(part), frames[name].voxel_spacing)
        positions[mine], rotations[mine] = _poses(path, part, name, frames, scales)
    score, instance = first_present(SCORE, table.columns), first_present(INSTANCES, table.columns)
    return Rows(
        runs=runs,
        objects=_named(path, table, OBJECT if OBJECT in table else None, object_name, "object"),
        positions=positions,
        scores=np.ones(count) if score is None else numbers(path, score, table[score].tolist()),
        rotations=rotations,
        instance_ids=np.zeros(count, int)
        if instance is None
        else numbers(path, instance, table[instance].tolist()).astype(int),
        trusted=numbers(path, TRUST, table[TRUST].tolist()).astype(bool) if TRUST in table else None,
    )


def _tomograms(picks: PicksTable, frames: Frames) -> dict[str, str]:
    """run -> the name of its tomogram in the file, for runs whose tomogram has a known size."""
    tomograms: dict[str, str] = {}
    for run, name in picks:
        frame = frames.get(run)
        if frame is None or frame.shape is None:
            raise NotFoundError(
                f"the tomogram of run {run!r} has no known size, and a RELION 5 STAR file counts from its center",
                f"{_known(run, frames)}; or write .csv or .json",
            )
        tomograms[run] = frame.tomogram or run
        require_names([tomograms[run], name])
    if len(set(tomograms.values())) < len(tomograms):
        raise UsageError(f"two runs share a tomogram name: {tomograms}", "give each run its own")
    return tomograms


def _known(run: str, frames: Frames) -> str:
    return f"runs with a known size: {nearest(run, (name for name, frame in frames.items() if frame.shape))}"


def _blocks(path: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The particle table and, if there is one, the optics table."""
    import pandas as pd
    import starfile

    linecache.checkcache(str(path))  # starfile reads through it, and leaves the file in it where parsing fails
    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=[*RUN, OBJECT])
    except (ValueError, TypeError) as error:
        raise FormatError(
            f"{path}: not a STAR file ({error})", "look for a row with too many or too few cells"
        ) from error
    tables = {name: pd.DataFrame([block]) if isinstance(block, dict) else block for name, block in blocks.items()}
    optics = tables.pop("optics", None)
    if not tables:
        raise FormatError(f"{path}: no table of particles", "give a RELION particle STAR file")
    located = (other for other in tables.values() if _located(other))
    table = tables.get("particles", next(located, next(iter(tables.values()))))
    if len(table) and not _located(table):
        raise FormatError(
            f"{path}: neither {', '.join(CENTERED)} nor {', '.join(VOXELS)}; columns: {', '.join(table.columns)}",
            "give a particle STAR file of RELION 3, 4 or 5, not one of tomograms or micrographs",
        )
    twice = sorted(set(table.columns[table.columns.duplicated()]))
    if twice:
        raise FormatError(f"{path}: column {', '.join(twice)} is there twice", "keep one of them")
    return table.copy(), optics


def _located(table: pd.DataFrame) -> bool:
    return set(CENTERED) <= set(table.columns) or set(VOXELS) <= set(table.columns)


def _runs(path: Path, table: pd.DataFrame, default: str | None, frames: Frames) -> list[str]:
    column = first_present(RUN, table.columns)
    found = _named(path, table, column, default, "run")
    if column == "rlnMicrographName":  # a path in RELION 3: Tomograms/TS_01.mrc
        found = [IMAGE_SUFFIX.sub("", name.rsplit("/", 1)[-1]) for name in found]
    return runs_named(found, frames)


def _named(path: Path, table: pd.DataFrame, column: str | None, default: str | None, what: str) -> list[str]:
    if column is not None:
        return names(path, column, table[column].tolist(), default)
    if default is None and len(table):
        raise FormatError(f"{path}: no column says which {what}", f"name the {what} yourself")
    return [str(default)] * len(table)


def _scales(path: Path, table: pd.DataFrame, optics: pd.DataFrame | None, pixel_size: float | None) -> Floats | None:
    """(N,) angstrom per unit of voxel coordinates and shifts, as the caller or else the file says."""
    from copick.util.formats import relion_tilt_series_pixel_sizes

    if pixel_size is not None:
        return np.full(len(table), pixel_size)
    try:
        scales = relion_tilt_series_pixel_sizes(table, optics)
    except ValueError as error:
        raise FormatError(f"{path}: {error}", "complete the optics table, or state the pixel size yourself") from error
    if scales is None and DETECTOR in table:
        scales = table[DETECTOR].to_numpy(dtype=float)  # angstrom (pytom-match-pick) …
        if MAGNIFICATION in table:  # … or micrometers on the detector (RELION 3)
            magnification = table[MAGNIFICATION].to_numpy(dtype=float)
            scales = np.divide(1e4 * scales, magnification, out=np.zeros_like(scales), where=magnification > 0)
    if scales is not None and not (np.isfinite(scales) & (scales > 0)).all():
        raise FormatError(f"{path}: a pixel size in it isn't a length", "state the pixel size yourself")
    return scales


def _poses(path: Path, table: pd.DataFrame, run: str, frames: Frames, scales: Floats | None) -> tuple[Floats, Floats]:
    """Positions (N, 3) xyz in angstrom with shifts applied, rotations (N, 3, 3) reference to particle, of one run."""
    from copick.util.relion import relion_rows_to_poses

    columns = set(table.columns)
    center = frames[run].center if run in frames else None
    if set(CENTERED) <= columns and center is not None:
        coordinates = table[list(CENTERED)].to_numpy(dtype=float) + center
    elif set(VOXELS) <= columns and scales is not None:
        coordinates = table[list(VOXELS)].to_numpy(dtype=float) * scales[:, None]
    elif set(VOXELS) <= columns:
        raise FormatError(
            f"{path}: {', '.join(VOXELS)} of run {run!r} are voxels, and nothing says how large",
            "state the pixel size in angstrom, or give the run's tomogram",
        )
    else:
        raise NotFoundError(
            f"{path}: the tomogram of run {run!r} has no known size, and the coordinates count from its center",
            f"give the run's tomogram; {_known(run, frames)}",
        )
    if scales is not None and set(VOXEL_SHIFTS) <= columns and not set(SHIFTS) <= columns:
        table = table.assign(**{angstrom: table[voxels] * scales for angstrom, voxels in zip(SHIFTS, VOXEL_SHIFTS)})
    rotations, offsets = relion_rows_to_poses(table)
    return coordinates - offsets, rotations


def require_names(names: Iterable[str]) -> None:
    """Raise UsageError for names that a STAR file can't hold."""
    for text in names:
        if not text or UNQUOTABLE.search(text):
            raise UsageError(f"a STAR file can't hold the name {text!r}", "take out #, quotes and tabs")
