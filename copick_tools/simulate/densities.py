"""The shipped macromolecule densities, at the voxel spacing asked for.

Source and terms: assets/densities_10A-LICENSE.txt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from scipy import ndimage

from copick_tools.errors import UsageError, nearest
from copick_tools.types import Floats

ANTI_ALIASING = 0.5  # Gaussian width in native voxels, per native voxel that the new ones are larger
FAINT = 0.02  # fraction of the maximum, below which a density counts as ice
EDGE = 0.25  # fraction of the bright part (95th percentile), above which a voxel belongs to the particle


@dataclass(frozen=True)
class Density:
    """One macromolecule in a cube with an odd side; its center of mass is the middle voxel.

    potential: (n, n, n) zyx, excess potential over vitreous ice in volt.
    body: (n, n, n) zyx in [0, 1]; above one half is the particle, cavities included.
    radius: angstrom, from the center of mass to the farthest part of the particle.
    """

    potential: Floats
    body: Floats
    radius: float


def density_names() -> list[str]:
    """The objects that have a density."""
    return sorted(_table()["species"])


def load_densities(names: Iterable[str], voxel_spacing: float) -> dict[str, Density]:
    """The densities called ``names`` at ``voxel_spacing`` (angstrom); the integral of the potential is kept."""
    table = _table()
    with _asset("densities_10A.npz").open("rb") as stream, np.load(stream) as maps:
        return {name: _density(_named(maps, name), table["voxel_A"], voxel_spacing) for name in dict.fromkeys(names)}


def _asset(name: str) -> Any:
    return files("copick_tools.assets").joinpath(name)


def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_asset("densities_10A.json").read_text())
    return table


def _named(maps: Any, name: str) -> Floats:
    if name not in maps:
        raise UsageError(f"no density for object {name!r}", nearest(name, maps))
    density: Floats = maps[name].astype(np.float32)
    return density


def _density(native: Floats, native_spacing: float, voxel_spacing: float) -> Density:
    native = np.where(native > FAINT * native.max(), native, np.float32(0))
    body = _body(native)
    center = np.array(ndimage.center_of_mass(native))
    radius = native_spacing * float(np.linalg.norm(np.argwhere(body) - center, axis=1).max() + 0.5)
    ratio = voxel_spacing / native_spacing
    half = int(np.ceil(radius / voxel_spacing)) + 1
    potential = np.maximum(_resample(native, center, ratio, half, order=3), 0)
    potential *= native.sum() / (potential.sum() * ratio**3)
    return Density(potential, np.clip(_resample(body, center, ratio, half, order=1), 0, 1), radius)


def _body(native: Floats) -> Floats:
    """The solid particle: pores of one voxel closed, cavities filled."""
    inside = np.pad(native > EDGE * np.percentile(native[native > 0], 95), 2)
    closed = ndimage.binary_closing(inside, np.ones((3, 3, 3)))
    return ndimage.binary_fill_holes(closed)[2:-2, 2:-2, 2:-2].astype(np.float32)


def _resample(native: Floats, center: Floats, ratio: float, half: int, order: int) -> Floats:
    """A cube of side 2 * half + 1 whose middle voxel is ``center`` (zyx in native voxels)."""
    smooth = ndimage.gaussian_filter(native, ANTI_ALIASING * max(0.0, ratio - 1), mode="constant")
    side = 2 * half + 1
    return ndimage.affine_transform(
        smooth, np.full(3, ratio), center - ratio * half, (side, side, side), order=order, mode="constant"
    )
