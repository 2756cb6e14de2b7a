"""Picks from a label volume that is large: ours reads it from zarr slab by slab, cc3d gets it whole in memory, if it fits.

The volume is n700 of label_volumes.py, tiled, in chunks of 256^3. Each side in a process of its own, after its imports; one
call. Memory is what the process's peak lies above what it holds before the call (Linux); cc3d's holds the volume as well.

    python benchmarks/large_volume.py [--shape 500,2000,2000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import common

CHUNK = 256
NEEDED = 8  # bytes of memory for each voxel, for cc3d: labels, components, statistics


def write(folder: Path, shape: tuple[int, ...]) -> None:
    """n700 again and again, cut to ``shape``."""
    import numpy as np
    import zarr
    from label_volumes import make

    labels, _, _ = make("n700")
    places = [np.arange(size) % side for size, side in zip(shape, labels.shape)]
    stored = zarr.open(str(folder), mode="w", shape=shape, chunks=(CHUNK,) * 3, dtype="u1")
    for z0 in range(0, shape[0], CHUNK):
        planes = labels[places[0][z0 : z0 + CHUNK]]
        stored[z0 : z0 + CHUNK] = planes[:, places[1]][:, :, places[2]]


def ours(stored: Any) -> int:
    from localize import ours

    return sum(len(centers) for _, centers in ours(stored))


def cc3d_whole(stored: Any) -> int:
    """All objects together, as in localize.py."""
    from localize import cc3d_once

    return sum(len(centers) for _, centers in cc3d_once(stored[:]))


SIDES = {"ours, from zarr": ours, "cc3d multilabel and statistics, the volume in memory": cc3d_whole}


def child(side: str, folder: Path) -> None:
    """Print CPU seconds, growth of the peak in MiB, picks."""
    import zarr
    from localize import SIDES as KNOWN

    for name in ("ours", "cc3d"):
        for module in KNOWN[name].imports:
            __import__(module)
    stored = zarr.open(str(folder), mode="r")
    took, picks = common.spent(lambda: SIDES[side](stored))
    print(json.dumps([took.cpu, took.memory, picks]))


def free() -> float:
    """GiB of memory that this machine has to give."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="500,2000,2000", metavar="Z,Y,X")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    z, y, x = (int(part) for part in asked.shape.split(","))
    if asked.make:
        write(asked.folder, (z, y, x))
        print("null")
        return
    if asked.side:
        child(asked.side, asked.folder)
        return
    rows: dict[str, Any] = {}
    needed, there = NEEDED * z * y * x / 2**30, free()
    with tempfile.TemporaryDirectory() as parent:
        where = ["--shape", asked.shape, "--folder", f"{parent}/labels.zarr"]
        common.say(f"writes {asked.shape} voxels")
        common.child(__file__, ["--make", *where])
        for side in SIDES:
            rows[side] = None
            if SIDES[side] is ours or there > needed:
                rows[side] = common.child(__file__, ["--side", side, *where])
                if rows[side] is None:
                    raise SystemExit(1)
                common.say(f"  {side}: {rows[side][0]:.1f} CPU-s, {rows[side][1]:.0f} MiB, {rows[side][2]:,} picks")
    base = rows["ours, from zarr"]
    words = f"{z} x {y} x {x} voxels, {base[2]:,} picks of ours:"
    small = "" if there > needed else f"cc3d would need about {needed:.0f} GiB of memory, {there:.0f} are free here."
    common.write(
        words,
        common.table(common.COSTS, common.costs(rows, base[0])),
        small,
        common.provenance(("copick-tools", "connected-components-3d", "zarr", "numpy"), "one call each"),
    )


if __name__ == "__main__":
    main()
