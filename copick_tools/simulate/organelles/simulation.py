"""A synthetic tomogram of organelles with its truth, from settings and a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.errors import UsageError
from copick_tools.simulate.geometry import field_around
from copick_tools.simulate.optics import image_tilts, tilt_scheme
from copick_tools.simulate.organelles.scene import build_organelles
from copick_tools.simulate.organelles.settings import OrganelleSettings
from copick_tools.simulate.projector import project
from copick_tools.simulate.reconstruction import reconstruct
from copick_tools.types import Floats, Integers


@dataclass(frozen=True)
class Organelles:
    """Volumes are zyx of equal shape.

    tomogram: float32, membranes and molecules dark.
    segmentation: uint8 labels; instances: uint16 ids, counted from 1 within each object.
    """

    tomogram: Floats
    segmentation: Integers
    instances: Integers


def simulate_organelles(
    shape: Sequence[int], voxel_spacing: float, labels: Mapping[str, int], settings: OrganelleSettings, seed: int
) -> Organelles:
    """The same arguments give the same bytes; the imaging draws from other numbers than the scene.

    shape: zyx in voxels. voxel_spacing: angstrom. labels: name -> label of the objects in the truth.
    """
    if seed < 0:
        raise UsageError(f"seed can't be negative, not {seed}", "any integer from 0")
    scene_rng, imaging_rng = np.random.default_rng(seed).spawn(2)
    field = field_around(shape, voxel_spacing, settings.tilt_range)
    settings.check_spacing(voxel_spacing)
    tilts = tilt_scheme(settings)
    scene = build_organelles(field, labels, settings, scene_rng)
    projections = project(scene.potential, tilts.angles)
    images = image_tilts(projections, tilts, field.voxel_spacing, settings, imaging_rng)
    tomogram = reconstruct(images, tilts.angles, field, settings)
    return Organelles(tomogram, scene.segmentation, scene.instances)
