"""micro-SAM's files as checkpoints of ours: its zoo's (bioimage.io), and what its `export_custom_sam_model` writes.

A file holds the weights of Segment Anything; those of the decoder are in it, too, as `decoder_state`, or in a file beside it with
`_decoder` at the end of its name. It finds objects of one kind and doesn't know which: the caller does. Without a decoder it is
Segment Anything, which family sam runs without micro-SAM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from copick_tools.engines.adopt.objects import Stated
from copick_tools.engines.adopt.weights import Adopted, Tensors, plain, tensors
from copick_tools.engines.microsam import DECODER, FAMILY, PATCH, SAM, WINDOW, Model, cached
from copick_tools.errors import FormatError
from copick_tools.recipes.load import parse
from copick_tools.recipes.recipe import Recipe
from copick_tools.training.checkpoint import Card

ORIGIN = "micro-SAM"
NAME = re.compile(r"vit_[a-z](_\w+)?")  # of micro-SAM's own models
PREFIX = "sam."  # of weights in checkpoints of its trainer
ENCODER = "image_encoder."
SMOOTHING = 1.6  # pixels; micro-SAM's, of distances before they are used


def read(path: Path, stated: Stated) -> Iterator[Adopted]:
    """The model of a file, or of a name in micro-SAM's cache. Raises FormatError, NotFoundError, UsageError, MissingExtra."""
    file, beside = (path, decoder_beside(path)) if path.exists() else cached(path.name)
    sam, decoder = weights(file, beside)
    if not decoder:  # nothing that it takes micro-SAM for
        from copick_tools.engines.adopt.transformers import read as prompted

        yield from prompted(file, stated)
        return
    name, spacing = stated.one(str(path)), stated.seen_spacing(str(path))
    channels = stated.channels({name: 1}, str(path))
    kind = stated.task.tomo_types[0] if stated.task else "any"
    task, model = stated.card_task(channels, spacing, kind, ORIGIN), sizes(sam, file)
    card = Card(
        recipe=parse(Recipe, _recipe(task.file or task.name, f"{kind}@{spacing:g}", model), where=str(path)),
        task=task,
        voxel_spacing=spacing,
        normalize=0.0,
        channels=(channels[0].name,),
        origin=ORIGIN,
    )
    network = {f"{SAM}{key}": value for key, value in sam.items()}
    yield Adopted(path.stem, card, network | {f"{DECODER}{key}": value for key, value in decoder.items()})


def _recipe(task: str, tomograms: str, model: Model) -> dict[str, Any]:
    """As micro-SAM makes instances of the decoder's maps."""
    return {
        "task": task,
        "input": tomograms,
        "model": {"family": FAMILY, **model.model_dump(mode="json")},
        "target": {"kind": "distances"},
        "train": {"patch": [1, model.image, model.image]},
        "instances": {"views": "stitched", "smoothing": SMOOTHING},
    }


def weights(file: Path, beside: Path | None = None) -> tuple[Tensors, Tensors]:
    """SAM's weights and the decoder's, none where there are none. beside: a file of the decoder's. Raises FormatError."""
    found = _plain(file)
    whole = isinstance(found, Mapping) and "model_state" in found
    sam = tensors(found["model_state"] if whole else found, file)
    sam = {name.removeprefix(PREFIX): value.float() for name, value in sam.items()}
    if not any(name.startswith(ENCODER) for name in sam):
        raise FormatError(
            f"{file} holds no image encoder of Segment Anything",
            "give a file of micro-SAM's models, as vit_b.pt",
        )
    if whole and "decoder_state" in found:
        decoder = tensors(found["decoder_state"], file)
    else:
        decoder = tensors(_plain(beside), beside) if beside else {}
    return sam, {name: value.float() for name, value in decoder.items() if not name.startswith("encoder.")}


def _plain(file: Path) -> Any:
    """What a file holds. Raises FormatError, for a checkpoint of micro-SAM's trainer too, which holds code."""
    try:
        return plain(file, mapped=True)
    except FormatError as error:
        if not isinstance(error.__cause__, UnpicklingError):
            raise
        raise FormatError(
            f"{error.message}; {error.hint}",
            "if micro-SAM trained it, export it: micro_sam.util.export_custom_sam_model(…, with_segmentation_decoder=True)",
        ) from error


def decoder_beside(file: Path) -> Path | None:
    """The decoder's file, as the models of bioimage.io have it: vit_b_decoder.pt beside vit_b.pt."""
    beside = file.with_name(f"{file.stem}_decoder{file.suffix}")
    return beside if beside.is_file() else None


def sizes(sam: Tensors, file: Path) -> Model:
    """Settings of the family, as the shapes of the weights tell. Raises FormatError for another encoder than SAM's ViT."""
    try:
        filters, positions = sam[f"{ENCODER}patch_embed.proj.weight"], sam[f"{ENCODER}pos_embed"]
        turns = {int(n.split(".")[2]): v.shape for n, v in sam.items() if n.endswith(".attn.rel_pos_h")}
        if filters.shape[-1] != PATCH:
            raise ValueError(f"patches of {filters.shape[-1]} pixels")
        return Model(
            width=filters.shape[0],
            depth=len(turns),
            heads=filters.shape[0] // turns[0][1],
            wide=tuple(sorted(block for block, shape in turns.items() if shape[0] != 2 * WINDOW - 1)),
            image=positions.shape[1] * PATCH,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise FormatError(
            f"{file} has another image encoder than SAM's ViT-B, -L and -H: {error}",
            "ViT-T needs MobileSAM, which isn't on the package index",
        ) from error
