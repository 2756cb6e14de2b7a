"""`popsicle segment … -o …?instance=true`: tomograms to the instances that a network has learned to tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import SegmentationUri
from copick_tools.data.write import has_segmentation, write_segmentation_volume
from copick_tools.errors import NotFoundError, UsageError, nearest
from copick_tools.recipes.decoding import check_views, decoding, uncut
from copick_tools.recipes.instance_thresholds import mode_of
from copick_tools.recipes.load import told
from copick_tools.recipes.prompting import Prompting
from copick_tools.recipes.recipe import Instances as MadeInto
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.task import Task
from copick_tools.types import Integers
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.decoding import Instances
from copick_tools.volumes.normalize import Volume
from copick_tools.volumes.pieces import dtype_for
from copick_tools.workflows.prompting import Answering, Asked

if TYPE_CHECKING:
    from copick_tools.inference.extract import MakeSample
    from copick_tools.training.checkpoint import Card

ALL = "*"


def checked(card: Card, output: SegmentationUri, settings: Sequence[str], several: bool) -> Recipe:
    """The recipe of a checkpoint with what was set instead.

    Raises UsageError for a network that tells no instances apart, or several; NotFoundError for an object it doesn't know.
    """
    recipe = card.recipe
    if not recipe.instanced:
        raise UsageError(
            f"the model predicts classes, not instances: '{output}'",
            "write ?multilabel=true, then popsicle instances; or train with target.kind distances, flows or boundary",
        )
    if several:
        raise UsageError("instances of several checkpoints can't be averaged", "give one checkpoint")
    if output.kind == "instance" and output.name not in (ALL, *card.objects):
        raise NotFoundError(f"the model knows no object '{output.name}'", nearest(output.name, card.objects))
    chosen, prompting = set_parts(recipe, settings)
    recipe = recipe.model_copy(update={"instances": chosen, "prompting": prompting})
    if recipe.misplaced:
        raise UsageError(recipe.misplaced)
    uncut(recipe, card.task)
    check_views(recipe)
    return recipe


def set_parts(recipe: Recipe, settings: Sequence[str]) -> tuple[MadeInto, Prompting]:
    """The parts of a recipe that say how instances are made, with ``instances.KEY=VALUE`` and ``prompting.KEY=VALUE``."""
    parts = {name: [said for said in settings if said.startswith(f"{name}.")] for name in ("instances", "prompting")}
    if other := [said for said in settings if said not in (*parts["instances"], *parts["prompting"])]:
        raise UsageError(
            f"--set {other[0]}: only keys of instances and prompting can be set here",
            "for example -s instances.foreground=0.5 or -s prompting.mode=apg",
        )
    return told(recipe.instances, parts["instances"], "instances"), told(
        recipe.prompting, parts["prompting"], "prompting"
    )


def outputs(output: SegmentationUri, task: Task) -> dict[str, SegmentationUri]:
    """What is written of a run: by object, or for all objects together ("")."""
    if output.kind == "panoptic":
        return {"": output}
    names = [entry.name for entry in task.targets] if output.name == ALL else [output.name]
    return {name: replace(output, name=name) for name in names}


def are_finished(project: Project, run: str, output: SegmentationUri, task: Task) -> bool:
    """Whether all outputs of a run are there."""
    return all(has_segmentation(project, run, uri) for uri in outputs(output, task).values())


@dataclass(frozen=True)
class Telling:
    """An opened network that tells instances apart. recipe: as it was set. output: where to write. answering: what answers
    its prompts, where there are any.
    """

    predictor: Any
    task: Task
    recipe: Recipe
    output: SegmentationUri
    answering: Answering | None = None

    @classmethod
    def of(cls, predictor: Any, task: Task, recipe: Recipe, output: SegmentationUri) -> Telling:
        """With the views that the recipe names."""
        from copick_tools.inference.views import seeing

        if not _says_something(predictor) and not hasattr(predictor, "promptable"):
            raise UsageError(f"family {recipe.family} has no maps of instances", "see docs/engines.md")
        if hasattr(predictor, "prompting"):  # what sees slices sees tiles as its prompts do
            predictor = replace(predictor, prompting=recipe.prompting)
        chosen = seeing(predictor, recipe.instances.views) if recipe.planar else predictor
        return cls(chosen, task, recipe, output)

    def prompted(self, asked: Asked, project: Project, device: str) -> Telling:
        """The same, where a promptable model makes the masks. Raises UsageError for what can't be prompted, or not like that."""
        mode = mode_of(self.recipe.prompting, asked.model)
        prompting = self.recipe.prompting.model_copy(update={"mode": mode})
        if prompting.mode is None:
            if not _says_something(self.predictor):
                raise UsageError("this model makes masks of prompts alone", "-s prompting.mode=amg")
            if asked.embeddings is not None:
                raise UsageError(
                    "--embeddings are of models that are prompted", "-s prompting.mode=apg, or leave --embeddings out"
                )
            return self
        recipe = self.recipe.model_copy(update={"prompting": prompting})
        mapped = getattr(self.predictor, "geometry", None) is not None
        label = None if mapped else only_label(self.output, self.task)
        place = project, self.task, label
        return replace(self, recipe=recipe, answering=Answering.of(self.predictor, asked, recipe, place, device))

    def found(self, stored: read.StoredVolume, volume: Volume, sample: MakeSample | None) -> tuple[Instances, float]:
        """The instances in a tomogram, and the voxel spacing (angstrom) of their grid."""
        from copick_tools.inference.mapped import predict_instances

        how = partial(decoding, self.recipe, self.task)
        predictor = self.predictor if self.answering is None else self.answering.on(stored, volume)
        return predict_instances(predictor, volume, stored.voxel_spacing, f"run {stored.run}", how, sample)

    def write(
        self, project: Project, stored: read.StoredVolume, found: tuple[Instances, float], *, overwrite: bool
    ) -> dict[str, int]:
        """Store what was `found` on the grid of its tomogram; how many there are of each object that was stored.

        overwrite: objects that have instances there already, too, else those stay.
        """
        instances, spacing = found
        named = {entry.name: entry.label for entry in self.task.targets}
        numbers, counts = instances.of(list(named.values()))
        ids: Volume = instances.ids
        if (ids.shape, spacing) != (stored.shape, stored.voxel_spacing):
            ids = OnGrid(instances.ids, spacing / stored.voxel_spacing, stored.shape)
        wanted = outputs(self.output, self.task)
        written = {n: uri for n, uri in wanted.items() if overwrite or not has_segmentation(project, stored.run, uri)}
        for name, uri in written.items():
            objects = instances.objects
            own = numbers if not name else np.where(objects == named[name], numbers, 0)
            channels = [objects, own] if uri.kind == "panoptic" else [own]
            dtype = dtype_for(int(max(channel.max() for channel in channels)))
            at = replace(uri, voxel_spacing=stored.key_spacing)
            write_segmentation_volume(project, stored.run, at, Named(ids, channels), dtype)
        shown = named if "" in written else written
        return {name: counts[named[name]] for name in shown}


