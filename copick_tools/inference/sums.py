"""The overlap of sliding windows: sums of weighted probabilities for one row of windows, whatever the volume's height."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from copick_tools.inference.grid import Inside, Row, Rules, Shape, together, weights

AT_ONCE = {"cpu": 8}  # slices of a window that are added together: they stay in a processor's cache
SLICES = {"cpu": 4}  # handed out at a time
SLICES_ELSEWHERE = 16
MOST = 64  # windows over one voxel, as with an overlap of two thirds: float16 sums of more are off by 0.01 and more


def kind_of_sums(shape: Shape, patch: Shape, overlap: float) -> torch.dtype:
    """float16, which takes half the memory, where its rounding moves probabilities by less than a hundredth; else float32.

    What is off grows with the windows that share a voxel, for a float16 sum loses the smallest weights that are added to it:
    0.004 with 27 of them, 0.02 with 300, and with 4000 a tenth, most of it downwards. shape, patch: zyx.
    """
    windows = math.prod(together(length, side, overlap) for length, side in zip(shape, patch))
    return torch.float16 if windows <= MOST else torch.float32


class Sums:
    """Weighted probabilities of the objects, (objects, z, y, x), for the slices that the current row of windows covers.

    The background isn't summed: it is what the objects leave. By nnU-Net's rules the sums are of logits, less those of the
    background, and become probabilities when they are handed out. channels: of objects, and those after the classes,
    which are averaged as they are. sides: zyx of the volume and of a window. kind: of the sums.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        sides: tuple[Shape, Shape],
        device: torch.device,
        kind: torch.dtype,
        inside: Inside | None,
        rules: Rules = "monai",
    ) -> None:
        shape, patch = sides
        self.shape, self.patch, self.device, self.inside = shape, patch, device, inside
        self.classes, objects = channels[0] + 1, sum(channels)
        self.of_logits = rules == "nnunet"
        self.weights, self.least = weights(patch, rules).to(device), float(weights(patch, rules).min())
        padded = (patch[0], max(shape[1], patch[1]), max(shape[2], patch[2]))
        self.total = torch.zeros((objects, *padded), dtype=kind, device=device)
        self.rows: list[Row] = []  # that cover slices from z on
        self.z = 0
        self._check = torch.zeros((), device=device)
        depth = min(AT_ONCE.get(device.type, patch[0]), patch[0])
        self._values = torch.empty((objects + 1, depth, *patch[1:]), device=device)
        self._sums = torch.empty((objects, depth, *patch[1:]), device=device)

    @staticmethod
    def size(objects: int, shape: Shape, patch: Shape, kind: torch.dtype) -> int:
        """Bytes on the device, what is handed out included."""
        plane = max(shape[1], patch[1]) * max(shape[2], patch[2])
        return plane * (objects * patch[0] * kind.itemsize + SLICES_ELSEWHERE * (objects + 1) * 8)

    def add(self, found: torch.Tensor, corner: tuple[int, int], logits: bool) -> None:
        """Add a window of the current row. found: (C, z, y, x) logits, or probabilities times any factor."""
        found = found.to(self.device)  # with sums on the host: waits until it is there
        y, x = corner
        for z in range(0, self.patch[0], self._values.shape[1]):
            some = slice(z, min(z + self._values.shape[1], self.patch[0]))
            depth = some.stop - z
            values, sums = self._values[:, :depth], self._sums[:, :depth]
            values.copy_(found[:, some])
            if self.of_logits:
                values[1:] -= values[0]
                self._check += values[1:].sum()
                factor = self.weights[some]
            else:
                factor = self._shares(values, some, logits)
            place = self.total[:, some, y : y + self.patch[1], x : x + self.patch[2]]
            if place.dtype == torch.float32:
                place.addcmul_(values[1:], factor)
            else:
                place.copy_(sums.copy_(place).addcmul_(values[1:], factor))

    def _shares(self, values: torch.Tensor, some: slice, logits: bool) -> torch.Tensor:
        """What to multiply ``values`` with, so that they are probabilities times their weights."""
        classes, more = values[: self.classes], values[self.classes :]
        if logits:
            classes.sub_(classes.amax(dim=0)).exp_()
        factor = classes.sum(dim=0)
        if len(more):
            if logits:
                more *= factor  # what follows divides all by it
            self._check += more.sum()
        self._check += factor.sum()
        return torch.div(self.weights[some], factor, out=factor)

    @property
    def finite(self) -> bool:
        """Whether all that was added is."""
        return bool(torch.isfinite(self._check))

    def finish(self, row: Row, end: int) -> Iterator[tuple[int, torch.Tensor]]:
        """(z0, probabilities (C, dz, y, x) float32) of the slices before ``end``, after ``row`` was added. Then it moves on.

        The tensors change when the next is asked for.
        """
        if row.corners:
            self.rows.append(row)
        step = SLICES.get(self.device.type, SLICES_ELSEWHERE)
        out = torch.empty((len(self.total) + 1, step, *self.shape[1:]), device=self.device)
        for z in range(self.z, end, step):
            yield z, self._probabilities(z, min(z + step, end), out)
        self._move(end)

    def _probabilities(self, first: int, last: int, out: torch.Tensor) -> torch.Tensor:
        out = out[:, : last - first]
        objects, background = out[1:], out[0]
        if any(row.z + self.patch[0] > first for row in self.rows):
            objects.copy_(self.total[:, first - self.z : last - self.z, : self.shape[1], : self.shape[2]])
            counts = self._counts(first, last)
            objects.div_(counts.clamp(min=self.least))
            if self.of_logits:
                _softmax(objects)
                objects *= counts > 0  # no window, no logits: nothing is there
            objects.clamp_(max=1)
            if self.inside is not None:
                objects *= torch.from_numpy(self.inside.mask(first, last)).to(self.device)
            torch.sum(objects[: self.classes - 1], dim=0, out=background)
            background.neg_().add_(1).clamp_(min=0)
        else:
            objects.zero_()
            background.fill_(1)
        return out

    def _counts(self, first: int, last: int) -> torch.Tensor:
        """The sum of the weights (z, y, x) of the windows that were added."""
        found = torch.zeros((last - first, *self.total.shape[2:]), device=self.device)
        for row in self.rows:
            low, high = max(first, row.z), min(last, row.z + self.patch[0])
            if low < high:
                part, weight = found[low - first : high - first], self.weights[low - row.z : high - row.z]
                for y, x in row.corners:
                    part[:, y : y + self.patch[1], x : x + self.patch[2]] += weight
        return found[:, : self.shape[1], : self.shape[2]]

    def _move(self, end: int) -> None:
        """Drop the slices before ``end``, move the others up, and clear the rest; in place."""
        finished, held = end - self.z, bool(self.rows)
        self.rows = [row for row in self.rows if row.z + self.patch[0] > end]
        kept = max(0, self.patch[0] - finished) if self.rows else 0
        for z in range(kept):
            self.total[:, z] = self.total[:, z + finished]
        if held:
            self.total[:, kept:] = 0
        self.z = end


def _softmax(values: torch.Tensor) -> None:
    """Logits (objects, z, y, x) relative to the background's to probabilities, in place."""
    most = values.amax(dim=0).clamp_(min=0)
    values.sub_(most).exp_()
    values.div_(values.sum(dim=0).add_(most.neg_().exp_()))
