"""Which tomograms have picks at all (MotorBench): by the score of their best pick, among all tomograms of a command.

A share or a number of tomograms can only be told when all are done. So candidates are kept in the project's sidecar first,
and picks follow from them: killed in the middle, the same command goes on.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.data import read
from copick_tools.data.parts import Parts
from copick_tools.data.write import write_picks
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes import picking
from copick_tools.recipes.thresholds import Selection
from copick_tools.types import Points, RunResult
from copick_tools.workflows.devices import on_devices
from copick_tools.workflows.instances import clear_instances
from copick_tools.workflows.localize import Localizing, Opened
from copick_tools.workflows.pipeline import Stages
from copick_tools.workflows.predict import Model, basis, learned_setting
from copick_tools.workflows.runs import outcome

if TYPE_CHECKING:
    from copick_tools.inference.extract import Prediction

Rows = Mapping[str, Mapping[str, Any]]
"""object -> xyz (angstrom), scores, and the least score of a pick"""


@dataclass(frozen=True)
class Selecting:
    """selection: of tomograms, None: all. one_per_tomogram: only the best pick of a tomogram stays."""

    selection: Selection | None = None
    one_per_tomogram: bool = False


def parse_selection(task: Localizing, text: str | None, one_per_tomogram: bool) -> Selecting | None:
    """``threshold``, ``quantile`` (learned) or with a value, ``top-k=12``; None where nothing is asked for.

    Raises UsageError.
    """
    if text is None and not one_per_tomogram:
        return None
    if task.instances:
        raise UsageError("--instances doesn't go with --select or --one-per-tomogram", "choose one of them")
    return Selecting(None if text is None else _selection(task, text), one_per_tomogram)


def _selection(task: Localizing, text: str) -> Selection:
    from copick_tools.training.checkpoint import read_card

    by, _, value = text.partition("=")
    if by not in ("threshold", "quantile", "top-k"):
        raise UsageError(f"--select {text}", "threshold, quantile or top-k, with a value: --select quantile=0.4")
    if not value:
        setting = learned_setting(task.checkpoint, read_card(task.checkpoint), task.options)
        learned = [] if setting is None else [s for s in setting.selections if s.by == by]
        if not learned:
            raise UsageError(f"--select {by} needs a value: none was learned", f"for example --select {by}=0.4")
        return learned[0]
    try:
        return Selection(by=by, value=float(value))
    except ValueError as error:
        hint = "top-k is a number of tomograms" if by == "top-k" else "threshold and quantile lie in [0, 1]"
        raise UsageError(f"--select {text}: {value} won't do", hint) from error


@dataclass(frozen=True)
class Candidates:
    """Keeps candidates of any score; a `pipeline.Task`. runs: all that are compared."""

    task: Localizing
    runs: tuple[str, ...]

    def finished(self, run: str) -> bool:
        """Whether the candidates of a run are kept already."""
        return self.parts.read(run) is not None

    def stages(self, device: str) -> Stages:
        """Open the checkpoint on a device."""
        model = Model.open(self.task.checkpoint, device, self.task.options)
        anyhow = {name: pick.model_copy(update={"min_score": 0.0}) for name, pick in model.settings.items()}
        opened = Opened(self.task, replace(model, settings=anyhow))
        least = {name: pick.min_score for name, pick in model.settings.items()}

        def keep(run: str, predicted: tuple[read.StoredVolume, Prediction]) -> None:
            found, grid = opened.found(run, predicted[1])
            self.parts.write(run, {name: _row(picking.points(one, grid), least[name]) for name, one in found.items()})

        return Stages(opened.read, opened.compute, keep)

    @cached_property
    def parts(self) -> Parts:
        """Where candidates are kept."""
        task = self.task
        where = [str(task.project.config), str(task.tomogram), str(task.output), repr(task.where)]
        depends = [basis(task.checkpoint, task.options), where, sorted(task.outputs), list(self.runs)]
        name = hashlib.sha256(json.dumps(where).encode()).hexdigest()[:16]
        return Parts(task.project.sidecar / "candidates" / name, depends)

    def require_writable(self) -> None:
        """Raise PopsicleError where candidates can't be kept, before anything is predicted."""
        try:
            self.parts.folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.parts.folder.parent):
                pass
        except OSError as error:
            raise PopsicleError(
                f"can't write to {self.parts.folder.parent}: {error}", "candidates wait there"
            ) from error


