"""Dice of label volumes in memory: ours in one pass against a mask per label and MONAI's, on the same two volumes, in one go.

Each side in a process of its own, after its imports; the best of three calls. Memory is what the process's peak lies above
what it holds before the calls, the two volumes (Linux).

    python benchmarks/dice.py [--shape 184,630,630 --repeats 3]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import numpy as np

LABELS, BLOCKS = 7, 700
CLOSE = 1e-6  # MONAI sums in float32


def volumes(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two label volumes of blocks, the second moved."""
    import numpy as np

    rng = np.random.default_rng(0)
    volume = np.zeros(shape, np.uint8)
    for _ in range(BLOCKS):
        z, y, x = (int(rng.integers(0, size - 16)) for size in shape)
        volume[z : z + 16, y : y + 16, x : x + 16] = rng.integers(1, LABELS + 1)
    return volume, np.roll(volume, 3, axis=1)


def ours(one: np.ndarray, other: np.ndarray) -> float:
    import numpy as np

    from copick_tools.metrics.dice import dice, overlap_counts

    return float(dice(overlap_counts(one, other, np.arange(1, LABELS + 1))).mean())


def masks(one: np.ndarray, other: np.ndarray) -> float:
    """A mask for each label."""
    total = 0.0
    for label in range(1, LABELS + 1):
        left, right = one == label, other == label
        total += 2 * (left & right).sum() / (left.sum() + right.sum())
    return float(total / LABELS)


def monai(one: np.ndarray, other: np.ndarray) -> float:
    """MONAI's, one-hot in the network's layout."""
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    first, second = (one_hot(torch.from_numpy(v)[None, None], LABELS + 1, dtype=torch.uint8) for v in (one, other))
    return float(compute_dice(second, first, include_background=False).mean())


SIDES = {
    "ours, one pass": (ours, "copick_tools.metrics.dice"),
    "a mask per label": (masks, "numpy"),
    "MONAI's compute_dice": (monai, "monai.metrics"),
}


def child(side: str, shape: tuple[int, ...], repeats: int) -> None:
    """Print CPU seconds, growth of the peak in MiB, the mean Dice."""
    work, module = SIDES[side]
    importlib.import_module(module)
    one, other = volumes(shape)
    took, score = common.spent(lambda: work(one, other), repeats)
    print(json.dumps([took.cpu, took.memory, score]))


def compare(shape: str, repeats: int) -> dict[str, list[float]]:
    """Rows of the sides that are there. Raises SystemExit where one fails, or has another score."""
    rows = {}
    for side, (_, module) in SIDES.items():
        if importlib.util.find_spec(module.split(".")[0]):
            rows[side] = common.child(__file__, ["--side", side, "--shape", shape, "--repeats", str(repeats)])
            if rows[side] is None:
                raise SystemExit(1)
            common.say(f"{side}: {rows[side][0]:.2f} CPU-s")
    scores = [row[2] for row in rows.values()]
    if max(scores) - min(scores) > CLOSE:
        raise SystemExit(f"scores differ: {scores}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="184,630,630", help="zyx")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shape = tuple(int(part) for part in asked.shape.split(","))
    if asked.side:
        child(asked.side, shape, asked.repeats)
        return
    rows = compare(asked.shape, asked.repeats)
    cells = common.costs({side: rows.get(side) for side in SIDES}, rows["ours, one pass"][0])
    there = "MONAI's compute_dice" in rows
    common.write(
        f"Dice of two uint8 volumes of {' x '.join(map(str, shape))} with {LABELS} labels:",
        common.table(common.COSTS, cells),
        "" if there else common.missing(["MONAI"], {"MONAI": "pip install monai"}),
        common.provenance(
            ("copick-tools", "numpy", *(("monai", "torch") if there else ())),
            f"best of {asked.repeats} calls, each side in a process of its own",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
