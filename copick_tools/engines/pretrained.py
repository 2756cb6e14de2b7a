"""Folders that transformers wrote: what they say of their network, and what reading them may raise. Nothing is fetched."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from copick_tools.errors import FormatError

FILES = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
UNBUILT = (  # by configurations whose values don't go together
    *(ValueError, TypeError, KeyError, AttributeError, RuntimeError, ZeroDivisionError, IndexError, AssertionError),
    StrictDataclassError,
)
UNREADABLE = (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError)


def stated(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """What a folder calls its network, "none" where it doesn't, and all that it says of it. Raises FormatError."""
    path = folder / "config.json"
    if not path.is_file() or not any((folder / name).is_file() for name in FILES):
        raise FormatError(
            f"no config.json with model.safetensors or pytorch_model.bin in {folder}",
            "give a folder that transformers wrote",
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no JSON") from error
    found = document if isinstance(document, dict) else {}
    return str(found.get("model_type", "none")), found


def configured(made: Any, document: Mapping[str, Any], folder: Path) -> Any:
    """A configuration of transformers' class ``made``. Raises FormatError where the document makes none."""
    try:
        return made.from_dict(dict(document))
    except UNBUILT as error:
        kind = made.__name__.removesuffix("Config")
        raise FormatError(f"{folder / 'config.json'} makes no {kind}: {short(error)}") from error


def unread(folder: Path, error: Exception) -> FormatError:
    """The error to raise for weights that transformers couldn't load: pickled code, which is never run, or a damaged file."""
    if isinstance(error, pickle.UnpicklingError):
        return FormatError(
            f"the weights in {folder} aren't loaded: they are no plain tensors",
            "files that hold pickled code are never run; give a model.safetensors",
        )
    return FormatError(
        f"the weights in {folder} can't be read: {short(error)}", "copy them again from where they are from"
    )


def short(error: Exception) -> str:
    """An error of transformers, which may be pages long, on a line."""
    return " ".join(str(error).split())[:300]
