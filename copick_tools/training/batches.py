"""Batches, each sample a function of its number alone, shared among the processes of a training."""

from __future__ import annotations

import signal
from collections.abc import Generator
from typing import Any

import torch

from copick_tools.errors import UsageError
from copick_tools.recipes.recipe import Train
from copick_tools.training import team


def per_process(train: Train, processes: int) -> int:
    """Samples of a batch that fall to each of some processes. Raises UsageError where they can't be shared evenly."""
    batch = train.batch_size
    if batch % processes == 0:
        return batch // processes
    counts = [str(count) for count in range(1, min(batch, processes) + 1) if batch % count == 0]
    sizes = sorted({max(1, batch // processes) * processes, (batch // processes + 1) * processes})
    raise UsageError(
        f"{processes} processes can't share batches of train.batch_size={batch} evenly",
        f"start {_either(counts)} of them, or -s train.batch_size={_either([str(size) for size in sizes])}",
    )


def _either(choices: list[str]) -> str:
    *most, last = choices
    return f"{', '.join(most)} or {last}" if most else last


def batches(
    samples: torch.utils.data.Dataset, train: Train, first_step: int, device: torch.device
) -> Generator[Any, None, None]:
    """This process's part of each batch, from a step on, in order.

    samples: number ``step * batch_size + sample`` of it is a sample of a step. Close it where it isn't read to its end:
    the processes that prepare batches end as they should only when they have nothing left to do.
    """
    own = per_process(train, team.size())
    steps = range(first_step, train.epochs * train.steps_per_epoch)
    starts = (step * train.batch_size + team.rank() * own for step in steps)
    numbers = (range(start, start + own) for start in starts)
    found = iter(
        torch.utils.data.DataLoader(
            samples,
            batch_sampler=numbers,  # type: ignore[arg-type]
            num_workers=train.workers,
            pin_memory=device.type == "cuda",
            multiprocessing_context="spawn" if train.workers else None,
            worker_init_fn=_ignore_interrupts,
        )
    )
    try:
        yield from found
    except GeneratorExit:
        numbers.close()
        for _ in found:  # what is under way
            pass
        raise


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
