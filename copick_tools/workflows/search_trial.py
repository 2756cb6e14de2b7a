"""One trial of a search: a training in a process of its own, watched and ended early where others did better."""

from __future__ import annotations

import csv
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copick_tools.data.project import write_text
from copick_tools.recipes.load import dump_yaml
from copick_tools.recipes.recipe import Recipe
from copick_tools.workflows.children import Child, wait_for_former

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Outcome:
    """score: the best, or the last one where ``pruned``; None where the training failed, and ``error`` says why."""

    score: float | None
    pruned: bool = False
    error: str | None = None


def run_trial(
    trial: optuna.Trial, recipe: Recipe, folder: Path, options: Sequence[str], stop: threading.Event
) -> Outcome:
    """Train in folder/NUMBER, from where an earlier process came to. options: of `popsicle train`.

    Raises Interrupted when ``stop`` is set.
    """
    out = folder / f"{trial.number:04d}"
    source = out.with_suffix(".yaml")
    write_text(source, dump_yaml(recipe))
    wait_for_former(out, stop)
    command = ["train", str(source), "--out", str(out), "--resume", *options]
    child = Child.start(command, out.with_suffix(".out"), out.with_suffix(".log"))
    told = dict(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def lags_behind() -> bool:
        _report(trial, out, told)
        return bool(told) and trial.should_prune()

    code = child.follow(stop, lags_behind)
    if code is None:
        return Outcome(told[max(told)], pruned=True)
    _report(trial, out, told)
    scores = [score for _, score in _validations(out)]
    if code or not scores:
        return Outcome(None, error=child.why())
    return Outcome(max(scores))


def _report(trial: optuna.Trial, folder: Path, told: dict[int, float]) -> None:
    """Tell the study of validations that it doesn't know. told: what it knows, by epoch."""
    for epoch, score in _validations(folder):
        if epoch not in told:
            told[epoch] = score
            trial.report(score, epoch)


def _validations(folder: Path) -> list[tuple[int, float]]:
    """Epoch and score of each validation so far."""
    path = folder / "metrics.csv"
    if not path.exists():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [(int(row["epoch"]), float(row["score"])) for row in csv.DictReader(whole) if row["score"]]
