"""What a score alone doesn't tell: how far off the picks are, what their scores are worth, what is taken for what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from copick_tools.metrics import curves
from copick_tools.metrics.bootstrap import FEWEST, interval
from copick_tools.metrics.confusion import confusion
from copick_tools.metrics.curves import BINS, ScoredPicks
from copick_tools.metrics.localization import AXES, localization, localization_intervals
from copick_tools.metrics.reach import Reach, TooDense
from copick_tools.recipes import results
from copick_tools.types import Floats, Integers
from copick_tools.workflows.sides import Sides

SHOWN = 200  # points of a curve
NOTHING = "nothing"


@dataclass(frozen=True)
class Numbers:
    """Fields of an `ObjectScore`, and their intervals."""

    values: dict[str, float]
    ci95: dict[str, results.Interval]


@dataclass(frozen=True)
class Details:
    """Parts of a `PointsResult`, by object. All are under the rule one-to-one."""

    localization: dict[str, results.LocalizationError] = field(default_factory=dict)
    curves: dict[str, results.Curve] = field(default_factory=dict)
    reliability: dict[str, list[results.ReliabilityBin]] = field(default_factory=dict)
    numbers: dict[str, Numbers] = field(default_factory=dict)
    confusion: results.Confusion | None = None
    warnings: list[str] = field(default_factory=list)


def details(sides: Sides) -> Details:
    """All of them. An object whose picks all have one score has neither curve nor reliability."""
    if sides.reach is None or sides.pairs is None:
        return Details()
    found = Details(localization=_localization(sides, sides.pairs))
    try:
        found = replace(found, confusion=_confusion(sides, sides.pairs))
    except TooDense:
        found.warnings.append("too many picks of one object lie at another's reference points: no confusion table")
    for name, picks in _scored(sides, sides.reach).items():
        found.curves[name], found.numbers[name] = _curve(picks)
        if (picks.scores < 0).any() or (picks.scores > 1).any():
            found.warnings.append(f"{name}: scores outside [0, 1], so no reliability")
            continue
        bins = curves.reliability(picks)
        found.reliability[name] = _reliability(bins.sum(axis=0))
        found.numbers[name].values["calibration_error"] = float(curves.calibration_error(bins.sum(axis=0)))
        if (bins[..., 0].sum(axis=1) > 0).sum() >= FEWEST:
            _put(found.numbers[name].ci95, "calibration_error", interval(bins, curves.calibration_error))
    return found


def _localization(sides: Sides, pairs: tuple[Integers, Integers]) -> dict[str, results.LocalizationError]:
    i, j = pairs
    table = sides.reference
    offsets = (sides.prediction.positions[j] - table.positions[i]) * table.units()[table.run[i]][:, None]
    found = {}
    for place, name in enumerate(table.objects):
        chosen = table.object[i] == place
        if not chosen.any():
            continue
        numbers = localization(offsets[chosen])
        axes: dict[Literal["x", "y", "z"], results.AxisError] = {
            axis: results.AxisError(**{key: numbers[f"{axis}.{key}"] for key in ("median", "p90", "bias")})
            for axis in AXES
        }
        found[name] = results.LocalizationError(
            pairs=int(chosen.sum()),
            median=numbers["median"],
            p90=numbers["p90"],
            axes=axes,
            ci95=localization_intervals(offsets[chosen], table.run[i][chosen], len(table.runs)),
        )
    return found


def _confusion(sides: Sides, pairs: tuple[Integers, Integers]) -> results.Confusion:
    names = [*sides.reference.objects, NOTHING]
    counts = confusion(sides.reference, sides.prediction, sides.rule, pairs)
    return results.Confusion(reference=names, prediction=names, counts=counts.tolist())


def _scored(sides: Sides, reach: Reach) -> dict[str, ScoredPicks]:
    """The picks of each object with several scores, and which of them are true."""
    table = sides.prediction
    several = [name for k, name in enumerate(table.objects) if len(np.unique(table.scores[table.object == k])) > 1]
    true = curves.true_picks(sides.reference, table, reach) if several else np.empty(0, bool)
    return {name: curves.of_object(sides.reference, table, true, name) for name in several}


def _curve(picks: ScoredPicks) -> tuple[results.Curve, Numbers]:
    thresholds, precision, recall = curves.precision_recall_curve(picks)
    numbers = Numbers({}, {})
    if not picks.references.any():
        return results.Curve(thresholds=[], precision=[], recall=[]), numbers
    numbers.values["average_precision"] = curves.average_precision(precision, recall)
    _put(numbers.ci95, "average_precision", curves.average_precision_interval(picks))
    shown = np.unique(np.linspace(0, len(thresholds) - 1, SHOWN).round().astype(int))
    lists = (part[shown].tolist() for part in (thresholds, precision, recall))
    return results.Curve(**dict(zip(("thresholds", "precision", "recall"), lists))), numbers


def _reliability(bins: Floats) -> list[results.ReliabilityBin]:
    return [
        results.ReliabilityBin(
            low=index / BINS,
            high=(index + 1) / BINS,
            picks=int(picks),
            mean_score=scores / picks,
            precision=true / picks,
        )
        for index, (picks, scores, true) in enumerate(bins.tolist())
        if picks
    ]


def _put(ci95: dict[str, results.Interval], key: str, bounds: Floats | None) -> None:
    found = results.interval(bounds)
    if found is not None:
        ci95[key] = found
