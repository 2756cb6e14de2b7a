"""What a result is, in sentences."""

from __future__ import annotations

from copick_tools.metrics.bootstrap import FEW, FEWEST
from copick_tools.recipes.results import PointsResult, SemanticResult

RULES = {
    "kaggle": "the official code of the challenge, oddities included",
    "one-to-one": "a maximum matching: no pick and no reference point counts twice",
}


def measure(result: PointsResult | SemanticResult) -> str:
    """Short: what the score is."""
    if isinstance(result, SemanticResult):
        return "mean Dice"
    weights = {entry.weight for entry in result.objects.values()}
    name = f"F{result.beta:g}"
    return name if len(result.objects) == 1 else f"{'weighted ' if len(weights) > 1 else 'mean '}{name}"


def question(result: PointsResult | SemanticResult) -> str:
    """What was scored, on what, and by which rule."""
    objects = f"{len(result.objects)} object{'s' if len(result.objects) != 1 else ''}"
    runs = f"{result.runs} run{'s' if result.runs != 1 else ''}" + (
        f" of split {result.split}" if result.split else ", of no named split"
    )
    first = measure(result)
    task = f" of task {result.task}" if result.task else ""
    return f"{first[0].upper()}{first[1:]} over {objects}{task}, on {runs}."


def rule(result: PointsResult | SemanticResult) -> str:
    """How picks or voxels are counted."""
    if isinstance(result, SemanticResult):
        absent = "is left out" if result.absent == "skip" else "counts as 1"
        words = [f"A run where an object is on neither side {absent}."]
        words += [] if result.tolerance is None else [f"Surface Dice tolerates {result.tolerance:g} Å."]
        words += ["The prediction was resampled to the reference's grid."] if result.resampled else []
        return " ".join(words)
    distances = sorted(entry.distance for entry in result.objects.values())
    near = "" if not distances else f"{distances[0]:g} Å"
    if distances and distances[-1] != distances[0]:
        near = f"{distances[0]:g} to {distances[-1]:g} Å, by object,"
    reach = f" A pick counts within {near} of a reference point.".replace(",  ", ", ") if near else ""
    return f"Rule {result.rule}: {RULES[result.rule]}.{reach} Beta {result.beta:g}{_beta(result.beta)}."


def _beta(beta: float) -> str:
    if beta == 1:
        return ": precision and recall weigh the same"
    return f": recall weighs {beta:g} times as much as precision" if beta > 1 else ": precision weighs more than recall"


def certainty(result: PointsResult | SemanticResult) -> str:
    """Where the interval comes from, or why there is none."""
    if result.ci95 is None:
        return "No interval: too few runs to resample." if result.runs < FEWEST else "No interval."
    few = f"; {result.runs} runs are few" if result.runs < FEW else ""
    return f"95% interval by bootstrap over runs{few}."
