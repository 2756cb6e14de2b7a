"""From two tables of picks to a `PointsResult`: what `evaluate` and `score` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copick_tools.data.project import write_text
from copick_tools.metrics.bootstrap import FEW, FEWEST, PairedDifference
from copick_tools.metrics.points import PointScores
from copick_tools.metrics.table import PointTable
from copick_tools.recipes import results
from copick_tools.recipes.results import interval, number
from copick_tools.recipes.rules import public_name
from copick_tools.recipes.task import Task
from copick_tools.types import Floats
from copick_tools.workflows import diagnostics
from copick_tools.workflows.sides import Sides
from copick_tools.workflows.versions import versions

PACKAGES = ("numpy", "scipy", "scikit-image", "copick")  # what a score depends on


@dataclass(frozen=True)
class Source:
    """Where what is scored comes from. config: None where no project was read. options: as they are typed.

    empty_runs: runs without prediction that count as empty.
    """

    config: str | None
    input: tuple[str, ...]
    reference: tuple[str, ...]
    task: Task | None
    split: str | None = None
    options: tuple[str, ...] = ()
    empty_runs: int = 0


@dataclass(frozen=True)
class Baseline:
    """A second prediction of the same runs and objects."""

    input: tuple[str, ...]
    picks: PointTable


def points_result(
    sides: Sides, source: Source, warnings: Sequence[str] = (), baseline: Baseline | None = None
) -> results.PointsResult:
    """The whole document. Raises PopsicleError where picks are too dense to be matched one-to-one, the rule."""
    scores = sides.scores
    objects = _objects(scores)
    details = diagnostics.details(sides)
    for name, extra in details.numbers.items():
        objects[name] |= extra.values
        objects[name]["ci95"] |= extra.ci95
    return results.PointsResult(
        task=source.task.name if source.task else None,
        task_file=source.task.file if source.task else None,
        split=source.split,
        rule=public_name(sides.rule),
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
        baseline=None if baseline is None else _comparison(sides, baseline),
        runs=len(scores.runs),
        run_names=list(scores.runs),
        config=source.config,
        input=list(source.input),
        reference=list(source.reference),
        options=list(source.options),
        empty_runs=source.empty_runs,
        versions=versions(PACKAGES),
        warnings=[*warnings, *_warnings(sides, scores), *details.warnings],
    )


def write_scores(result: results.Evaluation, folder: Path) -> None:
    """scores.json."""
    write_text(folder / "scores.json", result.model_dump_json(indent=2) + "\n")


def _objects(scores: PointScores) -> dict[str, dict[str, object]]:
    """Fields of an `ObjectScore` by object."""
    keys = ("tp", "fp", "fn", "precision", "recall", "fbeta")
    totals, numbers, bounds = scores.counts.sum(axis=0), scores.numbers(), scores.number_intervals()
    rows: dict[str, dict[str, object]] = {}
    for index, name in enumerate(scores.objects):
        found = {} if bounds is None else {key: interval(bounds[:, index, k]) for k, key in enumerate(keys)}
        rows[name] = {
            **{key: number(numbers[index, k]) for k, key in enumerate(keys)},
            **_counts(totals[index]),
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
            score=number(alone[index]),
            objects={
                name: results.PointCounts(**_counts(scores.counts[index, k])) for k, name in enumerate(scores.objects)
            },
        )
        for index, run in enumerate(scores.runs)
    }


def _other(sides: Sides) -> results.OtherRule | None:
    if sides.other is None:
        return None
    scores = sides.others
    return results.OtherRule(
        rule=public_name(sides.other),
        score=None if scores is None else number(scores.score()),
        ci95=None if scores is None else interval(scores.score_interval()),
    )


def _comparison(sides: Sides, baseline: Baseline) -> results.Comparison:
    scores, other = sides.scores, Sides(sides.reference, baseline.picks, sides.rule).scores
    paired = scores.against(other)
    differences = scores.fbeta() - other.fbeta()
    return results.Comparison(
        input=list(baseline.input),
        score=number(other.score()),
        difference=difference(scores.score() - other.score(), None if paired is None else paired[0]),
        objects={
            name: difference(differences[index], None if paired is None else paired[1], (index,))
            for index, name in enumerate(scores.objects)
        },
    )


def difference(value: float, paired: PairedDifference | None, place: tuple[int, ...] = ()) -> results.Difference:
    """For JSON. place: where in ``paired``."""
    if paired is None:
        return results.Difference(difference=number(value))
    low, high, p = (float(part[place]) for part in (paired.low, paired.high, paired.p))
    return results.Difference(difference=number(value), ci95=interval((low, high)), p=number(p))


def _warnings(sides: Sides, scores: PointScores) -> list[str]:
    """Whatever makes a score mean less, or more, than it seems."""
    found = [scores.undefined] if scores.undefined else []
    totals, runs = scores.counts.sum(axis=0), len(scores.runs)
    for index, name in enumerate(scores.objects):
        tp, fp, fn = totals[index]
        if tp + fn == 0:
            free = sides.rule.rule == "czii" and fp > 0
            found.append(
                f"{name} is nowhere in the reference"
                + (f"; its {fp:g} predictions are free false positives under the official code" if free else "")
            )
        if runs >= FEWEST and 0 < scores.runs_with()[index] < FEWEST:
            found.append(f"{name} is in {scores.runs_with()[index]} of {runs} runs: no interval")
    if sides.rule.rule == "czii" and sides.others is not None:
        found += _inflated(scores, sides.others)
    if sides.reach is None:
        found.append("more pairs within the distance than can be matched: only the official score is given")
    return found + few_runs(runs)


def _inflated(scores: PointScores, exact: PointScores) -> list[str]:
    """Where the official code counts more than a matching does."""
    found = []
    for index, name in enumerate(scores.objects):
        official, matched = scores.counts[:, index, 0].sum(), exact.counts[:, index, 0].sum()
        negative = int((scores.counts[:, index, 1] < 0).sum())
        if official > matched:
            found.append(
                f"{name}: predictions that reach several reference points inflate the official score: "
                f"{official:g} true positives, one-to-one {matched:g}"
                + (f"; fp is negative in {negative} runs" if negative else "")
            )
    return found


def few_runs(runs: int) -> list[str]:
    """What to say of intervals over that many runs."""
    if runs < FEWEST:
        return [f"no intervals from {runs} run{'s' if runs > 1 else ''}: {FEWEST} are the least"]
    return [f"the intervals rest on {runs} runs: too narrow, and p too small, below {FEW}"] if runs < FEW else []
