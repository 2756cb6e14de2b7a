"""Whether bfloat16 with float16 sums gives the labels of float32 with float32 sums: one checkpoint, a project's tomograms.

A voxel's label is its likeliest object, where that has a probability of at least one half. The costs of both are measured
in the same process.

    python benchmarks/agreement.py CHECKPOINT -c PROJECT [-i wbp --runs 6]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common

if TYPE_CHECKING:
    import numpy as np

RUNS = 6


class Agreement:
    """Sums over the tomograms seen so far: voxels, those with the same label, the largest difference, Dice's counts."""

    def __init__(self, objects: list[str]) -> None:
        import numpy as np

        self.counts = {name: np.zeros(3) for name in objects}
        self.voxels, self.same, self.worst = 0, 0, 0.0

    def add(self, one: np.ndarray, other: np.ndarray) -> None:
        """Two slabs of probabilities (C, dz, y, x)."""
        import numpy as np

        one, other = one.astype(np.float32), other.astype(np.float32)
        self.worst = max(self.worst, float(np.abs(one - other).max()))
        labels = [(1 + part[1:].argmax(axis=0)) * (part[0] <= 0.5) for part in (one, other)]
        self.same += int((labels[0] == labels[1]).sum())
        self.voxels += labels[0].size
        for index, counts in enumerate(self.counts.values(), start=1):
            left, right = labels[0] == index, labels[1] == index
            counts += left.sum(), right.sum(), (left & right).sum()


def compare(checkpoint: Path, config: Path, uri: str, most: int) -> tuple[Agreement, dict[str, float]]:
    """What agrees, and the CPU seconds of either side."""
    from copick_tools.data.project import open_project
    from copick_tools.data.read import read_tomogram
    from copick_tools.data.uris import tomogram_uri
    from copick_tools.engines import registry

    exact: Any = dataclasses.replace(registry.load(checkpoint, "cpu"), bf16=False, sums="float32")  # type: ignore[type-var]
    sides = {"bfloat16": dataclasses.replace(exact, bf16=True, sums="float16"), "float32": exact}
    project, spent = open_project(config), dict.fromkeys(sides, 0.0)
    found = Agreement(list(exact.objects))
    for run in project.run_names[:most]:
        tomogram, parts = read_tomogram(project, run, tomogram_uri(uri)), []
        for name, side in sides.items():
            start = time.process_time()
            parts.append([slab.copy() for _, slab in side.slabs(tomogram)])
            spent[name] += time.process_time() - start
        for one, other in zip(*parts, strict=True):
            found.add(one, other)
        common.say(f"  {run}: {found.same / found.voxels:.4%} of the voxels so far have the same label")
    return found, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("-i", "--input", default="wbp")
    parser.add_argument("--runs", type=int, default=RUNS, help="the first so many")
    asked = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # copick's banner
        found, spent = compare(asked.checkpoint, asked.config, asked.input, asked.runs)
    rows = [
        [name, f"{2 * both / max(left + right, 1):.4f}", f"{left:,.0f}", f"{right:,.0f}", common.ratio(left, right)]
        for name, (left, right, both) in found.counts.items()
    ]
    common.write(
        f"{found.voxels:,} voxels: {found.same / found.voxels:.4%} have the same label, probabilities differ by "
        f"{found.worst:.3f} at most. CPU of bfloat16 / float32: {common.ratio(spent['bfloat16'], spent['float32'])}.",
        common.table(["Dice", "voxels in bfloat16", "in float32", "ratio"], rows),
        common.provenance(("copick-tools", "torch")),
    )


if __name__ == "__main__":
    main()
