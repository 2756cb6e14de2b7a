"""From two tables of picks to a `PointsResult`: what `evaluate` and `score` have in common."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from copick_tools import __version__
from copick_tools.metrics.bootstrap import FEW, FEWEST, PairedDifference
from copick_tools.metrics.points import PointScores
from copick_tools.metrics.table import PointTable
from copick_tools.recipes import results
from copick_tools.recipes.rules import public_name
from copick_tools.recipes.task import Task
from copick_tools.types import Floats
from copick_tools.workflows import diagnostics
from copick_tools.workflows.sides import Sides


@dataclass(frozen=True)
class Source:
    """Where what is scored comes from. config: None where no project was read."""

    config: str | None
    input: tuple[str, ...]
    reference: tuple[str, ...]
    task: Task | None
    split: str | None = None


@dataclass(frozen=True)
class Baseline:
    """A second prediction of the same runs and objects."""

    input: tuple[str, ...]
    picks: PointTable


def points_result(
    sides: Sides, source: Source, warnings: Sequence[str] = (), baseline: Baseline | None = None
) -> results.PointsResult:
    """The whole document. Raises PopsicleError where picks are too dense to be matched one-to-one, the rule."""
    scores = sides.scores(sides.rule)
    if scores is None:
        raise ValueError("Expected picks that can be matched")
    objects = _objects(scores)
    details = diagnostics.Details() if sides.reach is None else diagnostics.details(sides)
    for name, extra in details.numbers.items():
        objects[name] |= extra.values
        objects[name]["ci95"] |= extra.ci95
    return results.PointsResult(
        task=source.task.name if source.task else None,
        split=source.split,
        rule="one-to-one" if public_name(sides.rule) == "one-to-one" else "kaggle",
        beta=sides.rule.beta,
        score=number(scores.score()),
        objects={name: results.ObjectScore(**values) for name, values in objects.items()},
        other_rule=_other(sides),
        ci95=interval(scores.score_interval()),
        by_run=_by_run(scores),
        localization=details.localization,
        curves=details.curves,
        reliability=details.reliability,
        confusion=details.confusion,
        baseline=None if baseline is None else _comparison(sides, scores, baseline),
        runs=len(scores.runs),
        run_names=list(scores.runs),
        config=source.config,
        input=list(source.input),
        reference=list(source.reference),
        versions=versions(),
        warnings=[*warnings, *_warnings(sides, scores), *details.warnings],
    )


def versions() -> dict[str, str]:
    """Of what a score depends on."""
    names = ("numpy", "scipy", "scikit-image", "copick")
    return {"copick-tools": __version__, "python": platform.python_version()} | {name: version(name) for name in names}


def number(value: float) -> float | None:
    """For JSON: None where undefined."""
    return float(value) if math.isfinite(value) else None


def interval(bounds: Floats | None) -> results.Interval | None:
    """bounds: (2,). For JSON: None where undefined."""
    return None if bounds is None or not np.isfinite(bounds).all() else (float(bounds[0]), float(bounds[1]))


def _objects(scores: PointScores) -> dict[str, dict[str, object]]:
    """Fields of an `ObjectScore` by object."""
    totals = scores.counts.sum(axis=0)
    numbers = np.full((len(scores.objects), 3), np.nan) if scores.undefined else scores.numbers()
    bounds = None if scores.undefined else scores.number_intervals()
    rows: dict[str, dict[str, object]] = {}
    for index, name in enumerate(scores.objects):
        keys = ("precision", "recall", "fbeta")
        found = {} if bounds is None else {key: interval(bounds[:, index, k]) for k, key in enumerate(keys)}
        rows[name] = {
            **_counts(totals[index]),
            **{key: number(numbers[index, k]) for k, key in enumerate(keys)},
            "weight": scores.rule.weights[name],
            "distance": scores.rule.distances[name],
            "ci95": {key: value for key, value in found.items() if value is not None},
        }
    return rows


def _counts(row: Floats) -> dict[str, int]:
    tp, fp, fn = (int(value) for value in row)
    return {"tp": tp, "fp": fp, "fn": fn}


def _by_run(scores: PointScores) -> dict[str, results.RunScore]:
    alone = scores.run_scores()
    return {
        run: results.RunScore(
            score=None if scores.undefined else number(alone[index]),
            objects={
                name: results.PointCounts(**_counts(scores.counts[index, k])) for k, name in enumerate(scores.objects)
            },
        )
        for index, run in enumerate(scores.runs)
    }


def _other(sides: Sides) -> results.OtherRule | None:
    if sides.other is None:
        return None
    scores = sides.scores(sides.other)
    return results.OtherRule(
        rule=public_name(sides.other),
        score=None if scores is None else number(scores.score()),
        ci95=None if scores is None else interval(scores.score_interval()),
    )


def _comparison(sides: Sides, scores: PointScores, baseline: Baseline) -> results.Comparison:
    other = Sides(sides.reference, baseline.picks, sides.rule).scores(sides.rule)
    if other is None:
        raise ValueError("Expected a baseline that can be matched")
    paired = None if scores.undefined else scores.against(other)
    differences = scores.fbeta() - other.fbeta()
    return results.Comparison(
        input=list(baseline.input),
        score=number(other.score()),
        difference=_difference(scores.score() - other.score(), None if paired is None else paired[0], ()),
        objects={
            name: _difference(differences[index], None if paired is None else paired[1], (index,))
            for index, name in enumerate(scores.objects)
        },
    )


def _difference(value: float, paired: PairedDifference | None, place: tuple[int, ...]) -> results.Difference:
    if paired is None:
        return results.Difference(difference=number(value))
    low, high, p = (float(part[place]) for part in (paired.low, paired.high, paired.p))
    return results.Difference(difference=number(value), ci95=interval(np.array([low, high])), p=number(p))


def _warnings(sides: Sides, scores: PointScores) -> list[str]:
    """Whatever makes a score mean less, or more, than it seems."""
    found = [scores.undefined] if scores.undefined else []
    official = sides.rule.rule != "one-to-one"
    for index, name in enumerate(scores.objects):
        counts = scores.counts[:, index]
        negative = int((counts[:, 1] < 0).sum())
        if negative:
            found.append(
                f"{name}: fp is negative in {negative} runs, for one prediction reaches several reference points: "
                "this inflates the official score"
            )
        guesses = int(counts[:, :2].sum())
        if counts[:, [0, 2]].sum() == 0:
            free = f"; its {guesses} predictions are free false positives under the official code" if official else ""
            found.append(f"{name} is nowhere in the reference" + (free if guesses else ""))
    if sides.reach is None:
        found.append("more pairs within the distance than can be matched: only the official score is given")
    return found + few_runs(len(scores.runs))


def few_runs(runs: int) -> list[str]:
    """What to say of intervals over that many runs."""
    if runs < FEWEST:
        return [f"no intervals from {runs} runs: {FEWEST} are the least"]
    return [f"the intervals rest on {runs} runs: read them with care below {FEW}"] if runs < FEW else []
