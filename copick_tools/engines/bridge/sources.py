"""What a case is made of, in a few bytes: a case that was made of something else is stale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from copick_tools.data import read, uris
from copick_tools.training.data import TrainingData


def made_of(data: TrainingData, run: str) -> str:
    """A digest that changes with the tomogram of a run, and with the picks or segmentations that its target comes from.

    Picks count by their positions. Volumes on this machine count by names, sizes and times of their files, others by
    their middle slice; no whole volume is read.
    """
    found = hashlib.sha256()
    for volume in _volumes(data, run):
        found.update(json.dumps([volume.name, volume.shape, volume.voxel_spacing]).encode())
        found.update(volume.fingerprint())
    if data.recipe.target.kind != "segmentation":
        reference = uris.picks_uri(data.recipe.reference or data.task.reference)
        for name, points in read.read_picks(data.project, run, [reference]).items():
            found.update(json.dumps([name, points.positions.tolist()]).encode())
    return found.hexdigest()


def _volumes(data: TrainingData, run: str) -> Iterator[read.StoredVolume]:
    target = data.recipe.target
    yield data.tomogram(run)
    if target.region is not None:
        yield read.read_segmentation(data.project, run, uris.segmentation_uri(target.region))
    if target.kind == "segmentation":
        uri = target.uri or data.recipe.reference or data.task.reference
        yield read.read_segmentation(data.project, run, uris.segmentation_uri(uri))
