"""Score the picks of many runs under one rule: counts per run and object, F-beta, the aggregate and its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from copick_tools.metrics.bootstrap import interval
from copick_tools.metrics.byu import byu
from copick_tools.metrics.fbeta import aggregate, fbeta
from copick_tools.metrics.match import match
from copick_tools.types import Floats, Match, Points

Picks = Mapping[str, Points]  # object -> points


@dataclass(frozen=True)
class PointRule:
    """How points are scored. distances: angstrom per object. weights: per object, in the aggregate."""

    rule: Literal["one-to-one", "czii", "byu"]
    beta: float
    distances: Mapping[str, float]
    weights: Mapping[str, float]


@dataclass(frozen=True)
class PointScores:
    """counts: (R, K, 3) of tp, fp, fn for each run and object. matches: by (run, object).

    undefined: why the rule gives no score, or None.
    """

    rule: PointRule
    runs: tuple[str, ...]
    objects: tuple[str, ...]
    counts: Floats
    matches: Mapping[tuple[str, str], Match]
    undefined: str | None = None

    def fbeta(self) -> Floats:
        """(K,), NaN where undefined."""
        return np.asarray(fbeta(self.counts.sum(axis=0), self.rule.beta))

    def score(self) -> float:
        """The aggregate, NaN where undefined."""
        return float("nan") if self.undefined else float(self._aggregate(self.counts.sum(axis=0)))

    def score_interval(self) -> Floats | None:
        """(2,) bootstrap interval of the aggregate over runs, None for one run."""
        return None if self.undefined else interval(self.counts, self._aggregate)

    def fbeta_interval(self) -> Floats | None:
        """(2, K) bootstrap interval of each object's F-beta over runs, None for one run."""
        return interval(self.counts, lambda totals: fbeta(totals, self.rule.beta))

    def _aggregate(self, totals: Floats) -> Floats:
        """totals: (..., K, 3). Under ``czii`` an object absent from the whole reference scores 0, whatever was predicted."""
        scores = fbeta(totals, self.rule.beta)
        if self.rule.rule == "czii":
            scores = np.where(totals[..., 0] + totals[..., 2] == 0, 0.0, scores)
        weights = np.array([self.rule.weights[name] for name in self.objects])
        return aggregate(scores, weights, present_only=self.rule.rule == "one-to-one")


def score_points(reference: Mapping[str, Picks], prediction: Mapping[str, Picks], rule: PointRule) -> PointScores:
    """Match and count the picks of every run.

    reference, prediction: run -> object -> points; an object that is missing has none. The runs are those of the
    reference, the objects those that ``rule`` has a distance for.
    """
    runs, objects = tuple(reference), tuple(rule.distances)
    counts = np.zeros((len(runs), len(objects), 3))
    matches: dict[tuple[str, str], Match] = {}
    undefined = None
    for run, name in ((run, name) for run in runs for name in objects):
        truth = reference[run].get(name, Points.at(np.empty((0, 3))))
        found = prediction[run].get(name, Points.at(np.empty((0, 3))))
        outcome = _outcome(truth, found, rule, name)
        if outcome is None:
            undefined = f"run {run} holds {len(truth)} {name}: the rule byu knows one or none"
            outcome = match(truth.positions, found.positions, rule.distances[name])
        matches[run, name] = outcome
        counts[runs.index(run), objects.index(name)] = outcome.tp, outcome.fp, outcome.fn
    return PointScores(rule, runs, objects, counts, matches, undefined)


def _outcome(truth: Points, found: Points, rule: PointRule, name: str) -> Match | None:
    if rule.rule == "byu":
        return byu(truth.positions, found.positions, found.scores, rule.distances[name])
    return match(truth.positions, found.positions, rule.distances[name], rule.rule)


def match_rows(
    scores: PointScores, reference: Mapping[str, Picks], prediction: Mapping[str, Picks]
) -> Iterator[tuple[str, str, Floats, float, str, int | None, float | None]]:
    """One row per prediction, then one per missed reference point.

    A row is run, object, position (3,) xyz in angstrom, score, ``tp`` | ``fp`` | ``fn``, the partner's index on the
    other side and its distance in angstrom. Predictions beyond the first that reach the same reference point are fp.
    Under the rules ``czii`` and ``byu`` the rows may hold more fp than the counts, which follow the official codes.
    """
    for (run, name), found in scores.matches.items():
        truth = reference[run].get(name, Points.at(np.empty((0, 3))))
        guess = prediction[run].get(name, Points.at(np.empty((0, 3))))
        partner = {int(j): (int(i), float(d)) for (i, j), d in zip(found.pairs[::-1], found.distances[::-1])}
        for index, position in enumerate(guess.positions):
            hit, distance = partner.get(index, (None, None))
            yield run, name, position, float(guess.scores[index]), "fp" if hit is None else "tp", hit, distance
        missed = np.setdiff1d(np.arange(len(truth)), found.pairs[:, 0])
        for index in missed:
            yield run, name, truth.positions[index], float("nan"), "fn", None, None
