"""The slices of a volume as a promptable model sees them: encoded tile by tile, when somebody asks for one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from copick_tools.inference.promptable import OBJECT, PADDING, Answer, Embedding, Promptable
from copick_tools.inference.tiles import Tile, tiles
from copick_tools.recipes.prompting import Prompting
from copick_tools.types import Floats, Integers
from copick_tools.volumes.components import zyx
from copick_tools.volumes.cuts import Cuts, Shape, joined
from copick_tools.volumes.normalize import Intensity, Volume, normalize
from copick_tools.volumes.prompts import stability

HELD = 1 << 30  # bytes of embeddings that are held in memory


class Store(Protocol):
    """Where the embeddings of a volume are kept; see `data.embeddings`."""

    def has(self, z: int, tile: int) -> bool:
        """Whether a tile of a slice is there."""

    def get(self, z: int, tile: int) -> Embedding | None:
        """Of a tile of a slice; None where it isn't there."""

    def put(self, z: int, tile: int, embedding: Embedding) -> None:
        """Keep it."""


@dataclass(frozen=True)
class Ask:
    """Prompts of N objects in a slice, in its pixels; see `Promptable.predict`. before: their masks in this slice, (1, y, x)."""

    points: Integers | None = None
    labels: Integers | None = None
    boxes: Integers | None = None
    before: Cuts | None = None

    @classmethod
    def on(cls, places: Integers) -> Ask:
        """A point on each object. places: (N, 2) y, x."""
        return cls(points=places[:, None], labels=np.full((len(places), 1), OBJECT))

    @property
    def centers(self) -> Integers:
        """(N, 2) y, x in the middle of what is known of each."""
        if self.boxes is not None:
            return (self.boxes[:, :2] + self.boxes[:, 2:] - 1) // 2
        if self.before is not None:
            boxes = self.before.boxes()[:, :, 1:]
            return np.asarray((boxes[:, 0] + boxes[:, 1] - 1) // 2)
        assert self.points is not None
        return self.points[:, 0]

    def rows(self, rows: Integers, tile: Tile) -> dict[str, np.ndarray]:
        """Some of them as a model wants them, in the pixels of a tile."""
        corner = np.array([part.start for part in tile.outer])
        size = [part.stop - part.start for part in tile.outer]
        found: dict[str, np.ndarray] = {}
        if self.points is not None and self.labels is not None:
            points = self.points[rows] - corner
            seen = ((points >= 0) & (points < size)).all(axis=2)
            found |= {"points": points.astype(np.float32), "labels": np.where(seen, self.labels[rows], PADDING)}
        if self.boxes is not None:
            found["boxes"] = np.clip(self.boxes[rows] - np.tile(corner, 2), 0, np.tile(size, 2)).astype(np.float32)
        if self.before is not None:
            found["masks"] = dense(self.before, rows, tile)
        return found


def dense(cuts: Cuts, rows: Integers, tile: Tile) -> np.ndarray:
    """(N, y, x) bool, what some masks of a slice show in a tile."""
    masks = np.zeros((len(rows), *(part.stop - part.start for part in tile.outer)), bool)
    for mask, row in zip(masks, rows):
        y, x = np.divmod(cuts.of_row(int(row)), cuts.shape[2])
        y, x = y - tile.outer[0].start, x - tile.outer[1].start
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        mask[y[inside], x[inside]] = True
    return masks


@dataclass
class Encoded:
    """A zyx volume behind a promptable model.

    volume: as it was stored. statistics: it is normalized with. Embeddings are made once, and held while there is room: those
    that were used last, for objects are followed through slices nearby.
    """

    model: Promptable
    volume: Volume
    statistics: Intensity
    prompting: Prompting = Prompting()
    store: Store | None = None
    tiles: list[Tile] = field(init=False)
    _held: OrderedDict[tuple[int, int], Embedding] = field(default_factory=OrderedDict, init=False, repr=False)
    _bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        plane = self.shape[1:]
        self.tiles = tiles((plane[0], plane[1]), self.prompting.tile, self.prompting.halo)

    @property
    def shape(self) -> Shape:
        """zyx."""
        return zyx(self.volume)

    @property
    def plane(self) -> Shape:
        """zyx of a slice alone."""
        return 1, *self.shape[1:]

    def image(self, z: int, tile: int) -> Floats:
        """(y, x) float32, normalized."""
        y, x = self.tiles[tile].outer
        return normalize(np.asarray(self.volume[z : z + 1, y, x], np.float32), self.statistics)[0]

    def embedding(self, z: int, tile: int) -> Embedding:
        """Of a tile of a slice: held, stored, or made now."""
        if (z, tile) in self._held:
            self._held.move_to_end((z, tile))
            return self._held[z, tile]
        found = self.store.get(z, tile) if self.store is not None else None
        if found is None:
            found = self.model.encode(self.image(z, tile), (z, *self.tiles[tile].outer))
            if self.store is not None:
                self.store.put(z, tile, found)
        self._held[z, tile] = found
        self._bytes += _size(found)
        while self._bytes > HELD and len(self._held) > 1:
            self._bytes -= _size(self._held.popitem(last=False)[1])
        return found

    def asked(self, z: int, ask: Ask, *, offset: float) -> Cuts:
        """The mask of each of N objects in slice ``z``, (1, y, x), in order. offset: of the stability, logits."""
        centers = ask.centers
        found, numbers = [], []
        for number, tile in enumerate(self.tiles):
            rows = np.flatnonzero(holds(tile, centers))
            for start in range(0, len(rows), self.prompting.batch_size):
                some = rows[start : start + self.prompting.batch_size]
                answer = self.model.predict(self.embedding(z, number), **ask.rows(some, tile))
                found.append(self.cut(answer.best(), tile, offset))
                numbers.append(some)
        return joined(self.plane, found).take(np.argsort(np.concatenate(numbers))) if numbers else Cuts.none(self.plane)

    def cut(self, answer: Answer, tile: Tile, offset: float) -> Cuts:
        """The masks of an answer, (1, y, x), those of an object one after another."""
        logits = answer.masks.reshape(-1, *answer.masks.shape[2:])
        said = answer.iou.reshape(-1), stability(logits, offset)
        return Cuts.of(logits > 0, self.plane, 0, (tile.outer[0].start, tile.outer[1].start), said)

    def every(self) -> Iterator[tuple[int, int]]:
        """All slices and tiles."""
        for z in range(self.shape[0]):
            for tile in range(len(self.tiles)):
                yield z, tile


def holds(tile: Tile, places: Integers) -> np.ndarray:
    """(N,) whether places (N, 2) y, x lie in the inner part of a tile."""
    low, high = (np.array([getattr(part, side) for part in tile.inner]) for side in ("start", "stop"))
    return np.asarray(((places >= low) & (places < high)).all(axis=1))


def _size(embedding: Embedding) -> int:
    return sum(part.nbytes for part in embedding.values())
