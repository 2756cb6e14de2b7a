"""Windows through the network: in batches, in mixed precision, in several orientations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from inspect import signature
from itertools import islice
from typing import Any

import torch
from torch.nn.functional import group_norm, instance_norm
from torch.overrides import TorchFunctionMode

from copick_tools.inference.device import autocast
from copick_tools.inference.geometry import Geometry
from copick_tools.recipes.recipe import Tta

Corner = tuple[int, int]
PLANE = (3, 4)
FLIPS: tuple[tuple[int, ...], ...] = ((), PLANE, (3,), (4,), (2,), (2, 3, 4), (2, 3), (2, 4))
"""Axes of (B, C, z, y, x). The first 2: nothing and the half turn about z; the first 4: in the plane; 8: all.

A flip along one axis, or all three, changes the hand of what is seen; two flips are a half turn and don't."""
Orientation = tuple[int, tuple[int, ...]]
"""Quarter turns about z, then flipped axes."""
ORIENTATIONS: dict[Tta, tuple[Orientation, ...]] = {
    **{count: tuple((0, axes) for axes in FLIPS[:count]) for count in (1, 2, 4, 8)},
    16: tuple((turns, axes) for turns in (0, 1) for axes in FLIPS),
    "turns": tuple((turns, ()) for turns in range(4)),
}


def turned(windows: torch.Tensor, orientation: Orientation) -> torch.Tensor:
    """(B, C, z, y, x), seen from elsewhere."""
    turns, axes = orientation
    return windows.rot90(turns, PLANE).flip(axes) if turns else windows.flip(axes)


def turned_back(found: torch.Tensor, orientation: Orientation) -> torch.Tensor:
    """The inverse of `turned`."""
    turns, axes = orientation
    return found.flip(axes).rot90(-turns, PLANE) if turns else found.flip(axes)


def vectors_back(vectors: torch.Tensor, orientation: Orientation) -> torch.Tensor:
    """Components (B, 2 or 3, z, y, x) along (z,) y, x of vectors in a field that `turned_back` has moved."""
    turns, axes = orientation
    parts = list(vectors.unbind(dim=1))
    for axis in axes:
        if (place := axis - 5) >= -len(parts):  # of the last components; a plane's vectors have none along z
            parts[place] = -parts[place]
    for _ in range(turns):
        parts[-2], parts[-1] = parts[-1], -parts[-2]
    return torch.stack(parts, dim=1)


class ChannelsLastNorm(TorchFunctionMode):
    """Instance norms that leave channels last, where PyTorch's copies them first and back: a tenth to a fifth of a U-Net's
    time on a CPU.

    In half precision as group norms of one channel a group. In float32 in two passes, for those aren't as exact.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        given = kwargs or {}
        if function is instance_norm:
            named = signature(instance_norm).bind(*args, **given)
            named.apply_defaults()
            inputs, mean, _, weight, bias, own, _, eps = named.args
            if own and mean is None and inputs.dim() == 5:
                return channels_last_norm(inputs, weight, bias, eps)
        result: torch.Tensor = function(*args, **given)
        return result


def channels_last_norm(
    inputs: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """(B, C, z, y, x), each channel of each window with mean 0 and deviation 1, then times ``weight`` plus ``bias`` (C,)."""
    if inputs.dtype != torch.float32:
        return group_norm(inputs, inputs.shape[1], weight, bias, eps)
    axes, shape = (2, 3, 4), (-1, 1, 1, 1)
    centered = inputs - inputs.mean(axes, keepdim=True)
    centered *= (centered * centered).mean(axes, keepdim=True).add_(eps).rsqrt_()
    if weight is not None:
        centered *= weight.view(shape)
    return centered if bias is None else centered.add_(bias.view(shape))


class Forward:
    """Runs windows of one size through a network.

    batch: windows at a time; halved when the device runs out of memory. tta: a key of `ORIENTATIONS`. fixed: whether
    every batch is filled up, for a compiled network is compiled anew for each size. of_logits: average logits over the
    orientations, as nnU-Net does, not probabilities. geometry: what the last channels are, None where all are of classes.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device, mixed: bool, batch: int, tta: Tta) -> None:
        self.network, self.device, self.mixed, self.batch = network, device, mixed, batch
        self.orientations = ORIENTATIONS[tta]
        self.fixed, self.of_logits = False, False
        self.geometry: Geometry | None = None

    @property
    def logits(self) -> bool:
        """Whether logits come out; else probabilities, summed over the orientations."""
        return self.of_logits or len(self.orientations) == 1

    def __call__(self, windows: Iterator[tuple[Corner, torch.Tensor]]) -> Iterator[tuple[Corner, torch.Tensor]]:
        """(corner, (z, y, x) float32) to (corner, (C, z, y, x))."""
        while group := list(islice(windows, self.batch)):
            inputs = torch.stack([window for _, window in group])[:, None].to(self.device)
            yield from zip([corner for corner, _ in group], self._predicted(inputs))

    def _predicted(self, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
        """(B, 1, z, y, x) to B times (C, z, y, x)."""
        while len(inputs):
            found = self._tried(inputs[: self.batch])
            if found is not None:
                inputs = inputs[len(found) :]
                yield from found

    def _tried(self, inputs: torch.Tensor) -> torch.Tensor | None:
        """None where the device ran out of memory: then ``batch`` is smaller now. Raises that error for a single window."""
        count = len(inputs)
        size = self.batch if self.fixed else count
        try:
            if count < size:
                inputs = torch.cat([inputs, inputs[:1].expand(size - count, -1, -1, -1, -1)])
            return self._averaged(inputs)[:count]
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        self.batch = size // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _averaged(self, inputs: torch.Tensor) -> torch.Tensor:
        if len(self.orientations) == 1:
            return self._run(inputs)
        total = torch.zeros(())
        for number, orientation in enumerate(self.orientations):
            logits = self._run(turned(inputs, orientation)).float()
            found = turned_back(logits if self.of_logits else self._probabilities(logits), orientation)
            if self.geometry is not None and self.geometry.vectors:
                vectors = found[:, -self.geometry.channels :]
                vectors.copy_(vectors_back(vectors, orientation))
            total = total.add_(found) if number else found
        return total.div_(len(self.orientations)) if self.of_logits else total

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Of the classes; what is no class stays as it is."""
        if self.geometry is None:
            return logits.softmax(dim=1)
        classes, rest = logits[:, : -self.geometry.channels], logits[:, -self.geometry.channels :]
        return torch.cat([classes.softmax(dim=1), rest], dim=1)

    def _run(self, inputs: torch.Tensor) -> torch.Tensor:
        with ExitStack() as settings:
            settings.enter_context(autocast(self.device, self.mixed))
            if self.device.type == "cpu" and not self.fixed:
                settings.enter_context(ChannelsLastNorm())
            shape = "x".join(map(str, inputs.shape[2:]))
            try:
                found: torch.Tensor = self.network(inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ValueError(f"the network can't take windows of {shape} voxels: {error}") from error
        if found.shape[2:] != inputs.shape[2:]:
            given = "x".join(map(str, found.shape[2:]))
            raise ValueError(f"the network can't take windows of {shape} voxels: it makes {given} of them")
        return found if self.geometry is None else self.geometry.activated(found.float())
