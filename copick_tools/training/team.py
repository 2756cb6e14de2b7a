"""The processes of one training, as `torchrun` or `accelerate launch` started them; most often there is one.

In one process nothing here does anything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from copick_tools.errors import PopsicleError, UsageError
from copick_tools.inference.device import pick_device

T = TypeVar("T")
PATIENCE = timedelta(days=2)  # the others wait as long for one that prepares data
LAST_WORDS = 2.0  # seconds for the process that says why they all end, for the first that ends has the others killed
_words: Any = None  # the group that passes objects, where the default one passes tensors of GPUs


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """`join`, and part at the end. What fails in a process other than the main one says in which.

    Raises PopsicleError where another process has ended meanwhile.
    """
    join(device)
    try:
        yield
    except PopsicleError as error:
        if is_main():
            raise
        raise type(error)(f"rank {rank()} of {size()}: {error.message}", error.hint) from error
    except RuntimeError as error:
        if size() == 1 or not _is_lost(error):
            raise
        raise PopsicleError(
            f"rank {rank()} of {size()}: another process of this training has ended",
            "it, or what started it, says why",
        ) from error
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def join(device: str) -> None:
    """Meet the other processes, where there are some. device: as for `pick_device`.

    Raises UsageError where two of them would share a GPU.
    """
    global _words
    if not distributed.is_available() or distributed.is_initialized():
        return
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    PartialState(cpu=on_cpu, **({"timeout": PATIENCE} if on_cpu else {}))
    if size() == 1 or on_cpu:
        return
    _words = distributed.new_group(backend="gloo", timeout=PATIENCE)
    found = Counter(gather(str(torch.cuda.get_device_properties(PartialState().device).uuid)))
    if len(found) < size():
        fail(
            UsageError(
                f"{max(found.values())} of {size()} processes would share a GPU",
                "start as many on each machine as it has GPUs, or give --device cpu",
            )
        )


def local_device(name: str) -> torch.device:
    """Where this process computes: as `pick_device`, and each of several on a GPU of its own. Raises UsageError."""
    device = pick_device(name)
    if size() == 1:
        return device
    if device.index is not None or device.type == "mps":
        raise UsageError(
            f"--device {name} is one device, and there are {size()} processes",
            "--device cuda gives each a GPU of its own, --device cpu works always",
        )
    return PartialState().device if device.type == "cuda" else device


def gather(value: T) -> list[T]:
    """The values of all processes, by rank. They have to survive pickling."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    distributed.all_gather_object(values, value, group=_words)
    return values


def wait() -> None:
    """Until all processes are here."""
    gather(None)


def everywhere(work: Callable[[], T]) -> T:
    """What ``work`` returns in this process, once it has ended well in all of them.

    Where it fails in some, the first of those raises its error, and the others exit without a word.
    """
    if size() == 1:
        return work()
    found, failure = None, None
    try:
        found = work()
    except (PopsicleError, OSError) as error:
        failure = error
    codes = gather(None if failure is None else getattr(failure, "code", 1))
    first = next((number for number, code in enumerate(codes) if code is not None), None)
    if first is None:
        return found  # type: ignore[return-value]
    if failure is not None and first == rank():
        raise failure
    _leave(codes[first])


def by_main(work: Callable[[], T]) -> T:
    """What ``work`` returns in the main process, the only one that does it; the others wait. Fails as `everywhere`."""
    if size() == 1:
        return work()
    found = everywhere(lambda: work() if is_main() else None)
    return gather(found)[0]  # type: ignore[return-value]


def fail(error: PopsicleError) -> NoReturn:
    """Raise what all processes have found out, in the main one; the others exit without a word."""
    if is_main():
        raise error
    _leave(error.code)


def _leave(code: int | None) -> NoReturn:
    time.sleep(LAST_WORDS)
    raise SystemExit(code)


def share(items: Sequence[T]) -> list[T]:
    """What this process does of things to do."""
    return list(items[rank() :: size()])


def merged(mine: list[T]) -> list[T]:
    """What all processes made of their `share`, in the order of the whole."""
    parts = gather(mine)
    return [part[place] for place in range(max(map(len, parts))) for part in parts if place < len(part)]


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process isn't there any more."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "closed by peer" in str(error)
