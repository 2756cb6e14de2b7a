"""Signed distances to the outer edges of organelles: angstrom, negative inside, on boxes of the simulated field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from copick_tools.simulate.geometry import Box, Field
from copick_tools.types import Floats

REACH = 260.0  # angstrom outside of an edge, up to which distances are kept
WAVES = 12  # plane waves that make a surface uneven

Axes = tuple[Floats, Floats, Floats]  # z, y, x in angstrom, that broadcast to a box


def _fibonacci_sphere(count: int) -> Floats:
    """(count, 3) even on the unit sphere."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    wide = np.sqrt(1 - height**2)
    return np.stack([wide * np.cos(turn), wide * np.sin(turn), height], axis=1)


SPHERE = _fibonacci_sphere(200)
BALL = np.concatenate([SPHERE, 0.6 * SPHERE[::2], 0.2 * SPHERE[::8]])  # closely enough that nothing fits between


@dataclass(frozen=True)
class Ellipsoid:
    """center: (3,) xyz in angstrom; half_axes: (3,) angstrom; rotation: (3, 3), from its axes to xyz."""

    center: Floats
    half_axes: Floats
    rotation: Floats

    def box(self, field: Field) -> Box:
        """Where its distance is known."""
        reach = float(self.half_axes.max()) + REACH
        return field.box(self.center - reach, self.center + reach)

    def depth(self, axes: Axes) -> Floats:
        """Distance from its surface, to first order (Taubin 1994), float32."""
        z, y, x = (axis - np.float32(middle) for axis, middle in zip(axes, self.center[::-1]))
        scaled, steep = np.float32(0), np.float32(0)
        for direction, half_axis in zip(self.rotation.T, self.half_axes):
            along = (x * np.float32(direction[0]) + y * np.float32(direction[1]) + z * np.float32(direction[2])) ** 2
            scaled = scaled + along / np.float32(half_axis**2)
            steep = steep + along / np.float32(half_axis**4)
        level = np.sqrt(scaled)
        tiny = np.float32(1e-3)  # at its center both vanish
        slope = np.maximum(level, tiny) / np.maximum(np.sqrt(steep), tiny / np.float32(self.half_axes.max()))
        depth: Floats = (level - 1) * slope
        return depth

    def points(self) -> Floats:
        """(N, 3) xyz in angstrom, on its surface and within."""
        points: Floats = self.center + (BALL * self.half_axes) @ self.rotation.T
        return points


@dataclass(frozen=True)
class Tube:
    """A bent tube with round ends. spine: (N, 3) xyz in angstrom; radii: (N,) angstrom."""

    spine: Floats
    radii: Floats

    def points(self) -> Floats:
        """(N, 3) xyz in angstrom, on its surface and within."""
        points: Floats = (self.spine[:, None] + self.radii[:, None, None] * BALL).reshape(-1, 3)
        return points

    def box(self, field: Field) -> Box:
        """Where its distance is known."""
        reach = self.radii[:, None] + REACH
        return field.box((self.spine - reach).min(axis=0), (self.spine + reach).max(axis=0))


def tube_depth(field: Field, box: Box, tubes: list[Tube]) -> Floats:
    """Distance from the surface of what the tubes fill together, float32, at most REACH."""
    depth = np.full([part.stop - part.start for part in box], REACH, np.float32)
    for tube in tubes:
        for piece in range(len(tube.spine) - 1):
            part = Tube(tube.spine[piece : piece + 2], tube.radii[piece : piece + 2])
            z, y, x = (_within(a, b) for a, b in zip(part.box(field), box))
            seen = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip((z, y, x), box))
            if depth[seen].size:
                np.minimum(depth[seen], _cone_depth(part, field.axes((z, y, x))), out=depth[seen])
    return depth


def _within(part: slice, whole: slice) -> slice:
    start = min(max(part.start, whole.start), whole.stop)
    return slice(start, max(start, min(part.stop, whole.stop)))


def _cone_depth(piece: Tube, axes: Axes) -> Floats:
    """Distance from a straight piece of tube whose radius changes evenly."""
    (start, stop), (first, last) = piece.spine, piece.radii
    along = (stop - start).astype(np.float32)
    z, y, x = (axis - np.float32(middle) for axis, middle in zip(axes, start[::-1]))
    square = z**2 + y**2 + x**2
    share: Floats = np.zeros((1, 1, 1), np.float32)
    if along.any():
        share = np.clip((z * along[2] + y * along[1] + x * along[0]) / (along @ along), 0, 1)
        across = [(x - share * along[0]) ** 2, (y - share * along[1]) ** 2, (z - share * along[2]) ** 2]
        square = across[0] + across[1] + across[2]
    depth: Floats = np.sqrt(square) - (np.float32(first) + share * np.float32(last - first))
    return depth


@dataclass(frozen=True)
class Unevenness:
    """A smooth random function of the place with standard deviation 1. waves: (N, 3) xyz in 1 / angstrom; phases: (N,)."""

    waves: Floats
    phases: Floats

    @classmethod
    def draw(cls, wavelengths: tuple[float, float], rng: np.random.Generator) -> Unevenness:
        """wavelengths: angstrom, shortest and longest."""
        directions = rng.standard_normal((WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return cls(directions * 2 * np.pi / rng.uniform(*wavelengths, (WAVES, 1)), rng.uniform(0, 2 * np.pi, WAVES))

    def at(self, axes: Axes) -> Floats:
        """Its values in a box, float32."""
        total: Floats = np.zeros((1, 1, 1), np.float32)
        for wave, phase in zip(self.waves, self.phases):
            z, y, x = (
                np.exp(1j * (axis * frequency)).astype(np.complex64) for axis, frequency in zip(axes, wave[::-1])
            )
            total = total + ((z * np.complex64(np.exp(1j * phase)) * y) * x).real
        values: Floats = total * np.float32(math.sqrt(2 / WAVES))
        return values


def bent(start: Floats, stop: Floats, bow: Floats, points: int) -> Floats:
    """(points, 3) xyz in angstrom on the parabola from ``start`` to ``stop`` whose middle is ``bow`` beside the line."""
    share = np.linspace(0, 1, points)[:, None]
    curve: Floats = start + share * (stop - start) + 4 * share * (1 - share) * bow
    return curve


def random_direction(rng: np.random.Generator) -> Floats:
    """(3,) xyz, uniform on the sphere."""
    vector: Floats = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)
