"""Promptable models for `segment` and `embed`: where they come from, and where their embeddings are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copick_tools.data import read, uris
from copick_tools.data.embeddings import Embeddings, open_embeddings, voxels_hash
from copick_tools.data.project import Project
from copick_tools.engines import registry
from copick_tools.errors import UsageError
from copick_tools.recipes.task import Task
from copick_tools.volumes.blocks import OnGrid
from copick_tools.volumes.normalize import Volume

if TYPE_CHECKING:
    from copick_tools.inference.encoded import Encoded
    from copick_tools.inference.prompted import Prompted
    from copick_tools.recipes.recipe import Recipe

ORACLE = "oracle:"


@dataclass(frozen=True)
class Asked:
    """What answers prompts. model: a checkpoint, ``oracle:URI``, or None for the checkpoint itself. embeddings: a folder."""

    model: str | Path | None = None
    embeddings: Path | None = None
    overwrite: bool = False

    @property
    def oracle(self) -> uris.SegmentationUri | None:
        """The reference that an oracle answers from. Raises UsageError for one without instances."""
        if not isinstance(self.model, str) or not self.model.startswith(ORACLE):
            return None
        uri = uris.segmentation_uri(self.model.removeprefix(ORACLE))
        if uri.kind not in ("instance", "panoptic"):
            raise UsageError(
                f"{self.model}: an oracle answers from instances", "end it with ?instance=true or ?panoptic=true"
            )
        return uri

    def check(self) -> None:
        """Raise UsageError for an oracle without instances, and for embeddings of one."""
        if self.oracle is not None and self.embeddings is not None:
            raise UsageError("an oracle doesn't look at images, so there are no embeddings", "leave --embeddings out")


@dataclass(frozen=True)
class Answering:
    """A network and what answers its prompts, opened. label: of all objects, where the network says nothing of labels."""

    network: Any
    asked: Asked
    recipe: Recipe
    task: Task
    project: Project
    label: int | None
    opened: Any = None  # a predictor that has a promptable model, None with an oracle

    @classmethod
    def of(
        cls, network: Any, asked: Asked, recipe: Recipe, place: tuple[Project, Task, int | None], device: str
    ) -> Answering:
        """place: project, task and label. Raises UsageError for models that answer no prompts, or not those of the recipe."""
        from copick_tools.inference.prompted import check

        project, task, label = place
        opened = None
        if asked.oracle is None:
            opened = network if asked.model is None else registry.load(Path(asked.model), device)
            require_promptable(opened, asked.model)
        check(network, recipe.prompting, getattr(opened, "follower", None))
        return cls(network, asked, recipe, task, project, label, opened)

    def on(self, stored: read.StoredVolume, volume: Volume) -> Prompted:
        """A predictor for one tomogram. volume: its voxels."""
        from copick_tools.inference.prompted import Prompted

        label, stitch = self.label, self.recipe.instances.stitch
        if self.opened is None:
            model = self._oracle(stored, volume)
            return Prompted(self.network, model, self.recipe.prompting, label=label, stitch=stitch)
        keeping = None if self.asked.embeddings is None else keeper(self.asked, stored)
        found = Prompted(self.network, self.opened.promptable, self.recipe.prompting, label=label, store=keeping)
        scaling = self.opened.normalize, getattr(self.opened, "scaling", "deviations")
        return replace(found, follower=getattr(self.opened, "follower", None), scaling=scaling, stitch=stitch)

    def _oracle(self, stored: read.StoredVolume, volume: Volume) -> Any:
        """It knows the reference on the grid that the network sees."""
        from copick_tools.inference.extract import on_models_grid
        from copick_tools.inference.oracle import Oracle
        from copick_tools.training.annotated import grid_of, read_annotated

        uri = self.asked.oracle
        assert uri is not None
        found = read_annotated(self.project, stored.run, uri, self.task.targets, grid_of(volume, stored.voxel_spacing))
        keys = found.labels.astype(np.int64) * (int(found.ids.max(initial=0)) + 1) + found.ids
        keys[found.ids == 0] = 0
        ids = np.unique(keys, return_inverse=True)[1].reshape(keys.shape)  # background comes first, if there is any
        ids = np.where(keys == 0, 0, ids + int(keys.min() > 0)).astype(np.uint32)
        seen, spacing, _ = on_models_grid(self.network, volume, stored.voxel_spacing, f"run {stored.run}")
        z, y, x = seen.shape
        return Oracle(OnGrid(ids, stored.voxel_spacing / spacing, (z, y, x)), str(uri))


def require_promptable(predictor: Any, name: Any = None) -> None:
    """Raise UsageError where a predictor answers no prompts."""
    if not hasattr(predictor, "promptable"):
        said = "this model" if name is None else str(name)
        raise UsageError(
            f"{said} answers no prompts",
            "give a model that does by --promptable: a checkpoint of family sam or sam2, or a folder of transformers",
        )


def keeper(asked: Asked, stored: read.StoredVolume) -> Callable[[Encoded], Embeddings]:
    """Opens the store of a tomogram's embeddings, once it is known what exactly is encoded."""
    assert asked.embeddings is not None
    path = asked.embeddings / stored.run / f"{stored.name.replace('/', '-')}.zarr"

    def opened(encoded: Encoded) -> Embeddings:
        tiles = [[[part.start, part.stop] for part in tile.outer] for tile in encoded.tiles]
        signature = {
            "model": encoded.model.identity,
            "image": voxels_hash(encoded.volume),
            "normalization": [f"{value:.6g}" for value in encoded.statistics],  # another processor may round otherwise
            "tiling": tiles,
        }
        return open_embeddings(path, signature, (encoded.shape[0], len(tiles)), overwrite=asked.overwrite)

    return opened


def encode(prompted: Prompted, volume: Volume) -> tuple[int, int]:
    """Encode all of a zyx volume, on the model's grid, into its store; how many tiles were encoded, and how many were there."""
    encoded = prompted.encoded(volume)
    assert encoded.store is not None
    missing = [(z, tile) for z, tile in encoded.every() if not encoded.store.has(z, tile)]
    for z, tile in missing:
        encoded.embedding(z, tile)
    return len(missing), encoded.shape[0] * len(encoded.tiles) - len(missing)
