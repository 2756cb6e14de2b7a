"""Volumes in plain files (MRC, TIFF): array z y x and one voxel spacing in angstrom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from copick_tools.data import mrc, tiff
from copick_tools.data.mrc import write_mrc
from copick_tools.data.tiff import write_tiff
from copick_tools.data.voxels import one_spacing, positive
from copick_tools.errors import FormatError, NotFoundError, UsageError

__all__ = ["Volume", "is_volume", "read_volume", "write_mrc", "write_tiff", "write_volume"]

SUFFIXES = (*mrc.SUFFIXES, *tiff.SUFFIXES)
UNSET = 1.0  # angstrom; what MRC writers leave behind when nobody told them the voxel size


@dataclass(frozen=True)
class Volume:
    """A volume from a file.

    array: z y x, voxels; memory-mapped where the file allows it, so not to be written to.
    voxel_spacing: angstrom, as the caller or else the header states it; None where neither does.
    header_voxel_spacing: angstrom, what the header literally says; None where it says nothing or no single number.
    """

    array: NDArray[Any]
    voxel_spacing: float | None
    header_voxel_spacing: float | None


def is_volume(path: str | Path) -> bool:
    """Whether the name is one that ``read_volume`` takes: .mrc .rec .map (also .gz), .tif .tiff."""
    return _kind(Path(path)) in SUFFIXES


def read_volume(path: str | Path, voxel_spacing: float | None = None) -> Volume:
    """Read a volume: array z y x, ``voxel_spacing`` in angstrom.

    The argument overrides the header. An MRC header of exactly 1 angstrom counts as not set (no tomogram is
    reconstructed at 1.000): ``voxel_spacing`` is then None and ``header_voxel_spacing`` 1, so the caller can say so.
    """
    path = Path(path)
    if not path.exists():
        raise NotFoundError(f"no file {path}", "check the path")
    if not path.is_file():
        raise FormatError(f"{path} is a folder, not a volume file", f"give a file ending in {', '.join(SUFFIXES)}")
    kind = _kind(path)
    if kind not in SUFFIXES:
        raise FormatError(f"{path}: unknown kind of volume {path.suffix!r}", _suffix_hint(kind))
    array, sizes = tiff.read_tiff(path) if kind in tiff.SUFFIXES else mrc.read_mrc(path)
    if voxel_spacing is not None:
        return Volume(array, positive(voxel_spacing), _lenient(path, sizes))
    stated = one_spacing(path, sizes)
    unset = kind in mrc.SUFFIXES and stated == UNSET
    return Volume(array, None if unset else stated, stated)


def write_volume(path: str | Path, array: NDArray[Any], voxel_spacing: float) -> None:
    """Write ``array`` (z y x, voxels) at ``voxel_spacing`` angstrom as MRC or OME-TIFF, by the suffix of ``path``."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: can't write a volume as {suffix!r}", f"name it {', '.join(SUFFIXES)}")
    (write_tiff if suffix in tiff.SUFFIXES else write_mrc)(path, array, voxel_spacing)


def _kind(path: Path) -> str:
    """The suffix that tells the format: of a.mrc.gz .mrc."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    return inner if suffix == mrc.COMPRESSED and inner in mrc.SUFFIXES else suffix


def _suffix_hint(kind: str) -> str:
    if kind == ".mrcs":
        return ".mrcs names a stack of images; if this one is a volume, name it .mrc"
    return f"volumes end in {', '.join(SUFFIXES)}"


def _lenient(path: Path, sizes: tuple[float | None, float | None, float | None]) -> float | None:
    """The header's spacing in angstrom where the caller has overridden it anyway: a bad one is no error."""
    try:
        return one_spacing(path, sizes)
    except FormatError:
        return None
