"""A scene of organelles in the cytosol, with the truth about each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from copick_tools.simulate.densities import load_densities
from copick_tools.simulate.geometry import Field
from copick_tools.simulate.organelles.arrangement import add_mitochondria, add_networks, add_vesicles
from copick_tools.simulate.organelles.bacteria import CYTOPLASM, PERIPLASM, draw_bacterium
from copick_tools.simulate.organelles.ground import Ground
from copick_tools.simulate.organelles.mitochondria import MITOCHONDRION
from copick_tools.simulate.organelles.networks import NETWORK
from copick_tools.simulate.organelles.settings import NOMINAL_VOLUME, OrganelleSettings
from copick_tools.simulate.organelles.stage import Stage
from copick_tools.simulate.organelles.vesicles import VESICLE
from copick_tools.simulate.placement import random_rotations
from copick_tools.simulate.scatter import scatter
from copick_tools.simulate.scene import check_labels
from copick_tools.types import Floats, Integers

OBJECTS = (VESICLE, MITOCHONDRION, NETWORK, PERIPLASM, CYTOPLASM)
GRAIN = 0.9  # voxels, correlation of the crowd of small molecules


@dataclass(frozen=True)
class OrganelleScene:
    """potential: float32 zyx of the padded field, excess over ice in volt.

    segmentation: uint8 labels; instances: uint16 ids, from 1 within each object; both zyx of the kept volume.
    """

    potential: Floats
    segmentation: Integers
    instances: Integers


def build_organelles(
    field: Field, labels: Mapping[str, int], settings: OrganelleSettings, rng: np.random.Generator
) -> OrganelleScene:
    """Place and paint everything. labels: object -> label of those in the truth."""
    check_labels(labels, OBJECTS)
    organelle_rng, particle_rng, crowd_rng = rng.spawn(3)
    stage = Stage.empty(field, labels)
    cytoplasm = _add_bacterium(stage, settings, organelle_rng)
    add_mitochondria(stage, settings, organelle_rng)
    add_networks(stage, settings, organelle_rng)
    add_vesicles(stage, settings, organelle_rng)
    _add_particles(stage, stage.ground, settings.particles, particle_rng)
    if cytoplasm is not None:
        _add_particles(stage, cytoplasm, settings.bacterial_particles, particle_rng)
    stage.canvas.potential[:] += stage.crowding * _crowd(field, settings, crowd_rng)
    return OrganelleScene(stage.canvas.potential, stage.canvas.segmentation, stage.instances())


def _add_bacterium(stage: Stage, settings: OrganelleSettings, rng: np.random.Generator) -> Ground | None:
    """Perhaps a bacterium; the ground in its cytoplasm."""
    if rng.random() >= settings.bacterium:
        return None
    field = stage.ground.field
    bacterium = draw_bacterium(field, settings, rng)
    body = bacterium.body(field)
    stage.put(body)
    within = np.full(field.padded, -np.inf, np.float32)
    within[body.box] = -bacterium.inner_edge(body.depth)
    return Ground(field, within)


def _add_particles(stage: Stage, ground: Ground, counts: Mapping[str, float], rng: np.random.Generator) -> None:
    """Unlabeled macromolecules where the ground is clear, the largest first."""
    field = ground.field
    densities = load_densities(counts, field.voxel_spacing)
    amount = ground.share() * field.volume / NOMINAL_VOLUME
    solids: list[tuple[Floats, float]] = []
    for name in sorted(counts, key=lambda name: -densities[name].radius):
        density = densities[name]
        number = int(counts[name] * amount + rng.random())
        positions = scatter(number, density.radius, field, (solids, ground), rng)
        solids.append((positions, density.radius))
        for position, rotation in zip(positions, random_rotations(len(positions), rng)):
            stage.canvas.paint_particle(density, position, rotation, None)


def _crowd(field: Field, settings: OrganelleSettings, rng: np.random.Generator) -> Floats:
    """Volt over ice of the cytosol's small molecules, float32 zyx of the padded field; uneven, never negative."""
    noise = ndimage.gaussian_filter(rng.standard_normal(field.padded, np.float32), GRAIN)
    noise *= np.float32(settings.granularity) / noise.std()
    crowd: Floats = np.float32(settings.crowding) * np.maximum(1 + noise, 0)
    return crowd
