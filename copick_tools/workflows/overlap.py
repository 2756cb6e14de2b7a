"""Compare two segmentations of one run, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from copick_tools.errors import FormatError
from copick_tools.metrics.centerline import centerline_dice
from copick_tools.metrics.dice import dice, iou, overlap_counts
from copick_tools.metrics.surface import halo, surface_counts, surface_dice
from copick_tools.recipes.recipe import IGNORED
from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Block, Box, blocks, bounding_box
from copick_tools.volumes.normalize import Volume

LARGEST = 2.0**63  # no whole number of ours is as large
NUMBERS = ("dice", "iou", "surface_dice", "centerline_dice")


@dataclass(frozen=True)
class Wanted:
    """What to measure. objects: label by name. others: labels of objects that aren't scored.

    surface, centerline: names of the objects that get that number too. tolerance: angstrom, of the surfaces.
    """

    objects: dict[str, int]
    others: frozenset[int] = frozenset()
    surface: frozenset[str] = frozenset()
    centerline: frozenset[str] = frozenset()
    tolerance: float = 0.0

    @property
    def ignored(self) -> int | None:
        """The reference's label for voxels that nobody annotated; None where an object has it."""
        return None if IGNORED in self.others or IGNORED in self.objects.values() else IGNORED


@dataclass(frozen=True)
class Side:
    """A segmentation on the grid of the reference. binary: the label that its nonzero voxels stand for, else None.

    ignored: the value of voxels that nobody annotated, kept as it is; None where there is none.
    """

    volume: Volume
    binary: int | None = None
    ignored: int | None = None

    def labels(self, box: Box) -> Integers:
        """Labels of zyx slices. Raises FormatError for voxels that aren't whole numbers."""
        stored = whole_numbers(self.volume, box)
        if self.binary is None:
            return stored
        label = np.min_scalar_type(max(self.binary, IGNORED)).type(self.binary)
        kept = stored == 0 if self.ignored is None else (stored == 0) | (stored == self.ignored)
        return np.where(kept, stored, label)


def whole_numbers(volume: Volume, box: Box) -> Integers:
    """The voxels of zyx slices as integers. Raises FormatError for voxels that aren't whole numbers."""
    stored = np.asarray(volume[box])
    if stored.dtype.kind in "iub":
        return stored
    whole = (np.abs(stored) < LARGEST) & (stored == np.round(stored))
    if not whole.all():
        of = getattr(volume, "labels", volume)  # what is seen on another grid
        raise FormatError(
            f"run {of.run}: {of.name} holds {stored[~whole][0]:g}, which is no label",
            "labels and ids are whole numbers; probabilities are neither",
        )
    return stored.astype(np.int64)


@dataclass
class Overlap:
    """One run. counts: (K, 3) voxels of both, reference, prediction. surfaces: (K, 4) of `surface_counts`.

    voxels: all of them. unannotated: those left out. unknown: labels of either side that no object has.
    """

    counts: Integers
    surfaces: Integers
    voxels: int
    unannotated: int = 0
    unknown: dict[str, set[int]] = field(default_factory=lambda: {"reference": set(), "prediction": set()})
    centerlines: dict[str, float] = field(default_factory=dict)

    def values(self, wanted: Wanted, absent: float) -> Floats:
        """(K, 4) of NUMBERS, NaN where undefined. absent: the value where an object is on neither side."""
        values = np.full((len(wanted.objects), len(NUMBERS)), np.nan)
        values[:, 0], values[:, 1] = dice(self.counts), iou(self.counts)
        for index, name in enumerate(wanted.objects):
            gone = not self.counts[index, 1:].any()
            if gone:
                values[index, :2] = absent
            if name in wanted.surface:
                values[index, 2] = absent if gone else surface_dice(self.surfaces[index])
            if name in wanted.centerline:
                values[index, 3] = absent if gone else self.centerlines[name]
        return values


def compare(reference: Side, prediction: Side, voxel_spacing: float, wanted: Wanted) -> Overlap:
    """Measure the overlap of two segmentations of the same shape. voxel_spacing: angstrom.

    Voxels and surfaces are summed over blocks; a centerline needs the whole box around both sides of its object.
    """
    shape, count = reference.volume.shape, len(wanted.objects)
    overlap = Overlap(np.zeros((count, 3), int), np.zeros((count, 4), int), int(np.prod(shape)))
    boxes: dict[str, list[Box]] = {name: [] for name in wanted.objects if name in wanted.centerline}
    for block in blocks(shape, halo(voxel_spacing, wanted.tolerance) if wanted.surface else 0):
        truth, guess = reference.labels(block.outer), prediction.labels(block.outer)
        annotated = _annotated(truth, wanted)
        present = _count(overlap, block, (truth, guess, annotated), wanted)
        for index, (name, label) in enumerate(wanted.objects.items()):
            if present[index] and name in wanted.surface:
                overlap.surfaces[index] += surface_counts(
                    truth == label, guess == label, voxel_spacing, wanted.tolerance, block.local, annotated
                )
            if present[index] and name in boxes:
                either = (truth[block.local] == label) | (guess[block.local] == label)
                boxes[name].append(shifted(bounding_box(either), block.inner))
    for name, parts in boxes.items():
        overlap.centerlines[name] = _centerline_dice(reference, prediction, hull(parts), name, wanted)
    return overlap


def _annotated(truth: Integers, wanted: Wanted) -> Mask | None:
    """The annotated voxels, None where all are."""
    if wanted.ignored is None:
        return None
    annotated = truth != wanted.ignored
    return None if annotated.all() else annotated


def _count(
    overlap: Overlap, block: Block, labels: tuple[Integers, Integers, Mask | None], wanted: Wanted
) -> list[bool]:
    """Add the voxels of a block. Returns which objects occur in it."""
    truth, guess = labels[0][block.local], labels[1][block.local]
    annotated = None if labels[2] is None else labels[2][block.local]
    known = np.array([*wanted.objects.values(), 0, *sorted(wanted.others)])
    counts = overlap_counts(truth, guess, known, annotated)
    overlap.counts += counts[: len(wanted.objects)]
    voxels = truth.size if annotated is None else int(annotated.sum())
    overlap.unannotated += truth.size - voxels
    for column, (side, part) in enumerate((("reference", truth), ("prediction", guess)), start=1):
        if counts[:, column].sum() < voxels:
            values = np.unique(part if annotated is None else part[annotated])
            overlap.unknown[side].update(np.setdiff1d(values, known).tolist())
    return [bool(row[1:].any()) for row in counts[: len(wanted.objects)]]


def _centerline_dice(reference: Side, prediction: Side, box: Box | None, name: str, wanted: Wanted) -> float:
    if box is None:
        return float("nan")
    truth, guess = reference.labels(box), prediction.labels(box)
    annotated, label = _annotated(truth, wanted), wanted.objects[name]
    both = [truth == label, guess == label]
    return centerline_dice(*(side if annotated is None else side & annotated for side in both))


def shifted(box: Box | None, by: Box) -> Box:
    """A box within a block, in the volume."""
    z, y, x = (slice(p.start + q.start, p.stop + q.start) for p, q in zip(box or (slice(0, 0),) * 3, by))
    return z, y, x


def hull(parts: list[Box]) -> Box | None:
    """The smallest box around all."""
    if not parts:
        return None
    z, y, x = (slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*parts))
    return z, y, x
