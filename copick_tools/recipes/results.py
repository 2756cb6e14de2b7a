"""Every JSON document that a command prints or a workflow writes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from copick_tools.recipes.base import Strict

Interval = tuple[float, float]


def number(value: float) -> float | None:
    """A value for JSON: None where undefined."""
    return float(value) if math.isfinite(value) else None


def interval(bounds: Iterable[float] | None) -> Interval | None:
    """Lower and upper bound for JSON: None where undefined."""
    if bounds is None:
        return None
    low, high = (float(bound) for bound in bounds)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


class Difference(Strict):
    """A number of the prediction minus that of the baseline. p: two-sided, by paired bootstrap over runs."""

    difference: float | None
    ci95: Interval | None = None
    p: float | None = None


class Comparison(Strict):
    """What `--baseline` was compared with. objects: F-beta of picks, Dice of segmentations."""

    input: list[str]
    score: float | None
    difference: Difference
    objects: dict[str, Difference]


class PointCounts(Strict):
    """fp may be negative under the CZII challenge's rule."""

    tp: int
    fp: int
    fn: int


class ObjectScore(PointCounts):
    """One object over all runs. distance: angstrom. Undefined values are null.

    average_precision and calibration_error come from the picks' scores, under the rule one-to-one.
    """

    precision: float | None
    recall: float | None
    fbeta: float | None
    weight: float
    distance: float
    average_precision: float | None = None
    calibration_error: float | None = None
    ci95: dict[str, Interval] = Field({}, description="95% bootstrap interval over runs, by number")


class RunScore(Strict):
    """One run. score: weighted mean of the objects that this run has, on either side."""

    score: float | None
    objects: dict[str, PointCounts]


class OtherRule(Strict):
    """What the other rule says of the same picks."""

    rule: str
    score: float | None
    ci95: Interval | None = None


class AxisError(Strict):
    """Along one axis, in angstrom: median and 90th percentile of the absolute error, mean of the signed one."""

    median: float
    p90: float
    bias: float


class LocalizationError(Strict):
    """Distance of matched picks from their reference points, in angstrom, under the rule one-to-one.

    ci95: by number, for example ``median`` or ``z.bias``.
    """

    pairs: int
    median: float
    p90: float
    axes: dict[Literal["x", "y", "z"], AxisError]
    ci95: dict[str, Interval] = {}


class Curve(Strict):
    """Precision and recall of the picks whose score reaches a threshold, by falling threshold, under the rule one-to-one."""

    thresholds: list[float]
    precision: list[float]
    recall: list[float]


class ReliabilityBin(Strict):
    """Picks whose score is in (low, high], the first bin with its lower end."""

    low: float
    high: float
    picks: int
    mean_score: float
    precision: float


class Confusion(Strict):
    """Which object is picked as which: counts[row][column]; the last row and the last column are ``nothing``."""

    reference: list[str]
    prediction: list[str]
    counts: list[list[int]]


class Evaluation(Strict):
    """What every evaluation says. config: null where no project was read."""

    kind: str
    task: str | None
    task_file: str | None = Field(None, description="null: a shipped task, or none")
    split: str | None = None
    score: float | None
    ci95: Interval | None
    baseline: Comparison | None = None
    runs: int
    run_names: list[str]
    config: str | None
    input: list[str]
    reference: list[str]
    options: list[str] = Field([], description="of the command, beyond input, reference, task, split and runs")
    empty_runs: int = Field(0, description="runs without prediction that count as empty")
    versions: dict[str, str] = {}
    warnings: list[str]


class PointsResult(Evaluation):
    """`evaluate --json` of picks, `score --json`, and scores.json."""

    kind: Literal["points"] = "points"
    rule: Literal["one-to-one", "kaggle"]
    beta: float
    objects: dict[str, ObjectScore]
    other_rule: OtherRule | None
    by_run: dict[str, RunScore]
    localization: dict[str, LocalizationError] = {}
    curves: dict[str, Curve] = {}
    reliability: dict[str, list[ReliabilityBin]] = {}
    confusion: Confusion | None = None


class SegmentationScore(Strict):
    """One object: means over the runs where it is defined, and their standard deviations (of the population).

    surface_dice, centerline_dice: where the object is a membrane or a filament. Undefined values are null.
    """

    dice: float | None
    dice_sd: float | None
    iou: float | None
    iou_sd: float | None
    surface_dice: float | None = None
    surface_dice_sd: float | None = None
    centerline_dice: float | None = None
    centerline_dice_sd: float | None = None
    runs: int = Field(description="where the object is defined")
    ci95: dict[str, Interval] = Field({}, description="95% bootstrap interval over runs, by number")


class RunOverlap(Strict):
    """One object in one run. Voxels of both sides, of the reference, of the prediction."""

    dice: float | None
    iou: float | None
    surface_dice: float | None = None
    centerline_dice: float | None = None
    both: int
    reference: int
    prediction: int


class SegmentationRun(Strict):
    """One run."""

    score: float | None
    objects: dict[str, RunOverlap]


class SemanticResult(Evaluation):
    """`evaluate --json` of segmentations, and scores.json. score: mean Dice over objects. tolerance: angstrom."""

    kind: Literal["semantic"] = "semantic"
    absent: Literal["skip", "one"]
    tolerance: float | None = Field(description="of surface_dice; null where no object is a membrane")
    resampled: bool
    objects: dict[str, SegmentationScore]
    by_run: dict[str, SegmentationRun]


class RunOutcome(Strict):
    """What a workflow did for one run. counts: per object, picks or voxels. seconds: at work on it."""

    run: str
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    hint: str | None = None
    counts: dict[str, int] | None = None
    seconds: float | None = None


class RunsResult(Strict):
    """`--json` of the commands that walk through runs.

    scores: what those of picks are: chances of being true, mean probabilities, or volumes compared with the expected one; the
    last two aren't calibrated.
    """

    command: str
    output: str
    runs: list[RunOutcome]
    scores: Literal["calibrated", "probability", "volume"] | None = None


class SubmitResult(Strict):
    """`submit --json`."""

    output: str
    task: str
    runs: int
    picks: int
    warnings: list[str]


class TrainResult(Strict):
    """`train --json`."""

    checkpoint: str
    trained: bool
    score: float | None
    step: int


class ConvertResult(Strict):
    """`models convert --json`. converted: false where the checkpoints were there."""

    checkpoints: list[str]
    converted: bool
    origin: str | None = Field(description="the tool that trained it")
    family: str
    objects: dict[str, int] = Field(description="name -> label, in the order of the network's outputs")
    voxel_spacing: float
    patch: tuple[int, int, int]


class ExperimentData(Strict):
    """data.json of an experiment: what it is trained on."""

    project: str
    train: list[str]
    validation: list[str]


class ModelCard(Strict):
    """`models show --json`. The counts are for the default settings and ``outputs`` channels, or of a checkpoint."""

    family: str
    title: str
    parameters: int | None = Field(description="null: the extra is missing, or a family of your own without `build`")
    state_dict_elements: int | None = Field(
        description="what summing a checkpoint's tensors gives; shared weights count twice"
    )
    outputs: int
    license: str
    extra: str | None = Field(description="of pip; null: nothing to install")
    paper: str
    missing: str | None = Field(None, description="what to install first")
    patch: tuple[int, ...] | None = Field(
        None, description="zyx of what a planner chose: for a typical tomogram, 256 x 512 x 512, or in the checkpoint"
    )
    checkpoint: str | None = Field(None, description="the checkpoint that is described; null: the family")
    settings: dict[str, Any] = Field(description="defaults of a recipe's `model:`, or the checkpoint's")
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
