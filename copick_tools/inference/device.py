"""Where to compute, and in which precision."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from copick_tools.errors import UsageError


def pick_device(name: str) -> torch.device:
    """``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. Raises UsageError."""
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is no device", "auto, cpu, cuda, cuda:1 or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"'{name}' is no device that we use", "auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there is no {name} here", f"{torch.cuda.device_count()} CUDA devices; --device cpu works always"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("there is no mps here", "--device cpu works always")
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native and so worth it: emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether ``precision`` (auto, fp32, bf16) means bfloat16 here."""
    return precision == "bf16" or (precision == "auto" and has_bf16(device))


def predicts_mixed(precision: str, device: torch.device) -> bool:
    """Whether to predict in mixed precision: never where it is slower; CUDA devices without bfloat16 take float16."""
    return precision != "fp32" and (device.type == "cuda" or has_bf16(device))


def autocast(device: torch.device, mixed: bool) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision on ``device``, or nothing."""
    half = torch.float16 if device.type == "cuda" and not has_bf16(device) else torch.bfloat16
    return torch.autocast(device.type, dtype=half) if mixed else contextlib.nullcontext()


class _Tuning:
    """cuDNN's ``benchmark``, which is one for the process: the first that wants it turns it on, the last puts it back."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, False

    def change(self, users: int) -> None:
        with self.lock:
            if self.users == 0:
                self.before = torch.backends.cudnn.benchmark
            self.users += users
            torch.backends.cudnn.benchmark = self.users > 0 or self.before


_TUNING = _Tuning()


@contextlib.contextmanager
def tuned(device: torch.device) -> Iterator[None]:
    """cuDNN times its algorithms and takes the fastest; its other settings stay.

    Nothing happens where the same bits are wanted each time (``cudnn.deterministic``, ``use_deterministic_algorithms``), for
    what is fastest differs from time to time.
    """
    same_bits = torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    if device.type != "cuda" or same_bits:
        yield
        return
    _TUNING.change(1)
    try:
        yield
    finally:
        _TUNING.change(-1)


def placed(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The network on its device, channels last where 3D convolutions are faster that way."""
    if device.type in ("cpu", "cuda") and not any(weights.dim() == 4 for weights in network.parameters()):
        network = network.to(memory_format=torch.channels_last_3d)
    return network.to(device)


def home_of_sums(device: torch.device, size: int) -> torch.device:
    """Where to add up ``size`` bytes of predictions: on the device, if they take no more than half of what is free there."""
    if device.type != "cuda":
        return device
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + cached
    return device if size <= free // 2 else torch.device("cpu")


def to_host(*found: torch.Tensor) -> list[np.ndarray]:
    """Arrays of tensors of one device, together: from a CUDA device by way of pinned memory, with one wait."""
    if found[0].device.type != "cuda":
        return [part.cpu().numpy() for part in found]
    host = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True).copy_(part, non_blocking=True) for part in found]
    torch.cuda.current_stream(found[0].device).synchronize()
    return [part.numpy() for part in host]


def devices() -> list[tuple[str, str]]:
    """What there is to compute on: (kind, description), the description empty where there is none."""
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cpu = f"{torch.get_num_threads()} threads, bfloat16 {'native' if has_bf16(torch.device('cpu')) else 'not native'}"
    return [("cuda", ", ".join(cuda)), ("mps", "available" if torch.backends.mps.is_available() else ""), ("cpu", cpu)]
