"""From overlaps by run and object to the numbers of a `SemanticResult`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.data.uris import SegmentationUri
from copick_tools.metrics import semantic
from copick_tools.recipes import results
from copick_tools.recipes.results import interval, number
from copick_tools.types import Floats, Integers
from copick_tools.workflows.overlap import NUMBERS
from copick_tools.workflows.scoring import difference


@dataclass(frozen=True)
class Table:
    """counts: (R, K, 3) voxels of both, reference, prediction. values: (R, K, 4) of NUMBERS, NaN where undefined."""

    names: tuple[str, ...]
    counts: Integers
    values: Floats


def object_scores(table: Table) -> dict[str, results.SegmentationScore]:
    """Means, deviations and intervals over runs by object."""
    numbers: list[dict[str, float | None]] = [{} for _ in table.names]
    intervals: list[dict[str, results.Interval]] = [{} for _ in table.names]
    for column, kind in enumerate(NUMBERS):
        values = table.values[..., column]
        means, deviations = semantic.object_means(values), semantic.object_deviations(values)
        bounds = semantic.mean_intervals(values)
        for index in range(len(table.names)):
            numbers[index] |= {kind: number(means[index]), f"{kind}_sd": number(deviations[index])}
            found = None if bounds is None else interval(bounds[:, index])
            if found:
                intervals[index][kind] = found
    defined = (~np.isnan(table.values[..., 0])).sum(axis=0).tolist()
    return {
        name: results.SegmentationScore(**numbers[index], runs=defined[index], ci95=intervals[index])
        for index, name in enumerate(table.names)
    }


def run_score(table: Table, run: int) -> results.SegmentationRun:
    """The numbers of the run at this row."""
    objects = {}
    for index, name in enumerate(table.names):
        both, reference, prediction = table.counts[run, index].tolist()
        values = {kind: number(value) for kind, value in zip(NUMBERS, table.values[run, index])}
        objects[name] = results.RunOverlap(**values, both=both, reference=reference, prediction=prediction)
    return results.SegmentationRun(
        score=number(semantic.mean_score(table.values[run : run + 1, :, 0])), objects=objects
    )


def comparison(baseline: SegmentationUri, names: Sequence[str], ours: Floats, theirs: Floats) -> results.Comparison:
    """A number of the prediction minus that of the baseline. ours, theirs: (R, K) of the same runs and objects."""
    score = semantic.mean_score(theirs)
    differences = semantic.object_means(ours) - semantic.object_means(theirs)
    paired, whole = semantic.paired_means(ours, theirs), semantic.paired_score(ours, theirs)
    return results.Comparison(
        input=[str(baseline)],
        score=number(score),
        difference=difference(semantic.mean_score(ours) - score, whole),
        objects={name: difference(differences[index], paired, (index,)) for index, name in enumerate(names)},
    )
