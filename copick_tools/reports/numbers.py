"""The numbers of evaluations in long form, for a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping

from copick_tools.recipes.instance_results import InstanceNumbers, InstancesResult, Scored, VoxelNumbers
from copick_tools.recipes.learning_curve_results import LearningCurveResult, LearningPoint
from copick_tools.recipes.results import Comparison, Interval, LocalizationError, PointsResult, SemanticResult
from copick_tools.recipes.robustness_results import RobustnessLevel, RobustnessResult
from copick_tools.recipes.study_results import BenchResult, BenchRow, SearchResult, Spread
from copick_tools.reports.bench import by_seed, unique
from copick_tools.reports.standings import Standings
from copick_tools.reports.tables import POINT_NUMBERS, with_nothing
from copick_tools.reports.words import is_number

COLUMNS = ("evaluation", "run", "object", "number", "value", "low", "high")
DICE_KEYS = (
    "dice",
    "dice_sd",
    "iou",
    "iou_sd",
    "surface_dice",
    "surface_dice_sd",
    "centerline_dice",
    "centerline_dice_sd",
)
Result = Scored | SearchResult | BenchResult | RobustnessResult | LearningCurveResult
Line = tuple[str, str, str, float | int | None, Interval | None]  # run, object, number, value, interval


def as_csv(results: Mapping[str, Result], standings: Standings | None = None) -> str:
    """The text of the CSV. Undefined numbers and missing intervals are empty. A recipe of a benchmark is ``NAME: RECIPE``.

    standings: of methods over data sets; a method is ``method METHOD``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    methods = {} if standings is None else standings.numbers()
    for name, found in [*_named(results), *((f"method {name}", _standing(found)) for name, found in methods.items())]:
        for run, entry, number, value, bounds in found:
            low, high = bounds or ("", "")
            writer.writerow((name, run, entry, number, "" if value is None else value, low, high))
    return text.getvalue()


def _named(results: Mapping[str, Result]) -> Iterator[tuple[str, Iterable[Line]]]:
    for name, result in results.items():
        if isinstance(result, BenchResult):
            for recipe, row in zip(unique([row.name for row in result.rows]), result.rows):
                yield f"{name}: {recipe}", _recipe(row)
        elif isinstance(result, RobustnessResult):
            for level in (result.identity, *result.levels):
                said = level.kind if level.level is None else f"{level.kind} {level.level:g}"
                yield f"{name}: {said}", _level(level)
        elif isinstance(result, LearningCurveResult):
            for point in result.points:
                yield f"{name}: {point.objects} objects", _point(point)
        else:
            yield name, _search(result) if isinstance(result, SearchResult) else lines(result)


def _standing(numbers: Mapping[str, float | None]) -> Iterator[Line]:
    """Every number of a method over several data sets."""
    yield from (("", "", number, value, None) for number, value in numbers.items())


def _level(level: RobustnessLevel) -> Iterator[Line]:
    """Every number of a level of degradation."""
    yield "", "", "score", level.score, level.ci95
    if level.difference is not None:
        yield "", "", "difference", level.difference.difference, level.difference.ci95
    for name, value in level.objects.items():
        yield "", name, "score", value, None


def _point(point: LearningPoint) -> Iterator[Line]:
    """Every number of a point of a learning curve."""
    yield "", "", "objects", point.objects, None
    yield "", "", "score", point.score.mean, point.ci95
    yield "", "", "score.sd", point.score.sd, None
    for subset in point.subsets:
        yield "", "", f"runs.seed {subset.seed}", len(subset.runs), None
        yield "", "", f"share.seed {subset.seed}", subset.share, None
        yield from (("", name, f"objects.seed {subset.seed}", n, None) for name, n in subset.by_object.items())
    for seed, value in zip(point.repeats, point.score.values):
        yield "", "", f"score.seed {seed}", value, None
    for name, spread in point.scores_by_object.items():
        yield "", name, "mean", spread.mean, None
        yield "", name, "mean.sd", spread.sd, None


def _search(result: SearchResult) -> Iterator[Line]:
    """Every number of a search."""
    yield "", "", "score", result.score, None
    yield "", "", "best trial", result.best, None
    for name, share in (result.importances or {}).items():
        yield "", "", f"importance.{name}", share, None
    for trial in result.trials:
        yield "", "", f"trial {trial.number}.score", trial.score, None
        yield "", "", f"trial {trial.number}.seconds", trial.seconds, None
        for name, value in trial.values.items():
            if is_number(value):
                yield "", "", f"trial {trial.number}.{name}", value, None


