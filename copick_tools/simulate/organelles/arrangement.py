"""Where mitochondria, networks and vesicles go: the larger first, nothing through another, many in touch."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from scipy import ndimage

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.organelles.body import Body
from copick_tools.simulate.organelles.ground import Ground, come_to_rest
from copick_tools.simulate.organelles.mitochondria import draw_mitochondrion
from copick_tools.simulate.organelles.networks import NETWORK, draw_network
from copick_tools.simulate.organelles.settings import NOMINAL_VOLUME, OrganelleSettings
from copick_tools.simulate.organelles.stage import Stage
from copick_tools.simulate.organelles.vesicles import draw_vesicle
from copick_tools.types import Floats

TRIES = 60  # to find room before something is left out
DRAWS = 4  # of vesicles for each that is wanted, large ones find no room
NETWORK_TRIES = 8  # to draw a network that is in one piece
OBLIQUE = 1.0  # of the half-width, by which two in touch may be at different heights

M = TypeVar("M", bound="Movable")


class Movable(Protocol):
    """An organelle that may go elsewhere. points: (N, 3) xyz in angstrom, on its surface and within; half_width: angstrom."""

    @property
    def points(self) -> Floats: ...

    @property
    def half_width(self) -> float: ...

    def moved(self: M, by: Floats) -> M: ...

    def body(self, field: Field) -> Body: ...


def add_mitochondria(stage: Stage, settings: OrganelleSettings, rng: np.random.Generator) -> None:
    """Mitochondria, some of which touch an earlier one."""
    placed: list[Floats] = []
    for _ in range(_number(settings.mitochondria, stage.ground, rng)):
        drawn = draw_mitochondrion(settings, rng)
        touches = placed and rng.random() < settings.touching
        found = _beside(drawn, placed, stage.ground, rng) if touches else None
        found = found or _somewhere(drawn, stage.ground, rng)
        if found is not None:
            placed.append(found.points)
            stage.put(found.body(stage.ground.field))


def add_networks(stage: Stage, settings: OrganelleSettings, rng: np.random.Generator) -> None:
    """Networks of endoplasmic reticulum, each of them in one piece in the kept volume."""
    low, high = settings.networks
    for _ in range(int(rng.integers(low, high + 1))):
        for _ in range(NETWORK_TRIES):
            network = draw_network(stage.ground, settings, rng)
            body = None if network is None else network.body(stage.ground.field)
            if body is not None and _is_one_piece(body, stage.ground):
                stage.put(body)
                break


def add_vesicles(stage: Stage, settings: OrganelleSettings, rng: np.random.Generator) -> None:
    """Vesicles in clusters whose members touch, and alone."""
    number = _number(settings.vesicles, stage.ground, rng)
    smallest, largest = settings.cluster_size
    clusters = settings.clustered / ((smallest + largest) / 2)  # larger than one, so they begin less often
    draws = DRAWS * number
    while number > 0 and draws > 0:
        is_cluster = rng.random() * (1 - settings.clustered + clusters) < clusters
        size = min(number, int(rng.integers(smallest, largest + 1)) if is_cluster else 1)
        cluster: list[Floats] = []
        while len(cluster) < size and draws > 0:
            drawn, draws = draw_vesicle(settings, rng), draws - 1
            found = _beside(drawn, cluster, stage.ground, rng) if cluster else _somewhere(drawn, stage.ground, rng)
            if found is not None:
                cluster.append(found.points)
                stage.put(found.body(stage.ground.field))
        number -= len(cluster)


def _somewhere(organelle: M, ground: Ground, rng: np.random.Generator) -> M | None:
    """The organelle at a random place where it touches nothing; None where there is no room."""
    points, (low, high) = organelle.points, ground.field.bounds
    low[2], high[2] = _heights(points, ground.field)
    for _ in range(TRIES):
        way = rng.uniform(low, high) - points.mean(axis=0)
        if _fits(points + way, ground.field) and ground.gap(points + way) > 0:
            return organelle.moved(way)
    return None


def _beside(organelle: M, others: list[Floats], ground: Ground, rng: np.random.Generator) -> M | None:
    """The organelle in touch with one of the ``others``, or with what is in the way; None where there is no room."""
    points, heights = organelle.points, _heights(organelle.points, ground.field)
    for _ in range(TRIES):
        other, angle = others[rng.integers(len(others))], rng.uniform(0, 2 * np.pi)
        heading = np.array([np.cos(angle), np.sin(angle), 0])
        far = _extent(other) + _extent(points)
        start = other.mean(axis=0) - far * heading
        start[2] = np.clip(start[2] + OBLIQUE * organelle.half_width * rng.uniform(-1, 1), *heights)
        begun = start - points.mean(axis=0)
        way = come_to_rest(points + begun, heading, ground, 2 * far)
        if way is not None and _fits(points + begun + way, ground.field):
            return organelle.moved(begun + way)
    return None


def _extent(points: Floats) -> float:
    """Angstrom from the center to the farthest of the points."""
    return float(np.linalg.norm(points - points.mean(axis=0), axis=1).max())


def _heights(points: Floats, field: Field) -> tuple[float, float]:
    """z in angstrom where its center may be: all of it in the ice, or in the middle of it where the ice is too thin."""
    (*_, low), (*_, high) = field.bounds
    z = points[:, 2] - points[:, 2].mean()
    lowest, highest = float(low - z.min()), float(high - z.max())
    return (lowest, highest) if lowest <= highest else ((low + high) / 2, (low + high) / 2)


def _fits(points: Floats, field: Field) -> bool:
    """Whether its center is in the kept volume along x and y, or nothing of it and its center in the simulated field."""
    center, (low, high) = points.mean(axis=0), field.bounds
    center[2] = np.clip(center[2], 0, field.bounds[1][2])
    if field.keeps(center[None])[0]:
        return True
    return bool(np.all(center >= low) and np.all(center <= high) and not field.keeps(points).any())


def _is_one_piece(body: Body, ground: Ground) -> bool:
    """Whether what the kept volume shows of a network is connected, 26 neighbors taken."""
    seen = np.zeros(ground.field.padded, bool)
    seen[body.box] = body.parts[NETWORK] & (ground.distance[body.box] >= 0)
    kept = tuple(slice(margin, margin + size) for margin, size in zip(ground.field.margin, ground.field.shape))
    _, pieces = ndimage.label(seen[kept], np.ones((3, 3, 3)))
    return bool(pieces == 1)


def _number(nominal: float, ground: Ground, rng: np.random.Generator) -> int:
    """A whole number whose mean is ``nominal`` in NOMINAL_VOLUME, of what is still free."""
    return int(nominal * ground.share() * ground.field.volume / NOMINAL_VOLUME + rng.random())
