"""Picks in plain files (STAR, CSV, JSON): (run, object) -> picks, xyz in angstrom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from copick_tools.data.replace import replacing
from copick_tools.data.rows import Frame, Frames, PicksTable, grouped
from copick_tools.data.voxels import positive
from copick_tools.errors import FormatError, NotFoundError, UsageError

__all__ = ["Frame", "Frames", "PicksTable", "read_picks_table", "write_picks_table"]

SUFFIXES = (".star", ".csv", ".json")


def write_picks_table(path: str | Path, picks: PicksTable, frames: Frames | None = None) -> None:
    """Write picks (xyz in angstrom) as .star, .csv or .json; the file appears when it is whole.

    ``frames`` (run -> voxel spacing, shape, tomogram name) is needed for .star alone. Orientations are written where
    they are trusted. A pick set without picks is kept by .json; tables have no row for it.
    """
    path = Path(path)
    for (run, name), points in picks.items():
        if not (np.isfinite(points.positions).all() and np.isfinite(points.scores).all()):
            raise FormatError(f"{path}: {name} in {run}: a position or score isn't finite", "leave that pick out")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: can't write picks as {suffix!r}", "name it .star, .csv or .json")
    with replacing(path) as temporary:
        if suffix == ".star":
            from copick_tools.data.star import write_star

            write_star(temporary, picks, frames or {})
        elif suffix == ".csv":
            from copick_tools.data.csv_picks import write_csv

            write_csv(temporary, picks)
        else:
            from copick_tools.data.json_picks import write_json

            write_json(temporary, picks)


def require_writable(path: Path, runs: Sequence[str]) -> None:
    """Raise UsageError where ``write_picks_table`` couldn't write picks of these runs there."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {path} isn't a table of picks", "name it .star, .csv or .json")
    if path.suffix.lower() == ".star":
        from copick_tools.data.star import require_names

        require_names(runs)


def read_picks_table(
    path: str | Path,
    *,
    run: str | None = None,
    object_name: str | None = None,
    frames: Frames | None = None,
    pixel_size: float | None = None,
) -> PicksTable:
    """Read picks (xyz in angstrom, shifts applied) from .star, .csv or .json: ours, RELION's, copick's.

    ``run`` and ``object_name`` name what the file leaves out. ``frames`` (run -> voxel spacing, shape, tomogram name)
    places STAR coordinates. ``pixel_size``: angstrom per unit of STAR voxel coordinates; a CSV with it is in voxels.
    Scores stay as they are in the file, 1 where it has none.
    """
    path = Path(path)
    if not path.exists():
        raise NotFoundError(f"no file {path}", "check the path")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        raise FormatError(f"{path}: not a picks file", f"give a file ending in {', '.join(SUFFIXES)}")
    if suffix == ".json":
        from copick_tools.data.json_picks import read_json

        return read_json(path, run, object_name)
    if suffix == ".csv":
        from copick_tools.data.csv_picks import read_csv as read
    else:
        from copick_tools.data.star import read_star as read

    return grouped(read(path, run, object_name, frames or {}, None if pixel_size is None else positive(pixel_size)))
