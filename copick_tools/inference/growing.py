"""From masks in single slices to masks of a volume: objects are followed up and down until they end.

By prompts made of the last mask (Archit et al., Nature Methods 2025), or by a model that remembers slices as frames of a video
(SAM2; Ravi et al. 2024). By prompts the model is asked about each slice once on the way up and once on the way down, whatever the
number of objects; by a memory for each slice above or below in which objects begin that reach it. A slice is encoded once, while
there is room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from copick_tools.inference.encoded import Encoded
from copick_tools.inference.projection import Projection
from copick_tools.inference.promptable import Embedding, Follower
from copick_tools.recipes.prompting import Prompting
from copick_tools.types import Integers, Mask
from copick_tools.volumes.cuts import Cuts, joined

Seeds = Mapping[int, Cuts]  # by slice, the masks (1, y, x) that are known of objects
Part = tuple[int, Integers, Cuts]  # a slice, the numbers of objects, and their masks in it
SHRINKING = 0.9  # of a mask that lies in the one before: the object ends in a tip


def grown(encoded: Encoded, seeds: Seeds, offset: float, follower: Follower | None = None) -> Cuts:
    """The mask of each object in 3D, in the order of the slices. What the model says of it is the mean over its slices, by size.

    Empty seeds stay empty masks. offset: of the stability. follower: a model's memory, None: by prompts.
    """
    first = np.r_[0, np.cumsum([len(cuts) for cuts in seeds.values()])].astype(int)
    known: dict[int, tuple[Integers, Cuts]] = {}
    found = _Growing(encoded.shape, int(first[-1]))
    for start, (z, cuts) in zip(first.tolist(), seeds.items()):
        there = np.flatnonzero(cuts.sizes > 0)
        known[z] = there + start, cuts.take(there)
        found.add((z, *known[z]))
    for step in (1, -1):
        parts = (
            _by_memory(encoded, known, offset, step, follower)
            if follower
            else _by_prompts(encoded, known, offset, step)
        )
        for part in parts:
            found.add(part)
    return found.cuts(0.0 if follower else encoded.prompting.waist)


def _by_prompts(
    encoded: Encoded, known: Mapping[int, tuple[Integers, Cuts]], offset: float, step: int
) -> Iterator[Part]:
    projection, stop = Projection(encoded.prompting.projected), encoded.prompting.stop
    on = _Following.none(encoded)
    for z in range(encoded.shape[0])[::step]:
        if len(on.rows):
            found = encoded.asked(z, projection.ask(on.last), offset=offset)
            fits = on.fits(found, stop)
            yield from on.bridges(found, fits, z, step)
            yield z, on.rows[fits], found.take(fits)
            on = on.after(found, fits)
        if z in known:
            on = on.joined(*known[z])


@dataclass(frozen=True)
class _Following:
    """Objects on their way. rows: their numbers. last: the mask of each that fitted last, (1, y, x). before: what the slice before
    was said to show. slips: slices since the last that fitted. largest: pixels of the largest mask until now.

    A mask that doesn't fit may be a slip of the model: the next slice is asked with the mask before it, and decides. Not so
    where that mask is small already, for there an object ends, nor where the next slice goes on with what didn't fit, for
    that is another object.
    """

    rows: Integers
    last: Cuts
    before: Cuts
    slips: Integers
    largest: Integers
    prompting: Prompting

    @classmethod
    def none(cls, encoded: Encoded) -> _Following:
        empty = np.empty(0, np.int64)
        nothing = Cuts.none(encoded.plane)
        return cls(empty, nothing, nothing, empty, empty, encoded.prompting)

    def fits(self, found: Cuts, stop: float) -> Mask:
        """(N,) which objects go on in the next slice."""
        good = goes_on(self.last, found, stop)
        late = np.flatnonzero(good & (self.slips > 0))
        good[late] = ~goes_on(self.before.take(late), found.take(late), stop)
        return good

    def joined(self, rows: Integers, cuts: Cuts) -> _Following:
        """With objects that begin here."""
        return replace(
            self,
            rows=np.r_[self.rows, rows],
            last=joined(cuts.shape, [self.last, cuts]),
            before=joined(cuts.shape, [self.before, cuts]),
            slips=np.r_[self.slips, np.zeros_like(rows)],
            largest=np.r_[self.largest, cuts.sizes],
        )

    def bridges(self, found: Cuts, fits: Mask, z: int, step: int) -> Iterator[Part]:
        """What lies in the slices that were slips, of objects that fit again in slice ``z``."""
        for back in range(1, int(self.slips[fits].max(initial=0)) + 1):
            late = np.flatnonzero(fits & (self.slips >= back))
            yield z - step * back, self.rows[late], common(self.last.take(late), found.take(late))

    def after(self, found: Cuts, fits: Mask) -> _Following:
        """Objects that fit go on, and so do those that may have slipped."""
        large = self.last.sizes > self.prompting.waist * self.largest
        order = np.r_[np.flatnonzero(fits), np.flatnonzero(~fits & large & (self.slips < self.prompting.patience))]
        count = int(fits.sum())
        last = joined(found.shape, [found.take(order[:count]), self.last.take(order[count:])])
        slips = np.r_[np.zeros(count, np.int64), self.slips[order[count:]] + 1]
        largest = np.maximum(self.largest[order], last.sizes)
        return replace(self, rows=self.rows[order], last=last, before=found.take(order), slips=slips, largest=largest)


def _by_memory(
    encoded: Encoded, known: Mapping[int, tuple[Integers, Cuts]], offset: float, step: int, follower: Follower | None
) -> Iterator[Part]:
    """Objects that begin in one slice together."""
    assert follower is not None
    for z, (rows, last) in known.items():
        if not len(rows):
            continue
        masks = np.zeros((len(rows), *encoded.shape[1:]), bool)
        for number, mask in enumerate(masks):
            mask.reshape(-1)[last.of_row(number)] = True
        alive = np.ones(len(rows), bool)
        for there, answer in follower.follow(Slices(encoded), z, masks, step):
            found = encoded.cut(answer, encoded.tiles[0], offset)
            alive &= goes_on(last, found, encoded.prompting.stop)
            if not alive.any():
                break
            yield there, rows[alive], found.take(alive)
            last = found


def common(one: Cuts, other: Cuts) -> Cuts:
    """What the masks of N objects in two slices have in common; what the model says is of the second."""
    parts = [np.intersect1d(one.of_row(row), other.of_row(row), assume_unique=True) for row in range(len(one))]
    ends = np.r_[0, np.cumsum([len(part) for part in parts])].astype(np.int64)
    return replace(other, voxels=np.concatenate([np.empty(0, np.int64), *parts]), ends=ends)


def goes_on(before: Cuts, after: Cuts, stop: float) -> Mask:
    """(N,) whether each object goes on in the next slice: the IoU of its masks reaches ``stop``, or it only gets smaller."""
    found = np.zeros(len(before), bool)
    for row in range(len(before)):
        one, other = before.of_row(row), after.of_row(row)
        shared = len(np.intersect1d(one, other, assume_unique=True))
        iou, within = shared / max(1, len(one) + len(other) - shared), shared / max(1, len(other))
        found[row] = shared > 0 and (iou >= stop or within >= SHRINKING)
    return found


def reach(sizes: Sequence[int], seed: int, waist: float) -> tuple[int, int]:
    """First and last of an object's slices, by their pixels: beyond a waist, where it gets small and large again, lies another.

    seed: the slice that it was known in. waist: the share of the largest slice before that is small, and that it is of a slice
    behind it; 0: an object has none.

    >>> reach([5, 40, 90, 100, 60, 30, 35, 70, 100], 3, 0.5)
    (0, 5)
    """
    sides = sizes[seed::-1], sizes[seed:]
    ends = [_to_waist(side, sizes[seed], waist) for side in sides]
    largest = [max(side[: end + 1]) for side, end in zip(sides, ends)]
    less = int(largest[1] <= largest[0])  # known at its tip, it may have the other side from another one
    ends[less] = _to_waist(sides[less], largest[1 - less], waist)
    return seed - ends[0], seed + ends[1]


def _to_waist(sizes: Sequence[int], largest: int, waist: float) -> int:
    """The last slice on one side. largest: pixels of a slice up to here."""
    smallest, at = sizes[0], 0
    for number, size in enumerate(sizes):
        if smallest <= waist * largest and smallest <= waist * size:
            return at
        if size > largest:
            largest = smallest = size
        if size <= smallest:
            smallest, at = size, number
    return len(sizes) - 1


class Slices(Sequence[Embedding]):
    """The whole slices of a volume, encoded."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return self.encoded.shape[0]

    def __getitem__(self, z: Any) -> Any:
        return self.encoded.embedding(z, 0)


