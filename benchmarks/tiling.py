"""Memory and time of stitching a full tomogram: ours against MONAI's SlidingWindowInferer, in one go.

A network of one 1x1x1 convolution, so that only the stitching counts; each side in a process of its own.

    python benchmarks/tiling.py [--shape 184,630,630]
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import time

PATCH, OVERLAP, OBJECTS = (96, 96, 96), 0.5, 6


def ours(shape: tuple[int, ...]) -> None:
    import numpy as np
    import torch

    from copick_tools.inference.extract import label_volume
    from copick_tools.inference.tiler import Tiled

    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    network = torch.nn.Conv3d(1, OBJECTS + 1, 1)
    tiled = Tiled(network, {str(k): k for k in range(1, OBJECTS + 1)}, 10.0, 0.1, PATCH, OVERLAP, 4)
    measure(lambda: label_volume(tiled.slabs(volume), shape, list(tiled.objects.values()), 0.5))


def monai(shape: tuple[int, ...]) -> None:
    import numpy as np
    import torch
    from monai.inferers import SlidingWindowInferer

    volume = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))[None, None]
    network = torch.nn.Conv3d(1, OBJECTS + 1, 1)
    inferer = SlidingWindowInferer(PATCH, sw_batch_size=4, overlap=OVERLAP, mode="gaussian")
    with torch.inference_mode():
        measure(lambda: inferer(volume, network).softmax(1).max(1))


def measure(work: object) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    work()  # type: ignore[operator]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) / 1024, time.perf_counter() - start, time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="184,630,630")
    parser.add_argument("--side", choices=["ours", "monai"])
    arguments = parser.parse_args()
    shape = tuple(int(part) for part in arguments.shape.split(","))
    if arguments.side:
        {"ours": ours, "monai": monai}[arguments.side](shape)
        return
    rows = {}
    for side in ("ours", "monai"):
        command = [sys.executable, "-W", "ignore", __file__, "--shape", arguments.shape, "--side", side]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows[side] = [float(value) for value in done.stdout.split()]
    from importlib.metadata import version

    print(f"{shape} voxels, {OBJECTS + 1} channels, windows {PATCH}, overlap {OVERLAP}")
    print(f"monai {version('monai')}, torch {version('torch')}, python {platform.python_version()}")
    for side, (memory, wall, cpu) in rows.items():
        print(f"{side:6} {memory:8.0f} MiB extra {wall:7.1f} s {cpu:7.1f} CPU-s")
    print(
        "ratio  "
        + " ".join(f"{m / o:.2f}" for o, m in zip(rows["ours"], rows["monai"]))
        + " (memory, time, CPU; monai / ours)"
    )


if __name__ == "__main__":
    main()
