"""The points of a pick set as arrays.

copick makes and checks an object per point, nine tenths of the time of scoring a project: files of its usual form are
read as arrays at once, and anything else is left to copick, errors included.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from copick_tools.errors import FormatError
from copick_tools.types import Points

LARGEST = 1e9  # angstrom; a tenth of a meter
IDENTITY = np.eye(4).tolist()


def stored_points(picks: Any, run: str) -> Points:
    """Points of one copick pick set: centers with shifts, scores, and rotations where they are to be trusted.

    Raises FormatError: not copick's JSON, a number that isn't finite or beyond any tomogram.
    """
    found = _at_once(picks)
    if found is None:
        found = _by_copick(picks, run)
    sound = (np.abs(found.positions) < LARGEST).all(axis=1) & np.isfinite(found.scores)
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        raise FormatError(
            f"picks of {picks.pickable_object_name} in run {run}: point {row} isn't finite, or beyond any tomogram",
            "correct it or take it out",
        )
    return found


def _at_once(picks: Any) -> Points | None:
    """None where the file isn't one of copick's own in a file system, or holds anything unusual."""
    from copick.impl.filesystem import CopickPicksFSSpec
    from copick.models import CopickPicksFile

    if type(picks) is not CopickPicksFSSpec:
        return None
    try:
        with picks.fs.open(picks.path, "r") as file:
            content = json.load(file)
        points = content["points"]
        head = CopickPicksFile(**(content | {"points": []}))
        locations = np.array([list(map(p["location"].get, "xyz")) for p in points], dtype=float)
        matrices = np.array([p.get("transformation_", IDENTITY) for p in points], dtype=float)
        scores = np.array([1.0 if p.get("score") is None else p["score"] for p in points], dtype=float)
        instances = np.array([0 if p.get("instance_id") is None else p["instance_id"] for p in points], dtype=float)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    count = len(points)
    shapes = locations.shape, matrices.shape, scores.shape, instances.shape
    if not isinstance(points, list) or shapes != ((count, 3), (count, 4, 4), (count,), (count,)):
        return None  # also where there is no point
    if (matrices[:, 3] != IDENTITY[3]).any() or not (
        (instances == np.floor(instances)) & (np.abs(instances) < 2**53)
    ).all():
        return None
    positions, ids = locations + matrices[:, :3, 3], instances.astype(np.int64)
    return Points(positions, scores, matrices[:, :3, :3], bool(head.trust_orientation), ids)


def _by_copick(picks: Any, run: str) -> Points:
    try:
        picks.meta = picks.load()  # a listed pick set always says that its orientation is trusted
        if not picks.meta.points:
            return Points.at(np.empty((0, 3)))
        return Points(
            positions=picks.full_positions(),
            scores=picks.scores(),
            rotations=picks.numpy()[1][:, :3, :3],
            trust_orientation=bool(picks.meta.trust_orientation),
            instance_ids=picks.instance_ids(),
        )
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise FormatError(
            f"picks of {picks.pickable_object_name} in run {run} can't be read: {error}",
            "is it copick's JSON of picks?",
        ) from error
