"""Mean segmentation accuracy of instance segmentations in memory: ours, a dense matrix of numpy's, stardist's and elf's, on the
same two volumes, in one go.

Each side in a process of its own (stardist and elf in environments made by peers.py), after its imports and a call to warm
up; the best of three calls. Memory is what the process's peak lies above what it holds before the calls, the two volumes
(Linux). All are told the thresholds as decimal literals.

    python benchmarks/instance_metrics.py [--shape 128,512,512 --objects 500 --many 120000 --repeats 3]
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import TYPE_CHECKING

import common
import peers

if TYPE_CHECKING:
    import numpy as np

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
CLOSE = 1e-6  # stardist counts in float32
STEP, SIDE = 6, 5  # voxels, of the grid of many objects and of each


def volumes(shape: tuple[int, ...], objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Balls of 8 to 24 voxels' radius, later ones over earlier ones; and the same, moved, a tenth missing."""
    import numpy as np

    rng = np.random.default_rng(0)
    volume = np.zeros(shape, np.uint16)
    for number in range(1, objects + 1):
        center, radius = [int(rng.integers(0, size)) for size in shape], float(rng.uniform(8, 24))
        low = [max(0, int(c - radius)) for c in center]
        box = tuple(slice(a, int(c + radius) + 1) for a, c in zip(low, center))
        part = volume[box]
        axes = np.ogrid[tuple(slice(0, n) for n in part.shape)]
        part[sum((axis + a - c) ** 2 for axis, a, c in zip(axes, low, center)) <= radius**2] = number
    kept = np.arange(objects + 1) * (rng.random(objects + 1) > 0.1)
    return volume, np.roll(kept.astype(volume.dtype)[volume], 3, axis=1)


def crowd(shape: tuple[int, ...], objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Cubes on a grid, as many as there is room for at most; and the same, moved by a voxel."""
    import numpy as np

    volume = np.zeros(shape, np.uint32)
    corners = np.stack(np.meshgrid(*(range(0, size - SIDE, STEP) for size in shape), indexing="ij"), -1).reshape(-1, 3)
    for number, (z, y, x) in enumerate(corners[:objects].tolist(), start=1):
        volume[z : z + SIDE, y : y + SIDE, x : x + SIDE] = number
    return volume, np.roll(volume, 1, axis=2)


def ours(one: np.ndarray, other: np.ndarray) -> float:
    from copick_tools.metrics.contingency import contingency
    from copick_tools.metrics.instances import instance_numbers, match_instances

    return float(instance_numbers(match_instances(contingency(one, other)).counts())[0])


def bincount(one: np.ndarray, other: np.ndarray) -> float:
    """A matrix of all pairs, as ids without gaps allow."""
    import numpy as np

    width = int(other.max()) + 1
    codes = one.astype(np.int64) * width + other
    table = np.bincount(codes.reshape(-1), minlength=(int(one.max()) + 1) * width).reshape(-1, width)
    iou = table / np.maximum(table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table, 1)
    objects = [int((table.sum(axis)[1:] > 0).sum()) for axis in (1, 0)]
    found = [int((iou[1:, 1:] >= threshold - 1e-9).any(axis=1).sum()) for threshold in THRESHOLDS]
    return float(np.mean([tp / (sum(objects) - tp) for tp in found]))


def stardist(one: np.ndarray, other: np.ndarray) -> float:
    import numpy as np
    from stardist.matching import matching  # type: ignore[import-not-found]

    return float(np.mean([found.accuracy for found in matching(one, other, thresh=THRESHOLDS)]))


def elf(one: np.ndarray, other: np.ndarray) -> float:
    from elf.evaluation import mean_segmentation_accuracy  # type: ignore[import-not-found]

    return float(mean_segmentation_accuracy(other, one, thresholds=THRESHOLDS))


OURS, DENSE = "ours", "numpy bincount, a dense matrix"
STARDIST, ELF = (peers.version(name) for name in ("stardist", "elf"))
SIDES = {
    OURS: (ours, "copick_tools.metrics.instances", None),
    DENSE: (bincount, "numpy", None),
    STARDIST: (stardist, "stardist.matching", "stardist"),
    ELF: (elf, "elf.evaluation", "elf"),
}


def child(side: str, shape: tuple[int, ...], objects: int, many: bool, repeats: int) -> None:
    """Print CPU seconds, growth of the peak in MiB, the mean segmentation accuracy, wall seconds."""
    work, module, _ = SIDES[side]
    importlib.import_module(module)
    work(*volumes((8, 32, 32), 5))
    one, other = (crowd if many else volumes)(shape, objects)
    took, score = common.spent(lambda: work(one, other), repeats)
    print(json.dumps([took.cpu, took.memory, score, took.wall]))


def measure(side: str, asked: argparse.Namespace, objects: int, *more: str) -> list[float] | None:
    """None for a peer that isn't there."""
    peer = SIDES[side][2]
    interpreter = str(peers.python(peer) or "") if peer else sys.executable
    if not interpreter:
        return None
    arguments = ["--side", side, "--shape", asked.shape, "--objects", str(objects), "--repeats", str(asked.repeats)]
    row = common.child(__file__, [*arguments, *more], interpreter)
    if row is None:
        raise SystemExit(1)
    common.say(f"{side}: {row[0]:.2f} CPU-s, {row[3]:.2f} s, {row[1]:.0f} MiB, mSA {row[2]:.6f}")
    return row


def compare(asked: argparse.Namespace) -> dict[str, list[float] | None]:
    """Rows of the sides. Raises SystemExit where one fails, or has another score."""
    rows = {side: measure(side, asked, asked.objects) for side in SIDES}
    scores = [row[2] for row in rows.values() if row]
    if max(scores) - min(scores) > CLOSE:
        raise SystemExit(f"scores differ: {scores}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="128,512,512", help="zyx")
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--many", type=int, default=120_000, help="objects of the second table; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--crowd", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shape = tuple(int(part) for part in asked.shape.split(","))
    if asked.side:
        child(asked.side, shape, asked.objects, asked.crowd, asked.repeats)
        return
    rows = compare(asked)
    words = " x ".join(map(str, shape))
    parts = [f"{asked.objects} objects on either side, {words} voxels, ten thresholds; all sides agree to {CLOSE:.0e}:"]
    parts.append(common.table(common.COSTS, common.costs(rows, rows[OURS][0])))
    if asked.many:
        row = measure(OURS, asked, asked.many, "--crowd")
        parts.append(f"{asked.many:,} objects; a dense matrix of them would take {8 * asked.many**2 / 2**30:,.0f} GiB:")
        parts.append(common.table(common.COSTS, common.costs({OURS: row}, row[0])))
    lacking = [name for name in ("stardist", "elf") if peers.lacking(name)]
    there = [peers.version(name) for name in ("stardist", "elf") if name not in lacking]
    common.write(
        *parts,
        common.missing(lacking, {name: peers.how(name) for name in lacking}),
        common.provenance(
            ("copick-tools", "numpy"),
            f"{' and '.join(there)} in environments of their own" if there else "",
            f"best of {asked.repeats} calls, each side in a process of its own",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
