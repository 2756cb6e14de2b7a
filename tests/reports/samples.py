"""Results to make reports of, in whatever shape a test wants."""

from __future__ import annotations

from pathlib import Path

from copick_tools.recipes.instance_results import (
    InstanceScore,
    InstancesResult,
    InstancesRun,
    PooledNumbers,
    RunInstances,
)
from copick_tools.recipes.results import (
    AxisError,
    Comparison,
    Confusion,
    Curve,
    Difference,
    LocalizationError,
    ObjectScore,
    PointCounts,
    PointsResult,
    ReliabilityBin,
    RunOverlap,
    RunScore,
    SegmentationRun,
    SegmentationScore,
    SemanticResult,
)

NAMES = ("ribosome", "apo-ferritin")


def points_result(runs: int = 3, **changes) -> PointsResult:
    """The old, short document: no curves, no localization, no confusion."""
    names = [f"TS_{number + 1}" for number in range(runs)]
    score = ObjectScore(
        tp=8,
        fp=2,
        fn=4,
        precision=0.8,
        recall=2 / 3,
        fbeta=0.675,
        weight=1.0,
        distance=60.0,
        ci95={"fbeta": (0.5, 0.8)},
    )
    counts = PointCounts(tp=8, fp=2, fn=4)
    document = {
        "task": None,
        "rule": "one-to-one",
        "beta": 4.0,
        "score": 0.6754,
        "objects": dict.fromkeys(NAMES, score),
        "other_rule": None,
        "ci95": (0.51, 0.79),
        "by_run": {
            name: RunScore(score=0.5 + 0.4 * index / runs, objects=dict.fromkeys(NAMES, counts))
            for index, name in enumerate(names)
        },
        "runs": runs,
        "run_names": names,
        "config": None,
        "input": ["*:net/1"],
        "reference": ["*:truth/0"],
        "warnings": [],
    }
    return PointsResult(**{**document, **changes})


def full_result(runs: int = 3, **changes) -> PointsResult:
    """Everything that evaluate can say."""
    along = AxisError(median=2.0, p90=5.0, bias=-1.25)
    error = LocalizationError(
        pairs=8, median=4.0, p90=9.0, axes=dict.fromkeys("xyz", along), ci95={"z.bias": (-2.0, -0.5)}
    )
    curve = Curve(thresholds=[0.9, 0.5], precision=[1.0, 0.8], recall=[0.3, 2 / 3])
    bins = [ReliabilityBin(low=0.4, high=0.5, picks=4, mean_score=0.45, precision=0.5)]
    document = {
        "split": "test",
        "localization": dict.fromkeys(NAMES, error),
        "curves": dict.fromkeys(NAMES, curve),
        "reliability": dict.fromkeys(NAMES, bins),
        "confusion": Confusion(reference=list(NAMES), prediction=list(NAMES), counts=[[8, 1, 3], [0, 8, 4], [2, 1, 0]]),
        "baseline": Comparison(
            input=["*:old/1"],
            score=0.6,
            difference=Difference(difference=0.0754, ci95=(-0.01, 0.12), p=0.08),
            objects=dict.fromkeys(NAMES, Difference(difference=-0.02)),
        ),
        "versions": {"copick-tools": "9.9"},
    }
    return points_result(runs, **{**document, **changes})


def semantic_result(runs: int = 3, **changes) -> SemanticResult:
    names = [f"TS_{number + 1}" for number in range(runs)]
    score = SegmentationScore(dice=0.8, dice_sd=0.1, iou=0.7, iou_sd=0.1, runs=runs, ci95={"dice": (0.7, 0.9)})
    overlap = RunOverlap(dice=0.8, iou=0.7, both=5, reference=6, prediction=7)
    document = {
        "task": None,
        "split": "test",
        "score": 0.8,
        "ci95": None,
        "absent": "skip",
        "tolerance": None,
        "resampled": False,
        "objects": dict.fromkeys(NAMES, score),
        "by_run": {name: SegmentationRun(score=0.8, objects=dict.fromkeys(NAMES, overlap)) for name in names},
        "runs": runs,
        "run_names": names,
        "config": "gone/copick.json",
        "input": ["truth:net/1@10?multilabel=true"],
        "reference": ["truth:truth/0@10?multilabel=true"],
        "warnings": [],
    }
    return SemanticResult(**{**document, **changes})


def instances_result(runs: int = 3, **changes) -> InstancesResult:
    """The second object is a network, and in fewer runs."""
    names = [f"TS_{number + 1}" for number in range(runs)]
    thresholds = [0.5 + 0.05 * step for step in range(10)]
    numbers = {
        "mean_segmentation_accuracy": 0.6,
        "ap50": 0.75,
        "error_rate": 0.25,
        "mean_matched_iou": 0.8,
        "panoptic_quality": 0.7,
        "recognition_quality": 0.875,
    }
    counts = {"n_reference": 8, "n_prediction": 8, "tp": [7] * 10, "fp": [1] * 10, "fn": [1] * 10}
    voxels = {"dice": 0.9, "iou": 0.8}
    network = {"voi_split": 0.125, "voi_merge": 1.5, "adapted_rand_error": 0.375, "centerline_dice": 0.625}
    score = {
        **numbers,
        **counts,
        **voxels,
        "accuracy": [0.75 - 0.05 * step for step in range(10)],
        "pooled": PooledNumbers(**numbers, ci95={"ap50": (0.7, 0.8)}),
        "runs": runs,
        "absent_runs": 0,
        "unreferenced_runs": 0,
        "ci95": {"mean_segmentation_accuracy": (0.5, 0.7)},
    }
    run = RunInstances(**numbers, **counts, **voxels, both=5, reference=6, prediction=7)
    document = {
        "task": None,
        "split": "test",
        "score": 0.6,
        "ci95": (0.5, 0.7),
        "error_rate": 0.25,
        "error_rate_ci95": (0.2, 0.3),
        "thresholds": thresholds,
        "resampled": False,
        "objects": {
            NAMES[0]: InstanceScore(**score),
            NAMES[1]: InstanceScore(**{**score, **network, "absent_runs": 2}),
        },
        "by_run": {name: InstancesRun(score=0.6, error_rate=0.25, objects=dict.fromkeys(NAMES, run)) for name in names},
        "runs": runs,
        "run_names": names,
        "config": "gone/copick.json",
        "input": ["all:net/1@10?panoptic=true"],
        "reference": ["all:truth/0@10?panoptic=true"],
        "warnings": [],
    }
    return InstancesResult(**{**document, **changes})


def write(folder: Path, result: PointsResult | SemanticResult | InstancesResult) -> Path:
    """Write a result as evaluate does; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(result.model_dump_json())
    return folder
