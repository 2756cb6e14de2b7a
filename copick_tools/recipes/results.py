"""Every JSON document that a command prints or a workflow writes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from copick_tools.recipes.base import Strict

Interval = tuple[float, float]


class PointCounts(Strict):
    """fp may be negative under the CZII challenge's rule."""

    tp: int
    fp: int
    fn: int


class ObjectScore(PointCounts):
    """One object over all runs. distance: angstrom. Undefined values are null."""

    precision: float | None
    recall: float | None
    fbeta: float | None
    weight: float
    distance: float
    ci95: dict[str, Interval] = Field({}, description="95% bootstrap interval over runs, by number")


class RunScore(Strict):
    """One run."""

    score: float | None
    objects: dict[str, PointCounts]


class OtherRule(Strict):
    """What the other rule says of the same picks."""

    rule: str
    score: float | None


class PointsResult(Strict):
    """`evaluate --json` of picks, and scores.json."""

    kind: Literal["points"] = "points"
    task: str | None
    rule: Literal["one-to-one", "kaggle"]
    beta: float
    score: float | None
    objects: dict[str, ObjectScore]
    other_rule: OtherRule | None
    ci95: Interval | None
    by_run: dict[str, RunScore]
    runs: int
    run_names: list[str]
    config: str
    input: list[str]
    reference: list[str]
    warnings: list[str]


class RunOutcome(Strict):
    """What a workflow did for one run. counts: per object, picks or voxels."""

    run: str
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    hint: str | None = None
    counts: dict[str, int] | None = None


class RunsResult(Strict):
    """`--json` of the commands that walk through runs."""

    command: str
    output: str
    runs: list[RunOutcome]


class TrainResult(Strict):
    """`train --json`."""

    checkpoint: str
    trained: bool
    score: float | None
    step: int


class ExperimentData(Strict):
    """data.json of an experiment: what it is trained on."""

    project: str
    train: list[str]
    validation: list[str]


class ModelCard(Strict):
    """`models show --json`. The counts are for the default settings and ``outputs`` channels."""

    family: str
    title: str
    parameters: int | None = Field(description="null: a family of your own without `build`")
    state_dict_elements: int | None = Field(
        description="what summing a checkpoint's tensors gives; shared weights count twice"
    )
    outputs: int
    license: str
    extra: str | None = Field(description="of pip; null: nothing to install")
    paper: str
    settings: dict[str, Any] = Field(description="defaults of a recipe's `model:`")
    fields: dict[str, str]
    recipes: list[str]


class Check(Strict):
    """One line of `doctor`."""

    name: str
    status: Literal["ok", "absent", "broken"]
    detail: str
    hint: str | None = None


class DoctorResult(Strict):
    """`doctor --json`."""

    version: str
    checks: list[Check]
