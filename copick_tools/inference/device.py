"""Where to compute, and in which precision."""

from __future__ import annotations

import contextlib
from typing import Any

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
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether ``precision`` (auto, fp32, bf16) means bfloat16 here."""
    return precision == "bf16" or (precision == "auto" and has_bf16(device))


def autocast(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision on ``device``, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


def devices() -> list[tuple[str, str]]:
    """What there is to compute on: (kind, description), the description empty where there is none."""
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cpu = f"{torch.get_num_threads()} threads, bfloat16 {'native' if has_bf16(torch.device('cpu')) else 'not native'}"
    return [("cuda", ", ".join(cuda)), ("mps", "available" if torch.backends.mps.is_available() else ""), ("cpu", cpu)]
