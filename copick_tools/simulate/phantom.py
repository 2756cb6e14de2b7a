"""A synthetic tomogram with its truth, from settings and a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copick_tools.errors import UsageError
from copick_tools.simulate.geometry import field_around
from copick_tools.simulate.optics import image_tilts, tilt_scheme
from copick_tools.simulate.projector import project
from copick_tools.simulate.reconstruction import reconstruct
from copick_tools.simulate.scene import build_scene
from copick_tools.simulate.settings import PhantomSettings
from copick_tools.types import Floats, Integers, Points


@dataclass(frozen=True)
class Phantom:
    """Volumes are zyx of equal shape.

    tomogram: float32, particles dark.
    points: per labeled object; true rotations, score 1, ``instance_ids`` as in ``instances``.
    segmentation: uint8 labels; instances: uint16 ids of particles and vesicles.
    """

    tomogram: Floats
    points: dict[str, Points]
    segmentation: Integers
    instances: Integers


def simulate_phantom(
    shape: Sequence[int],
    voxel_spacing: float,
    labels: Mapping[str, int],
    settings: PhantomSettings,
    seed: int,
    positions: Mapping[str, Floats] | None = None,
) -> Phantom:
    """The same arguments give the same bytes; the imaging draws from other numbers than the scene.

    shape: zyx in voxels. voxel_spacing: angstrom.
    labels: name -> label of the objects in the truth, ``membrane`` for the vesicles; others are unlabeled decoys.
    positions: object -> (N, 3) xyz in angstrom, used as they are (overlaps included) instead of random copies of
        ``settings.counts``; what lies outside the volume is imaged as far as it reaches in, and isn't in the truth.
    """
    if seed < 0:
        raise UsageError(f"seed can't be negative, not {seed}", "any integer from 0")
    scene_rng, imaging_rng = np.random.default_rng(seed).spawn(2)
    field = field_around(shape, voxel_spacing, settings.tilt_range)
    tilts = tilt_scheme(settings)
    scene = build_scene(field, labels, settings, positions, scene_rng)
    truth, potential = scene.truth, scene.potential
    del scene
    projections = project(potential, tilts.angles)
    del potential  # the largest array
    images = image_tilts(projections, tilts, field.voxel_spacing, settings, imaging_rng)
    tomogram = reconstruct(images, tilts.angles, field, settings)
    return Phantom(tomogram, truth.points, truth.segmentation, truth.instances)
