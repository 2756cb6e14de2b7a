"""What a folder holds that `popsicle report` shows: the documents of evaluate, search and bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.recipes.instance_results import InstancesResult, Scored
from copick_tools.recipes.learning_curve_results import LearningCurveResult
from copick_tools.recipes.load import parse
from copick_tools.recipes.results import PointsResult, SemanticResult
from copick_tools.recipes.robustness_results import RobustnessResult
from copick_tools.recipes.study_results import BenchResult, SearchRecord, SearchResult

Result = Scored | SearchResult | BenchResult | RobustnessResult | LearningCurveResult
SCORES, SEARCH, BENCH, ROBUSTNESS = "scores.json", "result.json", "bench.json", "robustness.json"
CURVE = "learning-curve.json"
INPUTS = ("matches.csv", "metrics.csv", "log.txt", "table.csv", "table.html", "table.md", "lock")
SUFFIXES = (".json", ".yaml", ".log", ".ckpt", ".claim")


def read_results(folder: Path) -> list[Result]:
    """All that a folder holds. Raises NotFoundError, FormatError."""
    found: list[Result] = []
    if (folder / SCORES).is_file():
        found.append(_scores(folder / SCORES))
    if (folder / BENCH).is_file():
        found.append(parse(BenchResult, read_object(folder / BENCH, "benchmark"), where=str(folder / BENCH)))
    if (path := folder / ROBUSTNESS).is_file():
        found.append(parse(RobustnessResult, read_object(path, "test of robustness"), where=str(path)))
    if (path := folder / CURVE).is_file():
        found.append(parse(LearningCurveResult, read_object(path, "learning curve"), where=str(path)))
    if (folder / SEARCH).is_file():
        document = read_object(folder / SEARCH, "search")
        if document.get("kind") == "search":
            found.append(parse(SearchResult, document, where=str(folder / SEARCH)))
        elif not found:
            raise FormatError(f"{folder / SEARCH} holds no search: kind is {document.get('kind')!r}")
    if not found:
        raise NotFoundError(
            f"no {SCORES}, {SEARCH}, {BENCH}, {ROBUSTNESS} or {CURVE} in {folder}",
            "give folders that `popsicle evaluate --out DIR`, `popsicle search`, `bench`, `learning-curve` or "
            "`robustness --out DIR` wrote",
        )
    return found


def _scores(path: Path) -> Scored:
    document = read_object(path, "scores")
    kind = document.get("kind", "points")
    if kind == "points":
        return parse(PointsResult, document, where=str(path))
    if kind == "semantic":
        return parse(SemanticResult, document, where=str(path))
    if kind == "instances":
        return parse(InstancesResult, document, where=str(path))
    raise FormatError(f"{path} holds no scores that a report can show", "kinds: points, semantic, instances")


def read_record(folder: Path) -> SearchRecord | None:
    """search.json, where it is there. Raises FormatError."""
    path = folder / "search.json"
    return parse(SearchRecord, read_object(path, "search"), where=str(path)) if path.is_file() else None


def read_object(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises FormatError."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} holds no {what}")
    return document


def require_kept(folders: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raise UsageError for an output that would replace something of what is reported on."""
    named = {
        (folder / name).resolve() for folder in folders for name in (SCORES, SEARCH, BENCH, ROBUSTNESS, CURVE, *INPUTS)
    }
    for path in outputs:
        target = path.resolve()
        inside = any(target.is_relative_to(folder.resolve()) for folder in folders)
        if target in named or (inside and (target.name in INPUTS or target.suffix in SUFFIXES)):
            raise UsageError(f"{path} is what is reported on", "choose another file")
