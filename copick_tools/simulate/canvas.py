"""The volumes of a scene, and how a particle and a vesicle are painted into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from copick_tools.simulate.densities import Density
from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import HALF_THICKNESS, bilayer_potential
from copick_tools.types import Floats, Integers, Mask

FADE = 1.5 * HALF_THICKNESS  # angstrom from the middle of a bilayer, where its potential has vanished


@dataclass(frozen=True)
class Mark:
    """What a body writes into the truth: the label of its object and its own id."""

    label: int
    instance: int


@dataclass(frozen=True)
class Canvas:
    """Volumes zyx of one scene.

    potential: float32, excess over ice in volt, of the padded field.
    segmentation: uint8 labels of the kept volume; instances: uint16 ids of the kept volume.
    """

    field: Field
    potential: Floats
    segmentation: Integers
    instances: Integers

    @classmethod
    def blank(cls, field: Field) -> Canvas:
        """Nothing but ice."""
        return cls(
            field,
            np.zeros(field.padded, np.float32),
            np.zeros(field.shape, np.uint8),
            np.zeros(field.shape, np.uint16),
        )

    def paint_particle(self, density: Density, position: Floats, rotation: Floats, mark: Mark | None) -> None:
        """position: (3,) xyz in angstrom; rotation: (3, 3), reference to particle in the xyz basis."""
        voxel = self._voxel(position)
        nearest = np.round(voxel).astype(int)
        start = nearest - len(density.potential) // 2
        self.add(start, rotate(density.potential, rotation, voxel - nearest))
        if mark is not None:
            self.stamp(start, rotate(density.body, rotation, voxel - nearest) > 0.5, mark)

    def paint_vesicle(self, position: Floats, radius: float, mark: Mark | None) -> None:
        """position: (3,) xyz in angstrom; radius: angstrom, to the middle of the bilayer."""
        voxel, spacing = self._voxel(position), self.field.voxel_spacing
        reach = (radius + FADE) / spacing
        start = np.maximum(np.ceil(voxel - reach).astype(int), 0)
        stop = np.minimum(np.floor(voxel + reach).astype(int) + 1, self.field.padded)
        z, y, x = np.ogrid[tuple(map(slice, start, stop))]
        squares = (z - voxel[0]) ** 2 + (y - voxel[1]) ** 2 + (x - voxel[2]) ** 2
        depth = np.sqrt(squares.astype(np.float32)) * np.float32(spacing) - np.float32(radius)
        shell = np.abs(depth) < FADE
        potential = np.zeros_like(depth)
        potential[shell] = bilayer_potential(depth[shell])
        self.add(start, potential)
        if mark is not None:
            self.stamp(start, np.abs(depth) < HALF_THICKNESS, mark)

    def _voxel(self, position: Floats) -> Floats:
        """(3,) zyx of a position in the padded field, in fractions of voxels."""
        return np.asarray(position)[::-1] / self.field.voxel_spacing + self.field.margin

    def add(self, start: Integers, potential: Floats) -> None:
        """Add a box of potential (zyx) that begins at ``start`` (zyx, voxels of the padded field)."""
        into, part = _overlap(start, potential.shape, self.field.padded)
        self.potential[into] += potential[part]

    def stamp(self, start: Integers, body: Mask, mark: Mark) -> None:
        """Write ``mark`` where a box (zyx) that begins at ``start`` (zyx, voxels of the padded field) is true."""
        into, part = _overlap(start - np.array(self.field.margin), body.shape, self.field.shape)
        self.segmentation[into][body[part]] = mark.label
        self.instances[into][body[part]] = mark.instance


def rotate(cube: Floats, rotation: Floats, shift: Floats) -> Floats:
    """A zyx cube turned about its middle voxel by ``rotation`` (3, 3) in the xyz basis, then moved by ``shift`` voxels zyx."""
    middle = np.full(3, len(cube) // 2)
    backward = rotation[::-1, ::-1].T  # from the particle to the reference, zyx basis
    return ndimage.affine_transform(cube, backward, middle - backward @ (middle + shift), order=1, mode="constant")


def _overlap(
    start: Integers, shape: tuple[int, ...], within: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a volume and of a box that begins at ``start`` in it, where the two overlap (perhaps nowhere)."""
    low = np.clip(start, 0, within)
    high = np.clip(start + np.array(shape), low, within)
    return tuple(map(slice, low, high)), tuple(map(slice, low - start, high - start))
