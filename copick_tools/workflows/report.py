"""`popsicle report`: what `evaluate --out`, `search` and `bench` write becomes one HTML file."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from copick_tools.data.project import Project, open_project, write_text
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.recipes.instance_results import InstancesResult, Scored
from copick_tools.recipes.leaderboard import compare, load_leaderboard
from copick_tools.recipes.learning_curve_results import LearningCurveResult
from copick_tools.recipes.load import load_task, task_names
from copick_tools.recipes.robustness_results import RobustnessResult
from copick_tools.recipes.study_results import BenchResult, SearchResult
from copick_tools.recipes.task import Task
from copick_tools.reports import commands
from copick_tools.reports.bench import BenchSection, unique
from copick_tools.reports.html import NOUNS, AnySection, Board, Pictures, Section, Training, clean, render
from copick_tools.reports.learning_curve import LearningCurveSection
from copick_tools.reports.numbers import as_csv
from copick_tools.reports.robustness import RobustnessSection
from copick_tools.reports.search import SearchSection
from copick_tools.reports.standings import standings
from copick_tools.workflows.report_inputs import Result, read_object, read_record, read_results, require_kept
from copick_tools.workflows.report_pictures import Budget, pictures

LIMIT = 4_900_000  # bytes of the file
ROWS = 600  # of tables of runs, over all evaluations
LONGEST = 40_000  # characters of a recipe


def report(folders: Sequence[Path], out: Path, numbers: Path | None = None, baseline: str | None = None) -> None:
    """Write the report of folders of evaluations, searches and benchmark runs, and their numbers as CSV.

    baseline: the method that the others are compared with, over data sets. Raises NotFoundError, FormatError; PopsicleError
    where the tables alone are too much for one file.
    """
    if numbers is not None and numbers.absolute() == out.absolute():
        raise UsageError(f"--out and --csv are both {out}", "choose two files")
    twice = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice", "give each folder once")
    require_kept(folders, [out] if numbers is None else [out, numbers])
    sections = [
        (folder, made)
        for folder, name in zip(folders, distinct(folders))
        for made in _sections(folder, name, len(folders))
    ]
    results = dict(zip(unique([made.name for _, made in sections]), (made.result for _, made in sections)))
    methods = standings(results, baseline)
    room = LIMIT - len(render([made for _, made in sections], methods).encode())
    if room < 0:
        raise PopsicleError(f"{len(folders)} folders are too much for one file under 5 MB", "give fewer folders")
    write_text(out, render(_with_pictures(sections, room), methods))
    if numbers is not None:
        write_text(numbers, clean(as_csv(results, methods)))


def _sections(folder: Path, name: str, folders: int) -> list[AnySection]:
    """A section for each document of a folder."""
    results = read_results(folder)
    sections: list[AnySection] = []
    for result in results:
        made = _section(folder, name, result, rows=max(20, ROWS // folders))
        sections.append(replace(made, name=f"{name} ({NOUNS[made.kind]})") if len(results) > 1 else made)
    return sections


def _section(folder: Path, name: str, result: Result, rows: int) -> AnySection:
    if isinstance(result, BenchResult):
        return BenchSection(name, result)
    if isinstance(result, RobustnessResult):
        return RobustnessSection(name, result, commands.robustness(result))
    if isinstance(result, LearningCurveResult):
        return LearningCurveSection(name, result, commands.learning_curve(result))
    if isinstance(result, SearchResult):
        return search_section(folder, name, result)
    return section(folder, name, result, rows)


def search_section(folder: Path, name: str, result: SearchResult) -> SearchSection:
    """All of a search."""
    record, best = read_record(folder), folder / "best.yaml"
    lines = commands.search(result, best if best.is_file() else None, record.project if record else None)
    return SearchSection(name, result, record, _text(best), lines)


def _with_pictures(sections: Sequence[tuple[Path, AnySection]], room: int) -> list[AnySection]:
    """The sections, those of evaluations with pictures. room: bytes."""
    shown: list[AnySection] = []
    left = sum(isinstance(made, Section) for _, made in sections)
    for folder, made in sections:
        if isinstance(made, Section):
            budget = Budget(room // left)
            shown.append(replace(made, pictures=_pictures(folder, made.result, budget)))
            room, left = room - budget.used, left - 1
        else:
            shown.append(made)
    return shown


def distinct(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with as many parents as it takes to tell them apart."""
    paths = [folder.absolute().resolve() for folder in folders]
    names = [path.name or str(path) for path in paths]
    for depth in range(2, max(len(path.parts) for path in paths) + 1):
        owners = Counter(name for name, _ in set(zip(names, paths)))
        names = ["/".join(path.parts[-depth:]) if owners[name] > 1 else name for name, path in zip(names, paths)]
    return unique(names)


def section(folder: Path, name: str, result: Scored, rows: int) -> Section:
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
        recipe=_text(folder / "recipe.yaml"),
        versions={**_versions(folder), **result.versions},
        commands=[*look, *([("score it again", again)] if again else [])],
        rows=rows,
    )


def shipped_task(result: Scored) -> Task | None:
    """The task of a result; None for one of the user's own, which isn't found again."""
    return load_task(result.task) if result.task in task_names() else None


def _board(result: Scored, task: Task | None) -> Board | None:
    if task is None or isinstance(result, InstancesResult):  # the tables hold F-beta and Dice
        return None
    leaderboard = load_leaderboard(task.name)
    if leaderboard is None:
        return None
    return Board(leaderboard, compare(leaderboard, result, task))


def _project(result: Scored) -> tuple[Project | None, str]:
    """The project of a result, or why it can't be opened."""
    if result.config is None:
        return None, "scored from files, without a project"
    try:
        return open_project(result.config), ""
    except PopsicleError as error:
        return None, error.message


def _pictures(folder: Path, result: Scored, budget: Budget) -> Pictures:
    project, why = _project(result)
    if project is None:
        return Pictures(note=f"No pictures: {why}.")
    return pictures(folder, project, result, shipped_task(result), budget)


def _text(path: Path) -> str | None:
    """The beginning of a file, where it is there."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    return text if len(text) <= LONGEST else text[:LONGEST] + "\n…"


def _versions(folder: Path) -> dict[str, str]:
    """versions.json of an experiment."""
    path = folder / "versions.json"
    return {str(n): str(version) for n, version in read_object(path, "versions").items()} if path.is_file() else {}


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
