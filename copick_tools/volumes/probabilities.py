"""The class probabilities of a tomogram, as far as the extraction of particles needs them.

Half precision numbers from 0 up are in the order of their bit patterns: comparing those as integers is fast.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.sparse import SMALL, Sparse, occupied

ONE = int(np.float16(1).view(np.uint16))
INFINITE = int(np.float16(np.inf).view(np.uint16))
MINUS_ZERO = int(np.float16(-0.0).view(np.uint16))
LEVELS = np.arange(ONE + 1, dtype=np.uint16).view(np.float16)  # all half precision numbers in [0, 1]


def bits_of(probability: float) -> int:
    """Bit pattern of the least half precision number that reaches a probability; of 1 above that.

    >>> float(np.array(bits_of(0.3), np.uint16).view(np.float16)) >= 0.3
    True
    """
    return min(int(np.searchsorted(LEVELS.astype(float), probability)), ONE)


class Probabilities:
    """Class probabilities of a tomogram, zyx, collected slab by slab; memory grows with what isn't background.

    labels: of channels 1, 2, …, within 1 to 255. floor: least 1 - P(background) of a voxel that is kept. maps: labels whose
    own probability is kept as well where it reaches ``map_floor``, for method `peaks`.

    What isn't a probability never makes a pick: NaN, infinities and negative numbers count as 0 (of the background: as 1),
    numbers above 1 as 1.

    likeliest: uint8, label of the likeliest object, 0 in the background. certainty: float16, the probability of that
    object. objectness: float16, 1 - P(background). maps: float16, by label.
    """

    def __init__(
        self,
        shape: Sequence[int],
        labels: Sequence[int],
        floor: float,
        maps: Collection[int] = (),
        map_floor: float = 0.05,
    ) -> None:
        if not all(0 < label < 256 for label in labels) or len(set(labels)) < len(labels):
            raise ValueError(f"Expected `labels` to be different and within 1 to 255, but got {list(labels)}")
        if not set(maps) <= set(labels):
            raise ValueError(f"Expected `maps` to be among the labels {list(labels)}, but got {sorted(maps)}")
        self.channels = np.array(labels, dtype=np.uint8)
        self.floor, self.map_floor = float(floor), float(map_floor)
        self.likeliest = Sparse(shape, np.uint8)
        self.certainty = Sparse(shape, np.float16)
        self.objectness = Sparse(shape, np.float16)
        self.maps = {label: Sparse(shape, np.float16) for label in maps}
        self.shape = self.likeliest.shape
        self._objectness = (1 - LEVELS.astype(np.float32)).astype(np.float16)  # of each P(background)
        kept = self._objectness.view(np.uint16) >= max(1, bits_of(floor))
        self._background = int(np.count_nonzero(kept)) - 1  # bit pattern of the largest P(background) that is kept

    def add(self, z0: int, probabilities: np.ndarray) -> None:
        """Add the next slab. probabilities: (C, dz, y, x) float16, channel 0 the background; it starts at ``z0``."""
        self._require(z0, probabilities.shape[1:], probabilities.shape[0])
        bits = np.asarray(probabilities, dtype=np.float16).view(np.uint16)
        for z in range(bits.shape[1]):
            self._add_plane(bits[:, z].reshape(len(bits), -1))
            for label, kept in self.maps.items():
                own = bits[1 + int(np.flatnonzero(self.channels == label)[0]), z].reshape(-1)
                self._add_map(kept, own)

    def add_likeliest(self, z0: int, labels: np.ndarray, certainty: np.ndarray, objectness: np.ndarray) -> None:
        """Add the next slab, reduced already. labels uint8, certainty and objectness float16, all (dz, y, x).

        Impossible together with ``maps``.
        """
        if self.maps:
            raise ValueError("The probability of each object can't be kept from labels and certainty alone")
        self._require(z0, labels.shape, len(self.channels) + 1)
        least = np.uint16(max(1, bits_of(self.floor)))
        for label, sure, held in zip(labels, certainty, objectness):
            label, sure, held = (np.ascontiguousarray(part).reshape(-1) for part in (label, sure, held))
            at = occupied(np.asarray(label, dtype=np.uint8))
            certain, objects = (_clean(np.asarray(part[at], dtype=np.float16).view(np.uint16)) for part in (sure, held))
            self._append(at, label[at], certain, objects, (objects >= least) & (certain > 0))

    def labels(self, thresholds: Mapping[int, float] | float) -> Thresholded:
        """The likeliest object where 1 - P(background) reaches the threshold, of its label or of all; uint8, lazily sliced.

        Labels without a threshold are left out. Below ``floor`` nothing is kept, whatever the threshold.
        """
        given = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(self.channels.tolist(), thresholds)
        return Thresholded(self, given)

    def _require(self, z0: int, shape: Sequence[int], channels: int) -> None:
        if z0 != self.likeliest.filled:
            raise ValueError(f"Slabs come in order: the next one starts at {self.likeliest.filled}, not at {z0}")
        if channels != len(self.channels) + 1 or tuple(shape[1:]) != self.shape[1:] or z0 + shape[0] > self.shape[0]:
            raise ValueError(f"A slab of {channels} channels and {tuple(shape)} voxels doesn't fit into {self.shape}")

    def _add_plane(self, bits: np.ndarray) -> None:
        """bits: (C, y * x), of the half precision numbers."""
        background = bits[0]
        candidate = background <= self._background
        candidate |= background == MINUS_ZERO
        at = occupied(candidate)
        best, channel = np.zeros(len(at), np.uint16), np.zeros(len(at), np.intp)
        for index in range(len(self.channels)):
            own = _clean(bits[index + 1][at])
            higher = own > best
            best[higher], channel[higher] = own[higher], index
        held = self._objectness.view(np.uint16)[_clean(background[at])]
        self._append(at, self.channels[channel], best, held, best > 0)

    def _append(self, at: Integers, label: Integers, certain: Integers, objects: Integers, keep: np.ndarray) -> None:
        """One plane; the three volumes share the positions."""
        position = at[keep].astype(SMALL)
        self.likeliest.append_plane(position, label[keep])
        self.certainty.append_plane(position, certain[keep].view(np.float16))
        self.objectness.append_plane(position, objects[keep].view(np.float16))

    def _add_map(self, kept: Sparse, own: np.ndarray) -> None:
        least = np.uint16(max(1, bits_of(self.map_floor)))
        at = occupied((own - least) < np.uint16(INFINITE - least))  # wraps around below the least
        kept.append_plane(at.astype(SMALL), _clean(own[at]).view(np.float16))


class Thresholded:
    """Labels where 1 - P(background) reaches a threshold; zyx uint8, computed where it is sliced."""

    def __init__(self, source: Probabilities, thresholds: Mapping[int, float]) -> None:
        self.shape, self._source = source.shape, source
        self._least = np.full(256, ONE + 1, np.uint16)
        self._least[0] = 0
        for label, threshold in thresholds.items():
            if not 0 < label < 256:
                raise ValueError(f"Expected labels within 1 to 255, but got {label}")
            self._least[label] = max(1, bits_of(threshold))

    def __getitem__(self, region: Any) -> Integers:
        labels = self._source.likeliest[region]
        at = occupied(labels)
        flat = labels.reshape(-1)
        held = self._source.objectness[region].view(np.uint16).reshape(-1)[at]
        flat[at[held < self._least[flat[at]]]] = 0
        return labels


def _clean(bits: Integers) -> Integers:
    """Bit patterns of probabilities within [0, 1]; what is no number, infinite or negative becomes 0."""
    proper: Integers = np.where(bits >= INFINITE, 0, np.minimum(bits, ONE)).astype(np.uint16)
    return proper
