"""What a training takes: time, memory, and energy where the GPU's driver counts it. Kept in a file, over all its starts."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from copick_tools.data.documents import read_document
from copick_tools.data.project import write_text
from copick_tools.recipes.study_results import Usage

BEAT = 5.0  # seconds between two writings: what a killed process loses


@contextmanager
def measured(path: Path, where: torch.device) -> Iterator[None]:
    """Add what happens meanwhile to the `Usage` in a file, now and then and at the end."""
    over = threading.Event()
    before = read_document(path, Usage, "remove it") or Usage()
    unknown = before.starts > 0 and before.energy is None  # what an earlier start took
    began, joules = time.perf_counter(), energy(where)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)

    def write() -> None:
        spent = energy(where)
        now = Usage(
            seconds=before.seconds + time.perf_counter() - began,
            memory=_larger(before.memory, peak_memory()),
            gpu_memory=_larger(
                before.gpu_memory, torch.cuda.max_memory_allocated(where) if where.type == "cuda" else 0
            ),
            energy=None if unknown or spent is None or joules is None else (before.energy or 0.0) + spent - joules,
            device=_name(where),
            starts=before.starts + 1,
        )
        write_text(path, now.model_dump_json(indent=2) + "\n")

    def keep_writing() -> None:
        while not over.wait(BEAT):
            write()

    thread = threading.Thread(target=keep_writing, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        write()


def peak_memory() -> int:
    """Most memory that this process held at once, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def energy(device: torch.device) -> float | None:
    """Joules that a GPU has taken since its driver was loaded; None where the driver doesn't tell."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid.encode()))) / 1e3
    except pynvml.NVMLError:
        return None


def _larger(before: int | None, now: int) -> int | None:
    return max(before or 0, now) or None


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
