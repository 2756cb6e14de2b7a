"""The tables of a report: numbers beside their intervals, ready for a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from copick_tools.recipes.instance_results import InstancesResult, InstancesRun, Scored
from copick_tools.recipes.leaderboard import Leaderboard, Standing
from copick_tools.recipes.results import (
    AxisError,
    Comparison,
    Confusion,
    Interval,
    LocalizationError,
    PointsResult,
    SegmentationScore,
    SemanticResult,
)

POINT_NUMBERS = {
    "precision": "precision",
    "recall": "recall",
    "fbeta": "F",
    "average_precision": "AP",
    "calibration_error": "ECE",
}
OUTSIDE = ": reference points, not trained under the paper's protocol"
INSTANCE_NUMBERS = {
    "mean_segmentation_accuracy": "mSA",
    "ap50": "AP50",
    "error_rate": "error rate",
    "mean_matched_iou": "matched IoU",
    "panoptic_quality": "PQ",
    "dice": "Dice",
    "voi_split": "VOI split",
    "voi_merge": "VOI merge",
    "adapted_rand_error": "Rand error",
    "centerline_dice": "clDice",
}
NETWORK = ("voi_split", "voi_merge", "adapted_rand_error", "centerline_dice")
DICE_NUMBERS = {"dice": "Dice", "iou": "IoU", "surface_dice": "surface Dice", "centerline_dice": "clDice"}


@dataclass(frozen=True)
class Cell:
    """below: a small second line. heat: 0 to 1, the cell's shade. kind: a class of the style sheet."""

    text: str
    below: str = ""
    heat: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """header: of the columns; the first cell of each row is the row's header. more: rows that aren't shown."""

    said: str
    header: tuple[str, ...]
    rows: list[list[Cell]]
    more: int = 0
    groups: dict[int, str] = field(default_factory=dict)


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval(bounds: Interval | None, digits: int = 3) -> str:
    """[low, high], or nothing."""
    return "" if bounds is None else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]".replace("-", "−")


def chance(p: float | None) -> str:
    """A p value; its least is one over the number of resamples."""
    return "–" if p is None else f"{p:.4f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def object_table(result: Scored) -> Table:
    """A row for each object, every number with its interval where there is one."""
    if isinstance(result, InstancesResult):
        return _instance_table(result)
    return _points_table(result) if isinstance(result, PointsResult) else _dice_table(result)


def main_number(result: Scored) -> str:
    """The number of an object that the score is made of."""
    if isinstance(result, InstancesResult):
        return "mean_segmentation_accuracy"
    return "fbeta" if isinstance(result, PointsResult) else "dice"


def _points_table(result: PointsResult) -> Table:
    shown = [key for key in POINT_NUMBERS if key in ("precision", "recall", "fbeta") or _any(result, key)]
    titles = [POINT_NUMBERS[key] + (f"{result.beta:g}" if key == "fbeta" else "") for key in shown]
    rows = []
    for name, entry in result.objects.items():
        counts = [Cell(str(getattr(entry, key)), interval(entry.ci95.get(key), 0)) for key in ("tp", "fp", "fn")]
        numbers = [Cell(number(getattr(entry, key)), interval(entry.ci95.get(key))) for key in shown]
        rows.append([Cell(name), *counts, *numbers, Cell(f"{entry.weight:g}"), Cell(f"{entry.distance:g}")])
    return Table("Scores of each object", ("object", "TP", "FP", "FN", *titles, "weight", "distance (Å)"), rows)


def _instance_table(result: InstancesResult) -> Table:
    shown = [key for key in INSTANCE_NUMBERS if key not in NETWORK or _any(result, key)]
    rows = []
    for name, entry in result.objects.items():
        numbers = [Cell(number(getattr(entry, key)), interval(entry.ci95.get(key))) for key in shown]
        left = f"{entry.absent_runs} more without any" if entry.absent_runs else ""
        counts = [Cell(str(entry.n_reference)), Cell(str(entry.n_prediction))]
        rows.append([Cell(name), *counts, *numbers, Cell(str(entry.runs), left)])
    header = ("object", "objects", "predicted", *(INSTANCE_NUMBERS[key] for key in shown), "runs")
    return Table("Scores of each object, means over runs", header, rows)


