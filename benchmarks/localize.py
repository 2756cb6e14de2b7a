"""Localization: ours against other tools' ways from a label volume to picks, on the same made volumes, in one go.

Volumes, see label_volumes.py: n150 particles lie apart, n700 touch here and there, pairs400 are fused pairs of one object,
crowd80 and crowd65 overlap down to 80% and 65% of the distance at which they touch. Ours isn't told the painted radius, and
runs with the settings of a recipe that says nothing. Every side that filters by size keeps what lies between balls of 0.5
and 1 of the radius, octopi's default.

Each side in a process of its own (octopi and copick-utils in environments made by peers.py), after its imports and a call on
a small volume; the best of three calls, one call of the slow ones. Memory is what the process's peak lies above what it
holds before the calls, the label volume among that (Linux). found/false/missed: one to one, within half a radius.

    python benchmarks/localize.py [--volumes n700,pairs400] [--only ours,cc3d]
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
from label_volumes import KINDS, RADII, SLAB, VOXEL_SPACING, make, probabilities

REPEATS = 3
GATE = 0.5  # of the radius
WINDOW = 0.5, 1.0  # of the radius: sizes that the others keep
Picks = list[tuple[int, Any]]  # label, (N, 3) zyx in voxels


@dataclass(frozen=True)
class Row:
    """cpu: seconds. grown: MiB. outcome: found, false, missed."""

    cpu: float
    grown: float
    outcome: tuple[int, int, int]


@dataclass(frozen=True)
class Side:
    """title: in the tables. work: from the folder's volume to picks. imports: modules that aren't timed. peer: whose
    environment it needs."""

    title: str
    work: Callable[[Any], Picks]
    imports: tuple[str, ...]
    peer: str | None = None
    slow: bool = False
    from_probabilities: bool = False


def ours(labels: np.ndarray) -> Picks:
    from copick_tools.recipes.picking import extractions
    from copick_tools.volumes.extraction import from_labels

    particles, settings = _settings()
    return _chosen(from_labels(labels, particles, VOXEL_SPACING, extractions(settings)))


def ours_from_probabilities(stored: Any) -> Picks:
    from copick_tools.recipes.picking import extractions
    from copick_tools.volumes.extraction import from_probabilities
    from copick_tools.volumes.probabilities import Probabilities

    particles, settings = _settings()
    how = extractions(settings)
    scores = Probabilities(stored.shape[1:], [p.label for p in particles], min(h.threshold for h in how.values()))
    for z0 in range(0, stored.shape[1], SLAB):
        scores.add(z0, stored[:, z0 : z0 + SLAB])
    return _chosen(from_probabilities(scores, particles, VOXEL_SPACING, how))


def _settings() -> tuple[list, dict]:
    from copick_tools.recipes.recipe import Pick
    from copick_tools.volumes.extraction import Particle

    particles = [Particle(name, label, radius * VOXEL_SPACING) for label, (name, radius) in enumerate(RADII.items(), 1)]
    return particles, {particle.name: Pick() for particle in particles}


def _chosen(candidates: dict) -> Picks:
    from copick_tools.recipes.picking import chosen

    particles, settings = _settings()
    found = chosen(candidates, particles, settings, VOXEL_SPACING)
    return [(particle.label, found[particle.name].centers) for particle in particles]


def cc3d_once(labels: np.ndarray) -> Picks:
    """All objects together."""
    import cc3d

    ids, count = cc3d.connected_components(labels, return_N=True)
    found = cc3d.statistics(ids)
    centers, sizes = found["centroids"][1:], found["voxel_counts"][1:]
    own = labels[tuple(np.rint(centers).astype(int).T)] if count else np.empty(0, int)
    return [(label, centers[(own == label) & _allowed(sizes, radius)]) for label, radius in _objects()]


def scipy_per_object(labels: np.ndarray) -> Picks:
    from scipy import ndimage

    picks = []
    for label, radius in _objects():
        mask = labels == label
        ids, _ = ndimage.label(mask)
        sizes = np.bincount(ids.ravel())
        kept = 1 + np.flatnonzero(_allowed(sizes[1:], radius))
        picks.append((label, np.array(ndimage.center_of_mass(mask, ids, kept)).reshape(-1, 3)))
    return picks


def skimage_per_object(labels: np.ndarray) -> Picks:
    from skimage.measure import label as components
    from skimage.measure import regionprops

    picks = []
    for label, radius in _objects():
        regions = [r for r in regionprops(components(labels == label)) if _allowed(r.area, radius)]
        picks.append((label, np.array([region.centroid for region in regions]).reshape(-1, 3)))
    return picks


def octopi(labels: np.ndarray, method: str = "watershed") -> Picks:
    from octopi.extract.localize import extract_coordinates  # type: ignore[import-not-found]

    return [
        (label, np.reshape(extract_coordinates(labels, WINDOW[0] * radius, WINDOW[1] * radius, label, method), (-1, 3)))
        for label, radius in _objects()
    ]


def copick_utils(labels: np.ndarray) -> Picks:
    """What its seg2picks calls; with the window above, for its own sizes are those of one large object."""
    core = importlib.import_module("copick_utils.converters.picks_from_segmentation")
    picks = []
    for label, radius in _objects():
        least, most = (_ball(fraction * radius) for fraction in WINDOW)
        found = core._extract_centroids_from_segmentation_array(labels, label, 9, least, most, 1.0)
        picks.append((label, np.empty((0, 3)) if found is None else found[:, ::-1]))
    return picks


def _objects() -> Iterator[tuple[int, float]]:
    """Label and radius in voxels."""
    return iter(enumerate(RADII.values(), 1))


def _ball(radius: float) -> float:
    return 4 / 3 * np.pi * radius**3


def _allowed(sizes: Any, radius: float) -> Any:
    return (sizes >= _ball(WINDOW[0] * radius)) & (sizes <= _ball(WINDOW[1] * radius))


OURS = ("copick_tools.volumes.extraction", "copick_tools.volumes.probabilities", "copick_tools.recipes.picking")
ENGINE, CONVERTER = ("octopi.extract.localize",), ("copick_utils.converters.picks_from_segmentation",)
OCTOPI, UTILS = peers.version("octopi"), peers.version("copick-utils")
SIDES = {
    "ours": Side("ours", ours, OURS),
    "ours from scores": Side(
        "ours, from float16 probabilities in zarr", ours_from_probabilities, (*OURS, "zarr"), from_probabilities=True
    ),
    "cc3d": Side("cc3d multilabel and statistics", cc3d_once, ("cc3d",)),
    "skimage": Side("scikit-image label and regionprops", skimage_per_object, ("skimage.measure",)),
    "scipy": Side("scipy label per object", scipy_per_object, ("scipy.ndimage",), slow=True),
    "octopi com": Side(f"{OCTOPI}, com", lambda labels: octopi(labels, "com"), ENGINE, "octopi", slow=True),
    "octopi watershed": Side(f"{OCTOPI}, watershed (its default)", octopi, ENGINE, "octopi", slow=True),
    "copick-utils": Side(f"{UTILS}, seg2picks", copick_utils, CONVERTER, "copick-utils", slow=True),
}
MANY_MINUTES = {"octopi watershed", "copick-utils"}  # left out of n150, which says nothing about them


def child(name: str, folder: Path, warm: Path, repeats: int) -> None:
    """Write the picks to FOLDER/picks.npz; print best CPU time and growth of the peak in MiB."""
    side = SIDES[name]
    for module in side.imports:
        importlib.import_module(module)
    side.work(_read(side, warm))
    volume = _read(side, folder)
    took, picks = common.spent(lambda: side.work(volume), repeats)
    np.savez(folder / "picks.npz", **{str(label): centers for label, centers in picks})
    print(json.dumps([took.cpu, took.memory]))


def _read(side: Side, folder: Path) -> Any:
    if side.from_probabilities:
        import zarr

        return zarr.open(str(folder / "probabilities.zarr"), mode="r")
    return np.load(folder / "labels.npy")


def write(folder: Path, kind: str, with_probabilities: bool, scale: float = 1.0) -> None:
    folder.mkdir()
    labels, centers, label = make(kind, scale=scale)
    np.save(folder / "labels.npy", labels)
    np.savez(folder / "truth.npz", **{str(k): centers[label == k] for k, _ in _objects()})
    if with_probabilities:
        probabilities(labels, folder / "probabilities.zarr")


def measure(name: str, interpreter: str, folder: Path, warm: Path, repeats: int) -> Row | None:
    """None, and the reason on stderr, where the side fails."""
    arguments = ["--side", name, "--folder", str(folder), "--warm", str(warm)]
    arguments += ["--repeats", str(1 if SIDES[name].slow else repeats)]
    found = common.child(__file__, arguments, interpreter)
    if found is None:
        return None
    with np.load(folder / "truth.npz") as truth, np.load(folder / "picks.npz") as picks:
        return Row(*found, counts(truth, picks))


def counts(truth: Any, picks: Any) -> tuple[int, int, int]:
    """found, false, missed. truth, picks: label (as text) -> (N, 3) in voxels."""
    from copick_tools.metrics.match import match

    found = [match(truth[str(label)], picks[str(label)], GATE * radius) for label, radius in _objects()]
    return sum(f.tp for f in found), sum(f.fp for f in found), sum(f.fn for f in found)


def compare(kind: str, sides: dict[str, str], parent: Path, repeats: int) -> dict[str, Row]:
    """Rows of the sides (name -> interpreter) that didn't fail."""
    folder = parent / kind
    write(folder, kind, any(SIDES[name].from_probabilities for name in sides))
    common.say(f"{kind}: {KINDS[kind].particles} particles, {KINDS[kind].specks} specks, {KINDS[kind].shape} voxels")
    rows: dict[str, Row] = {}
    for name, interpreter in sides.items():
        if row := measure(name, interpreter, folder, parent / "warm", repeats):
            rows[name] = row
            common.say(f"  {name}: {row.cpu:.2f} CPU-s, {row.grown:.0f} MiB, {'/'.join(map(str, row.outcome))}")
    shutil.rmtree(folder)
    return rows


