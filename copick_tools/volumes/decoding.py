"""From what a network says of each voxel to instances: by distances, by flows, by boundaries.

Distances: micro-SAM's automatic instance segmentation (Archit et al. 2025). Flows: Cellpose (Stringer et al. 2021; Pachitariu
et al. 2025), with the check of flows in 3D, too. Boundary: a U-Net's foreground and boundary with a watershed, as in the
multi-organelle benchmark. An instance is of the object that most of its voxels are of; if that is the background, it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from scipy import ndimage

from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.blocks import Box, blocks
from copick_tools.volumes.components import zyx
from copick_tools.volumes.divided import Divided
from copick_tools.volumes.flow_fields import directions, solids
from copick_tools.volumes.following import followed, grouped
from copick_tools.volumes.merging import Seeded
from copick_tools.volumes.pieces import limits
from copick_tools.volumes.relief import Bounded
from copick_tools.volumes.semantic_instances import Way, convert
from copick_tools.volumes.stitching import stitched

Kind = Literal["distances", "flows", "boundary"]
FULL, UNIT = 255, 127  # what 1 is stored as, in probabilities and distances, and in flows
ID = np.uint32
SCRAP = 27  # voxels of a network; what is less is noise of the labels where another instance encloses it
SEED = 1001  # level of a seed; what isn't one lies between 1 and 1000


@dataclass(frozen=True)
class Maps:
    """What a network says, in bytes. All of one zyx shape.

    foreground: uint8, 1 - P(background). labels: uint8, of the likeliest object, 0 where that is the background.
    geometry: (2, …) uint8 distances to center and boundary, as of `object_maps`; (3, …) int8 flows along z, y, x; (1, …)
    uint8 probability of a boundary.
    """

    kind: Kind
    foreground: Integers
    labels: Integers
    geometry: Integers


@dataclass(frozen=True)
class Decoding:
    """How maps become instances. Lengths in voxels.

    foreground: least 1 - P(background) of a voxel. center, boundary: distances below which both lie in a seed; for
    ``boundary`` the least probability of a boundary. smoothing: sigma of the gaussian that distances and flows are smoothed
    with. distance: between two sinks of flows. flow_error: of the mean squared difference between an instance's flows and
    those of its shape, None: any. limits: fewest and most voxels. most: of the volume, the largest share that one instance has.
    networks: labels of objects that aren't cut; fragments of them up to ``join`` apart hang together. stitch: instances are
    found in slices, and those with this IoU are one; None: in 3D.
    """

    foreground: float = 0.5
    center: float = 0.5
    boundary: float = 0.5
    smoothing: float = 0.0
    distance: float = 3.0
    flow_error: float | None = 0.4
    limits: tuple[float, float] = (0.0, np.inf)
    most: float = 1.0
    networks: tuple[int, ...] = ()
    join: float = 0.0
    stitch: float | None = None


@dataclass(frozen=True)
class Instances:
    """ids: zyx from 1 up, 0 is none. objects: (N + 1,) the label of each id, and 0 for 0."""

    ids: Integers
    objects: Integers

    def of(self, labels: Sequence[int]) -> tuple[Integers, dict[int, int]]:
        """(N + 1,) the number of each id among those of its object, and how many each of ``labels`` has. 0: of no such one."""
        numbers, counts = np.zeros(len(self.objects), np.int64), {}
        for label in labels:
            rows = np.flatnonzero(self.objects == label)
            numbers[rows], counts[label] = np.arange(1, len(rows) + 1), len(rows)
        return numbers, counts


def decode(maps: Maps, how: Decoding) -> Instances:
    """The instances that maps show, numbered in raster order of their first voxels.

    Memory: about 20 bytes a voxel beside the maps; where flows are checked, 50 for each voxel of the largest instance's box.
    """
    inside, network = _foreground(maps, how), is_network(maps, how)
    solid = inside & ~network
    if how.stitch is None:
        ids = _told_apart(maps, solid, how)
    else:
        flat = [_told_apart(slice_of(maps, z), solid[z : z + 1], how)[0] for z in range(len(solid))]
        ids = stitched(np.stack(flat), how.stitch)
    return gathered(ids, maps.labels, np.where(network, maps.labels, 0), how)


def gathered(ids: Integers, labels: Integers, networks: Integers, how: Decoding) -> Instances:
    """Instances of what was told apart, and of networks: in one piece, without holes, within the limits, numbered anew.

    ids: zyx from 1 up, of what isn't a network. labels: zyx, of which each instance gets the most frequent one, and goes if
    that is 0. networks: zyx labels of the networks, 0 elsewhere; where an instance lies, too, it has the voxel.
    """
    ids = _in_one_piece(ids)
    objects = voted(ids, labels)
    uncut = _uncut(networks, how)
    _fill_and_limit(ids, objects, _within(how, ids.size), _larger(uncut.ids, SCRAP))
    np.copyto(ids, uncut.ids + ID(len(objects) - 1), where=(ids == 0) & (uncut.ids > 0))
    return _numbered(ids, np.r_[objects, uncut.objects[1:]])


def _foreground(maps: Maps, how: Decoding) -> Mask:
    return np.asarray(maps.foreground >= how.foreground * FULL)


def is_network(maps: Maps, how: Decoding) -> Mask:
    """Which voxels are of objects that aren't cut."""
    return np.asarray(_foreground(maps, how) & np.isin(maps.labels, how.networks))