def _dice_table(result: SemanticResult) -> Table:
    shown = [key for key in DICE_NUMBERS if key in ("dice", "iou") or _any(result, key)]
    rows = [
        [Cell(name), *(_dice_cell(entry, key) for key in shown), Cell(str(entry.runs))]
        for name, entry in result.objects.items()
    ]
    return Table("Scores of each object", ("object", *(DICE_NUMBERS[key] for key in shown), "runs"), rows)


def _dice_cell(entry: SegmentationScore, key: str) -> Cell:
    value, spread = getattr(entry, key), getattr(entry, f"{key}_sd")
    text = number(value) + ("" if value is None or spread is None else f" ± {spread:.3f}")
    return Cell(text, interval(entry.ci95.get(key)))


def _any(result: Scored, key: str) -> bool:
    return any(getattr(entry, key) is not None for entry in result.objects.values())


def runs_table(result: Scored, most: int) -> Table:
    """A row for each run, at most so many: of points the counts, else the main number of each object."""
    rows = _counts_rows(result, most) if isinstance(result, PointsResult) else _number_rows(result, most)
    more = len(result.by_run) - len(rows)
    if isinstance(result, PointsResult):
        return Table("Scores of each run", ("run", "score", "TP", "FP", "FN"), rows, more)
    if isinstance(result, InstancesResult):
        header = ("run", "score", "error rate", *result.objects)
        return Table("Mean segmentation accuracy of each run", header, rows, more)
    return Table("Dice of each run", ("run", "score", *result.objects), rows, more)


def _counts_rows(result: PointsResult, most: int) -> list[list[Cell]]:
    rows = []
    for run, entry in list(result.by_run.items())[:most]:
        totals = [sum(getattr(counts, key) for counts in entry.objects.values()) for key in ("tp", "fp", "fn")]
        rows.append([Cell(run), Cell(number(entry.score)), *(Cell(str(total)) for total in totals)])
    return rows


def _number_rows(result: SemanticResult | InstancesResult, most: int) -> list[list[Cell]]:
    rows, key = [], main_number(result)
    for run, entry in list(result.by_run.items())[:most]:
        values = [entry.score, entry.error_rate] if isinstance(entry, InstancesRun) else [entry.score]
        values += [getattr(entry.objects.get(name), key, None) for name in result.objects]
        rows.append([Cell(run), *(Cell(number(value)) for value in values)])
    return rows


def localization_table(errors: Mapping[str, LocalizationError]) -> Table:
    """Angstrom: of each object the distance, then the error along each axis; the bias is signed."""
    rows = []
    for name, entry in errors.items():
        along: dict[str, LocalizationError | AxisError] = {"distance": entry}
        along |= {axis: entry.axes[axis] for axis in entry.axes}
        for axis, error in along.items():
            prefix = "" if axis == "distance" else f"{axis}."
            cells = [Cell(name, kind="" if axis == "distance" else "again"), Cell(axis)]
            for key in ("median", "p90", "bias"):
                value = getattr(error, key, None)
                text = signed(value, 1) if key == "bias" else number(value, 1)
                text = "" if axis == "distance" and key == "bias" else text
                cells += [Cell(text), Cell(interval(entry.ci95.get(prefix + key), 1), kind="faint")]
            rows.append([*cells, Cell(str(entry.pairs) if axis == "distance" else "")])
    header = ("object", "along", "median", "", "p90", "", "bias", "", "pairs")
    return Table("Localization error in angstrom, with 95% intervals", header, rows)


