"""A bacterium that comes into the field from a side or corner: two membranes, periplasm and cytoplasm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import HALF_THICKNESS
from copick_tools.simulate.organelles.body import Body, in_membrane, membrane
from copick_tools.simulate.organelles.settings import OrganelleSettings
from copick_tools.simulate.organelles.shapes import Tube, Unevenness, tube_depth
from copick_tools.types import Floats

PERIPLASM, CYTOPLASM = "periplasm", "bacterial-cytoplasm"
CROWDING, BETWEEN = 2.2, 1.2  # in the cytoplasm, and in the periplasm
ROUGHNESS = 15.0  # angstrom, standard deviation of the envelope
WALL, WALL_WIDTH, WALL_POTENTIAL = 0.45, 15.0, 0.4  # of the way between the membranes; angstrom; volt over ice
HALF_LENGTH = (2_000.0, 6_000.0)  # angstrom from the middle to the center of a pole


@dataclass(frozen=True)
class Bacterium:
    """tube: its outer edge; periplasm: angstrom between the middles of its membranes; roughness: of the envelope."""

    tube: Tube
    periplasm: float
    roughness: Unevenness

    def inner_edge(self, depth: Floats) -> Floats:
        """Angstrom from the inner side of the inner membrane, negative in the cytoplasm, for a depth below the outer edge."""
        return depth + np.float32(self.periplasm + 2 * HALF_THICKNESS)

    def body(self, field: Field) -> Body:
        """Two instances: the shell with both membranes, and the cytoplasm in it."""
        box = self.tube.box(field)
        depth = tube_depth(field, box, [self.tube]) + np.float32(ROUGHNESS) * self.roughness.at(field.axes(box))
        outer = depth + np.float32(HALF_THICKNESS)
        inner = outer + np.float32(self.periplasm)
        wall = (outer + np.float32(WALL * self.periplasm)) / np.float32(WALL_WIDTH)
        spacing = field.voxel_spacing
        potential = membrane(outer, spacing) + membrane(inner, spacing)
        potential += np.float32(WALL_POTENTIAL) * np.exp(np.float32(-0.5) * wall**2)
        cytoplasm = self.inner_edge(depth) < 0
        crowding = np.where(cytoplasm, np.float32(CROWDING), np.float32(BETWEEN))
        crowding[in_membrane(outer) | in_membrane(inner)] = 0
        parts = {PERIPLASM: (depth < 0) & ~cytoplasm, CYTOPLASM: cytoplasm}
        return Body(box, depth, potential, crowding, parts)


def draw_bacterium(field: Field, settings: OrganelleSettings, rng: np.random.Generator) -> Bacterium:
    """One that takes a share of the kept volume from a random side."""
    radius = rng.uniform(*settings.bacterium_radius)
    size = (np.array(field.shape[::-1]) - 1) * field.voxel_spacing
    angle = rng.uniform(0, 2 * np.pi)
    outward = np.array([np.cos(angle), np.sin(angle), 0])
    half_width = float(np.abs(outward) @ size) / 2
    share = rng.uniform(*settings.bacterium_share)
    middle = size / 2 + outward * (half_width * (1 - 2 * share) + radius)
    middle[2] += rng.uniform(-0.15, 0.15) * radius
    turn = angle + np.pi / 2 + rng.uniform(-0.25, 0.25)
    along = np.array([np.cos(turn), np.sin(turn), 0])
    half = rng.uniform(*HALF_LENGTH)
    middle += rng.uniform(-0.8, 0.8) * half * along
    tube = Tube(np.array([middle - half * along, middle + half * along]), np.array([radius, radius]))
    return Bacterium(tube, rng.uniform(*settings.periplasm), Unevenness.draw((700.0, 1_600.0), rng))
