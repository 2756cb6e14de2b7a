"""Choose how an object is picked: of several ways, bounds of volume and a score threshold, those of the best F-beta.

Cross-validated: what is chosen on all folds but one is tried on that one, so the score that is reported is of runs whose
truth took no part. (Which thresholds are tried comes from the scores that occur in all runs.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from copick_tools.metrics.sweep import Candidates, best_level, sweep
from copick_tools.types import Floats, Integers, Mask

LEAST = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)  # least volumes that are tried, as fractions of a whole particle
LARGEST = (1.5, 2.5, 5.0, 10.0, inf)
LEAVE_ONE_OUT = 10  # up to so many runs each is a fold
FOLDS = 5


@dataclass(frozen=True)
class Choice:
    """way: which of the ways. low, high: volumes. level: least score. counts: (3,) tp, fp, fn on the runs it comes from."""

    way: int
    low: float
    high: float
    level: float
    fbeta: float
    counts: Floats

    def taken(self, ways: Sequence[Candidates]) -> Mask:
        """(N,) the candidates of its way that it takes."""
        candidates = ways[self.way]
        return np.asarray(candidates.within(self.low, self.high) & (candidates.prediction.scores >= self.level))


@dataclass(frozen=True)
class Choices:
    """all: on all runs. without: on all folds but each, empty where there is one fold. None: nothing is ever found."""

    all: Choice | None
    without: tuple[Choice | None, ...]


def fold_of_runs(runs: int) -> Integers:
    """(R,) the fold of each run: every run its own up to `LEAVE_ONE_OUT`, `FOLDS` by turns above. Raises ValueError for none.

    >>> fold_of_runs(3).tolist()
    [0, 1, 2]
    """
    if runs < 1:
        raise ValueError("Expected at least one run")
    return np.arange(runs) % (runs if runs <= LEAVE_ONE_OUT else FOLDS)


def choose(ways: Sequence[Candidates], folds: Integers, beta: float, tried: Collection[int] | None = None) -> Choices:
    """The best choice for one object. folds: (R,) of each run. tried: which of the ways, None: all.

    The first of equals: put the way that needs good reasons to be left first.
    """
    count = int(folds.max()) + 1
    best: list[Choice | None] = [None] * (count + 1)
    for number, candidates in enumerate(ways):
        if tried is not None and number not in tried:
            continue
        levels = candidates.levels()
        for low, high, kept in _bounds(candidates):
            counts = sweep(candidates, kept, levels, folds)
            total = counts.sum(axis=0)
            for fold in range(count + 1):
                used = total - counts[fold] if fold < count else total
                place, score = best_level(used, beta)
                held = best[fold]
                if score > (held.fbeta if held else 0.0) + 1e-9 and np.isfinite(levels[place]):
                    level = _between(candidates.prediction.scores, levels[place])
                    best[fold] = Choice(number, low, high, level, score, used[place])
    return Choices(best[-1], tuple(best[:-1]) if count > 1 else ())


def _between(scores: Floats, level: float) -> float:
    """Halfway down to the next score below: a threshold that doesn't hang on one candidate's last digit."""
    return float((scores[scores < level].max(initial=0.0) + level) / 2)


def _bounds(candidates: Candidates) -> list[tuple[float, float, Mask]]:
    """Volume bounds that differ in what they keep, the widest first."""
    found: dict[bytes, tuple[float, float, Mask]] = {}
    for low in LEAST:
        for high in reversed(LARGEST):
            kept = candidates.within(low, high)
            found.setdefault(kept.tobytes(), (low, high, kept))
    return list(found.values())