@dataclass
class _Growing:
    """Masks of a volume that are put together slice by slice."""

    shape: tuple[int, int, int]
    count: int
    parts: list[list[tuple[int, Integers, float, float]]] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = [[] for _ in range(self.count)]

    def add(self, part: Part) -> None:
        z, rows, cuts = part
        for index, row in enumerate(rows.tolist()):
            voxels = cuts.of_row(index) + z * self.shape[1] * self.shape[2]
            self.parts[row].append((z, voxels, float(cuts.iou[index]), float(cuts.stability[index])))

    def cuts(self, waist: float) -> Cuts:
        ordered = [self._ordered(parts, waist) for parts in self.parts]
        voxels = [part[1] for parts in ordered for part in parts]
        sizes = [sum(len(part[1]) for part in parts) for parts in ordered]
        said = [
            [sum(part[column] * len(part[1]) for part in parts) / max(1, size) for parts, size in zip(ordered, sizes)]
            for column in (2, 3)
        ]
        flat = np.concatenate(voxels) if voxels else np.empty(0, np.int64)
        ends = np.r_[0, np.cumsum(sizes)].astype(np.int64)
        return replace(
            Cuts.none(self.shape),
            voxels=flat,
            ends=ends,
            iou=np.array(said[0], float),
            stability=np.array(said[1], float),
        )

    @staticmethod
    def _ordered(parts: list[tuple[int, Integers, float, float]], waist: float) -> list[Any]:
        """By slice, up to a waist. parts: the first is the seed."""
        ordered = sorted(parts, key=lambda part: part[0])
        if not parts:
            return []
        first, last = reach([len(part[1]) for part in ordered], parts[0][0] - ordered[0][0], waist)
        return ordered[first : last + 1]
