"""Learned instances without learning: flow targets against Cellpose's diffusion, and perfect maps that are made worse.

The objects are made: ellipsoids that touch, in a volume of noise or none. First block: how long 3D flow targets of them
take, and whether Cellpose's own gradient tracking finds the same objects in both fields. Second: maps of distances, flows and
boundaries as a perfect network would give them, with noise added, decoded in 3D; the same in slices that are stitched; and plain
components of the foreground.

    python benchmarks/learned_instances.py [--objects 90]
    python benchmarks/learned_instances.py --noise [--objects 60 --seeds 2]
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import common
import peers

SHAPE = (96, 128, 128)
OURS, THEIRS = "ours", "Cellpose's diffusion"
LEVELS = (0.0, 0.1, 0.25, 0.4)  # deviation of the noise, of what maps range over


# ---- objects: numpy alone, for the peer's environment makes them, too -----------------------------------------------
def ellipsoids(count: int, seed: int = 0) -> Any:
    """zyx uint16 ids of ``count`` ellipsoids that touch, cut where they meet. Half-axes are 6 to 13 voxels, centers 11 apart."""
    import numpy as np

    rng, centers = np.random.default_rng(seed), []
    while len(centers) < count:
        center = rng.uniform(6, np.array(SHAPE) - 6)
        if all(((center - other) ** 2).sum() > 11**2 for other in centers):
            centers.append(center)
    ids, nearest = np.zeros(SHAPE, np.uint16), np.ones(SHAPE)
    axes = np.ogrid[tuple(map(slice, SHAPE))]
    for number, (center, halves) in enumerate(zip(centers, rng.uniform(6, 13, (count, 3))), start=1):
        away = sum(((axis - c) / half) ** 2 for axis, c, half in zip(axes, center, halves))
        ids[away < nearest] = number
        nearest = np.minimum(nearest, away)
    return ids


# ---- flow targets ---------------------------------------------------------------------------------------------------
def cellpose() -> ModuleType:
    """Its `dynamics`, which imports torchvision for what isn't used here, and no torchvision may fit the torch there."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "segment_anything"):
        sys.modules.setdefault(name, MagicMock())
    from cellpose import dynamics

    return dynamics


def child(side: str, work: Path, objects: int) -> None:
    """Print what a side's flows take, in seconds and MiB; the flows lie in a file then. ``masks``: of both, by Cellpose."""
    import numpy as np

    ids = ellipsoids(objects)
    if side == OURS:
        from copick_tools.volumes.flow_fields import flow_fields

        took, flows = common.spent(lambda: flow_fields(ids), 3)
    elif side == THEIRS:
        import torch

        torch.set_num_threads(1)
        dynamics = cellpose()
        took, flows = common.spent(
            lambda: dynamics.masks_to_flows_gpu_3d(ids.astype(np.int32), device=torch.device("cpu"))
        )
    else:
        print(json.dumps(followed(work, ids)))
        return
    np.save(work / f"{side}.npy", flows.astype(np.float32))
    print(json.dumps([took.cpu, took.memory, took.wall]))


def followed(work: Path, ids: Any) -> dict[str, float]:
    """What Cellpose makes of both fields: objects, and the share of voxels in the object that they come from."""
    import numpy as np
    import torch

    dynamics, found = cellpose(), {}
    fields = {side: np.load(work / f"{side}.npy") for side in (OURS, THEIRS)}
    for side, flows in fields.items():
        masks = dynamics.compute_masks(
            5 * flows,
            np.where(ids > 0, 10.0, -10.0),
            niter=300,
            do_3D=True,
            max_size_fraction=1.0,
            device=torch.device("cpu"),
        )
        masks = masks[0] if isinstance(masks, tuple) else masks
        pairs = np.unique(np.stack([ids[ids > 0], masks[ids > 0]]), axis=1, return_counts=True)
        right = sum(pairs[1][pairs[0][0] == number].max() for number in range(1, int(ids.max()) + 1))
        found[side] = [int(masks.max()), float(right / (ids > 0).sum())]
    inside = (slice(None), ids > 0)
    cosine = (fields[OURS][inside] * fields[THEIRS][inside]).sum(axis=0)
    return {**found, "cosine": float(cosine.mean())}


def targets(objects: int) -> None:
    """Write the table of flow targets."""
    theirs = peers.python("cellpose")
    with tempfile.TemporaryDirectory() as work:
        arguments = ["--work", work, "--objects", str(objects), "--side"]
        rows = {OURS: common.child(__file__, [*arguments, OURS])}
        title = f"{peers.version('cellpose')}, diffusion"
        rows[title] = common.child(__file__, [*arguments, THEIRS], str(theirs)) if theirs else None
        both = common.child(__file__, [*arguments, "masks"], str(theirs)) if rows[title] else None
    if rows[OURS] is None:
        raise SystemExit(1)
    words = ""
    if both:
        (ours, right), (other, also) = both[OURS], both[THEIRS]
        words = (
            f"Mean cosine of both fields {both['cosine']:.4f}. Cellpose's own gradient tracking (300 steps) finds {ours} objects "
            f"in ours, with {right:.2%} of the voxels where they belong, and {other} in its own ({also:.2%})."
        )
    common.write(
        f"{' x '.join(map(str, SHAPE))} voxels, {objects} ellipsoids that touch:",
        common.table(common.COSTS, common.costs(rows, rows[OURS][0])),
        words,
        common.provenance(("copick-tools", "numpy", "scipy"), "ours best of 3 calls, the peer one; one thread each"),
    )


