"""`popsicle report`: evaluations, as `evaluate --out` writes them, become one HTML file."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from copick_tools.data.project import Project, open_project, write_text
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.recipes.leaderboard import compare, load_leaderboard
from copick_tools.recipes.load import load_task, parse, task_names
from copick_tools.recipes.results import PointsResult, SemanticResult
from copick_tools.recipes.task import Task
from copick_tools.reports import commands
from copick_tools.reports.html import Board, Pictures, Section, Training, clean, render
from copick_tools.reports.numbers import as_csv
from copick_tools.workflows.report_pictures import Budget, pictures

LIMIT = 4_900_000  # bytes of the file
ROWS = 600  # of tables of runs, over all evaluations
LONGEST = 40_000  # characters of a recipe
INPUTS = ("scores.json", "matches.csv", "metrics.csv", "recipe.yaml", "versions.json", "best.ckpt", "last.ckpt")


def report(folders: Sequence[Path], out: Path, numbers: Path | None = None) -> None:
    """Write the report of evaluation folders, and their numbers as CSV.

    Raises NotFoundError, FormatError; PopsicleError where the tables alone are too much for one file.
    """
    if numbers is not None and numbers.absolute() == out.absolute():
        raise UsageError(f"--out and --csv are both {out}", "choose two files")
    _keep_inputs(folders, [out] if numbers is None else [out, numbers])
    names = distinct(folders)
    results = [scores(folder) for folder in folders]
    sections = [
        section(folder, name, result, rows=max(20, ROWS // len(folders)))
        for folder, name, result in zip(folders, names, results)
    ]
    room = LIMIT - len(render(sections).encode())
    if room < 0:
        raise PopsicleError(f"{len(folders)} evaluations are too much for one file under 5 MB", "give fewer folders")
    shown = []
    for left, (folder, made) in zip(range(len(folders), 0, -1), zip(folders, sections)):
        budget = Budget(room // left)
        shown.append(replace(made, pictures=_pictures(folder, made.result, budget)))
        room -= budget.used
    write_text(out, render(shown))
    if numbers is not None:
        write_text(numbers, clean(as_csv(dict(zip(names, results)))))


def _keep_inputs(folders: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raise UsageError for a folder given twice, or an output that would replace what is reported."""
    twice = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice", "give each folder once")
    inputs = {(folder / name).resolve() for folder in folders for name in INPUTS}
    for path in outputs:
        if path.resolve() in inputs:
            raise UsageError(f"{path} is what is reported on", "choose another file")


def distinct(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with as many parents as it takes to tell them apart."""
    paths = [folder.absolute().resolve() for folder in folders]
    names = [path.name or str(path) for path in paths]
    for depth in range(2, max(len(path.parts) for path in paths) + 1):
        owners = Counter(name for name, _ in set(zip(names, paths)))
        names = ["/".join(path.parts[-depth:]) if owners[name] > 1 else name for name, path in zip(names, paths)]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def scores(folder: Path) -> PointsResult | SemanticResult:
    """scores.json of an evaluation. Raises NotFoundError, FormatError."""
    path = folder / "scores.json"
    if not path.is_file():
        raise NotFoundError(f"no {path}", "give folders that `popsicle evaluate --out DIR` wrote")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from error
    kind = document.get("kind", "points") if isinstance(document, dict) else None
    if kind == "points":
        return parse(PointsResult, document, where=str(path))
    if kind == "semantic":
        return parse(SemanticResult, document, where=str(path))
    raise FormatError(f"{path} holds no scores that a report can show", "kinds: points, semantic")


def section(folder: Path, name: str, result: PointsResult | SemanticResult, rows: int) -> Section:
    """All of an evaluation but its pictures."""
    task = shipped_task(result)
    project = None if result.split else _project(result)[0]  # a split names its runs
    again = commands.again(result, project.run_names if project else None)
    look = commands.viewers(result.config) if result.config else []
    return Section(
        name=name,
        result=result,
        simulated=bool(task and task.simulated),
        training=_training(folder),
        board=_board(result, task),
        recipe=_recipe(folder),
        versions={**_versions(folder), **result.versions},
        commands=[*look, *([("score it again", again)] if again else [])],
        rows=rows,
    )


def shipped_task(result: PointsResult | SemanticResult) -> Task | None:
    """The task of a result; None for one of the user's own, which isn't found again."""
    return load_task(result.task) if result.task in task_names() else None


def _board(result: PointsResult | SemanticResult, task: Task | None) -> Board | None:
    leaderboard = load_leaderboard(task.name) if task else None
    if task is None or leaderboard is None:
        return None
    return Board(leaderboard, compare(leaderboard, result, task))


def _project(result: PointsResult | SemanticResult) -> tuple[Project | None, str]:
    """The project of a result, or why it can't be opened."""
    if result.config is None:
        return None, "scored from files, without a project"
    try:
        return open_project(result.config), ""
    except PopsicleError as error:
        return None, error.message


def _pictures(folder: Path, result: PointsResult | SemanticResult, budget: Budget) -> Pictures:
    project, why = _project(result)
    if project is None:
        return Pictures(note=f"No pictures: {why}.")
    return pictures(folder, project, result, shipped_task(result), budget)


def _recipe(folder: Path) -> str | None:
    path = folder / "recipe.yaml"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    return text if len(text) <= LONGEST else text[:LONGEST] + "\n…"


def _versions(folder: Path) -> dict[str, str]:
    """versions.json of an experiment."""
    path = folder / "versions.json"
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} holds no versions")
    return {str(name): str(version) for name, version in document.items()}


def _training(folder: Path) -> Training:
    """The training's curves, where the evaluation lies in an experiment folder."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return Training()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        steps = [float(row["step"]) for row in rows]
        loss = [float(row["loss"]) for row in rows]
        scored = [(step, float(row["score"])) for step, row in zip(steps, rows) if row["score"]]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise FormatError(f"{path} isn't the log of a training: {error}") from error
    kept = [(step, value) for step, value in scored if math.isfinite(value)]
    return Training(
        step=steps,
        loss=loss if any(math.isfinite(value) for value in loss) else [],
        scored=[step for step, _ in kept],
        score=[value for _, value in kept],
    )
