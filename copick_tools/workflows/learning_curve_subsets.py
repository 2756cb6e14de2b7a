"""Nested parts of a training set, by the number of annotated objects, as annotated regions of tomograms."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from copick_tools.data import read
from copick_tools.data.hashing import text_hash
from copick_tools.data.uris import SegmentationUri, picks_uri, segmentation_uri
from copick_tools.data.write import has_segmentation, write_segmentation
from copick_tools.errors import PopsicleError
from copick_tools.types import Floats, Integers, Mask
from copick_tools.volumes.annotating import (
    Sweep,
    annotated_instances,
    annotated_particles,
    connected_parts,
    numbered,
)
from copick_tools.volumes.components import zyx
from copick_tools.volumes.coordinates import to_voxels

if TYPE_CHECKING:
    from copick_tools.training.data import TrainingData

USER, NAME = "learning-curve", "annotated"
UNITS = {"fbeta": "picks", "dice": "connected parts of a label", "instances": "instances"}  # objects, by metric


@dataclass(frozen=True)
class Objects:
    """The objects of a run. shape: zyx of its tomogram. centers: (N, 3) zyx in voxels. names: (N,)."""

    run: str
    shape: tuple[int, int, int]
    centers: Floats
    names: tuple[str, ...]

    def swept(self, sweep: Sweep) -> Objects:
        """The same in the order that they are reached."""
        order = sweep.order(self.centers)
        return Objects(self.run, self.shape, self.centers[order], tuple(self.names[index] for index in order))


@dataclass(frozen=True)
class Subset:
    """What is annotated. whole: runs, all of each. part: a run, in order of ``sweep``, up to so many objects of it; None where
    nothing is cut. share: of the voxels of all training runs.
    """

    seed: int
    objects: int
    by_object: dict[str, int]
    whole: tuple[str, ...]
    part: tuple[Objects, Sweep, int] | None
    share: float

    @property
    def runs(self) -> list[str]:
        """All in which something is annotated."""
        return sorted([*self.whole, *([self.part[0].run] if self.part else [])])


@dataclass(frozen=True)
class Annotations:
    """The training set of a recipe: what is annotated in it, and parts of that."""

    data: TrainingData

    @property
    def unit(self) -> str:
        """What objects are."""
        return UNITS[self.data.task.metric.name]

    @cached_property
    def all(self) -> list[Objects]:
        """The objects of all training runs, by run. Raises PopsicleError where there are none."""
        found = [self._objects(run) for run in sorted(self.data.train)]
        if not any(objects.names for objects in found):
            raise PopsicleError(
                f"no {self.unit} in the {len(found)} training runs, of {', '.join(self._labels.values())}",
                "the task's reference says what is annotated; reference and target.region in the recipe may change it",
            )
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How many there are, by object."""
        counted = Counter(name for objects in self.all for name in objects.names)
        return {name: counted[name] for name in self._labels.values()}

    def subset(self, count: int, seed: int) -> Subset:
        """The first ``count`` objects: one run after the other, each from one of its sides, both by chance.

        Of one seed, a larger one holds the smaller ones. count: from 1 to all.
        """
        rng = np.random.default_rng(seed)
        by_run = [self.all[index] for index in rng.permutation(len(self.all))]
        sweeps = [Sweep(int(rng.integers(1, 3)), bool(rng.integers(2))) for _ in by_run]
        total = float(sum(np.prod(objects.shape) for objects in by_run))
        whole: list[str] = []
        names: list[str] = []
        part, voxels, left = None, 0.0, count
        for objects, sweep in zip(by_run, sweeps):
            if left < len(objects.names):
                reached = objects.swept(sweep)
                part = (reached, sweep, left) if left else None
                names += reached.names[:left]
                voxels += np.prod(objects.shape) * (sweep.share(reached.shape, reached.centers, left) if left else 0)
                break
            whole.append(objects.run)
            names += objects.names
            voxels += np.prod(objects.shape)
            left -= len(objects.names)
        counted = Counter(names)
        by_object = {name: counted[name] for name in self._labels.values()}
        return Subset(seed, len(names), by_object, tuple(whole), part, float(voxels / total))

    def region(self, subset: Subset) -> SegmentationUri | None:
        """Where its annotated region is stored; None where whole runs are annotated, which needs none.

        The session says what the region was made of: another truth is another region.
        """
        if subset.part is None:
            return None
        objects, sweep, count = subset.part
        recipe, target = self.data.recipe, self.data.recipe.target
        made_of = [
            *(recipe.input, recipe.reference or self.data.task.reference),
            *(target.uri, target.region, target.ignore_label, self._reach),
            *((entry.name, entry.radius) for entry in self.data.task.targets),
            *(objects.run, repr(sweep), objects.centers.round(3).tolist(), objects.names, count),
            *(subset.runs, self.data.validation),
        ]
        session = f"{count}-of-{objects.run}-{text_hash(json.dumps(made_of))[:10]}"
        return SegmentationUri(NAME, USER, "".join(c if c.isalnum() else "-" for c in session), None, "multilabel")

    def write(self, subset: Subset) -> None:
        """Store its annotated region where it isn't yet, for validation runs as well: of these all is annotated."""
        uri = self.region(subset)
        if uri is None or subset.part is None:
            return
        project, (objects, sweep, count) = self.data.project, subset.part
        for run in [*subset.runs, *self.data.validation]:
            if has_segmentation(project, run, uri):
                continue
            tomogram = self.data.tomogram(run)
            mask = self._mask(objects, sweep, count) if run == objects.run else np.ones(tomogram.shape, bool)
            given = self._given(run)
            mask = mask if given is None else mask & given
            stored = SegmentationUri(uri.name, uri.user, uri.session, tomogram.key_spacing, uri.kind)
            write_segmentation(project, run, stored, mask.astype(np.uint8))

    @property
    def _labels(self) -> dict[int, str]:
        """Names of the objects by label: those that count."""
        targets = self.data.task.targets
        counted = [entry for entry in targets if entry.is_particle or self.data.task.metric.name != "fbeta"]
        return {entry.label: entry.name for entry in counted}

    @property
    def _reach(self) -> float:
        """Of a pick's radius: how far what is learned of it goes."""
        target = self.data.recipe.target
        return max(1.0, 3 * target.sigma_fraction if target.kind == "gaussian" else target.radius_fraction)

    def _given(self, run: str) -> Mask | None:
        """The recipe's own annotated region."""
        uri = self.data.recipe.target.region
        if uri is None:
            return None
        stored = read.read_segmentation(self.data.project, run, segmentation_uri(uri))
        stored.require_shape(self.data.tomogram(run))
        return stored.numpy() != 0

    def _objects(self, run: str) -> Objects:
        shape = zyx(self.data.tomogram(run))
        if self.data.task.metric.name == "fbeta":
            return Objects(run, shape, *self._particles(run))
        _, centers, labels = numbered(*self._shapes(run), Sweep(1, False))
        return Objects(run, shape, centers, tuple(self._labels[label] for label in labels.tolist()))

    def _mask(self, objects: Objects, sweep: Sweep, count: int) -> Mask:
        if self.data.task.metric.name != "fbeta":
            numbers, centers, _ = numbered(*self._shapes(objects.run), sweep)
            return annotated_instances(numbers, centers, count, sweep)
        radius = {entry.name: self._reach * (entry.radius or 0.0) for entry in self.data.task.targets}
        voxel_spacing = self.data.tomogram(objects.run).voxel_spacing
        radii = np.array([radius[name] for name in objects.names]) / voxel_spacing
        return annotated_particles(objects.shape, objects.centers, radii, count, sweep)

    def _particles(self, run: str) -> tuple[Floats, tuple[str, ...]]:
        """Centers in voxels and names of the picks that lie where something is annotated."""
        tomogram, wanted = self.data.tomogram(run), self._labels.values()
        uri = picks_uri(self.data.recipe.reference or self.data.task.reference)
        found = {name: p for name, p in read.read_picks(self.data.project, run, [uri]).items() if name in wanted}
        names = np.array([name for name, picks in found.items() for _ in range(len(picks))], dtype=object)
        centers = np.concatenate(
            [np.empty((0, 3)), *(to_voxels(picks.positions, tomogram.voxel_spacing) for picks in found.values())]
        )
        voxels = np.round(centers).astype(int)
        inside = ((voxels >= 0) & (voxels < np.array(tomogram.shape))).all(axis=1)
        if (given := self._given(run)) is not None:
            inside[inside] = given[tuple(voxels[inside].T)]
        return centers[inside], tuple(names[inside].tolist())

    def _shapes(self, run: str) -> tuple[Integers, Integers]:
        """Labels and ids of the objects, zyx, where something is annotated."""
        from copick_tools.training.annotated import grid_of, read_annotated
        from copick_tools.training.data import labels_of

        data, target = self.data, self.data.recipe.target
        tomogram, project = data.tomogram(run), data.project
        uri = segmentation_uri(target.uri or data.recipe.reference or data.task.reference)
        if data.task.metric.name == "instances":
            if uri.kind not in ("instance", "panoptic"):
                uri = segmentation_uri(data.recipe.reference or data.task.reference)
            found = read_annotated(project, run, uri, data.task.targets, grid_of(tomogram, tomogram.voxel_spacing))
            labels, ids = found.labels, found.ids
        else:
            stored = labels_of(read.read_segmentation(project, run, uri))
            stored.require_shape(tomogram)
            labels, ids = stored.numpy(), None
        labels = np.where(np.isin(labels, list(self._labels)) & self._counts(run, labels), labels, 0)
        return labels, connected_parts(labels) if ids is None else ids

    def _counts(self, run: str, labels: Integers) -> Mask:
        """Where something is annotated, by the recipe's own region and label to ignore. labels: zyx."""
        given, ignored = self._given(run), self.data.recipe.target.ignore_label
        known = labels != ignored if ignored is not None else np.ones(labels.shape, bool)
        return known if given is None else known & given


def powers(total: int) -> list[int]:
    """1, 2, 4, …, and all.

    >>> powers(11), powers(8)
    ([1, 2, 4, 8, 11], [1, 2, 4, 8])
    """
    found = [2**power for power in range(total.bit_length()) if 2**power < total]
    return [*found, total]
