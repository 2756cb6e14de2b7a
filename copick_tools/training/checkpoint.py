"""Checkpoints: one file of plain tensors plus JSON, written under a temporary name and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationInfo, field_validator

from copick_tools import __version__
from copick_tools.data.replace import replacing
from copick_tools.errors import FormatError, NotFoundError, PopsicleError
from copick_tools.recipes.load import parse
from copick_tools.recipes.recipe import Patch, Recipe
from copick_tools.recipes.task import Task

FORMAT = "popsicle-checkpoint-1"


class Card(BaseModel):
    """What a checkpoint says of itself. voxel_spacing: angstrom. normalize: percent clipped of the intensities.

    channels: names of the objects that channels 1, 2, … stand for; empty: the task's targets by label. plan: JSON of a
    family that plans its network from the data: at least ``patch`` (zyx), the rest is the family's own. origin: the tool
    that trained it, where that was another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    task: Task
    voxel_spacing: float
    normalize: float
    version: str = __version__
    step: int = 0
    score: float | None = None
    channels: tuple[str, ...] = ()
    plan: dict[str, Any] | None = None
    origin: str | None = None

    @field_validator("plan")
    @classmethod
    def _has_patch(cls, plan: dict[str, Any] | None) -> dict[str, Any] | None:
        if plan is not None:
            TypeAdapter(Patch).validate_python(plan.get("patch"))
        return plan

    @field_validator("channels")
    @classmethod
    def _are_objects(cls, channels: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = {entry.name for entry in info.data["task"].targets} if "task" in info.data else set(channels)
        if channels and (set(channels) != known or len(channels) != len(known)):
            raise ValueError(f"channels {', '.join(channels)} aren't the objects {', '.join(sorted(known))}")
        return channels

    @property
    def objects(self) -> dict[str, int]:
        """Name -> label, in the order of the channels from 1."""
        labels = {entry.name: entry.label for entry in self.task.targets}
        return {name: labels[name] for name in self.channels} if self.channels else labels

    @property
    def patch(self) -> tuple[int, int, int]:
        """zyx of the training patches, which is that of the windows of inference."""
        z, y, x = self.plan["patch"] if self.plan else self.recipe.train.patch or ()
        return int(z), int(y), int(x)


def save(path: Path, card: Card, tensors: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all; equal content gives equal bytes, whatever the name."""
    with replacing(path) as temporary:
        try:
            with temporary.open("wb") as file:  # given a name, torch writes it into the file
                torch.save({"format": FORMAT, "card": card.model_dump_json(), **tensors}, file)
                os.fsync(file.fileno())
        except RuntimeError as error:  # torch's writer, when the disk is full
            raise PopsicleError(f"can't write {path}: {error}", "is the disk full?") from error


def read(path: Path, *, mapped: bool = False) -> tuple[Card, dict[str, Any]]:
    """A checkpoint's card and tensors, on the CPU (``mapped``: read only when used). No code in the file is run.

    Raises NotFoundError, FormatError (foreign, pickled or damaged file).
    """
    if path.is_dir():
        raise NotFoundError(
            f"no checkpoint in {path}",
            "give the best.ckpt of an experiment; a folder of transformers has a config.json whose model_type is sam or sam2",
        )
    if not path.is_file():
        raise NotFoundError(f"no checkpoint {path}", "give the best.ckpt of an experiment")
    try:
        if not mapped:
            _require_intact(path)
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise FormatError(
            f"{path} is no popsicle checkpoint: it isn't a file of plain tensors",
            "files that hold pickled code are never loaded; train with `popsicle train`",
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document.get("card"), str):
        raise FormatError(f"{path} is no popsicle checkpoint (format {FORMAT})", "train with `popsicle train`")
    try:
        card = json.loads(document.pop("card"))
    except json.JSONDecodeError as error:
        raise FormatError(f"{path} is a damaged checkpoint: its card is no JSON") from error
    return parse(Card, card, where=str(path)), document


def _require_intact(path: Path) -> None:
    """Raise BadZipFile where a stored checksum doesn't fit; torch doesn't look."""
    with zipfile.ZipFile(path) as file:
        damaged = file.testzip()
    if damaged:
        raise zipfile.BadZipFile(damaged)


def read_card(path: Path) -> Card:
    """A checkpoint's card alone. Raises NotFoundError, FormatError."""
    return read(path, mapped=True)[0]


def weights_hash(path: Path) -> str:
    """sha256 of the family and the tensors of a checkpoint's network, whatever its card says of tomograms and objects.

    Raises NotFoundError, FormatError.
    """
    card, document = read(path, mapped=True)
    found = hashlib.sha256(card.recipe.family.encode())
    for name, part in sorted(document.get("network", {}).items()):
        found.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        found.update(part.contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
