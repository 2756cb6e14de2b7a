"""Tiled inference: ours against MONAI's and nnU-Net's sliding windows, on the same volume, in one go.

Each side in a process of its own, after its imports and one window to warm up. Memory is what the process's peak lies above
what it holds before the call, volume and network (Linux). nnU-Net needs `copick-tools[nnunet]`.

    python benchmarks/inference.py                              on the CPU: stitching alone, then the 3.26M U-Net
    python benchmarks/inference.py --device cuda                on a GPU: seconds and share of its peak
    python benchmarks/inference.py --agreement best.ckpt -c sim -i wbp      labels in bfloat16 against float32
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PATCH, OVERLAP, OBJECTS, FLOOR = (96, 96, 96), 0.5, 6, 0.3
TOMOGRAM, SMALL = (184, 630, 630), (96, 192, 288)
PARAMETERS = 3_259_333
REPEATS = 3  # on a GPU
MOST_MEMORY, LEAST_SPEED, LEAST_SPEED_CUDA = 800, 1.8, 3.0


def make_network(kind: str) -> Any:
    """`stitching`: one 1x1x1 convolution that takes a hundredth of noise for objects; `unet`: Octopi's, random weights."""
    import torch

    torch.manual_seed(0)
    if kind == "stitching":
        network = torch.nn.Conv3d(1, OBJECTS + 1, 1)
        with torch.no_grad():
            network.weight[:, 0, 0, 0, 0] = torch.tensor([0, 2.6, 2.4, -2.6, -2.4, 2.2, -2.2])
            network.bias[:] = torch.tensor([8.0] + [0.0] * OBJECTS)
        return network.eval()
    from monai.networks.nets import UNet

    network = UNet(3, 1, OBJECTS + 1, channels=(32, 64, 128, 128, 128), strides=(2, 2, 1, 1), num_res_units=1)
    assert sum(weights.numel() for weights in network.parameters()) == PARAMETERS
    with torch.no_grad():  # most voxels are background, as in a tomogram
        [weights for weights in network.parameters() if weights.shape == (OBJECTS + 1,)][-1][0] += 3
    return network.eval()


def ours(question: SimpleNamespace) -> Callable[[Any], int]:
    """From the volume to what extraction needs."""
    import torch

    from copick_tools.inference.ahead import ahead
    from copick_tools.inference.device import placed
    from copick_tools.inference.tiler import Tiled
    from copick_tools.volumes.probabilities import Probabilities

    device = torch.device(question.device)
    tiled = Tiled(
        network=placed(make_network(question.network), device),
        objects={str(label): label for label in range(1, OBJECTS + 1)},
        voxel_spacing=10.0,
        normalize=0.0,
        patch=PATCH,
        overlap=OVERLAP,
        batch_size=question.batch,
        device=device,
        bf16=question.half,
        compile=question.compile,
    )

    def work(volume: Any) -> int:
        scores = Probabilities(volume.shape, list(tiled.objects.values()), FLOOR)
        for slab in ahead(tiled.likeliest(volume, floor=FLOOR)):
            scores.add_likeliest(*slab)
        return question.counted and int((scores.objectness[:, :, :] >= FLOOR).sum())

    return work


def monai(question: SimpleNamespace) -> Callable[[Any], int]:
    """From the volume to labels and probabilities; on a GPU as octopi does: constant weights, float16, logits to labels."""
    import torch
    from monai.inferers import SlidingWindowInferer

    network, device = make_network(question.network).to(question.device), torch.device(question.device)
    cuda = device.type == "cuda"
    inferer = SlidingWindowInferer(PATCH, question.batch, OVERLAP, mode="constant" if cuda else "gaussian")

    @torch.inference_mode()
    def work(volume: Any) -> int:
        inputs = torch.from_numpy((volume - volume.mean()) / volume.std())[None, None].to(device)
        half = torch.float16 if cuda else torch.bfloat16
        with torch.autocast(device.type, dtype=half, enabled=question.half):
            found = inferer(inputs, network if cuda else lambda window: network(window).softmax(1))
        if cuda:
            return question.counted and int((found.argmax(1).to(torch.uint8).cpu() > 0).sum())
        best, label = found[:, 1:].max(1)
        return question.counted and int((found[:, 0] <= 1 - FLOOR).sum())

    return work


