"""One simulated tomogram to picks, whole commands: `popsicle localize` against a script with MONAI's sliding window and cc3d.

The script takes network, windows, overlap, precision and normalization from the same checkpoint, the likeliest class of each
voxel, and the connected components of that. Start and imports are in both numbers; memory is that of the whole process.
Thresholds that `popsicle calibrate` left beside the checkpoint are used by ours.

    python benchmarks/tomogram.py CHECKPOINT [--shape 184,630,630]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import common

TOMOGRAM = "wbp"


def script(checkpoint: Path, config: Path) -> None:
    """What one writes without us."""
    import cc3d
    import numpy as np
    import torch
    from monai.inferers import SlidingWindowInferer

    from copick_tools.data.project import open_project
    from copick_tools.data.read import read_tomogram
    from copick_tools.data.uris import tomogram_uri
    from copick_tools.engines import registry

    project, tiled = open_project(config), registry.load(checkpoint, "cpu")
    volume = np.asarray(read_tomogram(project, project.run_names[0], tomogram_uri(TOMOGRAM))[:, :, :], np.float32)
    if tiled.normalize:  # type: ignore[attr-defined]
        volume = volume.clip(*np.percentile(volume, (tiled.normalize, 100 - tiled.normalize)).astype(np.float32))
    network, patch, overlap = tiled.network, tiled.patch, tiled.overlap  # type: ignore[attr-defined]
    inferer = SlidingWindowInferer(patch, 1, overlap, mode="gaussian")
    inputs = torch.from_numpy((volume - volume.mean()) / volume.std())[None, None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bool(tiled.bf16)):  # type: ignore[attr-defined]
        found = inferer(inputs, lambda window: network(window).softmax(1))
    labels = found.argmax(1)[0].to(torch.uint8).numpy()
    cc3d.statistics(cc3d.connected_components(labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--shape", default="184,630,630", metavar="Z,Y,X")
    parser.add_argument("--script", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.script:
        script(asked.checkpoint, asked.script)
        return
    popsicle, checkpoint, found = str(common.BIN / "popsicle"), str(asked.checkpoint), {}
    with tempfile.TemporaryDirectory() as parent:
        common.say(f"simulates a tomogram of {asked.shape}")
        common.timed([popsicle, "simulate", "phantom", "--out", parent, "--runs", "1", "--shape", asked.shape])
        where = "-c", parent, "-i", TOMOGRAM, "-o", ":benchmark/1"
        for title, command in {
            "`popsicle localize best.ckpt -c sim -i wbp -o :benchmark/1`": [popsicle, "localize", checkpoint, *where],
            "MONAI's sliding window and cc3d": [sys.executable, __file__, checkpoint, "--script", parent],
        }.items():
            found[title] = took = common.timed(command)
            common.say(f"  {title}: {took.cpu:.1f} CPU-s, {took.wall:.1f} s, {took.memory:.0f} MiB")
    ours = next(iter(found.values())).cpu
    rows = [
        [
            title,
            common.seconds(took.wall),
            common.seconds(took.cpu),
            common.ratio(took.cpu, ours),
            common.mib(took.memory),
        ]
        for title, took in found.items()
    ]
    thresholds = "learned" if (asked.checkpoint.parent / "thresholds.yaml").is_file() else "the recipe's"
    common.write(
        f"One tomogram of {asked.shape.replace(',', ' x ')} voxels, {thresholds} thresholds:",
        common.table(["wall", "CPU", "CPU / ours", "memory"], rows),
        common.provenance(("copick-tools", "torch", "monai", "connected-components-3d"), "one call each"),
    )


if __name__ == "__main__":
    main()
