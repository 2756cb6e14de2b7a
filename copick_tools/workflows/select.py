"""Which tomograms have picks at all (MotorBench): by the score of their best pick, among all tomograms of a command.

A quantile or a number of tomograms can only be told when all are done. So candidates are written first, as picks of their own
session, and the picks follow from them: killed in the middle, the same command goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from copick_tools.data import read
from copick_tools.data.write import write_picks
from copick_tools.errors import UsageError
from copick_tools.recipes.thresholds import Selection
from copick_tools.types import Points, RunResult
from copick_tools.workflows.localize import Localizing, localize
from copick_tools.workflows.predict import learned_thresholds

CANDIDATES = "-candidates"


def parse_selection(task: Localizing, text: str | None, one_per_tomogram: bool) -> Selection | None:
    """``threshold``, ``quantile`` (learned) or with a value, ``top-k=12``; None: no selection, all picks stay.

    Raises UsageError.
    """
    if text is None:
        return Selection(by="threshold", value=0.0, one_per_tomogram=True) if one_per_tomogram else None
    by, _, value = text.partition("=")
    if by not in ("threshold", "quantile", "top-k"):
        raise UsageError(f"--select {text}", "threshold, quantile or top-k, with a value: --select quantile=0.4")
    if not value:
        learned = learned_thresholds(task.checkpoint, task.options.thresholds)
        for selection in learned.selections if learned else ():
            if selection.by == by:
                return selection.model_copy(update={"one_per_tomogram": one_per_tomogram})
        raise UsageError(f"--select {by} needs a value: none was learned", f"for example --select {by}=0.4")
    try:
        return Selection(by=by, value=float(value), one_per_tomogram=one_per_tomogram)
    except ValueError as error:
        raise UsageError(f"--select {text}: {value} is out of range", "threshold and quantile lie in [0, 1]") from error


def localize_selected(
    task: Localizing, runs: Sequence[str], selection: Selection, devices: Sequence[str] = ("auto",)
) -> Iterator[RunResult]:
    """As `localize`, but only the tomograms that ``selection`` chooses keep their picks; the others get empty sets."""
    if all(task.finished(run) for run in runs):
        yield from (RunResult(run, "skipped") for run in runs)
        return
    output = replace(task.output, session=task.output.session + CANDIDATES)
    options = replace(task.options, pick={**task.options.pick, "min_score": 0.0})
    first = replace(task, output=output, options=options)
    there = []
    for result in localize(first, runs, devices):
        if result.status == "failed":
            yield result
        else:
            there.append(result.run)
    found = {run: _sets(first, run) for run in there}
    best = {
        run: max(points.scores.max() for points in sets.values() if len(points))
        for run, sets in found.items()
        if any(map(len, sets.values()))
    }
    chosen = selection.choose(best, len(there))
    for run in there:
        kept = _kept(found[run], run in chosen, selection)
        for name, points in kept.items():
            write_picks(task.project, run, task.outputs[name], points)
        yield RunResult(run, "done", value={name: len(points) for name, points in kept.items()})


def _sets(task: Localizing, run: str) -> dict[str, Points]:
    return read.read_picks(task.project, run, list(task.outputs.values()))


def _kept(sets: dict[str, Points], chosen: bool, selection: Selection) -> dict[str, Points]:
    """The picks of a tomogram that stay."""
    if not chosen:
        return {name: Points.at([]) for name in sets}
    top = max((points.scores.max(initial=-1.0) for points in sets.values()), default=-1.0)
    kept = {}
    for name, points in sets.items():
        good = points.scores >= (selection.value if selection.by == "threshold" else 0.0)
        if selection.one_per_tomogram:
            good &= points.scores == top
            good &= np.arange(len(points)) == np.argmax(good)
        kept[name] = Points.at(points.positions[good], points.scores[good])
        if selection.one_per_tomogram and len(kept[name]):
            top = 2.0  # another object of the same score isn't picked as well
    return kept
