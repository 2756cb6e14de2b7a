"""Tiles of an image that is too large to be seen at once: what each answers for, and what it sees around that."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

Box = tuple[slice, slice]
Sides = int | tuple[int, int]


@dataclass(frozen=True)
class Tile:
    """A part of an image, along y and x. inner: what is its own; outer: that, and the halo around it within the image."""

    inner: Box
    outer: Box

    def owns(self, y: float, x: float) -> bool:
        """Whether a place lies in the inner box. y, x: from the outer edge of pixel 0 on, whose center is at 0.5."""
        return all(part.start <= at < part.stop for part, at in zip(self.inner, (y, x)))


def tiles(shape: tuple[int, int], tile: Sides | None, halo: Sides = 0) -> list[Tile]:
    """Tiles whose inner boxes share an image out, row by row.

    shape: y, x of the image, in pixels. tile: the most that an inner box has, along both axes or y, x; they are as few as that
    allows, and equal but for a pixel. None: one tile, all of the image. halo: around it, likewise. Raises ValueError for sides
    that aren't positive, and a negative halo.

    >>> [tile.inner[1] for tile in tiles((4, 10), (4, 5))]
    [slice(0, 5, None), slice(5, 10, None)]
    >>> [tile.outer[1] for tile in tiles((4, 10), 4, halo=2)]
    [slice(0, 5, None), slice(1, 8, None), slice(4, 10, None)]
    >>> tiles((4, 10), None, halo=2) == [Tile((slice(0, 4), slice(0, 10)), (slice(0, 4), slice(0, 10)))]
    True
    """
    sides = shape if tile is None else _both(tile)
    around = _both(halo)
    if min(*shape, *sides) < 1 or min(around) < 0:
        raise ValueError(
            f"Expected positive sides and no negative halo, but got an image of {shape}, tiles of {tile}, a halo of {halo}"
        )
    rows, columns = (
        [(part, _wider(part, more, length)) for part in _parts(length, side)]
        for length, side, more in zip(shape, sides, around)
    )
    return [Tile((row[0], column[0]), (row[1], column[1])) for row, column in product(rows, columns)]


def _both(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def _parts(length: int, most: int) -> list[slice]:
    """An axis, shared out."""
    count = -(-length // most)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(first, last) for first, last in zip(edges, edges[1:])]


def _wider(part: slice, halo: int, length: int) -> slice:
    return slice(max(0, part.start - halo), min(length, part.stop + halo))
