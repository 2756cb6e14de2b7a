"""How a job of a benchmark run is scored: as its task is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from copick_tools.data.project import Project
from copick_tools.data.uris import picks_uri, segmentation_uri
from copick_tools.recipes.instance_results import InstancesResult
from copick_tools.recipes.results import Evaluation, PointsResult, SemanticResult
from copick_tools.recipes.task import Task
from copick_tools.workflows.evaluate import Question, evaluate
from copick_tools.workflows.evaluate_instances import InstanceQuestion, evaluate_instances
from copick_tools.workflows.evaluate_segmentations import SegmentationQuestion, evaluate_segmentations
from copick_tools.workflows.scoring import write_scores

RESULTS: dict[str, type[Evaluation]] = {"fbeta": PointsResult, "dice": SemanticResult, "instances": InstancesResult}
"""What scores.json holds, by the task's metric."""


def score(project: Project, runs: Sequence[str], sides: tuple[str, str], task: Task, split: str, folder: Path) -> None:
    """Write scores.json into a folder. sides: URIs of prediction and reference. Raises as `evaluate` does."""
    if task.metric.name == "fbeta":
        prediction, reference = ((picks_uri(side),) for side in sides)
        evaluate(project, runs, Question(prediction, reference, task, split=split)).write(folder)
        return
    uris = segmentation_uri(sides[0]), segmentation_uri(sides[1])
    if task.metric.name == "instances":
        found = evaluate_instances(project, runs, InstanceQuestion(*uris, task=task, split=split))
    else:
        found = evaluate_segmentations(project, runs, SegmentationQuestion(*uris, task=task, split=split))
    write_scores(found, folder)
