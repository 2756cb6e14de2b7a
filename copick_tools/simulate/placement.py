"""Where everything in the ice goes, and how it is turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import Vesicles, scatter_vesicles
from copick_tools.simulate.scatter import scatter
from copick_tools.simulate.settings import NOMINAL_VOLUME, PhantomSettings
from copick_tools.types import Floats


@dataclass(frozen=True)
class Copies:
    """All copies of one object.

    positions: (N, 3) xyz in angstrom.
    rotations: (N, 3, 3), reference to particle in the xyz basis.
    """

    name: str
    positions: Floats
    rotations: Floats


@dataclass(frozen=True)
class Layout:
    """Everything in the padded field, in the order of placing."""

    copies: list[Copies]
    vesicles: Vesicles


def place(
    field: Field,
    radii: Mapping[str, float],
    settings: PhantomSettings,
    given: Mapping[str, Floats] | None,
    rng: np.random.Generator,
) -> Layout:
    """Given copies first, wherever they are; then vesicles; then the others from the largest to the smallest.

    radii: angstrom, of every object.
    given: object -> (N, 3) xyz in angstrom; they replace ``settings.counts``, and there are as many decoys for each of
        them as the settings have for a scattered copy.
    """
    position_rng, rotation_rng, vesicle_rng = rng.spawn(3)
    amount = field.volume / NOMINAL_VOLUME
    crowd = amount if given is None else sum(map(len, given.values())) / max(1e-9, sum(settings.counts.values()))
    positions = dict(given or {})
    vesicles = scatter_vesicles(
        _whole(settings.vesicles * amount, vesicle_rng),
        settings.vesicle_radius,
        field,
        [(points, radii[name]) for name, points in positions.items()],
        vesicle_rng,
    )
    numbers = scattered(settings, given)
    for name in sorted(numbers, key=lambda name: -radii[name]):
        solids = [(points, radii[other]) for other, points in positions.items()]
        number = _whole(numbers[name] * crowd, position_rng)
        positions[name] = scatter(number, radii[name], field, (solids, vesicles), position_rng)
    copies = [Copies(name, points, random_rotations(len(points), rotation_rng)) for name, points in positions.items()]
    return Layout(copies, vesicles)


def scattered(settings: PhantomSettings, given: Mapping[str, Floats] | None) -> dict[str, float]:
    """Copies in NOMINAL_VOLUME of each object whose positions aren't given."""
    numbers = {**settings.decoys, **(settings.counts if given is None else {})}
    return {name: number for name, number in numbers.items() if name not in (given or {})}


def random_rotations(count: int, rng: np.random.Generator) -> Floats:
    """(count, 3, 3) rotation matrices, uniform: normalized Gaussian quaternions (Shoemake 1992)."""
    quaternions = rng.standard_normal((count, 4))
    rotations: Floats = Rotation.from_quat(quaternions).as_matrix().reshape(count, 3, 3)
    return rotations


def _whole(number: float, rng: np.random.Generator) -> int:
    """An integer whose mean is ``number``."""
    return int(number + rng.random())
