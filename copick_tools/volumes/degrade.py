"""Tomograms made worse in known ways, to see what a model still finds in them.

The first four kinds and their levels are those that Cellpose-SAM was tested at (Pachitariu et al. 2025, methods), in voxels;
there images were scaled to objects of 30 pixels first, here they aren't. Inverted contrast and a wider missing wedge are what
goes wrong in tomograms beside that. ``anisotropic`` is along z, the beam axis, where resolution is worst anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from copick_tools.types import Floats, Mask

IDENTITY = "identity"
LEVELS: dict[str, tuple[float, ...]] = {
    "poisson": (5, 2.5, 0.5),
    "blur": (2, 4, 8),
    "downsample": (2, 5, 10),
    "anisotropic": (2, 6, 12),
    "invert": (1,),
    "wedge": (60, 45, 30),
}
"""The levels of each kind, the mildest first."""
MEANS = {
    "poisson": "mean count of the brightest voxels, in Poisson noise",
    "blur": "sigma of a gaussian, in voxels",
    "downsample": "factor of the voxel spacing, interpolated back",
    "anisotropic": "factor along z, interpolated back",
    "invert": "contrast inverted",
    "wedge": "largest tilt angle in degrees",
}
FAINT_NOISE = 120.0  # counts, of what is blurred
ROWS = 64  # along y, of a Fourier transform at a time


@dataclass(frozen=True)
class Degradation:
    """kind: of `LEVELS`, or `IDENTITY`. level: what `MEANS` says."""

    kind: str
    level: float = 0.0

    def __post_init__(self) -> None:
        if self.kind != IDENTITY and self.kind not in LEVELS:
            raise ValueError(f"Expected a degradation of {', '.join(LEVELS)}, but got {self.kind}")
        low, high = {"downsample": (1, 100), "anisotropic": (1, 100), "wedge": (1, 90)}.get(self.kind, (0, 1000))
        if self.kind != IDENTITY and not low <= self.level <= high or (self.kind == "poisson" and not self.level):
            raise ValueError(f"Expected a level of {self.kind} from {low} to {high}, but got {self.level:g}")

    def __str__(self) -> str:
        return self.kind if self.kind in (IDENTITY, "invert") else f"{self.kind}-{self.level:g}"


def degraded(volume: Floats, how: Degradation, seed: int) -> Floats:
    """A zyx volume made worse, float32, on a scale where its first percentile is 0 and the 99th is 1; the identity as it is.

    Raises ValueError for a volume without contrast.

    >>> degraded(np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, 101), Degradation("invert"), 0)[0, 0, [1, 99]].tolist()
    [1.0, 0.0]
    """
    if how.kind == IDENTITY:
        return volume
    low, high = np.percentile(volume, (1, 99))
    if not high > low:
        raise ValueError("the volume has no contrast")
    values = (np.asarray(volume, np.float32) - np.float32(low)) / np.float32(high - low)
    rng = np.random.default_rng(seed)
    if how.kind == "poisson":
        return _counted(values, how.level, rng)
    if how.kind == "blur":
        return _counted(ndimage.gaussian_filter(values, how.level), FAINT_NOISE, rng) / np.float32(FAINT_NOISE)
    if how.kind == "downsample":
        return _coarse(values, (how.level,) * 3)
    if how.kind == "anisotropic":
        return _coarse(values, (how.level, 1.0, 1.0))
    return 1 - values if how.kind == "invert" else _without_wedge(values, how.level)


def _counted(values: Floats, mean: float, rng: np.random.Generator) -> Floats:
    return np.asarray(rng.poisson(np.maximum(values, 0) * mean), dtype=np.float32)


def _coarse(values: Floats, factors: tuple[float, float, float]) -> Floats:
    """Blurred (sigma half the factor), seen on a coarser grid, and interpolated linearly."""
    blurred = ndimage.gaussian_filter(values, [factor / 2 if factor > 1 else 0 for factor in factors])
    shape = tuple(max(1, round(side / factor)) for side, factor in zip(values.shape, factors))
    coarse = _seen(blurred, factors, shape)
    return _seen(coarse, tuple(1 / factor for factor in factors), values.shape)


def _seen(values: Floats, factors: tuple[float, ...], shape: tuple[int, ...]) -> Floats:
    """On a grid with these factors of the voxel spacing, voxel centers exact."""
    offset = [(factor - 1) / 2 for factor in factors]
    found: Floats = ndimage.affine_transform(values, factors, offset, output_shape=shape, order=1, mode="nearest")
    return found


def _without_wedge(values: Floats, angle: float) -> Floats:
    """Without the frequencies that tilts about y up to so many degrees, to either side, don't see."""
    depth, _, width = values.shape
    kept, out = _tilted(depth, width, angle), np.empty_like(values)
    for y in range(0, values.shape[1], ROWS):
        rows = slice(y, y + ROWS)
        spectrum = fft.rfftn(values[:, rows], axes=(0, 2)) * kept[:, None]
        out[:, rows] = fft.irfftn(spectrum, s=(depth, width), axes=(0, 2))
    return out


def _tilted(depth: int, width: int, angle: float) -> Mask:
    """(kz, kx) of a real transform: whether a frequency is seen by tilts of up to ``angle`` degrees."""
    z, x = fft.fftfreq(depth)[:, None], fft.rfftfreq(width)[None]
    return np.asarray(np.abs(z) <= np.tan(np.deg2rad(angle)) * x + 1e-9, dtype=bool)