def localize_selected(
    task: Localizing, runs: Sequence[str], selecting: Selecting, devices: Sequence[str] = ("auto",)
) -> Iterator[RunResult]:
    """As `localize`, but only the tomograms that are selected have picks; the others get empty sets.

    Tomograms compete: what becomes of one depends on all ``runs``. Raises PopsicleError where some of them, and not all, have
    picks that were selected among others; UsageError as `localize`.
    """
    task.check()
    first = Candidates(task, tuple(sorted(runs)))
    if task.overwrite:
        first.parts.clear()  # of tomograms or clicks as they were
    kept = {run for run in runs if first.finished(run)}  # then picks that are there may be half of a selection
    compete = selecting.selection is not None
    there = [run for run in runs if task.finished(run) and not (kept if compete else run in kept)]
    left = [run for run in runs if run not in there]
    if there and left and compete:
        raise PopsicleError(
            f"{len(there)} of {len(runs)} runs have picks already, selected among other tomograms: {there[0]}, …",
            "--overwrite selects anew among all of them",
        )
    yield from (RunResult(run, "skipped") for run in there)
    first.require_writable()
    found: dict[str, Rows] = {}
    for result in on_devices(first, left, devices, task.project):
        if result.status == "failed":
            yield result
        else:
            found[result.run] = first.parts.read(result.run)
    chosen = _chosen(found, selecting)
    good = len(found) == len(left)
    for run, sets in found.items():
        result = outcome(run, lambda run=run, sets=sets: _write(task, run, sets, run in chosen, selecting))
        good &= result.status != "failed"
        yield result
    if good:
        first.parts.clear()


def _chosen(found: Mapping[str, Rows], selecting: Selecting) -> set[str]:
    if selecting.selection is None:
        return set(found)
    best = {
        run: max((max(row["scores"], default=-1.0) for row in sets.values()), default=-1.0)
        for run, sets in found.items()
    }
    return selecting.selection.choose({run: score for run, score in best.items() if score >= 0}, len(found))


def _write(task: Localizing, run: str, sets: Rows, chosen: bool, selecting: Selecting) -> dict[str, int]:
    """Write the picks of a tomogram that stay; their numbers."""
    ranked = selecting.selection is not None and selecting.selection.by != "threshold"
    best = _best(sets, ranked)
    counts = {}
    for name, row in sets.items():
        scores = np.asarray(row["scores"], dtype=float)
        stays = scores >= row["least"]
        if ranked:
            stays |= np.array([(name, place) == best for place in range(len(scores))], dtype=bool)
        if selecting.one_per_tomogram:
            stays &= np.array([(name, place) == best for place in range(len(scores))], dtype=bool)
        stays &= chosen
        points = Points.at(np.asarray(row["xyz"], dtype=float).reshape(-1, 3)[stays], scores[stays])
        clear_instances(task.project, run, task.outputs[name])
        write_picks(task.project, run, task.outputs[name], points)
        counts[name] = len(points)
    return counts


def _best(sets: Rows, ranked: bool) -> tuple[str, int] | None:
    """Object and place of the best candidate, unless ``ranked`` of those that reach their least score; they come best first."""
    tops = [(row["scores"][0], name) for name, row in sets.items() if row["scores"]]
    tops = [top for top in tops if ranked or top[0] >= sets[top[1]]["least"]]
    return (max(tops, key=lambda top: top[0])[1], 0) if tops else None


def _row(points: Points, least: float) -> dict[str, Any]:
    return {"xyz": points.positions.tolist(), "scores": points.scores.tolist(), "least": least}
