"""Promptable models as transformers writes them, such as `sam-vit-base`, `sam2.1-hiera-tiny` or `sam3`, and segment_anything's files.

Such a model answers prompts and says nothing of each voxel, so instances are made by a grid of prompts (automatic mask
generation). It finds objects of one kind and doesn't know which: the caller does. It sees tomograms as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from copick_tools.engines import registry
from copick_tools.engines.adopt.objects import Stated
from copick_tools.engines.adopt.promptable import FAMILIES
from copick_tools.engines.adopt.weights import Adopted, require_fit
from copick_tools.recipes.load import parse
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.checkpoint import Card
from copick_tools.training.data import CLIP

ORIGIN = "transformers"


def read(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The model of a folder, or of a file of segment_anything. Raises MissingExtra, FormatError, NotFoundError, UsageError."""
    registry.engine("sam")  # or its extra is missing
    from copick_tools.engines.promptable import stored

    config = stored.config_of(path)
    name, spacing = stated.one(str(path)), stated.seen_spacing(str(path))
    channels = stated.channels({name: 1}, str(path))
    kind = stated.task.tomo_types[0] if stated.task else "any"
    task = stated.card_task(channels, spacing, kind, ORIGIN)
    family = FAMILIES[config["model_type"]]
    engine: Any = registry.engine(family)
    model = engine.Model(config=config)
    side = engine.side(model)
    recipe = {
        "task": task.file or task.name,
        "input": f"{kind}@{spacing:g}",
        "model": {"family": family, **model.model_dump(mode="json")},
        "target": {"kind": "instances"},
        "train": {"patch": [1, side, side]},
        "instances": {"views": "stitched"},
        "prompting": {"mode": "amg"},
    }
    card = Card(
        recipe=parse(Recipe, recipe, where=str(path)),
        task=task,
        voxel_spacing=spacing,
        normalize=CLIP,
        channels=(channels[0].name,),
        origin=ORIGIN,
    )
    network = {f"sam.{key}": value for key, value in stored.weights_of(path, config).items()}
    require_fit(network, partial(engine.build, model), path, f"a {config['model_type']} of its configuration")
    yield Adopted(path.stem, card, network)