def nnunet(question: SimpleNamespace) -> Callable[[Any], int]:
    """From the volume to float16 logits and their maximum."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # type: ignore[import-not-found]

    device = torch.device(question.device)
    predictor = nnUNetPredictor(
        tile_step_size=1 - OVERLAP,
        use_mirroring=False,
        perform_everything_on_device=device.type == "cuda",
        device=device,
        allow_tqdm=False,
    )
    predictor.network = make_network(question.network)
    predictor.configuration_manager = SimpleNamespace(patch_size=PATCH)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=OBJECTS + 1)

    def work(volume: Any) -> int:
        inputs = torch.from_numpy((volume - volume.mean()) / volume.std())[None]
        found = predictor.predict_sliding_window_return_logits(inputs)
        best, label = found.max(0)
        return question.counted and int((label > 0).sum())

    return work


SIDES = {"ours": ours, "MONAI": monai, "nnU-Net": nnunet}


def child(question: SimpleNamespace) -> None:
    """Print CPU time, wall time, growth of the peak in MiB, voxels found, TFLOP of one window, of a matrix product."""
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    random = np.random.default_rng(0)
    work, cuda = SIDES[question.side](question), question.device == "cuda"
    volume = random.standard_normal(question.shape, dtype=np.float32)
    question.counted = False
    work(volume if cuda else random.standard_normal(PATCH, dtype=np.float32))
    before, rows = restart_peak(), []
    for _ in range(REPEATS if cuda else 1):
        start, cpu = time.perf_counter(), time.process_time()
        work(volume)
        if cuda:
            torch.cuda.synchronize()
        rows.append((time.process_time() - cpu, time.perf_counter() - start))
    grown = torch.cuda.max_memory_allocated() / 2**20 if cuda else status("VmHWM") - before
    question.counted = True
    found = work(volume) if question.network == "stitching" or cuda else 0
    peak = matrix_product() if cuda else 0.0
    print(json.dumps([min(row[0] for row in rows), min(row[1] for row in rows), grown, found, peak]))


def matrix_product() -> float:
    """TFLOP/s that the card reaches in one large bfloat16 matrix product: its peak in practice."""
    import torch

    side, times = 8192, []
    one = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        one @ one
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times) / 1e12


def operations(shape: tuple[int, ...]) -> float:
    """TFLOP of the U-Net over a volume."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from copick_tools.inference.grid import rows

    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        make_network("unet")(torch.empty(1, 1, *PATCH))
    return sum(len(row.corners) for row in rows(shape, PATCH, OVERLAP, None)) * counter.get_total_flops() / 1e12


def status(key: str) -> float:
    """MiB of this process (Linux); getrusage's peak would begin with that of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def restart_peak() -> float:
    """Let the peak of memory begin anew; MiB in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def measure(side: str, network: str, shape: tuple[int, ...], **options: Any) -> list[float] | None:
    """What `child` prints, None where the side can't run; it says why on stderr."""
    question = {"side": side, "network": network, "shape": shape, "device": "cpu", "batch": 1}
    question |= {"half": False, "compile": False, **options}
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-W", "ignore", __file__, "--child", json.dumps(question)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{side} can't run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(name: str, row: list[float] | None, base: list[float] | None, of: int = 0) -> None:
    """of: which number of the base, ours, the ratio is for: 0 CPU time, 1 wall time."""
    if row is None:
        print(f"{name:24} skipped", flush=True)
        return
    ratio = f"{row[of] / base[of]:6.2f}x" if base else " " * 7
    found = f"{row[3]:11,} voxels" if row[3] else ""
    print(f"{name:24} {row[0]:8.1f} CPU-s {row[1]:8.1f} s {ratio} {row[2]:8.0f} MiB {found}".rstrip(), flush=True)


def on_cpu(shape: tuple[int, ...], small: tuple[int, ...]) -> None:
    import torch

    from copick_tools.inference.device import has_bf16

    print(f"\nStitching alone, {shape}, {OBJECTS + 1} channels, a 1x1x1 convolution (target {MOST_MEMORY} MiB)")
    base = measure("ours", "stitching", shape)
    for side in SIDES:
        show(side, base if side == "ours" else measure(side, "stitching", shape), base)
    print(f"\n3.26M U-Net, {small} (target: MONAI / ours {LEAST_SPEED} with native bfloat16, 1 without)")
    native = has_bf16(torch.device("cpu"))
    base = measure("ours", "unet", small, half=native)
    show(f"ours, as it comes ({'bf16' if native else 'fp32'})", base, base)
    show("MONAI, float32", measure("MONAI", "unet", small), base)
    show("ours, float32", measure("ours", "unet", small), base)
    if native:
        show("MONAI, bfloat16", measure("MONAI", "unet", small, half=True), base)
    show("nnU-Net, float32", measure("nnU-Net", "unet", small), base)


