"""Prompts for the next slice, made of an object's mask in this one (Archit et al., Nature Methods 2025)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from copick_tools.inference.encoded import Ask
from copick_tools.inference.promptable import OBJECT
from copick_tools.types import Integers
from copick_tools.volumes.cuts import Cuts
from copick_tools.volumes.prompts import innermost

Kind = Literal["box", "mask", "points"]


@dataclass(frozen=True)
class Projection:
    """kinds: what is taken of a mask: the box around it, the mask itself, its deepest pixel. Box and mask are the paper's."""

    kinds: Collection[Kind] = ("box", "mask")

    def ask(self, cuts: Cuts) -> Ask:
        """cuts: masks (1, y, x) of N objects, none of them empty."""
        boxes = cuts.boxes()[:, :, 1:].reshape(-1, 4)
        points = _middles(cuts)[:, None] if "points" in self.kinds else None
        return Ask(
            points=points,
            labels=None if points is None else np.full(points.shape[:2], OBJECT),
            boxes=boxes if "box" in self.kinds else None,
            before=cuts if "mask" in self.kinds else None,
        )


def _middles(cuts: Cuts) -> Integers:
    """(N, 2) y, x of each mask's deepest pixel."""
    found = []
    for row in range(len(cuts)):
        mask, corner = cuts.in_box(row)
        found.append(innermost(mask) + corner)
    return np.array(found, np.int64).reshape(-1, 2)
