"""Which voxels belong to which pick: an instance segmentation that is computed where it is sliced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from copick_tools.types import Integers
from copick_tools.volumes.blocks import SIZE, bounds
from copick_tools.volumes.components import Components, run_lengths, traced, zyx
from copick_tools.volumes.extraction import ON_MAPS, Extraction, Found, Particle, peak_scale, pooling_for
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.parts import Crops, divisible
from copick_tools.volumes.peaks import Ball, voxels
from copick_tools.volumes.probabilities import Probabilities
from copick_tools.volumes.runs import Grid, Runs, joined


class Instances:
    """A zyx uint32 volume, held as runs; slicing gives dense arrays. Where layers overlap the first one shows.

    >>> layer = Runs(np.array([1]), np.array([2]), np.array([7]))
    >>> Instances((1, 1, 4), [layer])[:, :, 1:].tolist()
    [[[7, 7, 0]]]
    """

    dtype = np.dtype(np.uint32)

    def __init__(self, shape: tuple[int, int, int], layers: Sequence[Runs]) -> None:
        self.shape, self._grid, self._layers = shape, Grid(shape), list(layers)

    def __getitem__(self, region: Any) -> Integers:
        box = bounds(region, self.shape)
        low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
        out = np.zeros(high - low, self.dtype)
        for runs in reversed(self._layers):
            self._paint(out, runs, low, high)
        return out

    def _paint(self, out: np.ndarray, runs: Runs, low: np.ndarray, high: np.ndarray) -> None:
        """Put the runs between two zyx corners into ``out``, that box."""
        begin, end = np.searchsorted(runs.first, [low[0] * self._grid.plane, high[0] * self._grid.plane])
        runs = runs.take(np.arange(begin, end))
        z, y, x = self._grid.place(runs.first)
        start, stop = np.maximum(x, low[2]), np.minimum(x + runs.last - runs.first + 1, high[2])
        seen = (y >= low[1]) & (y < high[1]) & (stop > start)
        z, y, start, stop = z[seen] - low[0], y[seen] - low[1], start[seen] - low[2], stop[seen] - low[2]
        length = stop - start
        first = (z * out.shape[1] + y) * out.shape[2] + start
        at = np.arange(length.sum()) + np.repeat(first - np.cumsum(length) + length, length)
        out.reshape(-1)[at] = np.repeat(runs.labels[seen], length)


def instances(
    source: Volume | Probabilities,
    chosen: Mapping[str, Found],
    particles: Sequence[Particle],
    voxel_spacing: float,
    how: Mapping[str, Extraction],
    chunk: int = SIZE,
) -> Instances:
    """The voxels of each pick: 1 + its running number over the particles in order, 0 elsewhere; zyx uint32.

    source, particles, voxel_spacing (angstrom), how, chunk: what the candidates were found with. chosen: those of each particle
    to show, by name. Components: the whole component or its part. Mean shift: the whole cluster. Peaks and mean pooling: see
    `peaks.voxels`; only chosen peaks share voxels out. Where two objects claim a voxel the first one gets it.
    """
    shape = source.shape if isinstance(source, Probabilities) else zyx(source)
    ends = np.cumsum([len(chosen[particle.name]) for particle in particles])
    numbers = {p.name: 1 + np.arange(end - len(chosen[p.name]), end) for p, end in zip(particles, ends)}
    layers, others = {}, []
    for particle in particles:
        name, settings = particle.name, how[particle.name]
        if settings.method in ON_MAPS:
            if not isinstance(source, Probabilities):
                raise ValueError(f"Method {settings.method} needs probabilities, a label volume has none")
            make = peak_scale if settings.method == "peaks" else pooling_for
            ball = make(particle, settings, voxel_spacing)
            layers[name] = _balls(source.maps[particle.label], chosen[name], numbers[name], ball)
        elif settings.method == "mean-shift":
            layers[name] = _clusters(chosen[name], numbers[name])
        else:
            others.append(particle)
    if others:
        thresholds = {particle.label: how[particle.name].threshold for particle in others}
        labels = source.labels(thresholds) if isinstance(source, Probabilities) else source
        layers |= _whole_or_parts(
            labels, chosen, numbers, {p: how[p.name].method == "watershed" for p in others}, chunk
        )
    return Instances(shape, [layers[particle.name] for particle in particles])


def _whole_or_parts(
    labels: Volume,
    chosen: Mapping[str, Found],
    numbers: Mapping[str, Integers],
    everywhere: Mapping[Particle, bool],
    chunk: int,
) -> dict[str, Runs]:
    """The runs of each particle's picks. everywhere: by particle, whether each of its components was looked at."""
    every, runs, owner = traced(labels, [particle.label for particle in everywhere], None, chunk, keep_runs=True)
    layers = {}
    for particle, all_of_them in everywhere.items():
        rows = np.flatnonzero(every.labels == particle.label)
        number = np.zeros(len(every), np.int64)
        number[rows], parts = _numbered(
            every.take(rows), chosen[particle.name], numbers[particle.name], all_of_them, Crops(labels, None)
        )
        mine = number[owner] > 0
        layers[particle.name] = joined([Runs(runs.first[mine], runs.last[mine], number[owner[mine]]), *parts])[0]
    return layers


def _numbered(
    own: Components, found: Found, numbers: Integers, everywhere: bool, crops: Crops
) -> tuple[Integers, list[Runs]]:
    """The number of each component, 0 for those that no pick owns whole; and the runs of picks that are parts."""
    shape = zyx(crops.labels)
    number_of = dict(zip(found.seeds.tolist(), numbers.tolist()))
    seeds = np.column_stack(np.unravel_index(found.seeds, shape))
    table = np.array([number_of.get(first, 0) for first in own.first.tolist()], dtype=np.int64)
    runs = []
    rows = divisible(own, found.expected, everywhere)
    table[rows] = 0
    owning = [((seeds >= own.low[row]) & (seeds < own.high[row])).all(axis=1).any() for row in rows]
    for row, near in crops.nearby(own, rows[np.array(owning, bool)]):
        parts = near.parts(own, row, found.expected)
        measured = near.measured(own, row, parts)
        shown = np.array([0, *(number_of.get(first, 0) for first in measured.first.tolist())])
        runs.append(run_lengths(shown[parts], own.low[row], shape))
    return table, runs


def _clusters(found: Found, numbers: Integers) -> Runs:
    if found.runs is None:
        raise ValueError("Candidates of method mean-shift are shown by their voxels, but have none")
    order = np.argsort(found.seeds)
    if not len(order):
        return found.runs.take(np.empty(0, np.int64))
    place = np.minimum(np.searchsorted(found.seeds[order], found.runs.labels), len(order) - 1)
    mine = found.seeds[order][place] == found.runs.labels
    return replace(found.runs.take(mine), labels=numbers[order][place[mine]])


def _balls(probability: Volume, found: Found, numbers: Integers, scale: Ball) -> Runs:
    at = np.column_stack(np.unravel_index(found.seeds, zyx(probability)))
    boxes = voxels(probability, at, scale)
    corners = ((np.array([part.start for part in box]), mine) for box, mine, _ in boxes)
    runs = [run_lengths(mine * number, low, zyx(probability)) for (low, mine), number in zip(corners, numbers)]
    return joined(runs)[0]
