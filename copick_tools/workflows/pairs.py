"""Pairs of reference and predicted segmentations, on grids that agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.read import StoredVolume
from copick_tools.data.uris import SegmentationUri, same_spacing
from copick_tools.errors import NotFoundError, PopsicleError, UsageError
from copick_tools.volumes.blocks import OnGrid
from copick_tools.workflows.overlap import Side, Wanted

SLACK = 2  # voxels of the coarser grid by which extents may differ: binning rounds
NAMED = 5  # runs that a message names


@dataclass(frozen=True)
class Pairs:
    """References and predictions by run; a prediction that is missing and counts as empty is None.

    reference_binary, prediction_binary: the name of a binary segmentation, None where it is multilabel.
    """

    references: dict[str, StoredVolume]
    predictions: dict[str, StoredVolume | None]
    reference_binary: str | None
    prediction_binary: str | None

    @property
    def empty(self) -> list[str]:
        """Runs without a prediction."""
        return [run for run, volume in self.predictions.items() if volume is None]

    @property
    def resampled(self) -> bool:
        """Whether any prediction is brought onto its reference's grid."""
        return any(not same_grid(self.references[run], volume) for run, volume in self.predictions.items() if volume)

    def sides(self, run: str, wanted: Wanted) -> tuple[Side, Side]:
        """Reference and prediction of a run, both on the reference's grid."""
        reference, prediction = self.references[run], self.predictions[run]
        label = next(iter(wanted.objects.values()))
        one = Side(reference, None if self.reference_binary is None else label, wanted.ignored)
        if prediction is None:
            return one, Side(np.broadcast_to(np.uint8(0), reference.shape))
        if not same_grid(reference, prediction):
            factor = prediction.voxel_spacing / reference.voxel_spacing
            return one, Side(OnGrid(prediction, factor, reference.shape), self._binary(label))
        return one, Side(prediction, self._binary(label))

    def _binary(self, label: int) -> int | None:
        return None if self.prediction_binary is None else label


def find_pairs(
    project: Project,
    runs: Sequence[str],
    reference: SegmentationUri,
    prediction: SegmentationUri,
    empty: bool,
    resample: bool,
) -> Pairs:
    """What to compare in each run. empty: a run may lack the prediction. resample: grids may differ.

    Raises NotFoundError (no reference, no prediction at all), PopsicleError (a run without prediction, grids that
    differ), UsageError (kinds that don't go together).
    """
    there, predictions = stored_pairs(project, runs, reference, prediction, Missing(empty))
    found = [volume for volume in predictions.values() if volume is not None]
    for volume in (*there.values(), *found):
        if volume.entry.segmentation_type not in ("binary", "multilabel"):
            raise UsageError(f"{volume.name} holds instances, not classes", "name a binary or multilabel segmentation")
    for run, prediction_of in predictions.items():
        check_grids(there[run], prediction_of, resample)
    return Pairs(there, predictions, _binary_name(there.values()), _binary_name(found))


@dataclass(frozen=True)
class Missing:
    """What to make of runs that lack the prediction. empty: nothing was found there. what: the prediction's name.

    all_of_them: that may be all runs, for the URI is no typing error: it names other objects.
    """

    empty: bool = False
    all_of_them: bool = False
    what: str = "prediction"
    hint: str = "choose runs with --split or -r; --missing empty scores them as empty"


def stored_pairs(
    project: Project, runs: Sequence[str], reference: SegmentationUri, prediction: SegmentationUri, missing: Missing
) -> tuple[dict[str, StoredVolume], dict[str, StoredVolume | None]]:
    """Reference and prediction of each run, of any kind and on any grid.

    Raises NotFoundError (no reference, no prediction at all), PopsicleError (a run without prediction, several of either).
    """
    references = {run: _find(project, run, reference) for run in runs}
    there = {run: volume for run, volume in references.items() if volume is not None}
    lacking = [run for run in references if run not in there]
    if not there:
        read.read_segmentation(project, runs[0], reference)  # its error names what is there instead
    if lacking:
        raise NotFoundError(
            f"{len(lacking)} of {len(runs)} runs have no reference {reference}: {few(lacking)}",
            "a missing annotation isn't an empty one: choose runs with --split or -r",
        )
    predictions = {run: _find(project, run, prediction) for run in runs}
    lacking = [run for run, volume in predictions.items() if volume is None]
    if len(lacking) == len(predictions) and not (missing.empty and missing.all_of_them):
        read.read_segmentation(project, runs[0], prediction)
    if lacking and not missing.empty:
        words = f"{len(lacking)} of {len(runs)} runs have no {missing.what} {prediction}: {few(lacking)}"
        raise PopsicleError(words, missing.hint)
    return there, predictions


def few(runs: Sequence[str]) -> str:
    """The first runs, for a message."""
    return ", ".join(runs[:NAMED]) + (" …" if len(runs) > NAMED else "")


def _find(project: Project, run: str, uri: SegmentationUri) -> StoredVolume | None:
    """The segmentation of a run, None where there is none. Raises PopsicleError for several."""
    found = read.find_segmentations(project, run, uri)
    return read.read_segmentation(project, run, uri) if len(found) > 1 else found[0] if found else None


def _binary_name(volumes: Iterable[StoredVolume]) -> str | None:
    """The name that all share if they are binary, None if they are multilabel."""
    kinds = {(volume.entry.name if volume.entry.segmentation_type == "binary" else None): volume for volume in volumes}
    if len(kinds) > 1:
        raise UsageError(
            "runs differ in what they hold: " + ", ".join(f"{v.name} in {v.run}" for v in kinds.values()),
            "name one segmentation, with ?multilabel=true or false",
        )
    return next(iter(kinds))


def check_grids(reference: StoredVolume, prediction: StoredVolume | None, resample: bool) -> None:
    """Raise PopsicleError unless both have the same voxels or, where they may be resampled, the same extent."""
    if prediction is None or same_grid(reference, prediction):
        return
    sides = [f"{v.name} has shape {v.shape} at {v.voxel_spacing:g} A per voxel" for v in (reference, prediction)]
    message = f"run {reference.run}: {sides[0]}, but {sides[1]}"
    if not resample:
        raise PopsicleError(message, "--resample brings the prediction onto the reference's grid")
    coarser = max(reference.voxel_spacing, prediction.voxel_spacing)
    for one, other in zip(reference.shape, prediction.shape):
        if abs(one * reference.voxel_spacing - other * prediction.voxel_spacing) > SLACK * coarser:
            raise PopsicleError(message, "their extents differ by more than rounding: resampling doesn't help")


def same_grid(reference: StoredVolume, prediction: StoredVolume) -> bool:
    """Whether both have the same voxels."""
    return reference.shape == prediction.shape and same_spacing(reference.voxel_spacing, prediction.voxel_spacing)
