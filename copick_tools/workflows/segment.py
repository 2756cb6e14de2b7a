"""`popsicle segment`: tomograms to label volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from copick_tools.data import read
from copick_tools.data.project import Project, check_objects
from copick_tools.data.uris import SegmentationUri, TomogramUri, same_spacing
from copick_tools.data.write import has_segmentation, write_segmentation
from copick_tools.errors import UsageError
from copick_tools.types import RunResult
from copick_tools.workflows.predict import Model
from copick_tools.workflows.runs import each_run


def segment(
    model: Model,
    project: Project,
    runs: Sequence[str],
    tomogram: TomogramUri,
    output: SegmentationUri,
    *,
    overwrite: bool = False,
) -> Iterator[RunResult]:
    """Write one segmentation per run, on the grid of its tomogram. A result's value counts the voxels per object.

    Raises UsageError for an output that can't hold the labels.
    """
    check_objects(project, model.card.task)
    names = [entry.name for entry in model.card.task.targets]
    if output.kind == "binary" and names != [output.name]:
        raise UsageError(f"'{output}' is binary, but the model knows {len(names)} objects", "add ?multilabel=true")
    if output.kind in ("instance", "panoptic"):
        raise UsageError(f"the model predicts classes, not instances: '{output}'", "use ?multilabel=true")

    def finished(run: str) -> bool:
        return not overwrite and has_segmentation(project, run, output)

    return each_run(runs, partial(_segment_run, model, project, tomogram, output), finished)


def _segment_run(
    model: Model, project: Project, tomogram: TomogramUri, output: SegmentationUri, run: str
) -> dict[str, int]:
    stored = read.read_tomogram(project, run, tomogram)
    if not same_spacing(output.voxel_spacing, stored.voxel_spacing):
        raise UsageError(
            f"the tomogram of run {run} has {stored.voxel_spacing:g} A per voxel, the output {output.voxel_spacing:g}"
        )
    labels = model.predict(stored, stored.voxel_spacing, f"run {run}").on_grid(stored.voxel_spacing, stored.shape)
    counts = {name: int((labels == label).sum()) for name, label in model.predictor.objects.items()}
    binary = output.kind == "binary"
    write_segmentation(
        project, run, replace(output, voxel_spacing=stored.key_spacing), labels > 0 if binary else labels
    )
    return counts
