"""Networks whose queries each say a mask and its class, as Mask2Former's: slice by slice to instances of a volume.

In a window each pixel is of the query that claims it most (Cheng et al. 2022). What windows that overlap agree on is one object
of the slice; objects of neighboring slices are put together where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch.nn.functional import interpolate

from copick_tools.errors import UsageError
from copick_tools.inference.ahead import ahead
from copick_tools.inference.device import autocast, placed, to_host
from copick_tools.inference.grid import Inside
from copick_tools.inference.planes import reflected
from copick_tools.inference.tiler import Tiled
from copick_tools.inference.tiles import Box, Tile, tiles
from copick_tools.types import Floats, Integers
from copick_tools.volumes.components import zyx
from copick_tools.volumes.cuts import Cuts, painted, suppressed
from copick_tools.volumes.decoding import Decoding, Instances, gathered
from copick_tools.volumes.normalize import Volume, normalize, scale_of
from copick_tools.volumes.stitching import overlaps, stitched

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample

LEFT = 0.8  # of a mask, what has to be left of it where better ones claim pixels (Cheng et al. 2022)
AGREED = 0.5  # IoU, where two windows overlap, of masks that are one object; above it a mask has one partner
SAME = 0.5  # IoU of two objects of a slice, of which the better one stays
STITCH = 0.25  # IoU of objects in neighboring slices that are one
SLICES = 16  # read at a time


@dataclass(frozen=True)
class Shown:
    """What a window of a slice shows. ids: (y, x) from 1 up, 0 for none. labels, scores: (N + 1,) of each id, 0 for 0.

    box: of the window in the slice. tile: what it answers for.
    """

    tile: Tile
    box: Box
    ids: Integers
    labels: Integers
    scores: Floats


@dataclass
class Queried(Tiled):
    """As `Tiled`, for a network of slices that has ``queries(images)`` beside its logits: (B, 1, y, x) to classes (B, Q, C), their
    probabilities, which leave some to there being nothing, and logits of masks (B, Q, h, w), of a part of the resolution.

    Windows overlap by ``overlap``. Memory: 11 bytes a voxel of the volume, beside `decoding.gathered`.
    """

    @torch.inference_mode()
    def instances(self, volume: Volume, how: Decoding, sample: Sample | None = None) -> Instances:
        """See `mapped.Masked`. Raises UsageError for orientations that would be averaged, ValueError as `slabs`."""
        if self.tta != 1:
            raise UsageError(f"masks of queries can't be averaged over orientations (tta {self.tta})", "leave tta out")
        shape = zyx(volume)
        inside = Inside(sample, shape) if sample is not None else None
        ids, labels = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
        for z, group in groupby(self._shown(volume, how.foreground, sample), lambda found: found[0]):
            own, objects = merged((shape[1], shape[2]), [shown for _, shown in group])
            if inside is not None:
                own = np.where(inside.mask(z, z + 1)[0], own, 0)
            ids[z], labels[z] = own, objects[own]
        network = np.isin(labels, how.networks)
        ids[network] = 0
        solid = np.where(network, np.uint8(0), labels)
        ids = stitched(ids, STITCH if how.stitch is None else how.stitch, solid)
        return gathered(ids, labels, labels - solid, how)

    def _shown(self, volume: Volume, least: float, sample: Sample | None) -> Iterator[tuple[int, Shown]]:
        """(z, what a window shows), from slice 0 up."""
        with torch.inference_mode(False):  # the network may be one that is being trained
            network: Any = placed(self.network, self.device).eval()
        batch = 1 if self.device.type == "cpu" else self.batch_size
        upcoming = self._windows(volume, sample)
        labels = np.array([0, *self.objects.values()])
        while group := list(islice(upcoming, batch)):
            images = torch.from_numpy(np.stack([image for *_, image in group]))[:, None].to(self.device)
            with autocast(self.device, self.bf16):
                classes, masks = network.queries(images)
            if not bool(torch.isfinite(classes).all() & torch.isfinite(masks).all()):
                raise ValueError(self._not_finite())
            for (z, tile, box, image), *said in zip(group, classes.float(), masks.float()):
                numbers, channels, scores = to_host(*chosen(said[0], said[1], (image.shape[0], image.shape[1]), least))
                here = numbers[: box[0].stop - box[0].start, : box[1].stop - box[1].start]
                yield z, Shown(tile, box, here, labels[channels], scores)

    def _windows(self, volume: Volume, sample: Sample | None) -> Iterator[tuple[int, Tile, Box, np.ndarray]]:
        """(z, tile, its window in the slice, the window's pixels), where the sample is; reflected beyond the volume."""
        statistics, sides = scale_of(volume, self.normalize, self.scaling), self.patch[1:]
        depth, height, width = volume.shape
        places = tiled((height, width), (sides[0], sides[1]), self.overlap)
        covered = [sample.rows(*box) if sample is not None else (0, depth) for _, box in places]
        for z0, slab in ahead(_slabs(volume, covered)):
            for z, plane in enumerate(normalize(slab, statistics), z0):
                for (tile, box), (low, high) in zip(places, covered):
                    if low <= z < high:
                        seen = plane[box]
                        yield z, tile, box, seen[np.ix_(*map(reflected, seen.shape, sides))]


def _slabs(volume: Volume, covered: list[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
    """(z0, slices as they are stored) where there is something to see. covered: first slice and one past the last."""
    some = [span for span in covered if span[0] < span[1]] or [(0, 0)]
    for z0 in range(min(low for low, _ in some), max(high for _, high in some), SLICES):
        yield z0, np.asarray(volume[z0 : z0 + SLICES, :, :])


def tiled(shape: tuple[int, int], window: tuple[int, int], overlap: float) -> list[tuple[Tile, Box]]:
    """Tiles of an image and the window that each is seen in: of full size, moved inwards at the image's borders.

    shape, window: y, x. overlap: of neighboring windows, at least, as a fraction.
    """
    halo = [min(round(side * overlap / 2), (side - 1) // 2) for side in window]
    own = [length if length <= side else side - 2 * more for length, side, more in zip(shape, window, halo)]
    found = []
    for tile in tiles(shape, (own[0], own[1]), (halo[0], halo[1])):
        first = [min(part.start, max(0, length - side)) for part, length, side in zip(tile.outer, shape, window)]
        y, x = (slice(start, min(start + side, length)) for start, side, length in zip(first, window, shape))
        found.append((tile, (y, x)))
    return found


def chosen(
    classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int], least: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The objects that the queries of an image claim: numbers (y, x) int32, and of each number, 0 included, channel and score.

    classes: (Q, C) probabilities of the channels from 1 on. masks: (Q, h, w) logits. size: y, x. least: score of an object. That
    is the probability of its class times the mean probability in its mask (Cheng et al. 2022).
    """
    sure, channel = classes.max(dim=1)
    some = (sure >= least).nonzero()[:, 0]
    inside, score = torch.zeros((0, *size), dtype=torch.bool, device=masks.device), sure[:0]
    if len(some):
        found = interpolate(masks[some][None], size=size, mode="bilinear", align_corners=False)[0].sigmoid()
        inside = found >= 0.5
        area = inside.sum(dim=(1, 2))
        score = sure[some] * (found * inside).sum(dim=(1, 2)) / area.clamp(min=1)
        score[score < least] = 0
        best = (score[:, None, None] * found).argmax(dim=0)
        inside &= best == torch.arange(len(some), device=masks.device)[:, None, None]
        kept = (score > 0) & (area > 0) & (inside.sum(dim=(1, 2)) >= LEFT * area)
        some, score, inside = some[kept], score[kept], inside[kept]
    order = torch.arange(1, len(some) + 1, dtype=torch.int32, device=masks.device)
    numbers = (inside * order[:, None, None]).sum(dim=0, dtype=torch.int32)
    nothing = torch.zeros(1, device=masks.device)
    return numbers, torch.cat([nothing.long(), channel[some] + 1]), torch.cat([nothing, score])


def merged(shape: tuple[int, int], windows: list[Shown]) -> tuple[Integers, Integers]:
    """Ids (y, x) of the objects of a slice, and of each id, 0 included, its label. shape: y, x.

    What two windows agree on where they overlap is one object. What only one shows counts where the center of its box is in the
    window's own tile. Pixels of several objects go to the one with the best score.
    """
    first = np.cumsum([0, *(len(shown.labels) - 1 for shown in windows)])  # of each window's numbers, in a common row
    if not first[-1]:
        return np.zeros(shape, np.uint32), np.zeros(1, np.int64)
    group = _groups(windows, first)
    pieces = np.concatenate([_pixels(shown, shape) + [[start], [0]] for shown, start in zip(windows, first)], axis=1)
    keys = np.unique(group[pieces[0]] * np.int64(shape[0] * shape[1]) + pieces[1])
    owner, voxels = np.divmod(keys, shape[0] * shape[1])
    count = int(group.max(initial=-1)) + 1
    scores, labels = np.zeros(count), np.zeros(count, np.int64)
    np.maximum.at(scores, group, np.concatenate([shown.scores[1:] for shown in windows]))
    labels[group] = np.concatenate([shown.labels[1:] for shown in windows])
    cuts = Cuts((1, *shape), voxels, np.searchsorted(owner, np.arange(count + 1)), scores, np.ones(count))
    kept = np.flatnonzero(_counts(cuts, windows, group))
    rows = kept[suppressed(cuts.take(kept), scores[kept], SAME)]
    return painted(cuts, rows)[0], np.r_[0, labels[rows]]


def _pixels(shown: Shown, shape: tuple[int, int]) -> Integers:
    """(2, N) number of an object of a window, from 0, and flat place in the slice, of its pixels."""
    y, x = np.nonzero(shown.ids)
    place = (y + shown.box[0].start) * np.int64(shape[1]) + x + shown.box[1].start
    return np.stack([shown.ids[y, x].astype(np.int64) - 1, place])


def _groups(windows: list[Shown], first: Integers) -> Integers:
    """(N,) which object each of all windows' masks is of."""
    links = [np.empty((2, 0), np.int64)]
    for (i, one), (j, other) in combinations(enumerate(windows), 2):
        y, x = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one.box, other.box))
        if y.start < y.stop and x.start < x.stop:
            a, b, iou = overlaps(*(_part(shown, (y, x)) for shown in (one, other)))
            agreed = (iou > AGREED) & (one.labels[a] == other.labels[b])
            links.append(np.stack([a[agreed] - 1 + first[i], b[agreed] - 1 + first[j]]))
    a, b = np.concatenate(links, axis=1)
    table = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(first[-1], first[-1]))
    return np.asarray(connected_components(table, directed=False)[1], np.int64)


def _part(shown: Shown, box: Box) -> Integers:
    """The ids of a part of a window. box: in the slice."""
    y, x = (slice(part.start - own.start, part.stop - own.start) for part, own in zip(box, shown.box))
    return shown.ids[y, x]


def _counts(cuts: Cuts, windows: list[Shown], group: Integers) -> np.ndarray:
    """(N,) which objects count: of several windows, or of one in whose tile it lies."""
    tile = np.repeat(np.arange(len(windows)), [len(shown.labels) - 1 for shown in windows])
    alone = np.bincount(group, minlength=len(cuts)) == 1
    last = np.zeros(len(cuts), np.int64)
    last[group] = tile
    centers = cuts.boxes().mean(axis=1)[:, 1:]
    own = [windows[row].tile.owns(y, x) for row, (y, x) in zip(last.tolist(), centers.tolist())]
    return ~alone | np.array(own, bool)
