"""From a semantic segmentation to instances: ours against scipy per class, scikit-image and cc3d alone; and a large volume.

The volume is made: ellipsoids of five classes with half-axes of 4 to 9 voxels on a jittered grid, many of which touch. All sides
end with the same: ids of each class from 1 in raster order, components (26) below the smallest size left out; that is checked.
Each side in a process of its own, after its imports; the best of some calls. Memory is what the process's peak lies above what
it holds before the calls, the volume (Linux).

    python benchmarks/semantic_instances.py [--shape 128,512,512 --repeats 5]
    python benchmarks/semantic_instances.py --large [--shape 500,1000,1000]    whole commands on a stored project
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import numpy as np

CLASSES, CELL, LEAST = 5, 16, 50
OBJECTS = ("mitochondrion", "vesicle", "er", "golgi", "nucleus")
OURS = "ours"


def volume(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """zyx uint8, labels 1 to `CLASSES`."""
    import numpy as np

    rng = np.random.default_rng(seed)
    found = np.zeros(shape, np.uint8)
    for cell in np.ndindex(*(-(-length // CELL) for length in shape)):
        center = (np.array(cell) + rng.uniform(0.2, 0.8, 3)) * CELL
        axes, label = rng.uniform(4, 9, 3), rng.integers(1, CLASSES + 1)
        low = np.maximum(center - axes, 0).astype(int)
        high = np.minimum(center + axes + 1, shape).astype(int)
        if (low >= high).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high))
        grid = np.ogrid[box]
        inside = sum(((axis - c) / half) ** 2 for axis, c, half in zip(grid, center, axes)) <= 1
        found[box][inside] = label
    return found


def ours(labels: np.ndarray) -> np.ndarray:
    import numpy as np

    from copick_tools.volumes.semantic_instances import Way, convert

    way = Way("components", 26, (LEAST, np.inf))
    return convert(labels, dict.fromkeys(range(1, CLASSES + 1), way))[:, :, :]


def scipy_per_class(labels: np.ndarray) -> np.ndarray:
    import numpy as np
    from scipy import ndimage

    neighbors = np.ones((3, 3, 3), bool)
    found = np.zeros(labels.shape, np.int32)
    for label in range(1, CLASSES + 1):
        mask = labels == label
        ids, _ = ndimage.label(mask, neighbors)
        np.copyto(found, large_ones(ids), where=mask)
    return found


def skimage_once(labels: np.ndarray) -> np.ndarray:
    from skimage.measure import label

    return by_class(labels, label(labels, connectivity=3))


def cc3d_once(labels: np.ndarray) -> np.ndarray:
    import cc3d

    return by_class(labels, cc3d.connected_components(labels, connectivity=26))


def large_ones(ids: np.ndarray) -> np.ndarray:
    """Without the small ones, numbered anew."""
    import numpy as np

    good = np.bincount(ids.ravel()) >= LEAST
    good[0] = False
    return np.where(good, np.cumsum(good), 0).astype(np.int32)[ids]


def by_class(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Components of all classes at once, numbered within each."""
    import numpy as np

    size, label_of = np.bincount(ids.ravel()), np.zeros(int(ids.max()) + 1, np.int64)
    label_of[ids] = labels
    table = np.zeros(len(size), np.int32)
    for label in range(1, CLASSES + 1):
        good = np.flatnonzero((label_of == label) & (size >= LEAST))
        table[good] = np.arange(1, len(good) + 1)
    return table[ids]


SIDES = {
    OURS: (ours, "copick_tools.volumes.semantic_instances"),
    "scipy label per class": (scipy_per_class, "scipy.ndimage"),
    "scikit-image label": (skimage_once, "skimage.measure"),
    "cc3d, the volume at once": (cc3d_once, "cc3d"),
}


def child(side: str, shape: tuple[int, ...], repeats: int) -> None:
    """Print CPU seconds, growth of the peak in MiB, instances of each class, and a number that tells results apart."""
    import zlib

    import numpy as np

    work, module = SIDES[side]
    importlib.import_module(module)
    labels = volume(shape)
    took, found = common.spent(lambda: work(labels), repeats)
    counts = [int(found[labels == label].max(initial=0)) for label in range(1, CLASSES + 1)]
    print(json.dumps([took.cpu, took.memory, counts, zlib.crc32(np.ascontiguousarray(found, np.int32))]))


