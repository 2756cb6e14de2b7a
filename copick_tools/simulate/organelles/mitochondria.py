"""Mitochondria: two membranes, the inner one folded into cristae, around a dense matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import HALF_THICKNESS
from copick_tools.simulate.organelles.body import Body, in_membrane, membrane
from copick_tools.simulate.organelles.settings import OrganelleSettings
from copick_tools.simulate.organelles.shapes import Axes, Tube, Unevenness, bent, random_direction, tube_depth
from copick_tools.types import Floats

MITOCHONDRION = "mitochondrion"
GAP = 100.0  # angstrom between the middles of the two membranes
MATRIX, BETWEEN = 2.5, 0.4  # crowding in the matrix, and between the membranes
SPINE = 9  # points
BOW = 0.2  # of the length, by which it is bent at most
TAPER = 0.12  # relative standard deviation of the radius along the spine
ROUGHNESS = 12.0  # angstrom, standard deviation of the outer edge
CRISTA = 45.0  # angstrom from the middle of a fold to the middle of its membrane
CRISTA_DISTANCE = 230.0  # angstrom from fold to fold along the spine


@dataclass(frozen=True)
class Crista:
    """A flat fold that comes in from one side.

    center: (3,) xyz in angstrom, on the spine; normal, inward: (3,) unit vectors xyz at right angles.
    reach: angstrom past the center, where the fold ends.
    """

    center: Floats
    normal: Floats
    inward: Floats
    reach: float

    def depth(self, axes: Axes, bend: Floats) -> Floats:
        """Angstrom from the membrane's middle, negative in the fold, float32. bend: angstrom, unevenness of the sheet."""
        sheet = np.abs(_along(axes, self.center, self.normal) + bend) - np.float32(CRISTA)
        tip = _along(axes, self.center, self.inward) - np.float32(self.reach)
        depth: Floats = np.maximum(sheet, tip)
        return depth


@dataclass(frozen=True)
class Mitochondrion:
    """tube: its outer edge; cristae: their folds; roughness: of the outer edge and of the folds."""

    tube: Tube
    cristae: tuple[Crista, ...]
    roughness: Unevenness

    @property
    def points(self) -> Floats:
        """(N, 3) xyz in angstrom, on its surface, where it is roughest, and within."""
        return Tube(self.tube.spine, self.tube.radii + ROUGHNESS).points()

    @property
    def half_width(self) -> float:
        """Angstrom."""
        return float(self.tube.radii.max())

    def moved(self, by: Floats) -> Mitochondrion:
        """The same elsewhere. by: (3,) xyz in angstrom."""
        cristae = (Crista(c.center + by, c.normal, c.inward, c.reach) for c in self.cristae)
        return Mitochondrion(Tube(self.tube.spine + by, self.tube.radii), tuple(cristae), self.roughness)

    def body(self, field: Field) -> Body:
        """The instance is all within the outer membrane."""
        box = self.tube.box(field)
        axes = field.axes(box)
        rough = self.roughness.at(axes)
        depth = tube_depth(field, box, [self.tube]) + np.float32(ROUGHNESS) * rough
        outer = depth + np.float32(HALF_THICKNESS)
        inner = outer + np.float32(GAP)
        for crista in self.cristae:
            inner = np.maximum(inner, -crista.depth(axes, np.float32(ROUGHNESS) * rough))
        crowding = np.where(inner < 0, np.float32(MATRIX), np.float32(BETWEEN))
        crowding[in_membrane(outer) | in_membrane(inner)] = 0
        spacing = field.voxel_spacing
        potential = membrane(outer, spacing) + membrane(inner, spacing)
        return Body(box, depth, potential, crowding, {MITOCHONDRION: depth < 0})


def draw_mitochondrion(settings: OrganelleSettings, rng: np.random.Generator) -> Mitochondrion:
    """One of random size, bend and folds, mostly flat in x and y, nowhere yet."""
    radius = rng.uniform(*settings.mitochondrion_radius)
    half = max(rng.uniform(*settings.mitochondrion_length) / 2 - radius, 0.1 * radius)
    direction = random_direction(rng) * (1, 1, 0.1)
    direction /= np.linalg.norm(direction)
    side = np.cross(direction, (0, 0, 1))
    side /= np.linalg.norm(side)
    spine = bent(-half * direction, half * direction, rng.uniform(-BOW, BOW) * 2 * half * side, SPINE)
    radii = radius * (1 + TAPER * _smooth(rng, SPINE))
    tube = Tube(spine - spine.mean(axis=0), np.clip(radii, *settings.mitochondrion_radius))
    return Mitochondrion(tube, _cristae(tube, rng), Unevenness.draw((400.0, 900.0), rng))


def _cristae(tube: Tube, rng: np.random.Generator) -> tuple[Crista, ...]:
    """Folds across the spine, from changing sides."""
    length = float(np.linalg.norm(np.diff(tube.spine, axis=0), axis=1).sum())
    count = max(1, int((length + tube.radii.mean()) / CRISTA_DISTANCE))
    places = (np.arange(count) + 0.5 + rng.uniform(-0.15, 0.15, count)) / count * 1.3 - 0.15
    along = tube.spine[-1] - tube.spine[0]
    along /= np.linalg.norm(along)
    made = []
    for number, place in enumerate(places):
        at = np.clip(place, 0, 1) * (SPINE - 1)
        center = np.array([np.interp(at, np.arange(SPINE), axis) for axis in tube.spine.T])
        center += (place - np.clip(place, 0, 1)) * length * along
        normal = along + 0.25 * random_direction(rng)
        normal /= np.linalg.norm(normal)
        inward = np.cross(normal, random_direction(rng) * (0.3, 0.3, 1))
        inward *= (-1) ** number / np.linalg.norm(inward)
        made.append(Crista(center, normal, inward, rng.uniform(-0.1, 0.45) * tube.radii.mean()))
    return tuple(made)


def _smooth(rng: np.random.Generator, count: int) -> Floats:
    """(count,) random numbers that change slowly, standard deviation about 1."""
    share = np.linspace(0, 1, count)
    a, b, c = rng.standard_normal(3)
    values: Floats = 0.7 * (a * np.cos(np.pi * share) + b * np.sin(np.pi * share) + c * np.cos(2 * np.pi * share))
    return values


def _along(axes: Axes, origin: Floats, direction: Floats) -> Floats:
    """Angstrom from ``origin`` along ``direction``, float32 zyx."""
    z, y, x = ((axis - np.float32(a)) * np.float32(d) for axis, a, d in zip(axes, origin[::-1], direction[::-1]))
    values: Floats = z + y + x
    return values
