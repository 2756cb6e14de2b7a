"""Small frozen records that travel between the layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Points:
    """Picks of one object in one run.

    positions: (N, 3) xyz in angstrom.
    scores: (N,) in [0, 1].
    rotations: (N, 3, 3), reference to particle in the xyz basis; meaningful only if ``trust_orientation``.
    volumes: (N,) in cubic angstrom, where they come from a segmentation; copick's picks don't hold them.
    """

    positions: Floats
    scores: Floats
    rotations: Floats
    trust_orientation: bool = False
    instance_ids: Integers | None = None
    volumes: Floats | None = None

    @classmethod
    def at(cls, positions: Any, scores: Any = None, rotations: Any = None) -> Points:
        """Points at ``positions`` (N, 3) xyz in angstrom; score 1 and no orientation unless given."""
        xyz = np.asarray(positions, dtype=float).reshape(-1, 3)
        count = len(xyz)
        turned = rotations is not None
        return cls(
            positions=xyz,
            scores=np.ones(count) if scores is None else np.asarray(scores, dtype=float).reshape(count),
            rotations=np.asarray(rotations, dtype=float).reshape(count, 3, 3)
            if turned
            else np.tile(np.eye(3), (count, 1, 1)),
            trust_orientation=turned,
        )

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Match:
    """Outcome of matching the picks of one object in one run.

    pairs: (M, 2) index of the reference point, index of the prediction.
    distances: (M,) in angstrom.
    fp may be negative under the ``czii`` rule (one prediction that reaches several reference points).
    """

    tp: int
    fp: int
    fn: int
    pairs: Integers
    distances: Floats


@dataclass(frozen=True)
class RunResult:
    """What a workflow did for one run. seconds: at work on it, over all stages."""

    run: str
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    hint: str | None = None
    value: Any = field(default=None, compare=False)
    seconds: float | None = field(default=None, compare=False)