def confusion_table(confusion: Confusion) -> Table:
    """Rows: what is there; columns: what was picked. The shade is the share of the row."""
    across, down = with_nothing(confusion)
    rows = []
    for name, counts in zip(down, confusion.counts):
        total = sum(counts)
        cells = [Cell(str(count), heat=count / total if total else 0.0) for count in counts]
        if name == "nothing" and cells:
            cells[-1] = Cell("")
        rows.append([Cell(name), *cells])
    return Table("Counts; the shade is the share of the row", ("is ↓  picked as →", *across), rows)


def with_nothing(confusion: Confusion) -> tuple[list[str], list[str]]:
    """Names of columns and rows; the last of each is ``nothing``, named in the document or not."""
    width = max((len(row) for row in confusion.counts), default=0)
    across, down = list(confusion.prediction), list(confusion.reference)
    across += ["nothing"] if len(across) < width else []
    down += ["nothing"] if len(down) < len(confusion.counts) else []
    return across, down


def baseline_table(comparison: Comparison) -> Table:
    """Differences of the objects to the baseline."""
    rows = [
        [Cell(name), Cell(signed(entry.difference)), Cell(interval(entry.ci95)), Cell(chance(entry.p))]
        for name, entry in comparison.objects.items()
    ]
    return Table("Difference of each object to the baseline", ("object", "difference", "95% interval", "p"), rows)


def leaderboard_table(leaderboard: Leaderboard, standings: Sequence[Standing], result: Scored, name: str) -> Table:
    """This result, then the rows of the paper. What keeps every row apart is said elsewhere."""
    printed = any(row.printed is not None for row in leaderboard.rows)
    own = [Cell(number(value), kind="own") for value in _own_values(leaderboard, result)]
    blank = Cell("", kind="own")
    score = Cell(number(result.score), kind="own")
    rows = [[Cell(name, "this result", kind="own"), *own, *[blank] * printed, score, blank, blank]]
    groups: dict[int, str] = {}
    for standing in standings:
        group = standing.row.group + (OUTSIDE if standing.row.kind == "reference" else "")
        if group not in groups.values():
            groups[len(rows)] = group
        rows.append(_row_cells(standing, leaderboard.decimals, printed))
    header = (
        "row",
        *leaderboard.columns,
        *(("printed",) if printed else ()),
        "recomputed",
        "this − row",
        "comparable",
    )
    return Table(f"{leaderboard.title} beside this result", header, rows, groups=groups)


def _row_cells(standing: Standing, digits: int, printed: bool) -> list[Cell]:
    row = standing.row
    spread = [f"± {sd:.{digits}f}" for sd in row.sd] if row.sd else [""] * len(row.values)
    cells = [Cell(row.name), *(Cell(f"{value:.{digits}f}", sd) for value, sd in zip(row.values, spread))]
    cells += [Cell(number(row.printed, digits))] if printed else []
    odd = row.disagrees
    cells.append(Cell(number(row.recomputed), "disagrees" if odd else "", kind="odd" if odd else ""))
    cells.append(Cell(signed(standing.difference) if standing.comparable else ""))
    words = "reference" if row.kind == "reference" else "no"
    return [*cells, Cell("yes" if standing.comparable else words, kind="words")]


def shared_reasons(standings: Sequence[Standing]) -> list[str]:
    """What keeps every row from being compared."""
    first = standings[0].reasons if standings else ()
    return [reason for reason in first if all(reason in standing.reasons for standing in standings)]


def _own_values(leaderboard: Leaderboard, result: Scored) -> list[float | None]:
    """The result's numbers under the columns of a leaderboard."""
    if leaderboard.aggregate == "fbeta":
        only = next(iter(result.objects.values()), None)
        return [getattr(only, column, None) for column in leaderboard.columns]
    key = main_number(result)
    return [getattr(result.objects.get(column), key, None) for column in leaderboard.columns]
