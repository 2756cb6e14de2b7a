"""Endoplasmic reticulum: branching networks of tubes, each of them connected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import KDTree

from copick_tools.simulate.geometry import Field
from copick_tools.simulate.membranes import HALF_THICKNESS
from copick_tools.simulate.organelles.body import Body, in_membrane, membrane
from copick_tools.simulate.organelles.ground import Ground
from copick_tools.simulate.organelles.settings import OrganelleSettings
from copick_tools.simulate.organelles.shapes import Tube, Unevenness, bent, random_direction, tube_depth
from copick_tools.types import Floats, Integers

NETWORK = "endoplasmic-reticulum"
LUMEN = 2.0  # crowding
ROUGHNESS = 8.0  # angstrom, standard deviation of the edge
APART = 460.0  # angstrom between nodes, at least
LONGEST = 1_000.0  # angstrom between nodes that a tube may join
NEIGHBORS = 8  # of a node, that a tube may lead to
BOW = 0.22  # of its length, by which a tube is bent at most
LOOPS = 0.12  # fraction of the other possible tubes that are made, too
DRAWS = 400  # of places for nodes
PIECES = 7  # points of a tube
FEWEST = 4  # nodes of a network


@dataclass(frozen=True)
class Network:
    """tubes: joined at their ends; roughness: of the edge."""

    tubes: list[Tube]
    roughness: Unevenness

    def body(self, field: Field) -> Body:
        """Filled: the instance is lumen and membrane of all tubes."""
        boxes = [tube.box(field) for tube in self.tubes]
        z, y, x = (slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*boxes))
        box = (z, y, x)
        rough = np.float32(ROUGHNESS) * self.roughness.at(field.axes(box))
        depth = tube_depth(field, box, self.tubes) + rough
        middle = depth + np.float32(HALF_THICKNESS)
        crowding = np.full(depth.shape, LUMEN, np.float32)
        crowding[in_membrane(middle)] = 0
        return Body(box, depth, membrane(middle, field.voxel_spacing), crowding, {NETWORK: depth < 0})


def draw_network(ground: Ground, settings: OrganelleSettings, rng: np.random.Generator) -> Network | None:
    """One that touches nothing that is there, mostly in the kept volume; None where there is no room."""
    nodes = _nodes(ground, settings, rng)
    if len(nodes) < FEWEST:
        return None
    radii = rng.uniform(*settings.tube_radius, len(nodes))
    possible = dict(_possible(nodes, radii, ground, rng))
    chosen = _branching(len(nodes), possible, rng)
    if len(chosen) < FEWEST - 1:
        return None
    tubes = [Tube(possible[pair], np.linspace(radii[pair[0]], radii[pair[1]], PIECES)) for pair in chosen]
    return Network(tubes, Unevenness.draw((250.0, 600.0), rng))


def _nodes(ground: Ground, settings: OrganelleSettings, rng: np.random.Generator) -> Floats:
    """(N, 3) xyz in angstrom, apart from each other and from what is there, within a random patch."""
    size = np.array(ground.field.shape[::-1]) * ground.field.voxel_spacing
    largest = settings.tube_radius[1] + 2 * ROUGHNESS
    extent = np.array([*rng.uniform(*settings.network_extent, 2), np.inf])
    middle = size * rng.uniform(0.2, 0.8, 3)
    inset = np.array([0, 0, min(largest, size[2] / 2)])
    low, high = np.maximum(middle - extent / 2, inset), np.minimum(middle + extent / 2, size - inset)
    tried = rng.uniform(low, np.maximum(low, high), (DRAWS, 3))
    tried = tried[ground.clear(tried, largest)]
    nodes: list[Floats] = []
    for place in tried:
        if all(np.linalg.norm(place - other) > APART for other in nodes):
            nodes.append(place)
    return np.array(nodes).reshape(-1, 3)


def _possible(
    nodes: Floats, radii: Floats, ground: Ground, rng: np.random.Generator
) -> Iterator[tuple[tuple[int, int], Floats]]:
    """Pairs of near nodes and the curve (PIECES, 3) of a tube between them that touches nothing."""
    _, near = KDTree(nodes).query(nodes, k=min(NEIGHBORS + 1, len(nodes)), distance_upper_bound=LONGEST)
    pairs = {(min(a, b), max(a, b)) for a, row in enumerate(near.tolist()) for b in row[1:] if b < len(nodes)}
    for a, b in sorted(pairs):
        bow = rng.uniform(0, BOW) * float(np.linalg.norm(nodes[b] - nodes[a])) * random_direction(rng) * (1, 1, 0.4)
        curve = bent(nodes[a], nodes[b], bow, PIECES)
        if ground.clear(curve, max(radii[a], radii[b]) + 2 * ROUGHNESS).all():
            yield (a, b), curve


def _branching(count: int, possible: dict[tuple[int, int], Floats], rng: np.random.Generator) -> list[tuple[int, int]]:
    """The pairs of the largest tree of short tubes, and a few more that close loops in it."""
    pairs = np.array(list(possible), dtype=int).reshape(-1, 2)
    lengths = np.array([np.linalg.norm(np.diff(curve, axis=0), axis=1).sum() for curve in possible.values()])
    weights = lengths * rng.uniform(0.7, 1.4, len(lengths))
    tree = minimum_spanning_tree(sparse.csr_matrix((weights, (pairs[:, 0], pairs[:, 1])), (count, count)))
    _, member = connected_components(tree, directed=False)
    home = np.bincount(member).argmax()
    inside = {(a, b) for a, b in zip(*(_ints(part) for part in tree.nonzero())) if member[a] == home}
    loops = rng.random(len(pairs)) < LOOPS
    more = {(a, b) for (a, b), loop in zip(possible, loops) if loop and member[a] == member[b] == home}
    return sorted(inside | more)


def _ints(values: Integers) -> list[int]:
    return [int(value) for value in values]
