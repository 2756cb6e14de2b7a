"""A tomogram through a predictor that tells instances apart: the maps that instances are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.inference.ahead import ahead
from copick_tools.inference.extract import MakeSample, Shape, on_models_grid, said_where
from copick_tools.inference.tiler import Tiled
from copick_tools.volumes.decoding import Maps
from copick_tools.volumes.normalize import Volume


@dataclass(frozen=True)
class Mapped:
    """maps: zyx. voxel_spacing: angstrom, of the maps."""

    maps: Maps
    voxel_spacing: float


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
        maps = _blank(predictor, (z, y, x))
        for z0, foreground, labels, geometry in ahead(predictor.maps(volume, inside)):
            part = slice(z0, z0 + len(labels))
            maps.foreground[part], maps.labels[part] = foreground, labels
            maps.geometry[-len(geometry) :, part] = geometry  # slices know no flow along z
    return Mapped(maps, voxel_spacing)


def _blank(predictor: Tiled, shape: Shape) -> Maps:
    assert predictor.geometry is not None
    kind = predictor.geometry.kind
    channels = 3 if predictor.geometry.vectors else predictor.geometry.channels
    kept = np.int8 if predictor.geometry.vectors else np.uint8
    return Maps(kind, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.zeros((channels, *shape), kept))