# ---- noise ----------------------------------------------------------------------------------------------------------
def maps(ids: Any, kind: str, noise: float, seed: int) -> Any:
    """What a network would say of ``ids``, off by smooth noise."""
    import numpy as np
    from scipy import ndimage

    from copick_tools.volumes.decoding import FULL, UNIT, Maps
    from copick_tools.volumes.flow_fields import flow_fields
    from copick_tools.volumes.object_maps import boundary_map, distance_maps

    rng = np.random.default_rng(seed)

    def off(values: Any) -> Any:
        random = ndimage.gaussian_filter(rng.standard_normal(values.shape), (0,) * (values.ndim - 3) + (1.0,) * 3)
        return values + noise * random / random.std()

    made = {"distances": distance_maps, "flows": flow_fields, "boundary": lambda i: boundary_map(i)[None]}[kind](ids)
    foreground = np.clip(off((ids > 0).astype(float)), 0, 1)
    low, size, dtype = (-1, UNIT, np.int8) if kind == "flows" else (0, FULL, np.uint8)
    geometry = np.round(np.clip(off(made.astype(float)), low, 1) * size).astype(dtype)
    return Maps(kind, np.round(foreground * FULL).astype(np.uint8), (ids > 0).astype(np.uint8), geometry)


def in_slices(ids: Any, kind: str, noise: float, seed: int) -> Any:
    """Maps of each slice as if there were no others: of the pieces that it shows."""
    import cc3d
    import numpy as np

    from copick_tools.volumes.decoding import Maps

    planes = [
        maps(cc3d.connected_components(p[None], connectivity=26), kind, noise, seed + z) for z, p in enumerate(ids)
    ]
    stacks = [np.concatenate([getattr(p, part) for p in planes]) for part in ("foreground", "labels")]
    return Maps(kind, *stacks, np.concatenate([p.geometry for p in planes], axis=1))


def accuracy(ids: Any, found: Any) -> float:
    """Mean segmentation accuracy."""
    import numpy as np

    from copick_tools.metrics.contingency import contingency
    from copick_tools.metrics.instances import instance_numbers, match_instances

    table = contingency(ids.astype(np.int64), found.astype(np.int64))
    return float(instance_numbers(match_instances(table).counts())[0])


def noisy(objects: int, seeds: int) -> None:
    """Write the table of noise."""
    import cc3d
    import numpy as np

    from copick_tools.volumes.decoding import Decoding, decode

    least = Decoding(smoothing=1.0, limits=(100, np.inf))
    stitched = replace(least, stitch=0.25)

    def decoded(kind: str, sliced: bool, level: float, ids: Any, seed: int) -> Any:
        make, how = (in_slices, stitched) if sliced else (maps, least)
        return decode(make(ids, kind, level, seed), how).ids

    def components(level: float, ids: Any, seed: int) -> Any:
        foreground = maps(ids, "boundary", level, seed).foreground >= 128
        return cc3d.dust(cc3d.connected_components(foreground), threshold=100)

    ways = {
        f"{kind}, {'slices stitched' if sliced else 'in 3D'}": functools.partial(decoded, kind, sliced)
        for kind in ("distances", "flows", "boundary")
        for sliced in (False, True)
    }
    ways["components of the foreground"] = components
    volumes = [ellipsoids(objects, seed) for seed in range(seeds)]
    rows: dict[str, list[str]] = {}
    for title, way in ways.items():
        for level in LEVELS:
            scores = [accuracy(ids, way(level, ids, 1000 * seed)) for seed, ids in enumerate(volumes)]
            rows.setdefault(title, []).append(f"{np.mean(scores):.3f}")
        common.say(f"{title}: {rows[title]}")
    common.write(
        f"Mean segmentation accuracy, {objects} ellipsoids that touch in {' x '.join(map(str, SHAPE))} voxels, {seeds} volumes; "
        "gaussian noise of so much of the maps' range, smooth over a voxel, on foreground and maps; decoded with smoothing 1:",
        common.table([f"noise {level:g}" for level in LEVELS], [[title, *cells] for title, cells in rows.items()]),
        common.provenance(("copick-tools", "numpy", "scipy", "connected-components-3d"), "nothing is trained"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, help="[default: 90; noise: 60]")
    parser.add_argument("--noise", action="store_true", help="decode maps with noise instead")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        child(asked.side, asked.work, asked.objects)
    elif asked.noise:
        noisy(asked.objects or 60, asked.seeds)
    else:
        targets(asked.objects or 90)


if __name__ == "__main__":
    sys.exit(main())
