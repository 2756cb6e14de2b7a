"""`popsicle score`: a challenge's submission against its reference, both CSV files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from copick_tools.errors import UsageError, nearest
from copick_tools.metrics.table import PointTable
from copick_tools.recipes.results import PointsResult
from copick_tools.recipes.rules import Overrides, point_rule
from copick_tools.recipes.task import Task
from copick_tools.workflows import score_byu, score_czii
from copick_tools.workflows.scoring import Baseline, Source, points_result
from copick_tools.workflows.sides import Sides


@dataclass(frozen=True)
class Submission:
    """What to score against what.

    strict: an experiment that the reference doesn't know is an error; otherwise its rows are dropped, as the official
    CZII code does. The official BYU code raises in any case, and so do we. split: which of the task's the reference is.
    """

    path: Path
    reference: Path
    task: Task
    overrides: Overrides = Overrides()
    strict: bool = True
    baseline: Path | None = None
    split: str | None = None

    def options(self) -> tuple[str, ...]:
        """As they are typed."""
        baseline = ("--baseline", str(self.baseline.absolute())) if self.baseline else ()
        return (*self.overrides.options(), *(() if self.strict else ("--lenient",)), *baseline)


def score(submission: Submission) -> PointsResult:
    """Score a submission under the task's official rule, or as the overrides say, with the other rule beside it.

    Raises NotFoundError (no such file), FormatError (what the challenge's code would choke on, or swallow), UsageError.
    """
    task = submission.task
    if task.metric.official is None:
        raise UsageError(f"task {task.name} has no challenge", "score is for phantom and motorbench; see evaluate")
    if submission.split is not None and submission.split not in task.splits:
        raise UsageError(f"task {task.name} has no split '{submission.split}'", nearest(submission.split, task.splits))
    radii = {entry.name: entry.radius or 0.0 for entry in task.targets}
    rule = point_rule(task, radii, submission.overrides)
    other = point_rule(
        task, radii, replace(submission.overrides, rule="kaggle" if rule.rule == "one-to-one" else "one-to-one")
    )
    reference, warnings = (score_byu if task.metric.official == "byu" else score_czii).read_reference(
        submission.reference, task
    )
    prediction, more = _prediction(submission, submission.path, reference)
    warnings += more
    baseline = None
    if submission.baseline:
        picks, more = _prediction(submission, submission.baseline, reference)
        warnings += [f"baseline: {text}" for text in more]
        baseline = Baseline((str(submission.baseline.absolute()),), picks)
    source = Source(
        None,
        (str(submission.path.absolute()),),
        (str(submission.reference.absolute()),),
        task,
        submission.split,
        submission.options(),
    )
    return points_result(Sides(reference, prediction, rule, other), source, warnings, baseline)


def _prediction(submission: Submission, path: Path, reference: PointTable) -> tuple[PointTable, list[str]]:
    if submission.task.metric.official == "byu":
        return score_byu.read_submission(path, reference), []
    return score_czii.read_submission(path, reference, submission.strict)
