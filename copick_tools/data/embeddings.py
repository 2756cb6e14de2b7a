"""Embeddings of tomograms, kept in a folder: encoded once, on a machine with a GPU perhaps, and used ever after.

A folder holds ``RUN/NAME.zarr``. In it, each part of an embedding is an array (slices, tiles, …) with a chunk for each tile of
each slice, with a checksum, and ``done`` says which are there; it is written last. The attribute ``signature`` says what was
encoded, and how; ``parts`` names the arrays.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import CRC32

from copick_tools.errors import FormatError, PopsicleError
from copick_tools.volumes.normalize import SLICES, Volume

SIGNATURE, PARTS, DONE = "signature", "parts", "done"
BROKEN = (KeyError, ValueError, TypeError, OSError, RuntimeError, zarr.errors.MetadataError)
Signature = Mapping[str, Any]  # of JSON values


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one volume; `open_embeddings` opens them. done: (slices, tiles) bool."""

    path: Path
    group: zarr.Group
    done: np.ndarray

    def has(self, z: int, tile: int) -> bool:
        """Whether an embedding was put there."""
        return bool(self.done[z, tile])

    def get(self, z: int, tile: int) -> dict[str, np.ndarray] | None:
        """What was put there, None for nothing. Raises FormatError where the store is damaged."""
        if not self.done[z, tile]:
            return None
        try:
            return {name: _part(self.group[name], z, tile) for name in self.group.attrs[PARTS]}
        except BROKEN as error:
            raise FormatError(f"{self.path} is damaged: {error}", "remove it, it will be made again") from error

    def put(self, z: int, tile: int, embedding: Mapping[str, np.ndarray]) -> None:
        """Keep an embedding, whole or not at all, in the precision of those that are there.

        Raises PopsicleError where the disk is full, FormatError where the store holds arrays of other shapes.
        """
        try:
            for name, values in embedding.items():
                self._array(name, np.asarray(values))[z, tile] = values
            if self.group.attrs.get(PARTS) != list(embedding):
                self.group.attrs[PARTS] = list(embedding)
            self.group[DONE][z, tile] = True
        except OSError as error:
            raise PopsicleError(f"can't write {self.path}: {error}", "is the disk full?") from error
        self.done[z, tile] = True

    def _array(self, name: str, values: np.ndarray) -> zarr.Array:
        """Where parts like this one are kept; of another precision, perhaps."""
        kind = self.group[name].dtype if name in self.group else values.dtype
        try:
            return self.group.require_dataset(
                name,
                shape=(*self.done.shape, *values.shape),
                chunks=(1, 1, *values.shape),
                dtype=kind if kind.kind == values.dtype.kind == "f" else values.dtype,
                filters=[CRC32()],
            )
        except TypeError as error:
            raise FormatError(f"{self.path} is damaged: {error}", "popsicle embed --overwrite makes it anew") from error


def open_embeddings(path: Path, signature: Signature, shape: tuple[int, int], *, overwrite: bool = False) -> Embeddings:
    """The store at ``path``, made where there is none. shape: slices and tiles.

    signature: of what is encoded and how. Where the store has another one it is refused, or made anew (``overwrite``). Raises
    PopsicleError for that, FormatError for what is no store of embeddings.
    """
    if path.exists() and not overwrite:
        return _existing(path, signature, shape)
    try:
        _make(path, signature, shape)
    except OSError as error:
        raise PopsicleError(f"can't write {path}: {error}", "is there space, and may you write there?") from error
    return _existing(path, signature, shape)


def _make(path: Path, signature: Signature, shape: tuple[int, int]) -> None:
    """An empty store that appears whole, in place of what is there; who was quicker with the same stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as room:
        fresh = Path(room) / path.name
        group = zarr.open_group(str(fresh), mode="w")
        group.create_dataset(DONE, shape=shape, chunks=(1, 1), dtype=bool, fill_value=False)
        group.attrs[SIGNATURE] = dict(signature)
        if path.is_dir():
            os.replace(path, Path(room) / "before")
        try:
            os.rename(fresh, path)
        except OSError:
            if not path.is_dir():
                raise


def _existing(path: Path, signature: Signature, shape: tuple[int, int]) -> Embeddings:
    try:
        group = zarr.open_group(str(path), mode="r+")
        before, done = dict(group.attrs[SIGNATURE]), np.asarray(group[DONE][:])
    except BROKEN as error:
        raise FormatError(
            f"{path} is no store of embeddings: {error}", "popsicle embed --overwrite makes it anew"
        ) from error
    changed = sorted(key for key in {*before, *signature} if before.get(key) != signature.get(key))
    if changed:
        raise PopsicleError(
            f"the embeddings in {path} are of another {_words(changed)}",
            "popsicle embed --overwrite makes them anew; or give another folder",
        )
    if done.shape != shape:
        raise FormatError(
            f"{path} is damaged: it has {done.shape} tiles, not {shape}", "popsicle embed --overwrite makes it anew"
        )
    return Embeddings(path, group, done)


def _part(array: zarr.Array, z: int, tile: int) -> np.ndarray:
    """Of a tile of a slice. Raises ValueError where its chunk is missing, which zarr would read as zeros."""
    name = f"{array.path}/{'.'.join(map(str, (z, tile, *[0] * (array.ndim - 2))))}"
    if name not in array.store:
        raise ValueError(f"{name} is missing")
    return np.asarray(array[z, tile])


def _words(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def voxels_hash(volume: Volume) -> str:
    """sha256 of a zyx volume's shape and voxels, as float32 and slab by slab."""
    found = hashlib.sha256(repr(tuple(volume.shape)).encode())
    for z in range(0, volume.shape[0], SLICES):
        found.update(np.ascontiguousarray(volume[z : z + SLICES, :, :], dtype=np.float32))
    return found.hexdigest()