def _says_something(predictor: Any) -> bool:
    """Whether a network tells instances apart without prompts."""
    return getattr(predictor, "geometry", None) is not None or hasattr(predictor, "instances")


def only_label(output: SegmentationUri, task: Task) -> int:
    """The label of the one object that an output is of. Raises UsageError where it isn't of one, for the model knows none."""
    found = [entry.label for entry in task.targets if entry.name == output.name]
    if output.kind != "instance" or not found:
        example = task.targets[0].name
        raise UsageError(
            f"the model finds masks and no objects' names, so '{output}' has to name one object",
            f"for example -o {example}:{output.user}/{output.session}?instance=true",
        )
    return found[0]


class Named:
    """Ids (zyx) by what tables call them, (C, z, y, x), or zyx for one table; made where it is sliced.

    >>> Named(np.array([[[0, 2, 1]]]), [np.array([0, 7, 9])])[:, :, :].tolist()
    [[[0, 9, 7]]]
    """

    def __init__(self, ids: Volume, tables: Sequence[Integers]) -> None:
        self.ids, self.tables, self.shape = ids, tables, ids.shape

    def __getitem__(self, region: Any) -> Integers:
        ids = np.asarray(self.ids[region])
        found = [table[ids] for table in self.tables]
        return found[0] if len(found) == 1 else np.stack(found)
