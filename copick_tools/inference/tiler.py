"""Sliding-window prediction in slabs: memory doesn't grow with the height of the volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch

from copick_tools.inference.ahead import ahead
from copick_tools.inference.device import home_of_sums, placed, to_host, tuned
from copick_tools.inference.forward import ORIENTATIONS, Forward
from copick_tools.inference.framing import Frame
from copick_tools.inference.geometry import Geometry
from copick_tools.inference.grid import Inside, Rules, Shape, rows
from copick_tools.inference.planes import Planes, reflected
from copick_tools.inference.sums import Sums, kind_of_sums
from copick_tools.recipes.recipe import Tta
from copick_tools.volumes.decoding import FULL
from copick_tools.volumes.normalize import Intensity, Scaling, Volume, scale_of

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample

Slabs = Iterator[tuple[int, np.ndarray]]


class Predictor(Protocol):
    """What an engine's ``load`` returns.

    objects: name -> label, in the order of the channels 1, 2, …; channel 0 is background.
    voxel_spacing: angstrom, that of the training data. normalize: percent clipped at either end of the intensities.

    It may also have ``likeliest(volume, sample, floor)``, as `Tiled.likeliest`: then the probabilities needn't leave the
    device that computes them. Without it, `slabs` is all that is asked for. Where ``geometry`` isn't None, it tells instances
    apart and has ``maps(volume, sample)``, as `Tiled.maps`.
    """

    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float

    def slabs(self, volume: Volume, sample: Sample | None = None) -> Slabs:
        """(z0, probabilities (C, dz, y, x) float16) from z = 0 up, without gaps. ``volume``: zyx, as it was stored.

        sample: what lies outside is background, and isn't computed. It is only passed where there is one.
        """


@dataclass
class Tiled:
    """The predictor of patch networks: overlapping windows, blended with gaussian weights.

    rules: monai or nnunet. The first equals MONAI's SlidingWindowInferer around a network that ends in a softmax, but for
    volumes thinner than a window: they are reflected at their end, where MONAI puts zeros on both sides. The second does
    what nnU-Net's predictor does: windows are spread evenly, logits are averaged and not probabilities, and see `framing`;
    ``normalize`` has no meaning then.

    network: maps (B, 1, z, y, x) to logits (B, C, z, y, x). patch: zyx of the window, that of training. batch_size: windows
    at a time on a GPU; a CPU is faster with one. bf16: mixed precision. tta: orientations that are averaged: 2, the half turn
    about z too; 4, flips in the plane; 8, all flips; 16, with quarter turns about z; turns, those alone. Single flips change
    the hand of what is seen: not for networks that learned it. Quarter turns need windows that are square in the plane.
    compile: compile the network first, which takes a minute and pays on a GPU. sums: auto, see `kind_of_sums`. geometry: what
    the network's last channels are, None where all are logits of classes. scaling: of intensities; ``normalize`` has no meaning
    for percentiles.
    """

    network: torch.nn.Module
    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float
    patch: Shape
    overlap: float
    batch_size: int
    device: torch.device = torch.device("cpu")
    bf16: bool = False
    tta: Tta = 1
    compile: bool = False
    sums: Literal["auto", "float16", "float32"] = "auto"
    rules: Rules = "monai"
    geometry: Geometry | None = None
    scaling: Scaling = "deviations"
    _compiled: torch.nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tta not in ORIENTATIONS:
            raise ValueError(f"Expected argument `tta` to be 1, 2, 4, 8, 16 or turns, but got {self.tta}")
        if self.tta in (16, "turns") and self.patch[1] != self.patch[2]:
            raise ValueError(f"quarter turns need windows that are square in the plane, and these are {self.patch}")
        if self.geometry is not None and self.rules == "nnunet":
            raise ValueError("by nnU-Net's rules all channels are of classes")

    @torch.inference_mode()
    def slabs(self, volume: Volume, sample: Sample | None = None) -> Slabs:
        """See `Predictor.slabs`. Raises ValueError for a constant or non-finite volume, or output of the network."""
        for z0, probabilities in self.stitched(volume, sample):
            yield z0, to_host(probabilities[: self._classes].half())[0]

    @torch.inference_mode()
    def likeliest(
        self, volume: Volume, sample: Sample | None = None, floor: float = 0.0
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(z0, labels uint8, certainty float16, objectness float16), each (dz, y, x), from z = 0 up, without gaps.

        labels: of the likeliest object. certainty: its probability. objectness: 1 - P(background); where it is below
        ``floor``, the other two are 0. The same numbers as from `slabs`; it raises as that does.
        """
        values = torch.tensor(list(self.objects.values()), dtype=torch.uint8)
        for z0, probabilities in self.stitched(volume, sample):
            objectness = probabilities[0].half().float().neg_().add_(1).half()
            labels, certainty = torch.zeros_like(objectness, dtype=torch.uint8), torch.zeros_like(objectness)
            kept = (objectness >= floor).flatten().nonzero()[:, 0]
            best, channel = probabilities[1 : self._classes].flatten(1)[:, kept].half().max(dim=0)
            labels.view(-1)[kept], certainty.view(-1)[kept] = values.to(kept.device)[channel], best
            found = to_host(labels, certainty, objectness)
            yield z0, found[0], found[1], found[2]

    @torch.inference_mode()
    def maps(
        self, volume: Volume, sample: Sample | None = None
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(z0, foreground, labels, geometry) of the slices from z0 on, from z = 0 up, without gaps; see `volumes.decoding.Maps`.

        Raises as `slabs`; the network has to have a geometry.
        """
        assert self.geometry is not None
        values = torch.tensor([0, *self.objects.values()], dtype=torch.uint8)
        for z0, found in self.stitched(volume, sample):
            foreground = (1 - found[0]).mul_(FULL).round().to(torch.uint8)
            labels = values.to(found.device)[found[: self._classes].argmax(dim=0)]
            geometry = torch.where(found[0] < 1, found[self._classes :], self.geometry.outside)
            yield z0, *to_host(foreground, labels, self.geometry.in_bytes(geometry))

    @property
    def _classes(self) -> int:
        """Channels of classes, background included."""
        return len(self.objects) + 1

    @torch.inference_mode()
    def stitched(self, volume: Volume, sample: Sample | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """As `slabs`, but float32 tensors where the sums are; each holds until the next is asked for."""
        if self.rules == "nnunet":
            frame = Frame.around(volume, self.patch)
            inner = self._stitched(frame, frame.statistics, frame.sample(sample) if sample is not None else None)
            yield from frame.unframed(inner)
        else:
            yield from self._stitched(volume, scale_of(volume, self.normalize, self.scaling), sample)

    def _stitched(
        self, volume: Volume, statistics: Intensity, sample: Sample | None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        depth, height, width = volume.shape
        shape = (depth, height, width)
        wanted = rows(shape, self.patch, self.overlap, sample, self.rules)
        sums = self._sums(shape, Inside(sample, shape) if sample is not None else None)
        planes = Planes(volume, self.patch, statistics, self.device)
        forward = self._forward()
        reading = ahead(planes.read([row for row in wanted if row.corners]))
        with tuned(self.device), closing(reading) as pieces:
            for row, end in zip(wanted, [*(row.z for row in wanted[1:]), depth]):
                if row.corners:
                    for corner, found in forward(planes.windows(next(pieces), row.corners)):
                        sums.add(found, corner, forward.logits)
                if not sums.finite:
                    raise ValueError(self._not_finite())
                yield from sums.finish(row, end)

    def _sums(self, shape: Shape, inside: Inside | None) -> Sums:
        kind = getattr(torch, self.sums, None) or kind_of_sums(shape, self.patch, self.overlap)
        kind = torch.float32 if self.rules == "nnunet" else kind  # its weights are too small for half precision
        more = 0 if self.geometry is None else self.geometry.channels
        home = home_of_sums(self.device, Sums.size(len(self.objects) + more, shape, self.patch, kind))
        return Sums((len(self.objects), more), (shape, self.patch), home, kind, inside, self.rules)

    def _not_finite(self) -> str:
        said = "the network's output isn't finite: are its weights damaged"
        if not self.bf16:
            return f"{said}?"
        elsewhere = ", or --device cpu" if self.device.type == "cuda" else ""
        return f"{said}, or its numbers too large for mixed precision? In Python bf16=False turns that off{elsewhere}"

    def _forward(self) -> Forward:
        """Moves the network to the device, channels last, and into evaluation: the very one that was given, also where it is
        being trained. Who trains it puts it back into training.
        """
        with torch.inference_mode(False):  # the network may be one that is being trained
            network = placed(self.network, self.device).eval()
        if self.compile:
            self._compiled = self._compiled or torch.compile(network)
            network = self._compiled
        batch = 1 if self.device.type == "cpu" else self.batch_size
        forward = Forward(network, self.device, self.bf16, batch, self.tta)
        forward.fixed, forward.of_logits, forward.geometry = self.compile, self.rules == "nnunet", self.geometry
        return forward


def window(volume: Volume, corner: Shape, patch: Shape) -> np.ndarray:
    """A zyx patch at ``corner``, float32; where the volume is thinner than the patch, it is reflected."""
    found = np.asarray(volume[tuple(slice(c, c + p) for c, p in zip(corner, patch))], dtype=np.float32)
    if found.shape == tuple(patch):
        return found
    return found[np.ix_(*(reflected(length, side) for length, side in zip(found.shape, patch)))]
