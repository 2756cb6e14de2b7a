"""Picks in JSON files: our own document of pick sets, and copick's file of one; xyz in angstrom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from copick_tools.data.rows import (
    POSITION_DECIMALS,
    ROTATION_DECIMALS,
    SCORE_DECIMALS,
    PicksTable,
    Rows,
    grouped,
    numbers,
    require_rotations,
)
from copick_tools.errors import FormatError
from copick_tools.types import Points

XYZ = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class PickSet(BaseModel):
    """Picks of one object in one run: positions (N, 3) xyz in angstrom; rotations (N, 3, 3) if they are known."""

    model_config = ConfigDict(extra="forbid")

    run: str
    object: str
    positions: list[XYZ]
    scores: list[FiniteFloat]
    rotations: list[tuple[XYZ, XYZ, XYZ]] | None = None
    instance_ids: list[int] | None = None

    @model_validator(mode="after")
    def _same_length(self) -> PickSet:
        for name in ("scores", "rotations", "instance_ids"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.positions):
                raise ValueError(f"{len(values)} {name} for {len(self.positions)} positions")
        return self


class Document(BaseModel):
    """All that a file holds. A set without positions says that the run has none of that object."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["picks"] = "picks"
    unit: Literal["angstrom"] = "angstrom"
    axes: Literal["x y z"] = "x y z"
    picks: list[PickSet]


def write_json(path: Path, picks: PicksTable) -> None:
    """One document with every pick set, empty ones too; xyz in angstrom."""
    sets = [
        PickSet.model_construct(
            run=run,
            object=name,
            positions=points.positions.round(POSITION_DECIMALS).tolist(),
            scores=points.scores.round(SCORE_DECIMALS).tolist(),
            rotations=points.rotations.round(ROTATION_DECIMALS).tolist() if points.trust_orientation else None,
            instance_ids=None if points.instance_ids is None else points.instance_ids.tolist(),
        )
        for (run, name), points in picks.items()
    ]
    document = Document.model_construct(picks=sets).model_dump(exclude_none=True, warnings=False)
    path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, run: str | None, object_name: str | None) -> PicksTable:
    """Pick sets of our own document or of copick's (``Picks/*.json``), which may leave its run to ``run``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "points" in content:
            return _read_copick(path, content, run, object_name)
        document = Document.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(f"{part + 1}" if isinstance(part, int) else str(part) for part in first["loc"])
        raise FormatError(
            f"{path}: {where or 'document'}: {first['msg']}", "give a picks document of ours or a copick Picks file"
        ) from error
    except ValueError as error:  # no JSON, no UTF-8
        raise FormatError(f"{path}: not JSON ({error})", "copy it again") from error
    picks = {(entry.run, entry.object): _points(path, entry) for entry in document.picks}
    if len(picks) < len(document.picks):
        raise FormatError(f"{path}: two sets for the same run and object", "join them")
    return picks


def _points(path: Path, entry: PickSet) -> Points:
    rotations = None
    if entry.rotations is not None:
        rotations = require_rotations(path, np.array(entry.rotations, dtype=float).reshape(-1, 3, 3))
    points = Points.at(entry.positions, entry.scores, rotations)
    ids = entry.instance_ids
    return points if ids is None else replace(points, instance_ids=np.array(ids, dtype=int))


def _read_copick(path: Path, content: dict[str, Any], run: str | None, object_name: str | None) -> PicksTable:
    """The one pick set of copick's file; a particle's center is its location plus the transformation's translation."""
    from copick.models import CopickPicksFile

    file = CopickPicksFile.model_validate(content)
    if file.unit != "angstrom":
        raise FormatError(f"{path}: unit {file.unit!r}", "copick's picks are in angstrom: convert them")
    key = (file.run_name or run, file.pickable_object_name or object_name)
    if key[0] is None or key[1] is None:
        raise FormatError(f"{path}: doesn't say its {'run' if key[0] is None else 'object'}", "name it yourself")
    points = file.points or []
    if not points:
        return {(key[0], key[1]): Points.at([])}
    matrices = np.array([point.transformation for point in points]).reshape(-1, 4, 4)
    locations = [numbers(path, axis, [getattr(point.location, axis) for point in points]) for axis in "xyz"]
    count = len(points)
    rows = Rows(
        runs=[key[0]] * count,
        objects=[key[1]] * count,
        positions=np.column_stack(locations) + matrices[:, :3, 3],
        scores=numbers(path, "score", [1.0 if point.score is None else point.score for point in points]),
        rotations=matrices[:, :3, :3],
        instance_ids=np.array([point.instance_id or 0 for point in points]),
        trusted=None if file.trust_orientation else np.zeros(count, dtype=bool),
    )
    if file.trust_orientation:
        require_rotations(path, rows.rotations)
    return grouped(rows)
