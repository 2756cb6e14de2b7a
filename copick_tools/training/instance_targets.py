"""What tells instances apart, as a target: made once from the whole objects of a run, then cropped.

A crop is (2 + G, z, y, x) float32, laid out as `layouts.Shaped`: channel numbers, where the geometry is known, and the
geometry: distances to center and boundary, flows along z, y, x, or the boundary. It is known in the objects of all classes but
those that are never cut, such as networks. For networks that learn masks the ids of objects stand before the geometry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cc3d
import numpy as np
from scipy import ndimage

from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.recipe import IGNORED, Target
from copick_tools.recipes.task import TaskObject
from copick_tools.training.layouts import Layout, Shaped
from copick_tools.training.targets import Shape, spread
from copick_tools.types import Integers
from copick_tools.volumes.flow_fields import flow_fields
from copick_tools.volumes.object_maps import boundary_map, distance_maps

SPREAD = 64  # places of each object that patches are put around


@dataclass(frozen=True)
class Shapes:
    """A `targets.Source`. classes: zyx uint8 channel numbers. known: zyx bool. geometry: (G, z, y, x) float16. ids: zyx, of
    what is known, or None where nobody asks.
    """

    classes: np.ndarray
    known: np.ndarray
    geometry: np.ndarray
    places: Mapping[int, np.ndarray]
    layout: Layout
    ids: np.ndarray | None = None

    def crop(self, corner: Shape, size: Shape) -> np.ndarray:
        """See `Source.crop`."""
        box = tuple(slice(c, c + s) for c, s in zip(corner, size))
        head = np.stack([self.classes[box], self.known[box]]).astype(np.float32)
        if self.ids is not None:
            head = np.concatenate([head, self.ids[box][None].astype(np.float32)])
        return np.concatenate([head, self.geometry[(slice(None), *box)].astype(np.float32)])

    def anchors(self, channel: int) -> np.ndarray:
        """See `Source.anchors`; each object has as many, whatever its size."""
        return self.places[channel]

    def annotated(self) -> np.ndarray | None:
        """See `Source.annotated`."""
        return spread(self.classes != IGNORED)


@dataclass(frozen=True)
class Annotated:
    """What was annotated in a run, all zyx. labels: uint8. ids: within a label, 0 for none. region: mask, None for all."""

    labels: Integers
    ids: Integers
    region: np.ndarray | None = None


@dataclass(frozen=True)
class Seen:
    """planar: by a network of slices along z. held: in memory, else in a temporary file. ids: with the ids themselves."""

    planar: bool = False
    held: bool = True
    ids: bool = False


def shapes(
    annotated: Annotated,
    objects: Sequence[TaskObject],
    target: Target,
    uncut: Collection[int] = (),
    seen: Seen = Seen(),
) -> Shapes:
    """The target of a run. objects: in the order of the channels.

    uncut: labels of objects that have no geometry beside networks, for they are never cut. Of each of these all voxels have
    one id. Labels that aren't of the task's objects are background. Raises FormatError for labels beyond 255, UsageError where
    the label to ignore is that of an object.
    """
    classes = _classes(annotated, objects, target)
    whole = [n for n, entry in enumerate(objects, 1) if entry.shape == "network" or entry.label in uncut]
    known = (classes > 0) & (classes != IGNORED) & (annotated.ids > 0) & ~np.isin(classes, whole)
    largest = int(annotated.ids.max(initial=0)) + 1
    keys = classes[known].astype(np.int64) * largest + annotated.ids[known].astype(np.int64)
    ids = np.zeros(known.shape, np.int32)
    ids[known] = 1 + np.unique(keys, return_inverse=True)[1]
    places, masks = _places(classes, ids, objects), None
    geometry = _in_slices(target, ids) if seen.planar else _geometry(target, ids)
    if seen.ids:
        uncut_here = np.isin(classes, whole)
        ids[uncut_here] = ids.max(initial=0) + classes[uncut_here]
        masks = ids.astype(np.min_scalar_type(ids.max(initial=0)))
    layout = Shaped(target.kind == "flows", 2 + seen.ids)
    return Shapes(classes, known, geometry if seen.held else _in_a_file(geometry), places, layout, masks)


def _classes(annotated: Annotated, objects: Sequence[TaskObject], target: Target) -> np.ndarray:
    channel_of = np.zeros(256, np.uint8)
    for channel, entry in enumerate(objects, 1):
        channel_of[entry.label] = channel
    if target.ignore_label is not None:
        if channel_of[target.ignore_label]:
            raise UsageError(f"target.ignore_label {target.ignore_label} is the label of an object")
        channel_of[target.ignore_label] = IGNORED
    if annotated.labels.max(initial=0) > IGNORED:
        raise FormatError(f"label {annotated.labels.max()} in a target segmentation: labels are at most {IGNORED}")
    classes: np.ndarray = channel_of[annotated.labels]
    if annotated.region is not None:
        classes[~annotated.region] = IGNORED
    return classes


def _geometry(target: Target, ids: Integers) -> np.ndarray:
    """(G, z, y, x) float16."""
    made = {
        "distances": distance_maps,
        "flows": partial(flow_fields, across=target.across),
        "boundary": lambda ids: boundary_map(ids)[None],
        "instances": lambda ids: np.empty((0, *ids.shape)),
    }[target.kind]
    return np.asarray(made(ids), dtype=np.float16)


def _in_slices(target: Target, ids: Integers) -> np.ndarray:
    """As `_geometry`, of what each slice shows of an object; flows are those along y and x."""
    found = []
    for plane in ids:
        pieces = cc3d.connected_components(plane.astype(np.uint32), connectivity=8)  # an object may be cut twice
        made = _geometry(target, pieces[None])
        found.append(made[1:] if target.kind == "flows" else made)
    return np.concatenate(found, axis=1)


def _in_a_file(values: np.ndarray) -> np.ndarray:
    """The same, mapped from a temporary file that goes with it."""
    if not values.size:
        return values
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=values.dtype, mode="w+", shape=values.shape)
        mapped[:] = values
    return mapped


def _places(classes: np.ndarray, ids: Integers, objects: Sequence[TaskObject]) -> dict[int, np.ndarray]:
    """By channel, places of its objects; of networks, and of voxels without an id, places all over."""
    found: dict[int, list[np.ndarray]] = {channel: [] for channel in range(1, len(objects) + 1)}
    for index, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is not None:
            voxels = np.argwhere(ids[box] == index)
            some = voxels[np.linspace(0, len(voxels) - 1, SPREAD).astype(int)] + [part.start for part in box]
            found[int(classes[tuple(some[0])])].append(some)
    for channel, places in found.items():
        if not places:
            voxels = np.argwhere(classes == channel)
            places.append(voxels[:: max(1, -(-len(voxels) // (SPREAD * SPREAD)))])
    return {channel: np.concatenate(places) for channel, places in found.items()}
