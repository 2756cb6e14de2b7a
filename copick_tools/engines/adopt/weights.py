"""Tensors of other tools: read without running code, compared with a network, written as a checkpoint of ours."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar

from copick_tools.engines.adopted import UNBUILT
from copick_tools.errors import FormatError
from copick_tools.training.checkpoint import Card

Tensors = dict[str, torch.Tensor]
NUMPY = (
    scalar,
    (scalar, "numpy.core.multiarray.scalar"),  # its name before numpy 2
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"},
)
WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
DAMAGED = (
    *(RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, AssertionError),
    *(zipfile.BadZipFile, struct.error),
)


@dataclass(frozen=True)
class Adopted:
    """A model of another tool. name: of its fold, where there may be several."""

    name: str
    card: Card
    network: Tensors


def plain(path: Path, *, numpy: bool = False, mapped: bool = False) -> Any:
    """What ``torch.save`` wrote, on the CPU, if it is plain tensors, numbers and text; numpy: numpy's numbers too.

    mapped: read only when used, where the file's format allows it.

    Raises FormatError for a damaged file and for one that holds code, none of which is run.
    """
    try:
        with torch.serialization.safe_globals(list(NUMPY) if numpy else []):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks for {found[1]}" if found else "it isn't a file of plain tensors"
        raise FormatError(f"{path} isn't loaded: {what}", "files that hold pickled code are never run") from error
    except DAMAGED as error:
        raise FormatError(
            f"{path} is damaged, or no file of tensors", "copy it again from where it was made"
        ) from error


def tensors(found: Any, path: Path) -> Tensors:
    """A state_dict, without the prefixes that wrappers of a network leave. Raises FormatError."""
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise FormatError(f"{path} holds no weights: expected a state_dict, names and tensors")
    names = {str(name): tensor for name, tensor in found.items()}
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in names):
            names = {name.removeprefix(wrapper): tensor for name, tensor in names.items()}
    return names


def require_fit(found: Tensors, build: Callable[[], torch.nn.Module], path: Path, what: str) -> None:
    """Raise FormatError unless the tensors are those of the network that ``build`` makes. what: it, in words.

    The network is made on the meta device: nothing is computed.
    """
    try:
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    except UNBUILT as error:
        raise FormatError(f"{path}: {what} can't be built: {' '.join(str(error).split())}") from error
    here = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if wanted == here:
        return
    lacking, more = sorted(wanted.keys() - here.keys()), sorted(here.keys() - wanted.keys())
    odd = sorted(name for name in wanted.keys() & here.keys() if wanted[name] != here[name])
    if lacking:
        reason = f"{len(lacking)} of its {len(wanted)} tensors aren't there, {lacking[0]} for one"
    elif more:
        reason = f"it has no {more[0]}"
    else:
        reason = f"{odd[0]} is {list(here[odd[0]])} in the file, not {list(wanted[odd[0]])}"
    raise FormatError(
        f"{path}: the weights aren't those of {what}: {reason}", "do weights and configuration belong together?"
    )