def _recipe(row: BenchRow) -> Iterator[Line]:
    """Every number of a recipe in a benchmark run."""
    yield "", "", "score", row.score.mean, row.ci95
    yield from _spread(row, "", "score", row.score)
    yield "", "", "rank", row.rank, None
    yield "", "", "parameters", row.parameters, None
    yield "", "", "seconds_per_run", row.seconds_per_run, None
    for key in ("seconds", "memory", "gpu_memory", "energy", "starts") if row.train else ():
        yield "", "", f"train.{key}", getattr(row.train, key), None
    for name, spread in row.objects.items():
        yield "", name, "mean", spread.mean, None
        yield from _spread(row, name, "mean", spread)


def _spread(row: BenchRow, name: str, number: str, spread: Spread) -> Iterator[Line]:
    yield "", name, f"{number}.sd", spread.sd, None
    for seed, value in by_seed(row, spread):
        yield "", name, f"{number}.{seed}", value, None


def lines(result: Scored) -> Iterator[Line]:
    """Every number of an evaluation: of all runs, of objects, of runs."""
    yield "", "", "score", result.score, result.ci95
    yield "", "", "runs", result.runs, None
    if result.baseline:
        yield from _baseline(result.baseline)
    if isinstance(result, InstancesResult):
        yield from _instances(result)
    else:
        yield from _points(result) if isinstance(result, PointsResult) else _semantic(result)


def _baseline(baseline: Comparison) -> Iterator[Line]:
    yield "", "", "baseline.score", baseline.score, None
    for name, entry in {"": baseline.difference, **baseline.objects}.items():
        yield "", name, "baseline.difference", entry.difference, entry.ci95
        yield "", name, "baseline.p", entry.p, None


def _points(result: PointsResult) -> Iterator[Line]:
    if result.other_rule:
        yield "", "", f"score.{result.other_rule.rule}", result.other_rule.score, result.other_rule.ci95
    for name, entry in result.objects.items():
        for key in ("tp", "fp", "fn", *POINT_NUMBERS, "weight", "distance"):
            yield "", name, key, getattr(entry, key), entry.ci95.get(key)
    for name, error in result.localization.items():
        yield from _localization(name, error)
    if result.confusion:
        across, down = with_nothing(result.confusion)
        for name, counts in zip(down, result.confusion.counts):
            yield from (("", name, f"picked as {other}", count, None) for other, count in zip(across, counts))
    for run, row in result.by_run.items():
        yield run, "", "score", row.score, None
        for name, counted in row.objects.items():
            yield from ((run, name, key, getattr(counted, key), None) for key in ("tp", "fp", "fn"))


def _localization(name: str, error: LocalizationError) -> Iterable[Line]:
    yield "", name, "localization.pairs", error.pairs, None
    for key in ("median", "p90"):
        yield "", name, f"localization.{key}", getattr(error, key), error.ci95.get(key)
    for axis, along in error.axes.items():
        for key in ("median", "p90", "bias"):
            label = f"{axis}.{key}"
            yield "", name, f"localization.{label}", getattr(along, key), error.ci95.get(label)


def _instances(result: InstancesResult) -> Iterator[Line]:
    yield "", "", "error_rate", result.error_rate, result.error_rate_ci95
    keys = (*InstanceNumbers.model_fields, *VoxelNumbers.model_fields)
    for name, entry in result.objects.items():
        for key in (*keys, "n_reference", "n_prediction", "runs", "absent_runs", "unreferenced_runs"):
            yield "", name, key, getattr(entry, key), entry.ci95.get(key)
        for key in InstanceNumbers.model_fields:
            yield "", name, f"pooled.{key}", getattr(entry.pooled, key), entry.pooled.ci95.get(key)
        for number, counts in (("accuracy", entry.accuracy), ("tp", entry.tp), ("fp", entry.fp), ("fn", entry.fn)):
            for threshold, value in zip(result.thresholds, counts):
                yield "", name, f"{number}.{threshold:g}", value, None
    for run, row in result.by_run.items():
        yield run, "", "score", row.score, None
        yield run, "", "error_rate", row.error_rate, None
        for name, found in row.objects.items():
            for key in (*keys, "n_reference", "n_prediction", "both", "reference", "prediction"):
                yield run, name, key, getattr(found, key), None


def _semantic(result: SemanticResult) -> Iterator[Line]:
    for name, entry in result.objects.items():
        for key in (*DICE_KEYS, "runs"):
            yield "", name, key, getattr(entry, key), entry.ci95.get(key)
    for run, row in result.by_run.items():
        yield run, "", "score", row.score, None
        for name, overlap in row.objects.items():
            for key in ("dice", "iou", "surface_dice", "centerline_dice", "both", "reference", "prediction"):
                yield run, name, key, getattr(overlap, key), None
