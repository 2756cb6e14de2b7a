"""Files of SAM's weights for micro-SAM's own code: its models, those in its cache, and checkpoints of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from copick_tools.data.hashing import file_hash
from copick_tools.data.temporary import temporary_folder
from copick_tools.engines.adopt import microsam as adopted
from copick_tools.engines.microsam import DECODER, FAMILY, SAM, cached
from copick_tools.engines.vit.names import renamed_back
from copick_tools.errors import UsageError
from copick_tools.training.checkpoint import read

MODELS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of the encoder, as micro-SAM tells them
DEFAULT = "vit_b_em_organelles"


@dataclass(frozen=True)
class SamFiles:
    """What micro-SAM's annotator loads. decoder: a file of its own; None where it is in ``weights``, or there is none."""

    weights: Path
    decoder: Path | None
    model: str


@contextmanager
def sam_files(given: str) -> Iterator[SamFiles]:
    """The files of a model: micro-SAM's own, a name in its cache, or a checkpoint of family sam or microsam, exported for so long.

    Raises NotFoundError, FormatError, UsageError, MissingExtra.
    """
    path = Path(given).expanduser()
    if path.suffix == ".ckpt" and path.is_file():
        with temporary_folder() as folder:
            yield _named(_exported(path, folder / f"{path.stem}.pt"), None)
    elif path.exists():
        yield _named(path, adopted.decoder_beside(path))
    else:
        yield _named(*cached(given))


def _named(weights: Path, decoder: Path | None) -> SamFiles:
    """With the name of the encoder; micro-SAM would run code that is in the files, so they are read without first."""
    sam, found = adopted.weights(weights, decoder)
    width = adopted.sizes(sam, weights).width
    if width not in MODELS:
        raise UsageError(
            f"micro-SAM's annotator takes ViT-B, -L and -H, and {weights} is {width} wide", "another --checkpoint"
        )
    return SamFiles(weights, decoder if found else None, MODELS[width])


def _exported(checkpoint: Path, out: Path) -> Path:
    """A checkpoint of ours as a file of micro-SAM's. Raises FormatError, UsageError."""
    card, found = read(checkpoint)
    weights = found["ema"] if "ema" in found else found["network"]
    sam, decoder = (
        {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        for prefix in (SAM, DECODER)
    )
    if card.recipe.family == "sam":
        from copick_tools.engines.lora import merged

        torch.save(renamed_back(merged(sam)), out)
    elif card.recipe.family == FAMILY:
        torch.save({"model_state": sam, "decoder_state": decoder}, out)
    else:
        raise UsageError(
            f"{checkpoint} is of family {card.recipe.family}, which micro-SAM can't load",
            "give a file of micro-SAM's models, or a checkpoint of family sam or microsam",
        )
    return out


def embeddings_file(folder: Path, run: str, tomogram: str, files: SamFiles) -> Path:
    """Where micro-SAM keeps the embeddings of a tomogram by a model."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--embeddings {folder} can't be written to")
    return folder / f"{run}-{tomogram}-{files.model}-{file_hash(files.weights)[:12]}.zarr"
