"""A scene: particles, decoys and vesicles in ice, with the truth about those that have a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from copick_tools.errors import PopsicleError, UsageError, nearest
from copick_tools.simulate.canvas import Canvas, Mark
from copick_tools.simulate.densities import Density, density_names, load_densities
from copick_tools.simulate.geometry import Field
from copick_tools.simulate.placement import Copies, Layout, place, scattered
from copick_tools.simulate.settings import PhantomSettings
from copick_tools.types import Floats, Integers, Points

MEMBRANE = "membrane"  # the name whose label the bilayers of the vesicles get


@dataclass(frozen=True)
class Truth:
    """What is known about the kept volume: only what has a label, and only particles centered in it.

    points: per labeled object; their ``instance_ids`` are the values of ``instances``.
    segmentation: uint8 zyx labels, the membrane's included.
    instances: uint16 zyx ids, one per particle and vesicle, 0 elsewhere.
    """

    points: dict[str, Points]
    segmentation: Integers
    instances: Integers


@dataclass(frozen=True)
class Scene:
    """potential: float32 zyx of the padded field, excess over ice in volt; layout: all that is in it."""

    potential: Floats
    layout: Layout
    truth: Truth


def build_scene(
    field: Field,
    labels: Mapping[str, int],
    settings: PhantomSettings,
    positions: Mapping[str, Floats] | None,
    rng: np.random.Generator,
) -> Scene:
    """Place and paint everything; what ``labels`` (name -> label) doesn't name is a decoy.

    positions: object -> (N, 3) xyz in angstrom, taken as they are; None places copies by ``settings.counts``.
    """
    check_labels(labels, [*density_names(), MEMBRANE])
    given = None if positions is None else {name: _checked(name, xyz, field) for name, xyz in positions.items()}
    densities = load_densities([*(given or {}), *scattered(settings, given)], field.voxel_spacing)
    radii = {name: density.radius for name, density in densities.items()}
    layout = place(field, radii, settings, given, rng)
    _check_number(layout)
    canvas, ids = Canvas.blank(field), count(1)
    _paint_vesicles(canvas, layout, labels.get(MEMBRANE), ids)
    found = {
        copies.name: _paint_copies(canvas, copies, densities[copies.name], labels.get(copies.name), ids)
        for copies in layout.copies
    }
    points = {name: found.get(name, _points(_NO_COPIES, [])) for name in labels if name != MEMBRANE}
    return Scene(canvas.potential, layout, Truth(points, canvas.segmentation, canvas.instances))


def _paint_vesicles(canvas: Canvas, layout: Layout, label: int | None, ids: Iterator[int]) -> None:
    for position, radius in zip(layout.vesicles.positions, layout.vesicles.radii):
        canvas.paint_vesicle(position, radius, None if label is None else Mark(label, next(ids)))


def _paint_copies(canvas: Canvas, copies: Copies, density: Density, label: int | None, ids: Iterator[int]) -> Points:
    """Paint all copies; the points that belong to the truth."""
    known = canvas.field.keeps(copies.positions) & (label is not None)
    marks = [Mark(label or 0, next(ids)) if is_known else None for is_known in known]
    for position, rotation, mark in zip(copies.positions, copies.rotations, marks):
        canvas.paint_particle(density, position, rotation, mark)
    kept = Copies(copies.name, copies.positions[known], copies.rotations[known])
    return _points(kept, [mark.instance for mark in marks if mark])


_NO_COPIES = Copies("none", np.zeros((0, 3)), np.zeros((0, 3, 3)))


def _points(copies: Copies, instances: list[int]) -> Points:
    points = Points.at(copies.positions, rotations=copies.rotations)
    return replace(points, instance_ids=np.array(instances, dtype=np.int64))


def check_labels(labels: Mapping[str, int], known: Sequence[str]) -> None:
    """Raise UsageError unless ``labels`` (name -> label) names known objects and has labels that can be stored."""
    for name, label in labels.items():
        if name not in known:
            raise UsageError(f"the simulator has no object {name!r}", nearest(name, known))
        if int(label) != label or not 1 <= label <= 255:
            raise UsageError(f"label of {name} has to be an integer from 1 to 255, not {label}", "0 is background")


def _checked(name: str, positions: Floats, field: Field) -> Floats:
    """The positions (N, 3) xyz in angstrom as an array, unless they can't be meant for this volume."""
    if name not in density_names():
        raise UsageError(f"positions of an unknown object {name!r}", nearest(name, density_names()))
    xyz = np.asarray(positions, dtype=float)
    if xyz.size == 0:
        return np.zeros((0, 3))
    if xyz.ndim != 2 or xyz.shape[1] != 3 or not np.isfinite(xyz).all():
        raise UsageError(f"positions of {name} have to be finite and (N, 3), not {xyz.shape}", "x, y, z in angstrom")
    if not field.keeps(xyz).any():
        extent = ", ".join(f"{n * field.voxel_spacing:g}" for n in field.shape[::-1])
        raise UsageError(f"no position of {name} lies in the volume", f"x, y, z in angstrom; it extends to {extent}")
    return xyz


def _check_number(layout: Layout) -> None:
    limit = np.iinfo(np.uint16).max
    number = len(layout.vesicles) + sum(len(copies.positions) for copies in layout.copies)
    if number > limit:
        raise PopsicleError(f"{number} bodies are more than the {limit} that ids exist for", "lower the counts")
