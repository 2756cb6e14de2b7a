"""Compare the objects of two instance or panoptic segmentations of one run, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from copick_tools.errors import FormatError
from copick_tools.metrics import partition
from copick_tools.metrics.centerline import centerline_dice
from copick_tools.metrics.contingency import (
    Contingency,
    added,
    contingency,
    labels_of,
    of_object,
    panoptic_contingency,
)
from copick_tools.metrics.instances import InstanceMatch, match_instances
from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Box, blocks, bounding_box
from copick_tools.workflows.instance_pairs import InstancePairs
from copick_tools.workflows.overlap import hull, shifted


@dataclass(frozen=True)
class ObjectOverlap:
    """One object in one run. voxels, loose: (3,) of both sides, reference, prediction: all, and those without an id.

    partition: (3,) of `partition.NUMBERS`; partition and centerline are NaN where it is no network.
    """

    match: InstanceMatch
    voxels: Integers
    loose: Integers
    partition: Floats
    centerline: float


@dataclass
class InstanceOverlap:
    """One run. voxels: all of them; unannotated: those left out. unknown: labels of either side that no object has."""

    objects: dict[str, ObjectOverlap] = field(default_factory=dict)
    voxels: int = 0
    unannotated: int = 0
    unknown: dict[str, set[int]] = field(default_factory=lambda: {"reference": set(), "prediction": set()})


def compare_instances(pairs: InstancePairs, run: str, networks: frozenset[str] = frozenset()) -> InstanceOverlap:
    """Measure a run. networks: names of the objects that are measured as such, too.

    Only pairs of ids are held; the centerline of a network needs the whole box around it. Raises FormatError.
    """
    overlap, known = InstanceOverlap(), {*pairs.objects.labels.values(), *pairs.objects.others}
    for part in pairs.objects.parts:
        table = tabulate(pairs, part, run)
        overlap.voxels += table.voxels
        overlap.unannotated += table.voxels - int(table.pairs.voxels.sum())
        for name, side in zip(("reference", "prediction"), table.labels):
            overlap.unknown[name] |= side - known
        for name in pairs.objects.labels if part is None else [part]:
            line = _centerline_dice(pairs, part, run, name) if name in networks else np.nan
            overlap.objects[name] = _object(*table.of(name), name in networks, line)
    return overlap


def object_matches(pairs: InstancePairs, run: str) -> tuple[dict[str, InstanceMatch], float]:
    """The matched objects of a run, by name, and the share of voxels that aren't annotated. Raises FormatError."""
    found, unannotated = {}, 0.0
    for part in pairs.objects.parts:
        table = tabulate(pairs, part, run)
        unannotated = max(unannotated, 1 - int(table.pairs.voxels.sum()) / table.voxels)
        for name in pairs.objects.labels if part is None else [part]:
            found[name] = match_instances(table.of(name)[0])
    return found, unannotated


@dataclass(frozen=True)
class RunTable:
    """pairs: of ids, or of object keys where a side has labels (keyed). voxels: that were read. objects: label by name."""

    pairs: Contingency
    keyed: bool
    voxels: int
    objects: dict[str, int]

    @property
    def labels(self) -> tuple[set[int], set[int]]:
        """Those that occur on either side, 0 if there are ids without a label; none where there are no labels."""
        if not self.keyed:
            return set(), set()
        one, other = (set(labels.tolist()) for labels in labels_of(self.pairs))
        return one, other

    def of(self, name: str) -> tuple[Contingency, Integers]:
        """Ids of an object, and its voxels on both sides, in the reference, in the prediction."""
        return of_object(self.pairs, self.objects[name]) if self.keyed else (self.pairs, self.pairs.overlap())


def tabulate(pairs: InstancePairs, part: str | None, run: str) -> RunTable:
    """Read both sides of a run once. Raises FormatError."""
    sides, objects = pairs.sides(part, run), pairs.objects
    keyed = any(side.labels is not None for side in sides)
    label = objects.labels[part] if part is not None else 0
    shape = pairs.references[part][run].shape

    def block(box: Box) -> Contingency:
        if not keyed:
            return contingency(*(side.read(box) for side in sides))
        one, other = (side.read_labeled(box, label) for side in sides)
        return panoptic_contingency(one, other, objects.annotated(one[0], other[0]))

    try:
        whole = added(block(piece.inner) for piece in blocks(shape))
    except ValueError as error:
        raise FormatError(f"run {run}: {error}", "ids are whole numbers from 0 up") from error
    return RunTable(whole, keyed, int(np.prod(shape)), objects.labels)


def _object(table: Contingency, voxels: Integers, network: bool, line: float) -> ObjectOverlap:
    numbers = partition.partition_numbers(table) if network else np.full(len(partition.NUMBERS), np.nan)
    return ObjectOverlap(match_instances(table), voxels, voxels - table.overlap(), numbers, line)


def _centerline_dice(pairs: InstancePairs, part: str | None, run: str, name: str) -> float:
    sides, label, ignored = pairs.sides(part, run), pairs.objects.labels[name], pairs.objects.ignored

    def masks(box: Box) -> list[Mask]:
        found = [side.mask(box, label) for side in sides]
        if ignored is not None and sides[0].labels is not None:
            found = [mask & (sides[0].read_labeled(box, label)[0] != ignored) for mask in found]
        return found

    parts = []
    for piece in blocks(pairs.references[part][run].shape):
        one, other = masks(piece.inner)
        if (either := bounding_box(one | other)) is not None:
            parts.append(shifted(either, piece.inner))
    box = hull(parts)
    return float("nan") if box is None else centerline_dice(*masks(box))