def tables(names: list[str], found: dict[str, dict[str, Row]]) -> list[str]:
    """Three, with a column for each volume. found: volume -> side -> Row; what isn't there was not measured."""

    def one(cell: Callable[[Row, Row | None], str]) -> str:
        rows = [
            [SIDES[name].title]
            + [cell(part[name], part.get("ours")) if name in part else common.NOTHING for part in found.values()]
            for name in names
        ]
        return common.table(list(found), rows)

    def cpu(row: Row, ours: Row | None) -> str:
        return f"{row.cpu:.2f} ({common.ratio(row.cpu, ours and ours.cpu)})"

    return [
        "Found/false/missed, one-to-one within half a radius:",
        one(lambda row, _: "/".join(map(str, row.outcome))),
        "CPU seconds, and as a multiple of ours:",
        one(cpu),
        "Extra memory in MiB, beyond the loaded volume:",
        one(lambda row, _: f"{max(row.grown, 0):.0f}"),
    ]


def interpreters(names: list[str]) -> dict[str, str]:
    """Side -> its Python; sides that aren't installed are left out, with a line on stderr."""
    wanted = {SIDES[name].peer for name in names} - {None}
    found = {None: Path(sys.executable), **{peer: peers.python(peer) for peer in sorted(wanted)}}
    return {k: str(found[side.peer]) for k, side in SIDES.items() if k in names and found[side.peer]}


