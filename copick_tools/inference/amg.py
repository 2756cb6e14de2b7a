"""Automatic mask generation: each point of a grid is a prompt, and the masks that convince stay (Kirillov et al. 2023).

In slices, prediction and choice are apart, as in micro-SAM: `records` asks the model, `chosen` is cheap and can be repeated
with other thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from copick_tools.inference.encoded import Ask, Encoded
from copick_tools.inference.growing import grown
from copick_tools.inference.promptable import Follower
from copick_tools.inference.tiles import Tile
from copick_tools.recipes.prompting import Amg
from copick_tools.types import Integers, Mask
from copick_tools.volumes.cuts import Cuts, joined, painted, suppressed, suppressed_by_box
from copick_tools.volumes.prompts import grid_prompts

LARGEST = 0.95  # of a tile: what covers more is the background


Within = Callable[[int], Mask | None]  # of a slice: (y, x) where points may lie, None: anywhere


def in_volume(encoded: Encoded, how: Amg, inside: Within, follower: Follower | None = None) -> Integers:
    """zyx ids. Points are put into the middle slice first, then into those halfway to the faces and so on; only where nothing
    was found yet, for what is found is followed through the volume.
    """
    covered, found = np.zeros(encoded.shape, bool), []
    for level in halving(encoded.shape[0]):
        seeds = {}
        for z in level:
            within = inside(z)
            free = ~covered[z] if within is None else within & ~covered[z]
            cuts = records(encoded, z, how, free)
            seeds[z] = cuts.take(suppressed_by_box(cuts, cuts.iou, how.box_nms))
        found.append(grown(encoded, seeds, how.stability_offset, follower))
        covered.reshape(-1)[found[-1].voxels] = True
    cuts = joined(encoded.shape, found)
    cuts = cuts.take(cuts.sizes >= max(1, how.min_size))
    return painted(cuts, suppressed(cuts, cuts.iou, how.box_nms), encoded.prompting.covered)


def halving(length: int) -> list[list[int]]:
    """All numbers below ``length``: the middle, then the middles of what is left on both sides, and so on.

    >>> halving(6)
    [[3], [1, 5], [0, 2, 4]]
    """
    levels, parts = [], [range(length)]
    while parts := [part for part in parts if len(part)]:
        middles = [part[len(part) // 2] for part in parts]
        levels.append(middles)
        parts = [half for part, m in zip(parts, middles) for half in (range(part.start, m), range(m + 1, part.stop))]
    return levels


def records(encoded: Encoded, z: int, how: Amg, inside: Mask | None = None) -> Cuts:
    """The masks (1, y, x) of slice ``z`` that reach the thresholds of ``how`` and aren't cut off by a tile.

    inside: (y, x), where points may lie. Of each point the model's several masks count, one by one.
    """
    found = []
    for number, tile in enumerate(encoded.tiles):
        corner, size = [part.start for part in tile.inner], [part.stop - part.start for part in tile.inner]
        places = grid_prompts((size[0], size[1]), how.points_per_side) + corner
        if inside is not None:
            places = places[inside[places[:, 0], places[:, 1]]]
        ask, batch = Ask.on(places), encoded.prompting.batch_size
        for start in range(0, len(places), batch):
            some = np.arange(start, min(start + batch, len(places)))
            answer = encoded.model.predict(encoded.embedding(z, number), **ask.rows(some, tile), several=True)
            cuts = convincing(encoded.cut(answer, tile, how.stability_offset), how)
            found.append(cuts.take(_whole(cuts, tile)))
    return joined(encoded.plane, found)


def convincing(cuts: Cuts, how: Amg) -> Cuts:
    """Those that reach the thresholds of ``how``."""
    return cuts.take((cuts.iou >= how.pred_iou) & (cuts.stability >= how.stability) & (cuts.sizes > 0))


def chosen(found: Cuts, how: Amg) -> Integers:
    """(y, x) ids: of records, those that reach the thresholds, the best of overlapping ones."""
    cuts = convincing(found, how)
    if how.min_size:
        cuts = _tidy(cuts.take(suppressed_by_box(cuts, cuts.iou, how.box_nms)), how.min_size)
    return painted(cuts, suppressed_by_box(cuts, cuts.iou, how.box_nms))[0]


def _whole(cuts: Cuts, tile: Tile) -> Mask:
    """(N,) whether a mask ends before its tile does, where that isn't the image's end, and is no background."""
    boxes = cuts.boxes()[:, :, 1:]
    low, high = (np.array([getattr(part, side) for part in tile.outer]) for side in ("start", "stop"))
    cut_low, cut_high = low > 0, high < np.array(cuts.shape[1:])
    touches = ((boxes[:, 0] <= low) & cut_low) | ((boxes[:, 1] >= high) & cut_high)
    return np.asarray(~touches.any(axis=1) & (cuts.sizes <= LARGEST * (high - low).prod()))


def _tidy(cuts: Cuts, least: int) -> Cuts:
    """Without islands and holes of fewer pixels."""
    kept = []
    for row in range(len(cuts)):
        mask, corner = cuts.in_box(row)
        mask = _large(mask, least)
        holes = ndimage.binary_fill_holes(mask) & ~mask
        mask |= holes & ~_large(holes, least)
        one = Cuts.of(mask[None], cuts.shape, 0, (int(corner[0]), int(corner[1])))
        kept.append(replace(one, iou=cuts.iou[row : row + 1], stability=cuts.stability[row : row + 1]))
    return joined(cuts.shape, kept)


def _large(mask: Mask, least: int) -> Mask:
    """The parts of a mask that have at least so many pixels."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    large = np.bincount(parts.reshape(-1)) >= least
    large[0] = False
    return np.asarray(large[parts])
