"""Tiled inference: ours against MONAI's and nnU-Net's sliding windows, on the same volume, in one go.

Each side in a process of its own, after its imports and one window to warm up. Memory is what the process's peak lies above
what it holds before the call, volume and network (Linux). nnU-Net needs `copick-tools[nnunet]`.

    python benchmarks/inference.py                       on the CPU: stitching alone, then the 3.26M U-Net
    python benchmarks/inference.py --device cuda         on a GPU: seconds and share of its peak
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import common

PATCH, OVERLAP, OBJECTS, FLOOR = (96, 96, 96), 0.5, 6, 0.3
TOMOGRAM, SMALL = (184, 630, 630), (96, 192, 288)
PARAMETERS = 3_259_333
REPEATS = 3  # on a GPU
INSTALLED = "pip install 'copick-tools[nnunet]'"
Found = list[float] | None  # CPU seconds, MiB, wall seconds, voxels found, TFLOP/s of a matrix product


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
    """Print CPU seconds, growth of the peak in MiB, wall seconds, voxels found, TFLOP/s of a matrix product."""
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    random = np.random.default_rng(0)
    work, cuda = SIDES[question.side](question), question.device == "cuda"
    volume = random.standard_normal(question.shape, dtype=np.float32)
    question.counted = False
    work(volume if cuda else random.standard_normal(PATCH, dtype=np.float32))
    took = on_card(work, volume) if cuda else common.spent(lambda: work(volume))[0]
    question.counted = True
    found = work(volume) if question.network == "stitching" or cuda else 0
    print(json.dumps([took.cpu, took.memory, took.wall, found, matrix_product() if cuda else 0.0]))


def on_card(work: Callable[[Any], int], volume: Any) -> common.Spent:
    """Best of some calls, until the card is done; memory is the card's."""
    import torch

    times = []
    for _ in range(REPEATS):
        start, cpu = time.perf_counter(), time.process_time()
        work(volume)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    return common.Spent(min(t[0] for t in times), min(t[1] for t in times), torch.cuda.max_memory_allocated() / 2**20)


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


def measure(side: str, network: str, shape: tuple[int, ...], **options: Any) -> Found:
    """What `child` prints; None where the side isn't installed. Raises SystemExit where it fails."""
    if side == "nnU-Net" and not importlib.util.find_spec("nnunetv2"):
        return None
    question = {"side": side, "network": network, "shape": shape, "device": "cpu", "batch": 1}
    question |= {"half": False, "compile": False, **options}
    row = common.child(__file__, ["--child", json.dumps(question)])
    if row is None:
        raise SystemExit(1)
    common.say(f"  {side}, {network}: {row[0]:.1f} CPU-s, {row[2]:.1f} s, {row[1]:.0f} MiB, {row[3]:,} voxels found")
    return row


def has_bf16() -> bool:
    """Whether the CPU computes in bfloat16 by itself; torch is asked in a process of its own, for its memory."""
    return common.child(__file__, ["--has-bf16"])


def on_cpu(shape: tuple[int, ...], small: tuple[int, ...]) -> list[str]:
    """Both tables."""
    stitched = {
        "ours, with what extraction keeps of it": measure("ours", "stitching", shape),
        "MONAI SlidingWindowInferer, softmax in the predictor": measure("MONAI", "stitching", shape),
        "nnU-Net's predictor, logits": measure("nnU-Net", "stitching", shape),
    }
    native = has_bf16()
    first = (
        "ours, bfloat16 (the default where the CPU has it)" if native else "ours, float32 (this CPU has no bfloat16)"
    )
    network = {first: measure("ours", "unet", small, half=native)}
    if native:
        network["MONAI, bfloat16"] = measure("MONAI", "unet", small, half=True)
        network["ours, float32"] = measure("ours", "unet", small)
    network["MONAI, float32"] = measure("MONAI", "unet", small)
    network["nnU-Net's predictor, float32"] = measure("nnU-Net", "unet", small)

    def table(rows: dict[str, Found]) -> str:
        return common.table(common.COSTS, common.costs(rows, next(iter(rows.values()))[0]))  # type: ignore[index]

    return [
        f"Stitching alone, {by(shape)} voxels, {OBJECTS + 1} classes, a network of one 1x1x1 convolution:",
        table(stitched),
        f"The paper's U-Net ({PARAMETERS / 1e6:.2f} M parameters), {by(small)} voxels:",
        table(network),
    ]


def on_cuda(shape: tuple[int, ...], batch: int) -> list[str]:
    """One table; the time is that of the wall."""
    more = {"device": "cuda", "half": True, "batch": batch}
    rows = {
        "ours": measure("ours", "unet", shape, **more),
        "ours, compiled": measure("ours", "unet", shape, **more, compile=True),
        "MONAI as octopi does": measure("MONAI", "unet", shape, **{**more, "batch": 4}),
        "nnU-Net's predictor": measure("nnU-Net", "unet", shape, **more),
    }
    needed, base, cells = operations(shape), rows["ours"], []
    for name, row in rows.items():
        if row is None or base is None:
            cells.append([name, *[common.NOTHING] * 5])
            continue
        share = f"{needed / row[2] / row[4]:.0%}"
        speed = f"{needed / row[2]:.1f}"
        cells.append([name, common.seconds(row[2]), common.ratio(row[2], base[2]), common.mib(row[1]), speed, share])
    columns = ["wall", "wall / ours", "memory of the card", "TFLOP/s", "of a large matrix product's"]
    return [
        f"The paper's U-Net ({PARAMETERS / 1e6:.2f} M parameters), {by(shape)} voxels, best of {REPEATS}:",
        common.table(columns, cells),
    ]


def by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def card() -> str:
    """The name of the GPU. Raises SystemExit where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here")
    return torch.cuda.get_device_name()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=sizes, default=TOMOGRAM, help="zyx of the tomogram")
    parser.add_argument("--small", type=sizes, default=SMALL, help="zyx of the volume for the U-Net on a CPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="windows at a time on a GPU, ours and nnU-Net's")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--has-bf16", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(SimpleNamespace(**json.loads(asked.child)))
        return
    if asked.has_bf16:
        import torch

        from copick_tools.inference.device import has_bf16 as native

        print(json.dumps(native(torch.device("cpu"))))
        return
    gpu = card() if asked.device == "cuda" else None
    parts = on_cuda(asked.shape, asked.batch) if gpu else on_cpu(asked.shape, asked.small)
    there = importlib.util.find_spec("nnunetv2") is not None
    packages = ("copick-tools", "torch", "monai", *(["nnunetv2"] if there else []))
    windows = f"windows of {by(PATCH)}, overlap {OVERLAP}, each side in a process of its own"
    hint = "" if there else common.missing(["nnU-Net"], {"nnU-Net": INSTALLED})
    common.write(*parts, hint, common.provenance(packages, windows, gpu=gpu))


def sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