def on_cuda(shape: tuple[int, ...], batch: int) -> None:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here")
    print(f"\n{torch.cuda.get_device_name()}: 3.26M U-Net, {shape}, best of {REPEATS} (target {LEAST_SPEED_CUDA}x)")
    more = {"device": "cuda", "half": True, "batch": batch}
    base = measure("ours", "unet", shape, **more)
    rows = {
        "ours": base,
        "ours, compiled": measure("ours", "unet", shape, **more, compile=True),
        "MONAI as octopi does": measure("MONAI", "unet", shape, **{**more, "batch": 4}),
        "nnU-Net": measure("nnU-Net", "unet", shape, **more),
    }
    needed = operations(shape)
    for name, row in rows.items():
        show(name, row, base, of=1)
        if row:
            print(f"{'':24} {needed / row[1]:8.1f} TFLOP/s, {needed / row[1] / row[4]:.0%} of a large matrix product's")


def agreement(checkpoint: Path, config: Path, uri: str, most: int | None) -> None:
    """Of the labels (probability of the likeliest object at least 0.5) in bfloat16 and in float32, over tomograms."""
    import dataclasses

    import numpy as np

    from copick_tools.data.project import open_project
    from copick_tools.data.read import read_tomogram
    from copick_tools.data.uris import tomogram_uri
    from copick_tools.engines import registry

    project, worst, same, voxels = open_project(config), 0.0, 0, 0
    exact = dataclasses.replace(registry.load(checkpoint, "cpu"), bf16=False, sums="float32")  # type: ignore[type-var]
    half = dataclasses.replace(exact, bf16=True, sums="float16")
    counts = {name: np.zeros(3) for name in exact.objects}
    for run in project.run_names[:most]:
        tomogram = read_tomogram(project, run, tomogram_uri(uri))
        for (_, one), (_, other) in zip(exact.slabs(tomogram), half.slabs(tomogram)):
            one, other = one.astype(np.float32), other.astype(np.float32)
            worst = max(worst, float(np.abs(one - other).max()))
            labels = [(1 + part[1:].argmax(axis=0)) * (part[0] <= 0.5) for part in (one, other)]
            same, voxels = same + int((labels[0] == labels[1]).sum()), voxels + labels[0].size
            for index, name in enumerate(counts, start=1):
                left, right = labels[0] == index, labels[1] == index
                counts[name] += left.sum(), right.sum(), (left & right).sum()
    print(f"{voxels:,} voxels: {same / voxels:.4%} have the same label, probabilities differ by {worst:.3f} at most")
    for name, (left, right, both) in counts.items():
        print(f"{name:24} Dice {2 * both / max(left + right, 1):.4f} of {left:,.0f} voxels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=sizes, default=TOMOGRAM, help="zyx of the tomogram")
    parser.add_argument("--small", type=sizes, default=SMALL, help="zyx of the volume for the U-Net on a CPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="windows at a time on a GPU, ours and nnU-Net's")
    parser.add_argument("--agreement", type=Path, metavar="CHECKPOINT")
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("-i", "--input", default="wbp")
    parser.add_argument("--runs", type=int, help="the first runs; default: all")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(SimpleNamespace(**json.loads(arguments.child)))
        return
    from importlib.metadata import version

    print(
        f"monai {version('monai')}, torch {version('torch')}, python {platform.python_version()}, windows {PATCH}, overlap {OVERLAP}"
    )
    if arguments.agreement:
        agreement(arguments.agreement, arguments.config, arguments.input, arguments.runs)
        return
    print("CPU time, wall time, CPU time / ours (on a GPU: wall time), growth of peak memory, voxels found")
    on_cuda(arguments.shape, arguments.batch) if arguments.device == "cuda" else on_cpu(
        arguments.shape, arguments.small
    )


def sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
