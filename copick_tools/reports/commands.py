"""Command lines that a reader of a report can paste: look at the same runs, score them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from copick_tools.recipes.instance_results import Scored
from copick_tools.recipes.learning_curve_results import LearningCurveResult
from copick_tools.recipes.results import PointsResult
from copick_tools.recipes.robustness_results import RobustnessResult
from copick_tools.recipes.study_results import SearchResult

WIDE = 90  # characters
MORE = 20  # trials


def viewers(config: str) -> list[tuple[str, str]]:
    """(what, command) to open a project in ChimeraX and napari; neither takes the name of a run."""
    quoted = '"' + config + '"' if any(character.isspace() for character in config) else config
    return [
        ("ChimeraX, with the plugin copick", shlex.join(["chimerax", "--cmd", f"copick start {quoted}"])),
        ("napari, with the plugin napari-copick", shlex.join(["napari-copick", "run", "--config", config])),
    ]


def again(result: Scored, known_runs: Iterable[str] | None = None) -> str | None:
    """The command that scores the same once more. known_runs: all runs of the project, where it could be opened."""
    if isinstance(result, PointsResult) and result.config is None:
        return _score(result)
    parts = ["popsicle", "evaluate", "-c", str(result.config)]
    parts += [part for uri in result.input for part in ("-i", uri)]
    parts += [part for uri in result.reference for part in ("--reference", uri)]
    parts += ["--task", result.task_file or result.task] if result.task else []
    parts += result.options
    if result.split:
        parts += ["--split", result.split]
    elif known_runs is None or sorted(known_runs) != sorted(result.run_names):
        parts += [part for run in result.run_names for part in ("-r", run)]
    return _lines(parts)


def search(result: SearchResult, best: Path | None, project: str | None) -> list[tuple[str, str]]:
    """(what, command) to train what a search found, and to go on with it. best: the recipe, where there is one."""
    config = ["-c", project] if project else []
    trials = str(len(result.trials) + MORE)
    on = _lines(["popsicle", "search", *result.command, "--trials", trials])
    lines = [("train the best recipe", _lines(["popsicle", "train", str(best), *config]))] if best else []
    return [*lines, (f"go on, {MORE} trials more", on)]


def robustness(result: RobustnessResult) -> list[tuple[str, str]]:
    """(what, command) to do the same again; predictions that are there aren't made twice."""
    return [("the same again", _lines(["popsicle", *result.command]))] if result.command else []


def learning_curve(result: LearningCurveResult) -> list[tuple[str, str]]:
    """(what, command) to go on with it; finished trainings are left alone."""
    return [("the same again", _lines(["popsicle", *result.command]))] if result.command else []


def _lines(parts: list[str]) -> str:
    """A command line; a long one goes on over lines, so that it can be read and still be pasted."""
    lines = [""]
    for index, part in enumerate(parts):
        word = shlex.quote(part)
        value = index and parts[index - 1].startswith("-")  # stays beside its option
        if not value and len(lines[-1]) + len(word) > WIDE:
            lines.append("  " + word)
        else:
            lines[-1] += (" " if lines[-1] else "") + word
    return " \\\n".join(lines)


def _score(result: PointsResult) -> str | None:
    if len(result.input) != 1 or len(result.reference) != 1 or result.task is None:
        return None
    split = ["--split", result.split] if result.split else []
    return _lines(
        [
            "popsicle",
            "score",
            result.input[0],
            result.reference[0],
            "--task",
            result.task_file or result.task,
            *split,
            *result.options,
        ]
    )