def compare(shape: str, repeats: int) -> None:
    """Write the table. Raises SystemExit where a side fails, or finds something else."""
    rows = {}
    for side in SIDES:
        rows[side] = common.child(__file__, ["--side", side, "--shape", shape, "--repeats", str(repeats)])
        if rows[side] is None:
            raise SystemExit(1)
        common.say(f"{side}: {rows[side][0]:.2f} CPU-s")
    if len({(tuple(row[2]), row[3]) for row in rows.values()}) > 1:
        raise SystemExit(f"results differ: {rows}")
    base = rows[OURS]
    common.write(
        f"{shape.replace(',', ' x ')} voxels of {CLASSES} classes, {sum(base[2]):,} instances of {LEAST} voxels or more, "
        "the same on all sides:",
        common.table(common.COSTS, common.costs(rows, base[0])),
        common.provenance(
            ("copick-tools", "numpy", "scipy", "scikit-image", "connected-components-3d"),
            f"best of {repeats} calls, each side in a process of its own",
        ),
    )


# ---- a large volume -------------------------------------------------------------------------------------------------
COMMANDS = {
    "components, panoptic": ("cells:ours/1?panoptic=true",),
    "components, one object": ("vesicle:ours/1?instance=true",),
    "watershed, one object": ("vesicle:ours/2?instance=true", "--method", "watershed"),
}


def make(folder: Path, shape: tuple[int, int, int]) -> None:
    """A project with the volume again and again, cut to ``shape``."""
    import numpy as np

    from copick_tools.data.project import ProjectObject, create_project
    from copick_tools.data.uris import SegmentationUri
    from copick_tools.data.write import write_segmentation_slabs

    objects = [ProjectObject(name, n, None, False, (n, 0, 0, 255)) for n, name in enumerate(OBJECTS, 1)]
    project = create_project(folder, "large", objects, "for a benchmark")
    tile = volume((128, 256, 256))
    y, x = (np.arange(length) % side for length, side in zip(shape[1:], tile.shape[1:]))
    z = np.arange(shape[0]) % len(tile)
    slabs = ((z0, tile[z[z0 : z0 + 64]][:, y][:, :, x]) for z0 in range(0, shape[0], 64))
    uri = SegmentationUri("cells", "made", "0", 10.0, "multilabel")
    write_segmentation_slabs(project, "TS_1", uri, shape, slabs, np.uint8)


def large(shape: str) -> None:
    """Write the table of whole commands."""
    z, y, x = (int(part) for part in shape.split(","))
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        common.say(f"writes {shape} voxels")
        common.child(__file__, ["--make", folder, "--shape", shape])
        for title, (output, *more) in COMMANDS.items():
            command = [str(common.BIN / "popsicle"), "instances", "-c", folder, "-i", "cells:made/0?multilabel=true"]
            took = common.timed([*command, "-o", output, *more])
            common.say(f"{title}: {took.wall:.0f} s, {took.memory:.0f} MiB")
            cells.append([title, common.seconds(took.wall), common.seconds(took.cpu), common.mib(took.memory)])
    common.write(
        f"{z} x {y} x {x} voxels in zarr, from start to end:",
        common.table(("wall", "CPU", "memory, all of it"), cells),
        common.provenance(("copick-tools", "connected-components-3d", "edt", "zarr", "numpy"), "one call each"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", help="zyx [default: 128,512,512; large: 500,1000,1000]")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="whole commands on a stored volume, their memory")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shape = asked.shape or ("500,1000,1000" if asked.large else "128,512,512")
    z, y, x = (int(part) for part in shape.split(","))
    if asked.side:
        child(asked.side, (z, y, x), asked.repeats)
    elif asked.make:
        make(asked.make, (z, y, x))
        print("null")
    elif asked.large:
        large(shape)
    else:
        compare(shape, asked.repeats)


if __name__ == "__main__":
    sys.exit(main())
