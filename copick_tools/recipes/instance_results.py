"""The JSON documents of instances: `evaluate --json` of instance and panoptic segmentations, `consensus --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict
from copick_tools.recipes.results import Evaluation, Interval, PointsResult, RunOutcome, SemanticResult

Counts = list[int]
"""One for each of the document's ``thresholds``."""


class InstanceNumbers(Strict):
    """Null where undefined: the error rate without any object in the reference, the others without any on either side.

    ap50, error_rate, mean_matched_iou, panoptic_quality, recognition_quality: at IoU 0.5. The mean matched IoU is the
    segmentation quality of the panoptic quality, and 0 where nothing matches.
    """

    mean_segmentation_accuracy: float | None
    ap50: float | None
    error_rate: float | None
    mean_matched_iou: float | None
    panoptic_quality: float | None
    recognition_quality: float | None


class VoxelNumbers(Strict):
    """Of all the object's voxels, whatever their ids. voi_split, voi_merge (bits) and what follows: of networks alone."""

    dice: float | None
    iou: float | None
    voi_split: float | None = None
    voi_merge: float | None = None
    adapted_rand_error: float | None = None
    centerline_dice: float | None = None


class InstanceCounts(Strict):
    """Objects of both sides, and true positives, false positives, false negatives at each of the ``thresholds``."""

    n_reference: int
    n_prediction: int
    tp: Counts
    fp: Counts
    fn: Counts


class PooledNumbers(InstanceNumbers):
    """All runs' objects counted together, so that a run weighs as much as it has objects."""

    ci95: dict[str, Interval] = {}


class InstanceScore(InstanceCounts, VoxelNumbers, InstanceNumbers):
    """One object: means over the runs where a number is defined; counts are sums over runs.

    accuracy: TP / (TP + FP + FN) at each of the ``thresholds``, whose mean is the mean segmentation accuracy.
    """

    accuracy: list[float | None]
    pooled: PooledNumbers
    runs: int = Field(description="with objects on either side, where the mean segmentation accuracy is defined")
    absent_runs: int = Field(description="with objects on neither side: left out")
    unreferenced_runs: int = Field(description="with predicted objects alone: no error rate")
    ci95: dict[str, Interval] = Field({}, description="95% bootstrap interval over runs, by number")


class RunInstances(InstanceCounts, VoxelNumbers, InstanceNumbers):
    """One object in one run. both, reference, prediction: voxels."""

    both: int
    reference: int
    prediction: int


class InstancesRun(Strict):
    """One run: means over the objects that it has. error_rate: over those in its reference."""

    score: float | None
    error_rate: float | None
    objects: dict[str, RunInstances]


class InstancesResult(Evaluation):
    """`evaluate --json` of instances, and scores.json. score: mean over objects of their mean segmentation accuracy.

    error_rate: mean over runs of the mean over objects that the run's reference has.
    """

    kind: Literal["instances"] = "instances"
    thresholds: list[float]
    error_rate: float | None
    error_rate_ci95: Interval | None
    resampled: bool
    objects: dict[str, InstanceScore]
    by_run: dict[str, InstancesRun]


Scored = PointsResult | SemanticResult | InstancesResult
"""What `evaluate` and `score` give."""


class Agreement(Strict):
    """Two annotators. error_rate: their differences over their mean number of objects; bound: half of it.

    of_reference, of_input: the error rate of the other with this one as the reference.
    """

    error_rate: float | None
    bound: float | None
    of_reference: float | None
    of_input: float | None
    mean_matched_iou: float | None
    n_reference: int
    n_input: int
    matched: int


class ObjectAgreement(Agreement):
    """One object: means over runs, and sums of counts."""

    runs: int = Field(description="with objects of either annotator")
    absent_runs: int = Field(description="with objects of neither: left out")
    ci95: dict[str, Interval] = Field({}, description="95% bootstrap interval over runs, by number")


class AgreementRun(Strict):
    """One run. error_rate: mean over the objects that either annotator has."""

    error_rate: float | None
    bound: float | None
    objects: dict[str, Agreement]


class ConsensusResult(Strict):
    """`consensus --json`. error_rate: mean over runs of the mean over objects; bound: half of it, the human consensus.

    output: of the consensus segmentation, null where none is written; outcomes: what became of each run.
    """

    kind: Literal["consensus"] = "consensus"
    error_rate: float | None
    bound: float | None
    ci95: dict[str, Interval] = {}
    objects: dict[str, ObjectAgreement]
    by_run: dict[str, AgreementRun]
    split: str | None = None
    runs: int
    run_names: list[str]
    config: str
    input: str
    reference: str
    output: str | None
    outcomes: list[RunOutcome]
    resampled: bool
    options: list[str] = []
    versions: dict[str, str] = {}
    warnings: list[str]
