"""The numbers of evaluations in long form, for a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping

from copick_tools.recipes.results import Comparison, Interval, LocalizationError, PointsResult, SemanticResult
from copick_tools.reports.tables import POINT_NUMBERS, with_nothing

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
Line = tuple[str, str, str, float | int | None, Interval | None]  # run, object, number, value, interval


def as_csv(results: Mapping[str, PointsResult | SemanticResult]) -> str:
    """The text of the CSV. Undefined numbers and missing intervals are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, result in results.items():
        for run, entry, number, value, bounds in lines(result):
            low, high = bounds or ("", "")
            writer.writerow((name, run, entry, number, "" if value is None else value, low, high))
    return text.getvalue()


def lines(result: PointsResult | SemanticResult) -> Iterator[Line]:
    """Every number of an evaluation: of all runs, of objects, of runs."""
    yield "", "", "score", result.score, result.ci95
    yield "", "", "runs", result.runs, None
    if result.baseline:
        yield from _baseline(result.baseline)
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


def _semantic(result: SemanticResult) -> Iterator[Line]:
    for name, entry in result.objects.items():
        for key in (*DICE_KEYS, "runs"):
            yield "", name, key, getattr(entry, key), entry.ci95.get(key)
    for run, row in result.by_run.items():
        yield run, "", "score", row.score, None
        for name, overlap in row.objects.items():
            for key in ("dice", "iou", "surface_dice", "centerline_dice", "both", "reference", "prediction"):
                yield run, name, key, getattr(overlap, key), None
