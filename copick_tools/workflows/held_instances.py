"""What a model says of a validation run, predicted once and kept in files, so that instances can be made of it in many ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from copick_tools.data import read
from copick_tools.inference import amg
from copick_tools.inference.extract import on_models_grid, said_where
from copick_tools.inference.mapped import predict_instances, predict_maps
from copick_tools.inference.prompted import Prompted
from copick_tools.recipes.decoding import decoding
from copick_tools.recipes.prompting import Amg
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.instance_targets import Annotated
from copick_tools.volumes.cuts import Cuts
from copick_tools.volumes.decoding import Instances, Maps, decode
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.stitching import stitched
from copick_tools.workflows.pipeline import in_memory
from copick_tools.workflows.prompting import Answering
from copick_tools.workflows.segment_instances import Telling

Made = tuple[Instances, float]  # and the voxel spacing (angstrom) of their grid


class Held(Protocol):
    """A run. It holds files alone; what they say is read for as long as instances are made of it."""

    def made(self, recipes: Sequence[Recipe]) -> Iterator[Made]:
        """The instances by each of some recipes, one after another; quickest where neighbors have much in common."""


def hold(telling: Telling, stored: read.StoredVolume, folder: Path, lowest: Amg) -> Held:
    """Predict a run. folder: empty, for its files. lowest: thresholds of masks on a grid of prompts, below all that are asked for.

    Raises as `extract.predict`.
    """
    if telling.answering is None:
        if hasattr(telling.predictor, "instances"):
            return _Masked(telling, stored)
        found = predict_maps(telling.predictor, in_memory(stored), stored.voxel_spacing, _where(stored))
        return _Mapped(telling, _kept(found.maps, folder), found.voxel_spacing)
    prompted, seen, spacing = _opened(telling.answering, stored)
    with said_where(_where(stored)):
        maps = prompted.maps(seen)
        held = None if maps is None else _kept(maps, folder)
        if telling.recipe.prompting.mode == "apg":
            assert held is not None  # else it was refused
            return _Asked(telling, stored, held)
        encoded = prompted.encoded(seen)
        for z in range(encoded.shape[0]):
            save_cuts(folder / f"{z}.npz", amg.records(encoded, z, lowest))
    return _Recorded(telling, folder, prompted, held, (seen.shape, spacing))


@dataclass(frozen=True)
class _Mapped:
    """By the maps of a network alone."""

    telling: Telling
    maps: Callable[[], Maps]
    spacing: float

    def made(self, recipes: Sequence[Recipe]) -> Iterator[Made]:
        """See `Held`."""
        maps = self.maps()
        for recipe in recipes:
            yield decode(maps, decoding(recipe, self.telling.task, self.spacing)), self.spacing


@dataclass(frozen=True)
class _Masked:
    """By a network that predicts masks: it is asked anew each time."""

    telling: Telling
    stored: read.StoredVolume

    def made(self, recipes: Sequence[Recipe]) -> Iterator[Made]:
        """See `Held`."""
        volume, where = in_memory(self.stored), _where(self.stored)
        for recipe in recipes:
            how = partial(decoding, recipe, self.telling.task)
            yield predict_instances(self.telling.predictor, volume, self.stored.voxel_spacing, where, how)


@dataclass(frozen=True)
class _Recorded:
    """By a grid of prompts in each slice. folder: of the masks. grid: zyx and spacing of what the model sees."""

    telling: Telling
    folder: Path
    prompted: Prompted
    maps: Callable[[], Maps] | None
    grid: tuple[tuple[int, ...], float]

    def made(self, recipes: Sequence[Recipe]) -> Iterator[Made]:
        """See `Held`."""
        shape, spacing = self.grid
        maps = None if self.maps is None else self.maps()
        for recipe in recipes:
            how = decoding(recipe, self.telling.task, spacing)
            planes = (load_cuts(self.folder / f"{z}.npz") for z in range(shape[0]))
            flat = np.stack([amg.chosen(cuts, recipe.prompting.amg) for cuts in planes])
            ids = stitched(flat, recipe.instances.stitch)
            yield self.prompted.labeled(ids, maps, how), spacing


@dataclass(frozen=True)
class _Asked:
    """By prompts that maps show. Masks are asked for anew where the prompts change, of images that are encoded once."""

    telling: Telling
    stored: read.StoredVolume
    maps: Callable[[], Maps]

    def made(self, recipes: Sequence[Recipe]) -> Iterator[Made]:
        """See `Held`."""
        assert self.telling.answering is not None
        prompted, seen, spacing = _opened(self.telling.answering, self.stored)
        maps, prompts, masks = self.maps(), None, list[Cuts]()
        with said_where(_where(self.stored)):
            encoded = prompted.encoded(seen)
            for recipe in recipes:
                how = decoding(recipe, self.telling.task, spacing)
                chosen = replace(prompted, prompting=recipe.prompting, stitch=recipe.instances.stitch)
                if prompts != (how.foreground, how.center, how.boundary):
                    prompts, masks = (how.foreground, how.center, how.boundary), chosen.masks(encoded, maps, how)
                yield chosen.labeled(chosen.chosen(masks), maps, how), spacing


def _where(stored: read.StoredVolume) -> str:
    return f"run {stored.run}"


def _opened(answering: Answering, stored: read.StoredVolume) -> tuple[Prompted, Volume, float]:
    """What answers, the tomogram as it sees it, and its voxel spacing."""
    volume = in_memory(stored)
    prompted = answering.on(stored, volume)
    seen, spacing, _ = on_models_grid(prompted, volume, stored.voxel_spacing, _where(stored))
    return prompted, seen, spacing


def _kept(maps: Maps, folder: Path) -> Callable[[], Maps]:
    """Maps in files; opens them."""
    parts = ("foreground", "labels", "geometry")
    files = [in_a_file(folder / f"{part}.npy", getattr(maps, part)) for part in parts]
    kind = maps.kind

    def opened() -> Maps:
        foreground, labels, geometry = (file() for file in files)
        return Maps(kind, foreground, labels, geometry)

    return opened


def kept_annotated(wanted: Annotated, path: Path) -> Callable[[], Annotated]:
    """A reference in files, named as ``path`` and its parts; opens it."""
    parts = ("labels", "ids", "region")
    given = {part: getattr(wanted, part) for part in parts if getattr(wanted, part) is not None}
    files = {part: in_a_file(path.with_name(f"{path.name}-{part}.npy"), values) for part, values in given.items()}

    def opened() -> Annotated:
        return Annotated(**{part: file() for part, file in files.items()})

    return opened


def in_a_file(path: Path, values: np.ndarray) -> Callable[[], np.ndarray]:
    """Write an array; opens it, mapped, so that it is in memory as far as it is looked at."""
    np.save(path, values)
    if not values.size:
        return partial(np.load, path)

    def opened() -> np.ndarray:
        return np.asarray(np.load(path, mmap_mode="r"))

    return opened


def save_cuts(path: Path, cuts: Cuts) -> None:
    """Masks as stretches of voxels: where each begins, and how long it is."""
    breaks = np.diff(cuts.voxels, prepend=-2) != 1
    breaks[cuts.ends[:-1][cuts.sizes > 0]] = True
    first = np.flatnonzero(breaks)
    lengths = np.diff(first, append=len(cuts.voxels))
    arrays: dict[str, Any] = {"iou": cuts.iou, "stability": cuts.stability, "shape": cuts.shape, "ends": cuts.ends}
    np.savez(path, begins=cuts.voxels[first], lengths=lengths.astype(np.int32), **arrays)


def load_cuts(path: Path) -> Cuts:
    """What `save_cuts` wrote."""
    with np.load(path) as held:
        begins, lengths = held["begins"], held["lengths"].astype(np.int64)
        starts = np.repeat(begins - np.r_[0, np.cumsum(lengths)][:-1], lengths)
        z, y, x = held["shape"].tolist()
        return Cuts((z, y, x), starts + np.arange(len(starts)), held["ends"], held["iou"], held["stability"])
