"""Instances by prompts: what a network says of each voxel, and a promptable model, together one predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from copick_tools.errors import UsageError
from copick_tools.inference import amg, apg
from copick_tools.inference.encoded import Encoded, Store
from copick_tools.inference.grid import Inside
from copick_tools.inference.mapped import maps_of
from copick_tools.inference.promptable import Follower, Promptable
from copick_tools.recipes.prompting import Prompting
from copick_tools.recipes.recipe import Instances as Made
from copick_tools.types import Integers, Mask
from copick_tools.volumes.components import zyx
from copick_tools.volumes.cuts import Cuts
from copick_tools.volumes.decoding import FULL, Decoding, Instances, Maps, gathered, is_network, slice_of, voted
from copick_tools.volumes.normalize import Scaling, Volume, scale_of
from copick_tools.volumes.prompts import component_prompts, maxima_prompts
from copick_tools.volumes.sample import Sample
from copick_tools.volumes.stitching import stitched


@dataclass(frozen=True)
class Prompted:
    """A `mapped.Masked`. network: a predictor, with maps where prompts or labels come from them. model: what is asked.

    follower: its memory. label: of all objects, where the network says nothing of labels. store: opens where the embeddings of
    a volume are kept, for what it holds. scaling: of the intensities that the model sees: percent clipped, and how; None: as the
    network. stitch: least IoU of masks in neighboring slices that are one, where they aren't followed.
    """

    network: Any
    model: Promptable
    prompting: Prompting
    follower: Follower | None = None
    label: int | None = None
    store: Callable[[Encoded], Store] | None = None
    scaling: tuple[float, Scaling] | None = None
    stitch: float = Made().stitch

    @property
    def objects(self) -> Mapping[str, int]:
        """Name -> label."""
        found: Mapping[str, int] = self.network.objects
        return found

    @property
    def voxel_spacing(self) -> float:
        """Angstrom, of the volumes that it sees."""
        return float(self.network.voxel_spacing)

    @property
    def normalize(self) -> float:
        """Percent of the intensities that are clipped."""
        return float(self.network.normalize)

    @property
    def mapping(self) -> bool:
        """Whether the network says something of each voxel."""
        return getattr(self.network, "geometry", None) is not None

    def encoded(self, volume: Volume) -> Encoded:
        """A zyx volume behind the model."""
        clip, scaling = self.scaling or (self.normalize, getattr(self.network, "scaling", "deviations"))
        found = Encoded(self.model, volume, scale_of(volume, clip, scaling), self.prompting)
        if self.store is not None:
            found.store = self.store(found)
        return found

    def instances(self, volume: Volume, how: Decoding, sample: Sample | None = None) -> Instances:
        """See `mapped.Masked`. Memory: that of the maps, and for each voxel of each mask 8 bytes, and some 30 more
        while the best are chosen.

        Raises UsageError as `check`.
        """
        check(self.network, self.prompting, self.follower)
        encoded, maps = self.encoded(volume), self.maps(volume, sample)
        inside = Inside(sample, zyx(volume)) if sample is not None else None
        if self.prompting.mode == "amg":
            found = self._by_grid(encoded, inside)
        else:
            assert maps is not None  # else it was refused
            found = self.chosen(self.masks(encoded, maps, how))
        if inside is not None:  # a mask may leave the sample
            for z, plane in enumerate(found):
                plane[~inside.mask(z, z + 1)[0]] = 0
        return self.labeled(found, maps, how)

    def labeled(self, found: Integers, maps: Maps | None, how: Decoding) -> Instances:
        """Instances of masks (zyx ids): what the network says of their labels, and what is never cut, is its own."""
        if maps is None:
            labels = (found > 0).astype(np.uint8) * np.uint8(self.label or 0)
            return gathered(found, labels, np.zeros(found.shape, np.uint8), how)
        network, labels = is_network(maps, how), maps.labels
        own = np.where(network, 0, found)
        if self.prompting.mode == "apg":  # however little of what the model shows its network saw
            labels = voted(own, labels, background=False).astype(labels.dtype)[own]
        return gathered(own, labels, np.where(network, maps.labels, 0), how)

    def maps(self, volume: Volume, sample: Sample | None = None) -> Maps | None:
        """What the network says of a zyx volume; None where it says nothing."""
        return maps_of(self.network, volume, sample) if self.mapping else None

    def _by_grid(self, encoded: Encoded, inside: Inside | None) -> Integers:
        wanted = self.prompting.amg

        def within(z: int) -> Mask | None:
            return None if inside is None else inside.mask(z, z + 1)[0]

        if self.prompting.space == "volume":
            return amg.in_volume(encoded, wanted, within, self._memory())
        flat = [amg.chosen(amg.records(encoded, z, wanted, within(z)), wanted) for z in range(encoded.shape[0])]
        return stitched(np.stack(flat), self.stitch)

    def masks(self, encoded: Encoded, maps: Maps, how: Decoding) -> list[Cuts]:
        """The mask of each prompt that maps show: of each slice, or in one item of the volume."""
        wanted = self.prompting.apg
        if self.prompting.space == "volume":
            return [apg.masks_in_volume(encoded, self._places(maps, how), wanted, self._memory())]
        found = []
        for z in range(encoded.shape[0]):
            places = self._places(slice_of(maps, z), how)[:, 1:]
            found.append(apg.masks_in_slice(encoded, z, places, wanted))
        return found

    def chosen(self, masks: list[Cuts]) -> Integers:
        """zyx ids: the best of overlapping ones of `masks`."""
        if self.prompting.space == "volume":
            return apg.kept(masks[0], self.prompting.apg, self.prompting.covered)
        return stitched(np.stack([apg.kept(cuts, self.prompting.apg)[0] for cuts in masks]), self.stitch)

    def _places(self, maps: Maps, how: Decoding) -> Integers:
        """(N, 3) zyx of the prompts."""
        foreground = np.where(is_network(maps, how), 0, maps.foreground)
        limits = (how.foreground * FULL, how.center * FULL, how.boundary * FULL)
        center, boundary = maps.geometry
        planar = len(foreground) == 1
        parts = [part[0] for part in (foreground, center, boundary)] if planar else [foreground, center, boundary]
        if self.prompting.apg.prompts == "components":
            found = component_prompts(parts[0], parts[1], parts[2], limits)
        else:
            found = maxima_prompts(parts[0], parts[2], (limits[0], limits[2]), FULL)
        return np.insert(found, 0, 0, axis=1) if planar else found

    def _memory(self) -> Follower | None:
        """What follows objects; None: prompts do."""
        return self.follower if self.prompting.follow == "memory" else None


def check(network: Any, prompting: Prompting, follower: Follower | None) -> None:
    """Raise UsageError where a network says less than prompts are made of, or a memory is wanted that isn't there."""
    kind = getattr(getattr(network, "geometry", None), "kind", None)
    if prompting.mode == "apg" and kind is None:
        raise UsageError(
            "prompts are made of distances to centers and boundaries, which this model doesn't predict",
            "prompting.mode=amg, or a checkpoint of target.kind distances and --promptable with this one",
        )
    if prompting.mode == "apg" and kind != "distances":
        raise UsageError(
            f"prompts are made of distances to centers and boundaries, and the network learned {kind}",
            "a checkpoint of target.kind distances, or prompting.mode=amg",
        )
    if prompting.space == "volume" and prompting.follow == "memory":
        if follower is None:
            raise UsageError("this model has no memory of slices", "prompting.follow=projection works with each")
        if prompting.tile is not None:
            raise UsageError("a model's memory sees whole slices, and prompting.tile cuts them", "leave the tile out")
