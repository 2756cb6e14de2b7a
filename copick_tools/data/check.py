"""Whether volumes that were brought can be read at all, and belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from copick_tools.data.bring import Brought
from copick_tools.errors import FormatError


def check_volumes(brought: Brought) -> None:
    """Raise FormatError where a store is no volume of this kind of zarr, or masks to be merged don't fit the tomogram."""
    plan = brought.plan
    shapes = {store.key: _shape(brought.stores[store.key].folder, store.address) for store in plan.all_stores()}
    if plan.record.tomogram is None or plan.merge is None:
        return
    tomogram = shapes[plan.stores[0].key]
    for store in plan.merge.masks:
        if shapes[store.key] != tomogram:
            raise FormatError(
                f"a mask of {_voxels(shapes[store.key])} on a tomogram of {_voxels(tomogram)}: {store.address}",
                "it can't be a target for that tomogram",
            )


def _shape(folder: Path, address: str) -> tuple[int, ...]:
    """z, y, x of the full resolution of an OME-Zarr store of version 2."""
    if (folder / "zarr.json").is_file():
        raise FormatError(f"{address} is Zarr version 3, which copick 1 can't read")
    attributes, array = _json(folder / ".zattrs", address), _json(folder / "0" / ".zarray", address)
    shape = array.get("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise FormatError(f"{address} is no OME-Zarr volume", "its array `0` has no shape")
    if len(shape) not in (3, 4) or "multiscales" not in attributes:
        raise FormatError(f"{address} is no OME-Zarr volume", f"{len(shape)} axes; 3 and `multiscales` were expected")
    return tuple(shape)


def _json(path: Path, address: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FormatError(f"{address} is no OME-Zarr volume", f"{path.name} can't be read") from error
    return content if isinstance(content, dict) else {}


def _voxels(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " voxels"
