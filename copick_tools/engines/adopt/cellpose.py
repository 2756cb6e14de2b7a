"""Cellpose-SAM's files, such as `cpsam` and `cpsam_v2`: run here without Cellpose.

A file holds weights alone, whatever its name. Cellpose scales a gray image so that its 1st and 99th percentile are 0 and 1, cuts it
into tiles of 256 x 256 that overlap by a tenth, and averages flows and logits of XY, XZ and YZ slices in 3D. It finds
objects of one kind and doesn't know which: the caller does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from copick_tools.engines import registry
from copick_tools.engines.adopt.objects import Stated
from copick_tools.engines.adopt.weights import Adopted, require_fit
from copick_tools.errors import FormatError
from copick_tools.recipes.load import parse
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.checkpoint import Card

ORIGIN = "Cellpose-SAM"
FAMILY = "cellpose-sam"
OVERLAP, FLOW_ERROR, FEWEST = 0.1, 0.4, 15  # Cellpose's; voxels of the smallest object
OUTPUTS = 4  # background, object, flow y, flow x


def read(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The model of a file. Raises MissingExtra, FormatError, NotFoundError, UsageError."""
    family: Any = registry.engine(FAMILY)
    from copick_tools.engines.vit import stored

    found = stored.read(path)
    if found.readout is None:
        raise FormatError(
            f"{path} holds an image encoder and no maps", f"train with it: family {FAMILY}, -s model.weights={path}"
        )
    name, spacing = stated.one(str(path)), stated.seen_spacing(str(path))
    channels = stated.channels({name: 1}, str(path))
    kind = stated.task.tomo_types[0] if stated.task else "any"
    task = stated.card_task(channels, spacing, kind, ORIGIN)
    model = family.Model(**found.sizes)
    recipe = {
        "task": task.file or task.name,
        "input": f"{kind}@{spacing:g}",
        "model": {"family": FAMILY, **model.model_dump(mode="json")},
        "scaling": "percentiles",
        "target": {"kind": "flows"},
        "train": {"patch": [1, model.image, model.image]},
        "inference": {"overlap": OVERLAP},
        "instances": {"flow_error": FLOW_ERROR, "min_volume": FEWEST * (spacing / 10) ** 3},
    }
    card = Card(
        recipe=parse(Recipe, recipe, where=str(path)),
        task=task,
        voxel_spacing=spacing,
        normalize=0.0,
        channels=(channels[0].name,),
        origin=ORIGIN,
    )
    encoder = stored.fitted(found, model.patch_size, model.image)
    network = {f"encoder.{key}": value for key, value in encoder.items()}
    network |= {f"readout.{key}": value for key, value in family.read_out(found.readout, 2, True).items()}
    require_fit(network, partial(family.build, model, OUTPUTS), path, "a Cellpose-SAM of its sizes")
    yield Adopted(path.stem, card, network)
