"""Instances by prompts without any network: perfect maps that are made worse, and oracles that are, too.

First table: maps of distances as a perfect network would give them, with noise. What the watershed makes of them (AIS), and what
prompts at their seeds make of them (APG), in slices that are stitched and in 3D. Prompts are answered by an oracle, which
knows the objects: no model can do better by the same prompts. So it is asked again with worse answers: edges that are off by a
pixel, and one answer of ten that is another object. What those expect of their answers' IoU is off by 0.1 or so.
Second table: suppression among 300 masks of a volume, ours among voxels and the usual one among arrays.

    python benchmarks/prompting.py [--objects 60 --seeds 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import Any

import common

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4)  # deviation of the noise, of what maps range over
LARGE, MASKS, OVERLAP = (64, 256, 256), 300, 0.9
OURS, ARRAYS = "ours, voxels", "arrays, numpy"
LEAST = 100  # voxels of an instance


# ---- noise ----------------------------------------------------------------------------------------------------------
def careless(ids: Any, fault: str) -> Any:
    """An oracle whose answers are worse. fault: ``edges``, ``wrong`` or nothing."""
    import numpy as np
    from scipy import ndimage

    from copick_tools.inference.oracle import SURE, Oracle
    from copick_tools.inference.promptable import Answer

    class Careless(Oracle):
        """It draws anew for each mask, always the same numbers."""

        rng = np.random.default_rng(0)

        def predict(self, embedding: Any, *given: Any, **more: Any) -> Answer:
            said = super().predict(embedding, *given, **more)
            right = said.masks[:, 0] > 0
            masks = np.stack([self.worse(mask, embedding["ids"]) for mask in right])
            shared, union = (part.sum(axis=(1, 2)) for part in (right & masks, right | masks))
            believed = np.clip(shared / np.maximum(union, 1) + self.rng.normal(0, 0.1, len(masks)), 0, 1)
            return Answer(np.where(masks, SURE, -SURE).astype(np.float32)[:, None], believed[:, None])

        def worse(self, mask: Any, there: Any) -> Any:
            drawn = self.rng.random()
            if fault == "wrong":
                others = np.unique(there[(there > 0) & ~mask])
                return there == self.rng.choice(others) if drawn < 0.1 and len(others) else mask
            change = (ndimage.binary_erosion, np.asarray, ndimage.binary_dilation)[int(3 * drawn)]
            return change(mask)

    return Careless(ids) if fault else Oracle(ids)


class Said:
    """A network that says what it was given."""

    def __init__(self, maps: Any) -> None:
        from copick_tools.inference.geometry import Geometry

        self.found, self.geometry = maps, Geometry("distances", 2)
        self.objects, self.voxel_spacing, self.normalize = {"object": 1}, 10.0, 0.0

    def maps(self, volume: Any, sample: Any = None) -> Any:
        """See `tiler.Tiled.maps`."""
        yield 0, self.found.foreground, self.found.labels, self.found.geometry


def watershed(smoothing: float, ids: Any, level: float, seed: int) -> Any:
    """AIS."""
    import learned_instances
    import numpy as np

    from copick_tools.volumes.decoding import Decoding, decode

    maps = learned_instances.maps(ids, "distances", level, seed)
    return decode(maps, Decoding(smoothing=smoothing, limits=(LEAST, np.inf))).ids


def prompts(space: str, fault: str, ids: Any, level: float, seed: int) -> Any:
    """APG."""
    import learned_instances
    import numpy as np

    from copick_tools.inference.prompted import Prompted
    from copick_tools.recipes.prompting import Prompting
    from copick_tools.volumes.decoding import Decoding

    make = learned_instances.in_slices if space == "slices" else learned_instances.maps
    network = Said(make(ids, "distances", level, seed))
    prompted = Prompted(network, careless(ids, fault), Prompting(mode="apg", space=space))
    seen = np.random.default_rng(0).normal(size=ids.shape).astype(np.float32)  # an oracle doesn't look at it
    return prompted.instances(seen, Decoding(limits=(LEAST, np.inf))).ids


WAYS = {
    "AIS": partial(watershed, 0.0),
    "AIS, smoothing 1": partial(watershed, 1.0),
    "APG in slices, stitched: oracle": partial(prompts, "slices", ""),
    "APG in slices, stitched: edges off by a pixel": partial(prompts, "slices", "edges"),
    "APG in slices, stitched: one of ten wrong": partial(prompts, "slices", "wrong"),
    "APG in 3D: oracle": partial(prompts, "volume", ""),
    "APG in 3D: edges off by a pixel": partial(prompts, "volume", "edges"),
    "APG in 3D: one of ten wrong": partial(prompts, "volume", "wrong"),
}


def noisy(objects: int, seeds: int) -> str:
    """The table of noise."""
    import learned_instances
    import numpy as np

    volumes = [learned_instances.ellipsoids(objects, seed) for seed in range(seeds)]
    rows = []
    for title, way in WAYS.items():
        cells = []
        for level in LEVELS:
            found = [way(ids, level, 1000 * seed) for seed, ids in enumerate(volumes)]
            score = np.mean([learned_instances.accuracy(ids, one) for ids, one in zip(volumes, found)])
            cells.append(f"{score:.3f} ({np.mean([one.max() for one in found]):.0f})")
        rows.append([title, *cells])
        common.say(f"{title}: {cells}")
    return common.table([f"noise {level:g}" for level in LEVELS], rows)


# ---- suppression ----------------------------------------------------------------------------------------------------
def many() -> tuple[Any, Any]:
    """Masks of ellipsoids as `Cuts`, a third of them once more and a little elsewhere; and scores (N,)."""
    import numpy as np

    from copick_tools.volumes.cuts import Cuts

    rng, voxels = np.random.default_rng(0), []
    axes = np.ogrid[tuple(map(slice, LARGE))]
    centers, halves = rng.uniform(8, np.array(LARGE) - 8, (MASKS, 3)), rng.uniform(6, 14, (MASKS, 3))
    again = MASKS // 3
    centers[:again], halves[:again] = centers[-again:] + rng.uniform(-0.4, 0.4, (again, 3)), halves[-again:]
    for center, half in zip(centers, halves):
        away = sum(((axis - c) / h) ** 2 for axis, c, h in zip(axes, center, half))
        voxels.append(np.flatnonzero(away <= 1))
    ends = np.r_[0, np.cumsum([len(part) for part in voxels])].astype(np.int64)
    return Cuts(LARGE, np.concatenate(voxels), ends, np.ones(MASKS), np.ones(MASKS)), rng.random(MASKS)


def among_arrays(masks: Any, scores: Any) -> list[int]:
    """Suppression of masks (N, voxels) bool, the usual way."""
    import numpy as np

    left, kept, sizes = np.argsort(-scores, kind="stable"), [], masks.sum(axis=1)
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        shared = np.array([np.count_nonzero(masks[best] & masks[other]) for other in left])
        left = left[shared / (sizes[best] + sizes[left] - shared) <= OVERLAP] if len(left) else left
    return kept


def child(side: str) -> None:
    """Print what suppression takes on one side, in seconds and MiB, and the rows that it keeps."""
    import numpy as np

    from copick_tools.volumes.cuts import suppressed

    cuts, scores = many()

    def by_arrays() -> list[int]:
        masks = np.zeros((len(cuts), int(np.prod(LARGE))), bool)  # what models answer with
        for row, mask in enumerate(masks):
            mask[cuts.of_row(row)] = True
        return among_arrays(masks, scores)

    if side == OURS:
        took, kept = common.spent(lambda: suppressed(cuts, scores, OVERLAP).tolist(), 3)
    else:
        took, kept = common.spent(by_arrays)
    print(json.dumps([took.cpu, took.memory, kept]))


def suppression() -> tuple[str, str]:
    """The table of suppression, and how many masks stay."""
    rows = {side: common.child(__file__, ["--side", side]) for side in (OURS, ARRAYS)}
    if rows[OURS] is None or rows[ARRAYS] is None or rows[OURS][2] != rows[ARRAYS][2]:
        raise SystemExit("the two ways of suppression failed, or don't keep the same masks")
    return common.table(common.COSTS, common.costs(rows, rows[OURS][0])), f"Both keep the same {len(rows[OURS][2])}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        child(asked.side)
        return
    costs, kept = suppression()
    common.write(
        f"Mean segmentation accuracy (and number of instances), {asked.objects} ellipsoids that touch in 96 x 128 x 128 voxels, "
        f"{asked.seeds} volumes; gaussian noise of so much of the maps' range, smooth over a voxel, on foreground and distances; "
        f"instances of fewer than {LEAST} voxels left out:",
        noisy(asked.objects, asked.seeds),
        f"Suppression at an IoU of {OVERLAP} among {MASKS} masks of {' x '.join(map(str, LARGE))} voxels. {kept}",
        costs,
        common.provenance(
            ("copick-tools", "numpy", "scipy", "connected-components-3d"),
            "nothing is trained, no model is asked; suppression: ours best of 3 calls, arrays one, which makes the arrays, too",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
