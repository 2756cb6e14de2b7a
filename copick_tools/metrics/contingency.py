"""Which ids share how many voxels, for segmentations of any number of objects: the pairs that occur, not a matrix.

Labels come in long runs along x. Two neighbors differ at few places, so it is the runs that are sorted and counted, not
the voxels: the cost hardly depends on how many ids there are or how large they get.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copick_tools.types import Integers, Mask

PIECE = 1 << 18  # voxels looked at in one go: what fits in a processor's cache
BITS = 32  # of an id in the key of an object: its label stands above them
MANY = 1 << 20  # pairs that are kept until they are added up


@dataclass(frozen=True)
class Contingency:
    """How many voxels have which ids. Additive over parts of a volume: see `added`.

    reference, prediction: (P,) ids, 0 is background, every pair that occurs once and sorted. voxels: (P,).
    """

    reference: Integers
    prediction: Integers
    voxels: Integers

    def overlap(self) -> Integers:
        """(3,) voxels of objects of both sides, of the reference, of the prediction; see `dice.dice`."""
        inside = self.reference > 0, self.prediction > 0
        counted = (inside[0] & inside[1], *inside)
        return np.array([self.voxels[which].sum() for which in counted], dtype=np.int64)


def contingency(reference: Integers, prediction: Integers, mask: Mask | None = None) -> Contingency:
    """Count pairs of ids. reference, prediction: the same shape, ids from 0 up. mask: voxels that count, all by default.

    >>> import numpy as np
    >>> contingency(np.array([7, 7, 0]), np.array([70000, 70000, 2]))
    Contingency(reference=array([0, 7]), prediction=array([    2, 70000]), voxels=array([1, 2]))
    """
    return added(_table(*runs) for runs in _runs([reference, prediction], mask))


def panoptic_contingency(
    reference: Sequence[Integers], prediction: Sequence[Integers], mask: Mask | None = None
) -> Contingency:
    """Count pairs of objects by their `object_key`. reference, prediction: labels and ids, all four of one shape.

    A voxel with a label and id 0 has a key too, that of the label's voxels outside of its objects: see `of_object`.
    """
    found = _runs([*reference, *prediction], mask)
    return added(_table([object_key(*values[:2]), object_key(*values[2:])], lengths) for values, lengths in found)


def object_key(labels: Integers, ids: Integers) -> Integers:
    """One number for a label and an id within that label; 0 for background.

    >>> import numpy as np
    >>> object_key(np.array([0, 2]), np.array([0, 5])).tolist() == [0, (2 << 32) + 5]
    True
    """
    for side in (labels, ids):
        for odd in (int(side.min()), int(side.max())) if side.size else ():
            if odd >> (BITS - 1):
                raise ValueError(f"Expected labels and ids from 0 up and below 2**{BITS - 1}, but got {odd}")
    return (labels.astype(np.int64) << BITS) + ids.astype(np.int64)


def of_object(table: Contingency, label: int) -> tuple[Contingency, Integers]:
    """What a table of `panoptic_contingency` says of one label, as if there were no other.

    Returns the table of its ids, and (3,) voxels of the label on both sides, in the reference, in the prediction, those of
    no object (id 0) among them.
    """
    inside = table.reference >> BITS == label, table.prediction >> BITS == label
    counted = (inside[0] & inside[1], *inside)
    voxels = np.array([table.voxels[which].sum() for which in counted], dtype=np.int64)
    rows = inside[0] | inside[1]
    low = (1 << BITS) - 1
    ids = [np.where(on, side & low, 0)[rows] for on, side in zip(inside, (table.reference, table.prediction))]
    return _table(ids, table.voxels[rows]), voxels


def labels_of(table: Contingency) -> tuple[Integers, Integers]:
    """The labels that occur on either side of a table of `panoptic_contingency`; 0 only if there are ids without a label.

    >>> import numpy as np
    >>> background, object_, stray = np.zeros(2, int), np.array([0, 3]), np.array([0, 7])
    >>> labels_of(panoptic_contingency([object_, stray], [background, stray]))
    (array([3]), array([0]))
    """
    one, other = (np.unique(side[side != 0] >> BITS) for side in (table.reference, table.prediction))
    return one, other


def added(tables: Iterable[Contingency]) -> Contingency:
    """The table of all parts together.

    >>> part = contingency(np.array([1, 0]), np.array([1, 0]))
    >>> added([part, part]).voxels
    array([2, 2])
    """
    none = np.zeros(0, np.int64)
    whole, waiting, held = Contingency(none, none, none), [], 0
    for table in tables:
        waiting.append(table)
        held += len(table.voxels)
        if held > max(MANY, 2 * len(whole.voxels)):
            whole, waiting, held = _joined([whole, *waiting]), [], 0
    return _joined([whole, *waiting])


def _joined(tables: Sequence[Contingency]) -> Contingency:
    sides = [np.concatenate([getattr(t, side) for t in tables]) for side in ("reference", "prediction")]
    return _table(sides, np.concatenate([table.voxels for table in tables]))


def _runs(volumes: Sequence[NDArray[Any]], mask: Mask | None) -> Iterator[tuple[list[NDArray[Any]], Integers]]:
    """Piece by piece, the values of each volume in the runs of voxels where none changes, and the length of each run."""
    first = volumes[0]
    for volume in volumes:
        if volume.shape != first.shape:
            raise ValueError(f"Expected volumes of one shape, but got {first.shape} and {volume.shape}")
        if volume.dtype.kind not in "iub":
            raise ValueError(f"Expected ids to be integers, but got {volume.dtype}")
    if mask is not None and (mask.shape != first.shape or mask.dtype != bool):
        raise ValueError(
            f"Expected argument `mask` to be bool of shape {first.shape}, but got {mask.dtype} {mask.shape}"
        )
    flat = [np.ascontiguousarray(volume).reshape(-1) for volume in (*volumes, *([] if mask is None else [mask]))]
    for start in range(0, first.size, PIECE):
        pieces = [volume[start : start + PIECE] for volume in flat]
        changes = pieces[0][1:] != pieces[0][:-1]
        for piece in pieces[1:]:
            changes |= piece[1:] != piece[:-1]
        begins = np.concatenate([[0], np.flatnonzero(changes) + 1])
        lengths = np.diff(begins, append=len(pieces[0]))
        values = [piece[begins] for piece in pieces]
        if mask is not None:
            counted = values.pop()
            values, lengths = [value[counted] for value in values], lengths[counted]
        yield values, lengths


def _table(sides: Sequence[NDArray[Any]], voxels: Integers) -> Contingency:
    """The table of pairs that may occur more than once, in any order."""
    for side in sides:
        if side.size and side.dtype.kind == "i" and int(side.min()) < 0:
            raise ValueError(f"Expected ids from 0 up, but got {int(side.min())}")
        if side.size and int(side.max()) > np.iinfo(np.int64).max:
            raise ValueError(f"Expected ids below 2**63, but got {int(side.max())}")
    reference, prediction = (side.astype(np.int64) for side in sides)
    if len(voxels) == 0:
        return Contingency(reference, prediction, voxels)
    order = _sorted(reference, prediction)
    reference, prediction = reference[order], prediction[order]
    changes = (reference[1:] != reference[:-1]) | (prediction[1:] != prediction[:-1])
    begins = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return Contingency(reference[begins], prediction[begins], np.add.reduceat(voxels[order], begins))


def _sorted(reference: Integers, prediction: Integers) -> Integers:
    """The order of the pairs. One number for a pair sorts several times faster than two, where there is room in one."""
    bits = int(prediction.max()).bit_length()
    if int(reference.max()).bit_length() + bits < 64:
        return np.argsort((reference << bits) + prediction)
    return np.lexsort((prediction, reference))