def _told_apart(maps: Maps, inside: Mask, how: Decoding) -> Integers:
    by_kind = {"distances": _by_distances, "flows": _by_flows, "boundary": _by_boundary}
    return by_kind[maps.kind](maps, inside, how) if inside.any() else np.zeros(inside.shape, ID)


def slice_of(maps: Maps, z: int) -> Maps:
    """Of one slice alone."""
    one = slice(z, z + 1)
    return Maps(maps.kind, maps.foreground[one], maps.labels[one], maps.geometry[:, one])


def _by_distances(maps: Maps, inside: Mask, how: Decoding) -> Integers:
    """A watershed from seeds, which are near to a center and far from boundaries; what no seed reaches is left out."""
    levels = _seeded(maps, inside, how)
    ids = _whole(Divided(_Levels(levels), 1, 26, lambda top, between: between < SEED <= top))
    seeded = np.zeros(int(ids.max()) + 1, bool)
    seeded[ids[levels == SEED]] = True
    return np.where(seeded[ids], ids, ID(0))


def _seeded(maps: Maps, inside: Mask, how: Decoding) -> Integers:
    """zyx uint16 levels: `SEED` in seeds, else the higher the farther from boundaries; 0 outside."""
    center, boundary = (_smooth(channel, how.smoothing) / FULL for channel in maps.geometry)
    levels = np.where(inside, 1 + np.round(np.clip(1 - boundary, 0, 1) * (SEED - 2)), 0).astype(np.uint16)
    levels[inside & (center < how.center) & (boundary < how.boundary)] = SEED
    return levels


def _by_boundary(maps: Maps, inside: Mask, how: Decoding) -> Integers:
    """What hangs together between boundaries, which are shared out."""
    relief = Bounded(inside.view(np.uint8), 1, maps.geometry[0], how.boundary * FULL)
    return _whole(Divided(relief, 1, 26, Seeded(0.0)))


def _by_flows(maps: Maps, inside: Mask, how: Decoding) -> Integers:
    """Voxels that flow to one place are one instance, if its shape has such flows. Ways may cross what is said to be a network."""
    foreground = _foreground(maps, how)
    flows = np.stack([np.round(_smooth(channel, how.smoothing)).astype(np.int8) for channel in maps.geometry])
    ids: Integers = np.zeros(inside.shape, ID)
    rest = followed(flows, foreground, UNIT)[inside[foreground]]
    ids[inside] = grouped(rest, zyx(inside), distance=how.distance)
    if how.flow_error is not None:
        ids = _in_one_piece(ids)
        _drop_where_flows_differ(ids, flows, how.flow_error)
    return ids


def _drop_where_flows_differ(ids: Integers, flows: Integers, most: float) -> None:
    """Remove instances, in place, whose flows differ from those of their shape by more than ``most`` in the mean square."""
    for solid in solids(ids):
        wanted = directions(solid.mask, solid.center, planar=len(ids) == 1)
        found = flows[(slice(None), *solid.box)][:, solid.mask].astype(np.float32) / UNIT
        if ((wanted - found) ** 2).sum(axis=0).mean() > most:
            ids[solid.box][solid.mask] = 0


class _Levels:
    """A `relief.Relief` that is held."""

    def __init__(self, values: Integers) -> None:
        self.values, self.shape = values, zyx(values)

    def levels(self, box: Box) -> Integers | None:
        """See `Relief.levels`."""
        found = self.values[box]
        return found if found.any() else None


def _whole(found: Divided) -> Integers:
    """The ids of all blocks."""
    instanced = found.instances(limits([1]))
    out = np.zeros(found.relief.shape, ID)
    for block in blocks(out.shape):
        ids = instanced.block(block.inner)
        if ids is not None:
            out[block.inner] = ids
    return out


