"""Tensors that several processes have in common: sums over all of them, gradients, statistics of BatchNorm.

A step's batch is shared among the processes. A loss that is made of sums over the whole batch (`total`) is the same in each,
and the mean over the processes of the gradients, which DDP takes, is the gradient of that loss: as in one process.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from copick_tools.training import team

log = logging.getLogger("copick_tools")


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * team.size()  # each process has the same loss of the same total: the sum of as many gradients


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over the processes of tensors of one shape. What each makes of it has to be the same."""
    return values if team.size() == 1 else _Total.apply(values)


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean over the processes, without gradient."""
    return value.detach() if team.size() == 1 else total(value.detach()) / team.size()


def parallel(network: torch.nn.Module) -> torch.nn.Module:
    """A network whose gradients are the mean over the processes; its weights are those of ``network``, one and the same.

    All that learn have to have a part in each loss.
    """
    if team.size() == 1:
        return network
    warnings.filterwarnings(
        "ignore", "Grad strides do not match", UserWarning
    )  # those of 1^3 kernels, in channels_last
    device = next(network.parameters()).device
    own = [device] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(network, device_ids=own)


def with_common_statistics(network: torch.nn.Module) -> torch.nn.Module:
    """The network, changed so that its BatchNorms see the batch of all processes; there is no such thing on the CPU."""
    if team.size() == 1 or not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return network
    if next(network.parameters()).device.type == "cuda":
        return torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if team.is_main():
        log.warning(
            "on the CPU each process normalizes its own part of a batch (BatchNorm): not quite as one process would"
        )
    return network


def share_buffers(network: torch.nn.Module) -> None:
    """Give all processes the main one's buffers, such as the statistics of BatchNorm."""
    if team.size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)
