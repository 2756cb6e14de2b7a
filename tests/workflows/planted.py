"""A predictor that reads the answer off the tomogram, and is more or less sure of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage
from training.cells import NAMES, SPACING, annotated, cells

from copick_tools.data.project import Project
from copick_tools.data.uris import TomogramUri
from copick_tools.data.write import write_tomogram
from copick_tools.inference.geometry import CHANNELS, Geometry
from copick_tools.inference.promptable import Answer
from copick_tools.volumes.decoding import FULL, UNIT, Instances, Maps, decode
from copick_tools.volumes.flow_fields import flow_fields
from copick_tools.volumes.object_maps import boundary_map, distance_maps

TOMOGRAM = "planted@10.0"
OTHER = 0.5  # background of a run of which the predictor is surer, of what is wrong, too
LABEL = 1000  # a voxel of an object is this times its label, plus its id
GOOD, JUNK = 0.7, 0.55  # IoU that the promptable model expects


def planted(folder, qualities: dict[str, float]) -> Project:
    """A project with a run of each name, the first for training, the others for validation."""
    truth = {run: annotated(seed) for seed, run in enumerate(qualities)}
    project = cells(folder, **truth)
    for run, quality in qualities.items():
        labels, ids = truth[run].astype(int)
        volume = np.where(labels > 0, labels * LABEL + ids, quality).astype(np.float32)
        write_tomogram(project, run, TomogramUri("planted", SPACING), volume, levels=1)
    return project


def maps_of(volume: np.ndarray, kind: Any) -> Maps:
    """0.6 in objects and 0.35 in a rim around them that is wrong; in other runs 0.9 and 0.65."""
    found = volume.astype(int)
    inside, labels = found > 0, found // LABEL
    rim = ndimage.binary_dilation(inside, iterations=2) & ~inside
    more = 0.3 if volume.flat[0] == OTHER else 0.0
    foreground = np.where(inside, 0.6 + more, np.where(rim, 0.35 + more, 0.0))
    wide = np.where(inside, labels, ndimage.grey_dilation(labels, (5, 5, 5)) * rim)
    told_apart = np.where(labels == NAMES["er"], 0, found)
    ids = np.unique(told_apart, return_inverse=True)[1].reshape(found.shape).astype(np.int32)
    if kind == "flows":
        geometry = np.round(flow_fields(ids) * UNIT).astype(np.int8)
    else:
        made = distance_maps(ids) if kind == "distances" else boundary_map(ids)[None]
        geometry = np.round(np.asarray(made, float) * FULL).astype(np.uint8)
    return Maps(kind, np.round(foreground * FULL).astype(np.uint8), wide.astype(np.uint8), geometry)


@dataclass
class Planted:
    """Has maps."""

    kind: str = "distances"
    objects: dict[str, int] = field(default_factory=lambda: dict(NAMES))
    voxel_spacing: float = SPACING
    normalize: float = 0.0
    seen: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def geometry(self) -> Geometry | None:
        return Geometry(self.kind, CHANNELS[self.kind])

    def maps(self, volume, sample=None):
        self.seen.append(volume.shape)
        found = maps_of(np.asarray(volume[:, :, :]), self.kind)
        yield 0, found.foreground, found.labels, found.geometry


@dataclass
class PlantedMasks(Planted):
    """Says the instances themselves."""

    @property
    def geometry(self) -> None:
        return None

    def instances(self, volume, how, sample=None) -> Instances:
        return decode(maps_of(np.asarray(volume[:, :, :]), "distances"), how)


@dataclass
class PlantedPrompts(Planted):
    """Answers prompts, too."""

    @property
    def promptable(self) -> Answers:
        return Answers()


class Answers:
    """Answers with the object under a point, and with a large square where there is none; it is modest."""

    identity, side = "answers", 0

    def encode(self, image, place=None):
        return {"image": image}

    def predict(self, embedding, points=None, labels=None, boxes=None, masks=None, *, several=False) -> Answer:
        values = np.unique(np.round(embedding["image"], 5), return_inverse=True)[1].reshape(embedding["image"].shape)
        background = np.bincount(values.reshape(-1)).argmax()
        found, iou = np.full((len(points), *values.shape), -9.0, np.float32), np.full(len(points), GOOD)
        for number, (y, x) in enumerate(np.round(points[:, 0]).astype(int)):
            if values[y, x] != background:
                found[number][values == values[y, x]] = 9.0
            else:
                iou[number], found[number, max(0, y - 6) : y + 6, max(0, x - 6) : x + 6] = JUNK, 9.0
        return Answer(found[:, None], iou[:, None])
