"""From overlaps by run and object to the numbers of an `InstancesResult`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.metrics import bootstrap, instances, partition, semantic
from copick_tools.metrics.dice import dice, iou
from copick_tools.recipes import instance_results as results
from copick_tools.recipes.results import Interval, interval, number
from copick_tools.types import Floats, Integers
from copick_tools.workflows.instance_overlap import InstanceOverlap

NUMBERS = (*instances.NUMBERS, "dice", "iou", *partition.NUMBERS, "centerline_dice")
ACCURACY, ERROR = NUMBERS.index("mean_segmentation_accuracy"), NUMBERS.index("error_rate")


@dataclass(frozen=True)
class InstanceTable:
    """counts: (R, K, 13) of `InstanceMatch.counts`. voxels, loose: (R, K, 3) both sides, reference, prediction.

    values: (R, K, 12) of NUMBERS, NaN where undefined.
    """

    names: tuple[str, ...]
    counts: Floats
    voxels: Integers
    loose: Integers
    values: Floats

    @classmethod
    def of(cls, overlaps: Sequence[InstanceOverlap], names: Sequence[str]) -> InstanceTable:
        """The objects of these names, run by run."""
        found = [[overlap.objects[name] for name in names] for overlap in overlaps]
        counts = np.array([[entry.match.counts() for entry in row] for row in found])
        voxels, loose = (np.array([[getattr(e, key) for e in row] for row in found]) for key in ("voxels", "loose"))
        rest = np.array([[[*entry.partition, entry.centerline] for entry in row] for row in found])
        areas = np.stack([dice(voxels), iou(voxels)], axis=-1)
        values = np.concatenate([instances.instance_numbers(counts), areas, rest], axis=-1)
        return cls(tuple(names), counts, voxels, loose, values)

    @property
    def sizes(self) -> Integers:
        """(R, K, 2) objects of the reference and of the prediction."""
        return self.counts[..., -3:-1].astype(int)


def object_scores(table: InstanceTable) -> dict[str, results.InstanceScore]:
    """Means and intervals over runs by object, and the numbers of all runs' objects together."""
    means = np.stack([semantic.object_means(table.values[..., column]) for column in range(len(NUMBERS))], axis=-1)
    bounds = [semantic.mean_intervals(table.values[..., column]) for column in range(len(NUMBERS))]
    curves = instances.accuracies(table.counts)
    pooled = instances.instance_numbers(table.counts.sum(axis=0))
    pooled_bounds = bootstrap.interval(table.counts, instances.instance_numbers)
    with_any, referenced = table.sizes.any(axis=-1), table.sizes[..., 0] > 0
    scores = {}
    for index, name in enumerate(table.names):
        found = {key: None if b is None else interval(b[:, index]) for key, b in zip(NUMBERS, bounds)}
        few = with_any[:, index].sum() < bootstrap.FEWEST
        around = None if pooled_bounds is None or few else pooled_bounds[:, index]
        scores[name] = results.InstanceScore(
            **_numbers(NUMBERS, means[index]),
            **_counts(table.counts[:, index].sum(axis=0)),
            accuracy=[number(value) for value in semantic.object_means(curves[:, index])],
            pooled=results.PooledNumbers(
                **_numbers(instances.NUMBERS, pooled[index]), ci95=_intervals(instances.NUMBERS, around)
            ),
            runs=int(with_any[:, index].sum()),
            absent_runs=int((~with_any[:, index]).sum()),
            unreferenced_runs=int((with_any & ~referenced)[:, index].sum()),
            ci95={key: value for key, value in found.items() if value},
        )
    return scores


def run_score(table: InstanceTable, run: int) -> results.InstancesRun:
    """The numbers of the run at this row."""
    objects = {}
    for index, name in enumerate(table.names):
        both, reference, prediction = table.voxels[run, index].tolist()
        objects[name] = results.RunInstances(
            **_numbers(NUMBERS, table.values[run, index]),
            **_counts(table.counts[run, index]),
            both=both,
            reference=reference,
            prediction=prediction,
        )
    score, error = (semantic.mean_score(table.values[run : run + 1, :, column]) for column in (ACCURACY, ERROR))
    return results.InstancesRun(score=number(score), error_rate=number(error), objects=objects)


def error_rate(table: InstanceTable) -> tuple[float | None, Interval | None]:
    """Mean over runs of the mean over the objects that the run's reference has, and its interval."""
    return run_mean(table.values[..., ERROR])


def run_mean(values: Floats) -> tuple[float | None, Interval | None]:
    """values: (R, K), NaN where undefined. Returns the mean over runs of the mean over objects, and its interval."""
    by_run = np.array([semantic.mean_score(row[None]) for row in values], dtype=float)[:, None]
    bounds = semantic.mean_intervals(by_run)
    return number(semantic.mean_score(by_run)), None if bounds is None else interval(bounds[:, 0])


def _numbers(keys: Sequence[str], values: Floats) -> dict[str, float | None]:
    return {key: number(value) for key, value in zip(keys, values)}


def _intervals(keys: Sequence[str], bounds: Floats | None) -> dict[str, Interval]:
    """bounds: (2, numbers)."""
    found = {} if bounds is None else {key: interval(bounds[:, k]) for k, key in enumerate(keys)}
    return {key: value for key, value in found.items() if value}


def _counts(counts: Floats) -> Mapping[str, int | list[int]]:
    """Fields of an `InstanceCounts`. counts: (13,)."""
    *true, reference, prediction, _ = counts.tolist()
    return {
        "n_reference": int(reference),
        "n_prediction": int(prediction),
        "tp": [int(found) for found in true],
        "fp": [int(prediction - found) for found in true],
        "fn": [int(reference - found) for found in true],
    }
