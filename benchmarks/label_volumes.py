"""Made label volumes of particles, what a network's output looks like where it is good: for benchmarks of localization.

Six objects with the radii of the CZII challenge at 10 angstrom a voxel, painted as balls of 0.7 of the radius with ragged
edges, and specks of up to 30 voxels between them. The same kind and seed give the same voxels. Needs numpy; the class
probabilities need scipy and zarr.

    python benchmarks/label_volumes.py n700 [--seed 0] --out n700.npz      labels, centers, label
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VOXEL_SPACING = 10.0  # angstrom
RADII = {  # of the particles, in voxels; their labels are 1 to 6
    "apo-ferritin": 6.0,
    "beta-amylase": 6.5,
    "beta-galactosidase": 9.0,
    "ribosome": 15.0,
    "thyroglobulin": 13.0,
    "virus-like-particle": 13.5,
}
PAINTED = 0.7  # of the radius
RAGGED = 1.0  # voxels that the edge is off, at most
WHOLE, CROP = (184, 630, 630), (184, 200, 200)
TRIES = 2000
SLAB = 32  # slices of probabilities made and stored at a time


@dataclass(frozen=True)
class Kind:
    """How particles lie. nearest: least distance of two, over the sum of painted radii, where balls touch.

    beside: fraction of the particles put beside another one of their object, at a distance of ``nearest`` to `reach`.
    pairs: all come in pairs of one object at exactly ``pairs`` of contact, ``nearest`` from everything else.
    """

    particles: int
    specks: int
    nearest: float
    shape: tuple[int, int, int] = WHOLE
    beside: float = 0.0
    reach: float = 1.0
    pairs: float | None = None


KINDS = {
    "n150": Kind(150, 2000, nearest=1.5),
    "n700": Kind(700, 2000, nearest=1.0, beside=0.02, reach=1.05),
    "pairs400": Kind(383, 2000, nearest=1.5, pairs=0.85),
    "crowd80": Kind(260, 200, nearest=0.8, shape=CROP, beside=0.3),
    "crowd65": Kind(260, 200, nearest=0.65, shape=CROP, beside=0.3),
}


def make(kind: str, seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels uint8 zyx, centers (N, 3) zyx in voxels, label (N,)) of a `KINDS` entry.

    scale: of the sides along y and x; particles and specks become fewer with the area. For quick tests.
    """
    how = KINDS[kind]
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    shape = (how.shape[0], round(how.shape[1] * scale), round(how.shape[2] * scale))
    centers, label = _place(rng, how, shape, max(2, round(how.particles * scale**2)))
    labels = _paint(rng, shape, centers, label)
    _specks(rng, labels, round(how.specks * scale**2))
    return labels, centers, label


def radii(label: np.ndarray) -> np.ndarray:
    """Radii, in voxels, of the particles with these labels (N,)."""
    return np.array(list(RADII.values()))[np.asarray(label) - 1]


