"""The JSON document of `popsicle learning-curve`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict
from copick_tools.recipes.results import Interval
from copick_tools.recipes.study_results import Spread, StepOutcome, Usage


class AnnotatedSubset(Strict):
    """What a training learned from. objects: how many were annotated, all and of each kind. runs: in which some were."""

    seed: int
    objects: int
    by_object: dict[str, int]
    runs: list[str]
    share: float = Field(description="of the voxels of the training tomograms, how many were annotated")
    region: str | None = Field(description="where the annotated voxels are stored; null: all of the runs")


class LearningPoint(Strict):
    """Trainings with as many objects. score: over their repeats; ci95: bootstrap over the scored runs of the mean over repeats.

    scores_by_object: F-beta, Dice or mean segmentation accuracy of each. train: of one training, on average.
    """

    objects: int
    subsets: list[AnnotatedSubset]
    repeats: list[int] = Field(description="seeds of the finished ones")
    score: Spread
    ci95: Interval | None
    scores_by_object: dict[str, Spread]
    train: Usage | None = None
    errors: list[str] = []


class LearningCurvePlan(Strict):
    """What `learning-curve --dry-run --json` prints. commands: of the steps that are left."""

    kind: Literal["learning-curve-plan"] = "learning-curve-plan"
    unit: str
    total: dict[str, int]
    subsets: list[AnnotatedSubset]
    commands: list[list[str]]


class LearningCurveResult(Strict):
    """`learning-curve --json`, and learning-curve.json. unit: what is counted. total: in all training runs, by object."""

    kind: Literal["learning-curve"] = "learning-curve"
    task: str
    metric: str
    simulated: bool
    recipe: str
    family: str
    unit: str
    total: dict[str, int]
    train_runs: list[str]
    split: str
    runs: int
    run_names: list[str]
    config: str
    seed: int
    budget: str | None = Field(description="what each training sees, in words")
    command: list[str] = Field([], description="what was typed")
    points: list[LearningPoint]
    notes: list[str] = []
    steps: list[StepOutcome] = Field([], description="of the last start")
    versions: dict[str, str] = {}
