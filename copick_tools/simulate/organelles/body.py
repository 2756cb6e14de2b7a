"""What an organelle puts into the field: membranes, the crowd inside, and which voxels are its instance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from copick_tools.simulate.canvas import FADE
from copick_tools.simulate.geometry import Box
from copick_tools.simulate.membranes import HALF_THICKNESS, bilayer_potential
from copick_tools.types import Floats, Mask

BLUR = 1 / math.sqrt(12)  # standard deviation of a voxel, in voxels: membranes are averaged over voxels


@dataclass(frozen=True)
class Body:
    """An organelle in a box of the simulated field; arrays zyx of the box.

    depth: float32, angstrom from its outer edge, negative inside.
    potential: float32, volt over ice, of the membranes.
    crowding: float32, density of small molecules relative to the cytosol, where depth is negative.
    parts: object -> its voxels.
    """

    box: Box
    depth: Floats
    potential: Floats
    crowding: Floats
    parts: Mapping[str, Mask]


def membrane(depth: Floats, voxel_spacing: float) -> Floats:
    """Volt over ice of a bilayer at ``depth`` (angstrom from its middle), averaged over voxels; float32."""
    potential = np.zeros(depth.shape, np.float32)
    blur = BLUR * voxel_spacing
    near = np.abs(depth) < FADE + 2 * blur
    potential[near] = bilayer_potential(depth[near], blur)
    return potential


def in_membrane(depth: Floats) -> Mask:
    """Whether ``depth`` (angstrom from the middle of a bilayer) is within it."""
    return np.abs(depth) < HALF_THICKNESS
