"""The charts of a report: scores with intervals, runs, curves, calibration, localization, training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from markupsafe import Markup

from copick_tools.recipes.results import Curve, Interval, LocalizationError, ReliabilityBin
from copick_tools.reports.svg import Plot, around

POINTS = 160  # of a curve; more are no longer seen
DOTS = 600  # of the chart of runs
ROW = 26  # pixels

Item = TypeVar("Item")
Named = Mapping[str, tuple[float | None, Interval | None]]
Singles = Sequence[tuple[float, str]]  # a number, and what it is


def unit(low: float | None, high: float | None) -> tuple[float, float]:
    """0 to 1, or wider where numbers lie outside (CZII's F-beta can)."""
    return min(0.0, low or 0.0), max(1.0, high or 1.0)


def score_chart(rows: Named, label: str, singles: Mapping[str, Singles] | None = None) -> Markup:
    """A row for each name: its number, and its 95% interval where there is one. Undefined numbers stay empty.

    singles: numbers behind that of a row, such as those of its seeds; with them the axis holds no more than the numbers.
    """
    numbers = [value for value, _ in rows.values() if value is not None]
    numbers += [bound for _, interval in rows.values() if interval for bound in interval]
    numbers += [value for found in (singles or {}).values() for value, _ in found]
    left = min(230, 30 + 7 * max((len(name) for name in rows), default=0))
    plot = Plot(
        unit(min(numbers, default=0), max(numbers, default=1)) if singles is None else around(numbers or [0.0, 1.0]),
        (len(rows) - 0.5, -0.5),
        680,
        ROW * len(rows) + 52,
        (left, 6, 58, 46),
    )
    plot.x_axis(label)
    for index, (name, (value, interval)) in enumerate(rows.items()):
        _, y = plot.at(plot.x[0], index)
        plot.text(left - 10, y + 4, short(name), "name", "end")
        if interval:
            plot.span((interval[0], index), (interval[1], index))
        for single, said in (singles or {}).get(name, ()):
            plot.dot((single, index), said, "hollow", 2.6)
        if value is not None:
            said = f"{name}: {value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
            plot.dot((value, index), said)
        plot.text(plot.width - 50, y + 4, "–" if value is None else f"{value:.3f}", "value")
    return plot.svg(f"{label} of {', '.join(rows)}")


def mini_chart(value: float | None, interval: Interval | None) -> Markup:
    """One number on a line from 0 to 1, for a cell of a table."""
    plot = Plot((0.0, 1.0), (0.0, 1.0), 120, 14, (5, 0, 5, 0))
    plot.line([(0, 0.5), (1, 0.5)], "grid")
    if interval:
        plot.span((max(0.0, interval[0]), 0.5), (min(1.0, interval[1]), 0.5))
    if value is not None:
        plot.dot((min(max(value, 0.0), 1.0), 0.5), "", radius=3.5)
    return plot.svg("undefined" if value is None else f"{value:.3f}", "mini")


def runs_chart(scores: Mapping[str, float | None], overall: float | None) -> Markup | None:
    """The score of each run, from worst to best; None for fewer than six runs that have one."""
    rows = sorted((value, name) for name, value in scores.items() if value is not None)
    if len(rows) < 6:
        return None
    shown = thin(list(enumerate(rows, start=1)), DOTS)
    low, high = unit(rows[0][0], rows[-1][0])
    plot = Plot((0.3, len(rows) + 0.7), (low, high), 680, 220, (52, 10, 58, 40))
    plot.y_axis("score of the run")
    plot.text((plot.box[0] + plot.box[2]) / 2, plot.box[3] + 26, "runs, from worst to best", "label", "middle")
    if overall is not None:
        plot.line([(plot.x[0], overall), (plot.x[1], overall)], "ideal")
        plot.text(plot.box[2] + 5, plot.at(0, overall)[1] + 4, f"{overall:.3f}", "value")
    for rank, (value, name) in shown:
        many = len(rows) > 60
        plot.dot((rank, value), f"{name}: {value:.3f}", "speck" if many else "dot", 2.2 if many else 4)
    middle = rows[len(rows) // 2][0]
    return plot.svg(f"scores of {len(rows)} runs, from {rows[0][0]:.3f} over {middle:.3f} to {rows[-1][0]:.3f}")


def threshold_chart(name: str, thresholds: Sequence[float], accuracy: Sequence[float | None]) -> Markup | None:
    """TP / (TP + FP + FN) (upward) over the IoU at which objects match."""
    points = [(threshold, value) for threshold, value in zip(thresholds, accuracy) if value is not None]
    if not points:
        return None
    plot = Plot((min(thresholds), max(thresholds)), (0.0, 1.0), 160, 162, (24, 8, 8, 36))
    plot.x_axis("IoU", marks=[(mark, f"{mark:g}") for mark in (thresholds[0], thresholds[-1])])
    plot.y_axis("", 2)
    plot.area(points, 0.0)
    plot.line(points)
    for threshold, value in points:
        plot.dot((threshold, value), f"IoU {threshold:g}: {value:.3f}", "speck", 2.2)
    return plot.svg(
        f"accuracy of {name} over the IoU at which objects match, {points[0][1]:.3f} to {points[-1][1]:.3f}"
    )


def curve_chart(name: str, curve: Curve, average: float | None) -> Markup | None:
    """Precision (upward) over recall."""
    points = thin(list(zip(curve.recall, curve.precision)), POINTS)
    if not points:
        return None
    plot = _small()
    plot.x_axis("recall", 2)
    plot.y_axis("", 2)
    plot.area(points, 0.0)
    plot.line(points)
    if len(points) == 1:
        plot.dot(points[0], "")
    words = "" if average is None else f"; average precision {average:.3f}"
    return plot.svg(f"precision over recall of {name}{words}")


def reliability_chart(name: str, bins: Sequence[ReliabilityBin], error: float | None) -> Markup | None:
    """Precision of the picks over their mean score, bin by bin; on the dashed line scores are true probabilities."""
    filled = [entry for entry in bins if entry.picks]
    if not filled:
        return None
    most = max(entry.picks for entry in filled)
    plot = _small()
    plot.x_axis("score", 2)
    plot.y_axis("", 2)
    plot.line([(0, 0), (1, 1)], "ideal")
    plot.line([(entry.mean_score, entry.precision) for entry in filled], "thin")
    for entry in filled:
        said = f"score {entry.low:g} to {entry.high:g}: {entry.picks} picks, precision {entry.precision:.3f}"
        plot.dot((entry.mean_score, entry.precision), said, radius=2 + 3.5 * math.sqrt(entry.picks / most))
    words = "" if error is None else f"; expected calibration error {error:.3f}"
    return plot.svg(f"precision over score of {name}{words}")


def localization_chart(errors: Mapping[str, LocalizationError]) -> Markup:
    """For each object and axis the median error (dot) and the 90th percentile (end of the line), in angstrom."""
    rows = [(name, axis, entry.axes[axis]) for name, entry in errors.items() for axis in ("x", "y", "z")]
    top = max((error.p90 for _, _, error in rows), default=1.0) or 1.0
    left = min(230, 50 + 7 * max((len(name) for name in errors), default=0))
    height = 17
    plot = Plot((0.0, 1.04 * top), (len(rows) - 0.5, -0.5), 680, height * len(rows) + 54, (left, 6, 14, 46))
    plot.x_axis("absolute error along an axis (Å): median to 90th percentile")
    for index, (name, axis, error) in enumerate(rows):
        _, y = plot.at(0, index)
        if axis == "y":
            plot.text(left - 26, y + 4, short(name), "name", "end")
        if axis == "x" and index:
            plot.parts.append(f'<path class="grid" d="M{left} {y - height / 2:.1f}H{plot.box[2]}"/>')
        plot.text(left - 8, y + 4, axis, "tick", "end")
        plot.span((error.median, index), (error.p90, index))
        plot.dot((error.median, index), f"{name}, {axis}: median {error.median:.1f} Å, p90 {error.p90:.1f} Å")
    return plot.svg(f"localization error of {', '.join(errors)} along x, y and z")


def training_chart(steps: Sequence[float], values: Sequence[float], label: str, *, score: bool = False) -> Markup:
    """A number over the steps of a training. score: from 0 to 1, with the best marked."""
    points = thin([(x, y) for x, y in zip(steps, values) if math.isfinite(x) and math.isfinite(y)], POINTS)
    plot = Plot(
        (min(0.0, *steps), max(1.0, *steps)),
        unit(min(values), max(values)) if score else around([y for _, y in points] or [0.0], zero=True),
        336,
        190,
    )
    plot.x_axis("step", 4)
    plot.y_axis(label)
    plot.line(points)
    if score and points:
        best = max(points, key=lambda point: point[1])
        plot.dot(best, f"step {best[0]:g}: {best[1]:.3f}")
        right = plot.at(*best)[0] > (plot.box[0] + plot.box[2]) / 2
        x, y = plot.at(*best)
        plot.text(x + (-8 if right else 8), y + 18, f"best {best[1]:.3f}", "value", "end" if right else "start")
    return plot.svg(f"{label} over the steps of the training")


def thin(points: list[Item], most: int) -> list[Item]:
    """At most so many of the points, evenly spread, first and last among them."""
    if len(points) <= most:
        return points
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def _small() -> Plot:
    """A square, one of several in a row."""
    return Plot((0.0, 1.0), (0.0, 1.0), 160, 162, (24, 8, 8, 36))


def short(name: str, most: int = 28) -> str:
    """The beginning of a long name."""
    return name if len(name) <= most else name[: most - 1] + "…"
