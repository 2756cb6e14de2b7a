"""The best settings: of all combinations where they are few, else by coordinates, each key in turn with all others as they are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from copick_tools.metrics.semantic import mean_score
from copick_tools.recipes.instance_thresholds import Setting, Value
from copick_tools.types import Floats, Integers

ROUNDS = 2
FEW = 48  # combinations; of so many each is tried
EQUAL = 1e-9  # scores that differ by less

Space = Mapping[str, Sequence[Value]]  # by key what is tried, the recipe's value first
Measure = Callable[[Sequence[Setting]], Sequence[Floats]]  # settings to their scores: (R, K) of runs and objects each


@dataclass
class Measured:
    """Scores of settings, none of which is measured twice. known: in the order in which they were asked for."""

    measure: Measure
    known: dict[tuple[Value, ...], tuple[Setting, Floats]] = field(default_factory=dict)

    def rows(self, settings: Sequence[Setting]) -> list[Floats]:
        """(R, K) of each."""
        keys = [tuple(setting.values()) for setting in settings]
        new = {key: setting for key, setting in zip(keys, settings) if key not in self.known}
        if new:
            found = self.measure(list(new.values()))
            self.known |= {key: (setting, rows) for (key, setting), rows in zip(new.items(), found, strict=True)}
        return [self.known[key][1] for key in keys]


def start(space: Space) -> Setting:
    """The recipe's settings."""
    return {key: values[0] for key, values in space.items()}


def most(space: Space) -> int:
    """The most settings that one search asks for."""
    if (every := _combinations(space)) <= FEW:
        return every
    return 1 + ROUNDS * sum(len(values) - 1 for values in space.values())


def _combinations(space: Space) -> int:
    return math.prod(len(values) for values in space.values())


def search(space: Space, measured: Measured, used: Integers | None = None) -> Setting:
    """The settings with the best mean over objects. used: numbers of the runs that count, None: all.

    Of equals the one that is nearest to the recipe's: in the most keys, or in the key whose turn it is. Where nothing is
    defined, the recipe's.

    >>> measured = Measured(lambda settings: [np.array([[-abs(s["a"] - 3.0)]]) for s in settings])
    >>> search({"a": (1.0, 2.0, 3.0, 5.0), "b": (0.0, 9.0)}, measured)
    {'a': 3.0, 'b': 0.0}
    """
    chosen = recipe = start(space)
    if _combinations(space) <= FEW:
        every = [dict(zip(space, values)) for values in itertools.product(*space.values())]
        return _best(sorted(every, key=lambda one: sum(one[key] != recipe[key] for key in space)), measured, used)
    for _ in range(ROUNDS):
        before = chosen
        for key, values in space.items():
            tried = [{**chosen, key: value} for value in dict.fromkeys((values[0], chosen[key], *values))]
            chosen = _best(tried, measured, used)
        if chosen == before:
            break
    return chosen


def _best(tried: Sequence[Setting], measured: Measured, used: Integers | None) -> Setting:
    """The first of equals."""
    scores = [_score(rows, used) for rows in measured.rows(tried)]
    best = 0
    for number, score in enumerate(scores):
        best = number if score > scores[best] + EQUAL else best
    return tried[best]


def cross_validated(space: Space, measured: Measured, folds: Integers) -> Floats | None:
    """(R, K) scores of each run by the settings that are the best without its fold; None where there is one fold.

    folds: (R,) of each run.
    """
    if len(np.unique(folds)) < 2:
        return None
    parts = {}
    for fold in np.unique(folds).tolist():
        chosen = search(space, measured, np.flatnonzero(folds != fold))
        parts |= {run: measured.rows([chosen])[0][run] for run in np.flatnonzero(folds == fold).tolist()}
    return np.stack([parts[run] for run in range(len(folds))])


def _score(rows: Floats, used: Integers | None) -> float:
    score = mean_score(rows if used is None else rows[used])
    return 0.0 if np.isnan(score) else score
