"""Volumes in MRC files: axis order, signed bytes and voxel size as they are meant, array z y x."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copick_tools.data.replace import replacing
from copick_tools.data.voxels import Sizes, known, native, positive, storable
from copick_tools.errors import FormatError

SUFFIXES = (".mrc", ".rec", ".map")
COMPRESSED = ".gz"
IMOD_STAMP = 1146047817  # "IMOD" at byte 152; the flags follow it
IMOD_SIGNED_BYTES = 1
HEADER_BYTES = 1024
MODES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16"}
OTHER_MODES = {3: "complex int16", 4: "complex float32", 16: "RGB", 101: "4-bit"}


def read_mrc(path: Path) -> tuple[NDArray[Any], Sizes]:
    """Array z y x (memory-mapped unless compressed or foreign-endian), and voxel sizes x y z in angstrom."""
    header, data = _open(path)
    _check(path, header, data)
    if int(header.mode) == 0 and _unsigned(header):
        data = data.view(np.uint8)
    if data.ndim == 4 and len(data) == 1:
        data = data[0]
    if data.ndim != 3 or min(data.shape) < 2:
        raise FormatError(
            f"{path}: not a volume but {_words(data.shape)}",
            "give a tomogram with at least 2 voxels along x, y and z; split a stack of volumes into files",
        )
    data = data.transpose(_axes(path, header))
    cell, intervals = header.cella, (header.mx, header.my, header.mz)
    x, y, z = (
        known(float(length) / int(count)) if count > 0 else None
        for length, count in zip((cell.x, cell.y, cell.z), intervals)
    )
    return native(data), (x, y, z)


def write_mrc(path: str | Path, array: NDArray[Any], voxel_spacing: float) -> None:
    """Write ``array`` (z y x, voxels) at ``voxel_spacing`` angstrom; the file appears when it is whole.

    Floats are stored as float32. Booleans and integers keep their type or go to int8, int16 or uint16, whichever
    holds them first; what none of them holds is refused.
    """
    import mrcfile

    path = Path(path)
    spacing = positive(voxel_spacing)
    data = storable(path, array, (np.int8, np.int16, np.uint16))
    # mrcfile warns of non-finite voxels, whose statistics then mean nothing
    quiet = warnings.catch_warnings(action="ignore", category=RuntimeWarning)
    with replacing(path) as temporary, quiet, mrcfile.new(temporary) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = spacing


def _open(path: Path) -> tuple[Any, Any]:
    """Header, and data or None where mrcfile could not make sense of it.

    mrcfile's permissive mode warns where its strict mode raises; ``_check`` decides instead.
    """
    import mrcfile

    compressed = path.suffix.lower() == COMPRESSED
    if not compressed:
        _check_extended_header(path)
    opener = mrcfile.open if compressed else mrcfile.mmap
    quiet = warnings.catch_warnings(action="ignore", category=RuntimeWarning)
    try:
        with quiet, opener(path, permissive=True) as mrc:
            return mrc.header, mrc.data
    except (ValueError, ZeroDivisionError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _foreign(path, str(error)) from error


def _check_extended_header(path: Path) -> None:
    """Refuse a file shorter than its extended header before mrcfile sets aside memory for it: text says gigabytes."""
    with path.open("rb") as file:
        words = file.read(HEADER_BYTES)[92:96]
    room = path.stat().st_size - HEADER_BYTES
    if not any(0 <= int.from_bytes(words, order, signed=True) <= room for order in ("little", "big")):
        raise _foreign(path, "its extended header would be longer than the file")


def _check(path: Path, header: Any, data: Any) -> None:
    """Refuse what isn't MRC, what has voxels of another kind, and what is cut short."""
    mode = int(header.mode)
    size = path.stat().st_size
    stamped = bytes(header.map)[:3] == b"MAP"
    if not stamped and (data is None or size != HEADER_BYTES + int(header.nsymbt) + data.nbytes):
        raise _foreign(path, "no 'MAP' at byte 208")
    if mode not in MODES:
        what = OTHER_MODES.get(mode, "unknown")
        raise FormatError(
            f"{path}: MRC mode {mode} ({what}) isn't a tomogram's",
            f"convert it to one of {', '.join(f'{number} ({name})' for number, name in MODES.items())}",
        )
    if data is None or data.size == 0:
        nx, ny, nz = int(header.nx), int(header.ny), int(header.nz)
        raise FormatError(
            f"{path}: cut short: the header announces {nx} x {ny} x {nz} voxels of {MODES[mode]}, the file has {size} bytes",
            "copy or download it again",
        )


def _foreign(path: Path, reason: str) -> FormatError:
    return FormatError(
        f"{path}: not an MRC file ({reason})", "look at its beginning: a failed download may be a web page"
    )


def _unsigned(header: Any) -> bool:
    """Whether the bytes of mode 0 are 0..255.

    IMOD says so in its flags. Of others the format wants signed bytes; a header whose statistics no signed byte can
    reach was written by software older than that rule.
    """
    order = header.mode.dtype.byteorder
    stamp, flags = np.frombuffer(header.extra2.tobytes()[40:48], dtype=np.dtype("i4").newbyteorder(order))
    if stamp == IMOD_STAMP:
        return not flags & IMOD_SIGNED_BYTES
    return bool(header.dmin >= 0 and header.dmax > 127)


def _axes(path: Path, header: Any) -> tuple[int, int, int]:
    """Where z, y and x are among the file's axes (sections, rows, columns)."""
    stored = [int(header.maps), int(header.mapr), int(header.mapc)]
    if stored == [0, 0, 0]:  # left out by old software
        return 0, 1, 2
    if sorted(stored) != [1, 2, 3]:
        raise FormatError(
            f"{path}: columns, rows, sections run along axes {stored[::-1]}, not along 1, 2, 3 in some order",
            "correct mapc, mapr, maps in the header (bytes 64 to 75)",
        )
    return stored.index(3), stored.index(2), stored.index(1)


def _words(shape: tuple[int, ...]) -> str:
    count = " x ".join(str(length) for length in shape)
    return f"a stack of {shape[0]} volumes ({count})" if len(shape) == 4 else f"a single image ({count})"