def notes(names: list[str], repeats: int) -> list[str]:
    """What the tables rest on: peers that aren't there, versions, machine."""
    wanted = sorted({SIDES[name].peer for name in names if SIDES[name].peer})
    absent = [name for name in wanted if peers.lacking(name)]
    there = [peers.version(name) for name in wanted if name not in absent]
    packages = ("copick-tools", "numpy", "scipy", "scikit-image", "connected-components-3d")
    where = "environments of their own" if len(there) > 1 else "an environment of its own"
    apart = f"{' and '.join(there)} in {where}" if there else ""
    calls = f"best of {repeats} warm calls, one of the slow sides"
    return [
        common.missing(absent, {name: peers.how(name) for name in absent}),
        common.provenance(packages, apart, calls),
    ]


def _listed(known: dict) -> Callable[[str], list[str]]:
    """Reads 'a,b'."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} isn't among {', '.join(known)}")
        return names

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_listed(SIDES), default=list(SIDES), help=f"of {','.join(SIDES)}")
    parser.add_argument("--volumes", type=_listed(KINDS), default=list(KINDS), help=f"of {','.join(KINDS)}")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    for name in ("--side", "--folder", "--warm"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        child(asked.side, Path(asked.folder), Path(asked.warm), asked.repeats)
        return
    sides, found, failed = interpreters(asked.only), {}, False
    with tempfile.TemporaryDirectory() as parent:
        write(Path(parent) / "warm", "crowd80", True, scale=0.4)
        for kind in asked.volumes:
            wanted = {k: v for k, v in sides.items() if kind != "n150" or k not in MANY_MINUTES}
            found[kind] = compare(kind, wanted, Path(parent), asked.repeats)
            failed |= len(found[kind]) < len(wanted)
    common.write(*tables(asked.only, found), *notes(asked.only, asked.repeats))
    sys.exit(failed)


if __name__ == "__main__":
    main()