def _place(rng: np.random.Generator, how: Kind, shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centers (N, 3) zyx in voxels and labels (N,), large particles first, whole inside of the volume."""
    each = 2 if how.pairs else 1
    wanted = rng.integers(1, len(RADII) + 1, -(-count // each))
    wanted = np.repeat(wanted[np.argsort(-radii(wanted), kind="stable")], each)[:count]
    centers, painted = np.empty((0, 3)), PAINTED * radii(wanted)
    for index, label in enumerate(wanted):
        before = wanted[:index] == label
        second = bool(how.pairs and index % 2)
        allowed = how.nearest * (painted[:index] + painted[index])
        if second:
            allowed[-1] = 0.0
        for _ in range(TRIES):
            if second:
                center = centers[-1] + _direction(rng) * how.pairs * 2 * painted[index]
            elif before.any() and rng.random() < how.beside:
                away = rng.uniform(how.nearest, how.reach) * 2 * painted[index]
                center = centers[rng.choice(np.flatnonzero(before))] + _direction(rng) * away
            else:
                center = rng.random(3) * shape
            border = painted[index] + RAGGED + 1
            inside = (center >= border).all() and (center <= np.array(shape) - 1 - border).all()
            if inside and (np.linalg.norm(centers - center, axis=1) >= allowed).all():
                break
        else:
            raise RuntimeError(f"no room for particle {index} of {count}")
        centers = np.vstack([centers, center])
    return centers, wanted


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _paint(rng: np.random.Generator, shape: tuple[int, ...], centers: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Balls of `PAINTED` of the radius, each voxel of the edge off by up to `RAGGED`; the nearest center relative to its
    radius wins."""
    labels, nearest = np.zeros(shape, np.uint8), np.full(shape, np.inf, np.float32)
    for center, value, painted in zip(centers, label, PAINTED * radii(label)):
        low = np.maximum(np.floor(center - painted - RAGGED), 0).astype(int)
        high = np.minimum(np.ceil(center + painted + RAGGED) + 1, shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        z, y, x = np.ogrid[box]
        distance = np.sqrt((z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2)
        ball = distance + rng.uniform(-RAGGED, RAGGED, distance.shape) <= painted
        relative = (distance / painted).astype(np.float32)
        ball &= relative < nearest[box]
        labels[box][ball], nearest[box][ball] = value, relative[ball]
    return labels


def _specks(rng: np.random.Generator, labels: np.ndarray, count: int) -> None:
    """Clumps of 1 to 30 voxels of random objects, clear of the particles and of each other; into ``labels``."""
    offsets = np.argwhere(np.ones((5, 5, 5))) - 2
    away = np.linalg.norm(offsets, axis=1)
    for _ in range(TRIES * count):
        place = rng.integers(2, np.array(labels.shape) - 2)
        if not count:
            return
        if not labels[tuple(slice(max(0, p - 6), p + 7) for p in place)].any():
            order = np.argsort(away + rng.uniform(0, 0.7, len(away)))[: rng.integers(1, 31)]
            labels[tuple((place + offsets[order]).T)] = rng.integers(1, len(RADII) + 1)
            count -= 1
    raise RuntimeError("no room for specks")


def slabs(labels: np.ndarray, seed: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """(z0, probabilities (7, dz, y, x) float16) of the classes that a network might give for ``labels`` (zyx).

    Edges soft over about two voxels, noise everywhere; the classes sum to 1.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    rng = np.random.default_rng([seed, 1])
    halo = 4
    for z0 in range(0, len(labels), SLAB):
        first, last = max(0, z0 - halo), min(len(labels), z0 + SLAB + halo)
        part, inner = labels[first:last], slice(z0 - first, min(z0 + SLAB, len(labels)) - first)
        soft = gaussian_filter((part > 0).astype(np.float32), 1.0)[inner]
        own = np.where(part > 0, part, maximum_filter(part, 5))[inner]
        weights = rng.random((len(RADII) + 1, *soft.shape), dtype=np.float32)
        weights *= 0.01
        weights[0] += 1 - soft
        np.put_along_axis(weights, own[None].astype(np.intp), _own(weights, own, soft, rng), axis=0)
        weights /= weights.sum(axis=0)
        yield z0, weights.astype(np.float16)


def _own(weights: np.ndarray, own: np.ndarray, soft: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weight of each voxel's own class: softened, and less by up to a fifth."""
    noisy = soft * (1 - 0.2 * rng.random(soft.shape, dtype=np.float32))
    return np.where(own > 0, noisy, weights[0])[None]


def probabilities(labels: np.ndarray, path: Path, seed: int = 0) -> Any:
    """Write `slabs` to a zarr array (7, z, y, x) float16 and return it, opened to read."""
    import zarr

    chunks = (1, SLAB, 256, 256)
    stored = zarr.open(str(path), mode="w", shape=(len(RADII) + 1, *labels.shape), chunks=chunks, dtype="f2")
    for z0, slab in slabs(labels, seed):
        stored[:, z0 : z0 + slab.shape[1]] = slab
    return zarr.open(str(path), mode="r")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    labels, centers, label = make(arguments.kind, arguments.seed)
    np.savez_compressed(arguments.out, labels=labels, centers=centers, label=label)
    print(f"{len(centers)} particles, {np.count_nonzero(labels) / labels.size:.2%} of {labels.shape} voxels")


if __name__ == "__main__":
    main()
