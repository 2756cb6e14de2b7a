"""Point prompts from what a network says of each voxel, and from masks (automatic prompt generation, Archit & Pape 2026)."""

from __future__ import annotations

from typing import Literal

import cc3d
import edt
import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima

from copick_tools.types import Floats, Integers, Mask


def component_prompts(
    foreground: Floats, center: Floats, boundary: Floats, thresholds: tuple[float, float, float] = (0.5, 0.5, 0.5)
) -> Integers:
    """(N, 2 or 3) the deepest pixel or voxel, (z,) y, x, of each component of the seeds, in raster order of the components.

    Seeds are where ``foreground`` reaches the first threshold and both distances are below theirs. foreground: probability.
    center, boundary: distances as of `object_maps.distance_maps`; all of one shape, an image or a volume. Components hang
    together by faces, as in micro-SAM, and end at the faces of the image; micro-SAM keeps prompts a pixel farther away from there.

    >>> fg = np.ones((3, 7)); near = np.array([[0, 0, 0, 1, 0, 0, 0]] * 3)
    >>> component_prompts(fg, near, near).tolist()
    [[1, 1], [1, 5]]
    """
    least, center_most, boundary_most = thresholds
    return deepest((foreground >= least) & (center < center_most) & (boundary < boundary_most), corners=False)


def maxima_prompts(
    foreground: Floats, boundary: Floats, thresholds: tuple[float, float] = (0.5, 0.5), full: float = 1.0
) -> Integers:
    """(N, 2 or 3) where the foreground is farthest from a boundary: maxima of 1 - ``boundary``, a plateau being one.

    The other strategy of the paper (section 4.1). thresholds: least foreground, and what ``boundary`` has to be below. full:
    what 1 is given as.

    >>> maxima_prompts(np.ones((1, 5)), np.array([[0.4, 0.1, 0.4, 0.2, 0.4]])).tolist()
    [[0, 1], [0, 3]]
    """
    inside = (foreground >= thresholds[0]) & (boundary < thresholds[1])
    depth = np.where(inside, full - np.asarray(boundary, np.float32), 0)
    around = np.pad(depth, 1)  # what is as deep everywhere is one plateau, too
    peaks: Mask = local_maxima(around)[(slice(1, -1),) * depth.ndim]  # type: ignore[no-untyped-call]
    return deepest(peaks & inside)


def deepest(seeds: Mask, *, corners: bool = True) -> Integers:
    """(N, 2 or 3) the voxel of each component of a mask that is farthest from where the component ends.

    corners: whether components hang together by edges and corners, too.
    """
    components = _components(seeds, corners)
    if not components.any():
        return np.empty((0, seeds.ndim), np.int64)
    depth = edt.edt(components, black_border=True, parallel=1)
    found = []
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        values = np.where(components[box] == number, depth[box], 0)
        place = np.unravel_index(int(values.argmax()), values.shape)
        found.append([int(p) + part.start for p, part in zip(place, box)])
    return np.array(found, np.int64)


def innermost(mask: Mask) -> Integers:
    """(2 or 3,) the voxel of a mask that isn't empty which is farthest from where it ends.

    >>> innermost(np.array([[1, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]], bool)).tolist()
    [2, 3]
    """
    depth = edt.edt(mask, black_border=True, parallel=1)
    return np.array(np.unravel_index(int(depth.argmax()), mask.shape), np.int64)


def _components(seeds: Mask, corners: bool) -> Integers:
    near: dict[tuple[int, bool], Literal[4, 6, 8, 26]] = {(2, False): 4, (2, True): 8, (3, False): 6, (3, True): 26}
    found = cc3d.connected_components(seeds.astype(np.uint8), connectivity=near[seeds.ndim, corners])
    return np.asarray(found, np.uint32)


def grid_prompts(size: tuple[int, int], per_side: int) -> Integers:
    """(N, 2) y, x of evenly spaced pixels, as many along each side, fewer where a side has fewer pixels.

    >>> grid_prompts((4, 8), 2).tolist()
    [[1, 2], [1, 6], [3, 2], [3, 6]]
    """
    sides = [np.unique(((np.arange(per_side) + 0.5) / per_side * side).astype(np.int64)) for side in size]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)


def stability(logits: Floats, offset: float = 1.0) -> Floats:
    """How little masks change with the threshold: IoU of where logits are above ``offset`` and above minus ``offset``.

    logits: (…, y, x). Kirillov et al. 2023. 0 for masks that are empty at the lower threshold.

    >>> stability(np.array([[[3.0, 0.5, -2.0, -3.0]]])).tolist()
    [0.5]
    """
    inner, outer = ((logits > level).sum(axis=(-2, -1)) for level in (offset, -offset))
    return np.asarray(inner / np.maximum(outer, 1), float)
