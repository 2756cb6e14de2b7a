"""What a result is, in sentences."""

from __future__ import annotations

import json
import math
from typing import Any

from copick_tools.metrics.bootstrap import FEW, FEWEST
from copick_tools.recipes.instance_results import InstancesResult, Scored
from copick_tools.recipes.results import SemanticResult

RULES = {
    "kaggle": "the official code of the challenge, oddities included",
    "one-to-one": "a maximum matching: no pick and no reference point counts twice",
}


def measure(result: Scored) -> str:
    """Short: what the score is."""
    if isinstance(result, InstancesResult):
        return "mean segmentation accuracy"
    if isinstance(result, SemanticResult):
        return "mean Dice"
    weights = {entry.weight for entry in result.objects.values()}
    name = f"F{result.beta:g}"
    return name if len(result.objects) == 1 else f"{'weighted ' if len(weights) > 1 else 'mean '}{name}"


def question(result: Scored) -> str:
    """What was scored, on what, and by which rule."""
    objects = f"{len(result.objects)} object{'s' if len(result.objects) != 1 else ''}"
    runs = f"{result.runs} run{'s' if result.runs != 1 else ''}" + (
        f" of split {result.split}" if result.split else ", of no named split"
    )
    first = measure(result)
    task = f" of task {result.task}" if result.task else ""
    return f"{first[0].upper()}{first[1:]} over {objects}{task}, on {runs}."


def rule(result: Scored) -> str:
    """How picks, voxels or objects are counted."""
    if isinstance(result, InstancesResult):
        low, high = result.thresholds[0], result.thresholds[-1]
        said = f"Objects match one-to-one where their IoU reaches a threshold, {low:g} to {high:g}; the rest of the numbers are at {low:g}."
        said += "" if result.error_rate is None else f" Error rate, mean over runs: {result.error_rate:.3f}."
        return said + (" The prediction was resampled to the reference's grid." if result.resampled else "")
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


def certainty(result: Scored) -> str:
    """Where the interval comes from, or why there is none."""
    if result.ci95 is None:
        return "No interval: too few runs to resample." if result.runs < FEWEST else "No interval."
    few = f"; {result.runs} runs are few" if result.runs < FEW else ""
    return f"95% interval by bootstrap over runs{few}."


def plural(count: int, noun: str) -> str:
    """A count and its noun.

    >>> plural(1, "search"), plural(2, "search"), plural(2, "run")
    ('1 search', '2 searches', '2 runs')
    """
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count} {noun}{ending}"


def figures(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits at least, or a dash where it is undefined.

    >>> figures(0.01234), figures(3.2593), figures(12345.6), figures(None)
    ('0.0123', '3.26', '12346', '–')
    """
    if value is None:
        return "–"
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, min(digits - 1 - size, 6))}f}"


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it.

    >>> duration(4.2), duration(600), duration(86400)
    ('4.2 s', '10.0 min', '24.0 h')
    """
    if seconds is None:
        return "–"
    unit, length = time_unit(seconds)
    return f"{seconds / length:.1f} {unit}"


def time_unit(seconds: float) -> tuple[str, float]:
    """A unit for times up to ``seconds``, and its seconds."""
    return ("s", 1.0) if seconds < 300 else ("min", 60.0) if seconds < 3 * 3600 else ("h", 3600.0)


def is_number(value: Any) -> bool:
    """Whether a value of a recipe is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def value(content: Any, most: int = 40) -> str:
    """A value of a recipe, in short.

    >>> value(0.00031234), value([96, 96, 96]), value([32, 64]), value("focal"), value(True), value(None)
    ('0.0003123', '96³', '32, 64', 'focal', 'true', 'none')
    """
    if isinstance(content, list | tuple):
        parts = [value(part, most) for part in content]
        cube = len(parts) == 3 and len(set(parts)) == 1 and is_number(content[0])
        text = f"{parts[0]}³" if cube else ", ".join(parts)
    elif isinstance(content, dict):
        text = ", ".join(f"{key}: {value(part, most)}" for key, part in content.items())
    elif content is None:
        text = "none"
    elif isinstance(content, float):
        text = f"{content:.4g}" if is_number(content) else "–"
    else:
        text = content if isinstance(content, str) else json.dumps(content)
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
