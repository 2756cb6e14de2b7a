"""Automatic prompt generation: prompts from what a network says of each voxel, masks from a promptable model, the best stay.

Archit & Pape, "Revisiting foundation models for cell instance segmentation" (2026), section 3.2, is `in_slice`. `in_volume`
does the same in 3D: a prompt for each component of the volume, its mask followed from slice to slice, suppression among
masks of voxels.
"""

from __future__ import annotations

import numpy as np

from copick_tools.inference.encoded import Ask, Encoded
from copick_tools.inference.growing import Seeds, grown
from copick_tools.inference.promptable import Follower
from copick_tools.recipes.prompting import Apg
from copick_tools.types import Floats, Integers
from copick_tools.volumes.cuts import Cuts, painted, suppressed


def in_slice(encoded: Encoded, z: int, places: Integers, how: Apg) -> Integers:
    """(y, x) ids of slice ``z``, from a point on each object. places: (N, 2) y, x."""
    return kept(masks_in_slice(encoded, z, places, how), how)[0]


def in_volume(encoded: Encoded, places: Integers, how: Apg, follower: Follower | None = None) -> Integers:
    """zyx ids, from a point on each object. places: (N, 3) z, y, x. follower: a model's memory, None: by prompts."""
    return kept(masks_in_volume(encoded, places, how, follower), how, encoded.prompting.covered)


def masks_in_slice(encoded: Encoded, z: int, places: Integers, how: Apg) -> Cuts:
    """What `in_slice` chooses from."""
    return encoded.asked(z, Ask.on(places), offset=how.stability_offset)


def masks_in_volume(encoded: Encoded, places: Integers, how: Apg, follower: Follower | None = None) -> Cuts:
    """What `in_volume` chooses from."""
    seeds: Seeds = {}
    for z in np.unique(places[:, 0]).tolist():
        there = places[places[:, 0] == z, 1:]
        seeds[z] = masks_in_slice(encoded, z, there, how)
    return grown(encoded, seeds, how.stability_offset, follower)


def kept(cuts: Cuts, how: Apg, covered: float = 1.0) -> Integers:
    """Ids of the masks that are large enough, the best of overlapping ones. covered: see `cuts.painted`."""
    cuts = cuts.take(cuts.sizes > how.min_size)
    return painted(cuts, suppressed(cuts, ranking(cuts, how), how.nms), covered)


def ranking(cuts: Cuts, how: Apg) -> Floats:
    """(N,) what masks are ranked by."""
    return cuts.iou if how.score == "iou" else cuts.iou * cuts.stability
