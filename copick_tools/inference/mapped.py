"""A tomogram through a predictor that tells instances apart: instances, and the maps that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from copick_tools.inference.ahead import ahead
from copick_tools.inference.extract import MakeSample, Shape, on_models_grid, said_where
from copick_tools.inference.tiler import Tiled
from copick_tools.volumes.components import zyx
from copick_tools.volumes.decoding import Decoding, Instances, Maps, decode
from copick_tools.volumes.normalize import Volume

if TYPE_CHECKING:
    from copick_tools.volumes.sample import Sample


class Masked(Protocol):
    """A predictor that finds the instances themselves; see `tiler.Predictor`."""

    objects: Mapping[str, int]
    voxel_spacing: float
    normalize: float

    def instances(self, volume: Volume, how: Decoding, sample: Sample | None = None) -> Instances:
        """Of a zyx volume, as it was stored."""


@dataclass(frozen=True)
class Mapped:
    """maps: zyx. voxel_spacing: angstrom, of the maps."""

    maps: Maps
    voxel_spacing: float


def predict_instances(
    predictor: Any,
    volume: Volume,
    voxel_spacing: float,
    where: str,
    how: Callable[[float], Decoding],
    sample: MakeSample | None = None,
) -> tuple[Instances, float]:
    """The instances of a zyx volume of ``voxel_spacing`` angstrom, and the voxel spacing of their grid.

    predictor: a `Masked`, or one with maps. how: for a voxel spacing. Raises as `extract.predict`.
    """
    if not hasattr(predictor, "instances"):
        mapped = predict_maps(predictor, volume, voxel_spacing, where, sample)
        return decode(mapped.maps, how(mapped.voxel_spacing)), mapped.voxel_spacing
    volume, voxel_spacing, origin = on_models_grid(predictor, volume, voxel_spacing, where)
    z, y, x = volume.shape
    with said_where(where):
        inside = sample((z, y, x), voxel_spacing, origin) if sample else None
        return predictor.instances(volume, how(voxel_spacing), inside), voxel_spacing


def predict_maps(
    predictor: Tiled, volume: Volume, voxel_spacing: float, where: str, sample: MakeSample | None = None
) -> Mapped:
    """Predict a zyx volume of ``voxel_spacing`` angstrom; see `extract.predict`, whose errors it raises.

    Memory: 3 to 5 bytes a voxel.
    """
    assert predictor.geometry is not None
    volume, voxel_spacing, origin = on_models_grid(predictor, volume, voxel_spacing, where)
    z, y, x = volume.shape
    with said_where(where):
        inside = sample((z, y, x), voxel_spacing, origin) if sample else None
        return Mapped(maps_of(predictor, volume, inside), voxel_spacing)


def maps_of(predictor: Tiled, volume: Volume, sample: Sample | None = None) -> Maps:
    """What a predictor with a geometry says of a zyx volume, which is on its grid."""
    maps = _blank(predictor, zyx(volume))
    for z0, foreground, labels, geometry in ahead(predictor.maps(volume, sample)):
        part = slice(z0, z0 + len(labels))
        maps.foreground[part], maps.labels[part] = foreground, labels
        maps.geometry[-len(geometry) :, part] = geometry  # slices know no flow along z
    return maps


def _blank(predictor: Tiled, shape: Shape) -> Maps:
    """Maps of a zyx shape, to be filled."""
    assert predictor.geometry is not None
    kind = predictor.geometry.kind
    channels = 3 if predictor.geometry.vectors else predictor.geometry.channels
    kept = np.int8 if predictor.geometry.vectors else np.uint8
    return Maps(kind, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.zeros((channels, *shape), kept))
