"""Reference and prediction under a rule, and what is computed of them once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copick_tools.errors import PopsicleError
from copick_tools.metrics.match import one_to_one
from copick_tools.metrics.points import PointScores, find_reach, score_points
from copick_tools.metrics.reach import Reach, TooDense
from copick_tools.metrics.table import PointRule, PointTable
from copick_tools.types import Integers


@dataclass(frozen=True)
class Sides:
    """Reference and prediction under a rule. other: the rule to show beside it."""

    reference: PointTable
    prediction: PointTable
    rule: PointRule
    other: PointRule | None = None

    @cached_property
    def reach(self) -> Reach | None:
        """All pairs in reach; None where there are too many to match one-to-one."""
        try:
            return find_reach(self.reference, self.prediction, self.rule)
        except TooDense as error:
            if self.rule.rule == "one-to-one":
                raise PopsicleError(f"can't match one-to-one: {error}") from error
            return None

    @cached_property
    def pairs(self) -> tuple[Integers, Integers] | None:
        """Rows of reference and prediction that match one-to-one, of equals the pick of best score; None: too many."""
        if self.reach is None:
            return None
        picks = np.column_stack([self.prediction.positions, -self.prediction.scores])
        rows = one_to_one(self.reach, self.reference.positions, picks)
        return self.reach.reference[rows], self.reach.prediction[rows]

    @cached_property
    def scores(self) -> PointScores:
        """Under the rule."""
        return score_points(self.reference, self.prediction, self.rule, self.reach)

    @cached_property
    def others(self) -> PointScores | None:
        """Under the other rule; None where there is none, or it can't be computed."""
        if self.other is None or (self.other.rule == "one-to-one" and self.reach is None):
            return None
        return score_points(self.reference, self.prediction, self.other, self.reach)