def _smooth(values: Integers, sigma: float) -> Floats:
    return ndimage.gaussian_filter(values.astype(np.float32), sigma) if sigma else values.astype(np.float32)


def _within(how: Decoding, voxels: int) -> tuple[float, float]:
    """Fewest and most voxels of an instance. voxels: of the volume."""
    low, high = how.limits
    return max(low, 1), min(high, how.most * voxels)


def _in_one_piece(ids: Integers) -> Integers:
    """The largest piece of each instance."""
    pieces = cc3d.connected_components(ids.astype(ID, copy=False), connectivity=26)
    of_piece = np.zeros(int(pieces.max()) + 1, ID)
    of_piece[pieces] = ids
    sizes = np.bincount(pieces.reshape(-1), minlength=len(of_piece))
    order = np.lexsort((np.arange(len(sizes)), -sizes))
    _, largest = np.unique(of_piece[order], return_index=True)
    kept = np.zeros(len(of_piece), ID)
    whole = order[largest]
    kept[whole] = of_piece[whole]
    return kept[pieces]


def _fill_and_limit(ids: Integers, objects: Integers, limits: tuple[float, float], taken: Mask) -> None:
    """Fill the holes of each instance, in place, but for what is of another or ``taken``; remove those of no object, or beyond limits."""
    low, high = limits
    planar = len(ids) == 1
    for solid in solids(ids):
        there = ids[solid.box]
        whole = solid.mask if min(solid.mask.shape[planar:]) < 3 else _filled(solid.mask, planar)
        whole = whole & (solid.mask | (there == 0) & ~taken[solid.box])
        voxels = np.count_nonzero(whole | solid.mask)
        if objects[solid.id] and low <= voxels <= high:
            there[whole] = solid.id
        else:
            there[solid.mask] = 0


def _filled(mask: Mask, planar: bool) -> Mask:
    """Without holes; planar: those of the plane, in a volume of one slice."""
    if planar:
        return np.asarray(ndimage.binary_fill_holes(mask[0]))[None]
    return np.asarray(ndimage.binary_fill_holes(mask))


def voted(ids: Integers, labels: Integers, *, background: bool = True) -> Integers:
    """(N + 1,) the label that most voxels of each id have, the lowest of several; 0 also for ids that don't occur.

    background: whether label 0 counts.
    """
    known = np.flatnonzero(sum(np.bincount(plane.reshape(-1), minlength=256) for plane in labels))
    row = np.zeros(256, np.int64)
    row[known] = np.arange(len(known))
    votes = np.zeros((int(ids.max()) + 1) * len(known), np.int64)
    for plane, said in zip(ids, labels):
        ballots = plane.astype(np.int64) * len(known) + row[said]
        found, count = np.unique(ballots, return_counts=True)
        votes[found] += count
    table = votes.reshape(-1, len(known))
    table[:, (known == 0) & (not background)] = 0
    objects = known[table.argmax(axis=1)]
    objects[0] = 0
    return np.where(table.sum(axis=1) > 0, objects, 0)


def _uncut(labels: Integers, how: Decoding) -> Instances:
    """What hangs together of each network. labels: zyx, of networks alone."""
    ids, objects = np.zeros(labels.shape, ID), np.zeros(1, np.int64)
    method: Literal["network", "components"] = "network" if how.join else "components"
    for label in np.unique(labels[labels > 0]).tolist():
        found = convert(labels, {label: Way(method, 26, _within(how, ids.size), join=how.join)})
        own = found[:, :, :].astype(ID)
        np.copyto(ids, own + ID(len(objects) - 1), where=own > 0)
        objects = np.r_[objects, np.full(found.counts[label], label)]
    return Instances(ids, objects)


def _larger(ids: Integers, voxels: int) -> Mask:
    """Where the instances of at least so many voxels are."""
    large = np.bincount(ids.reshape(-1)) >= voxels
    large[0] = False
    return np.asarray(large[ids])


def _numbered(ids: Integers, objects: Integers) -> Instances:
    """Without those of no object and gaps, in raster order of the first voxels."""
    nowhere = ids.size
    first = np.full(len(objects), nowhere)
    for z in reversed(range(len(ids))):
        plane = ids[z].reshape(-1)
        first[plane[::-1]] = z * plane.size + np.arange(plane.size)[::-1]
    found = np.flatnonzero((objects > 0) & (first < nowhere))
    found = found[np.argsort(first[found])]
    number = np.zeros(len(objects), ID)
    number[found] = np.arange(1, len(found) + 1)
    return Instances(number[ids], np.r_[0, objects[found]])
