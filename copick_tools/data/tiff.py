"""Volumes in TIFF files: one 3D stack, spacing and unit as ImageJ, OME or plain tags state them, array z y x."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from numpy.typing import NDArray

from copick_tools.data.replace import replacing
from copick_tools.data.voxels import ANISOTROPY, Sizes, known, native, positive, storable
from copick_tools.errors import FormatError

SUFFIXES = (".tif", ".tiff")
PRINT_RESOLUTION = 1e4  # angstrom; a larger pixel is a printer's (72 dpi is 3.5e6), not a microscope's
IN_ANGSTROM = {
    **dict.fromkeys(("a", "å", "ang", "angstrom", "angstroms", "ångström", "ångströms"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 10.0),
    **dict.fromkeys(("um", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), 1e4),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e7),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 1e8),
    **dict.fromkeys(("inch", "inches", "in"), 2.54e8),
    "pm": 0.01,
}
# what tifffile lets out where tags are damaged (TiffFileError is one), or where it lacks a codec (RuntimeError)
DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    ParseError,
)
WRONG_AXES = {
    "S": ("color samples (RGB)", "convert it to gray: one number per voxel"),
    "C": ("several channels", "save the channel with the tomogram alone"),
    "T": ("time points", "save one time point; if the frames are slices, swap them in ImageJ's Image > Properties"),
}


def read_tiff(path: Path) -> tuple[NDArray[Any], Sizes]:
    """Array z y x (memory-mapped where it lies in one piece), and voxel sizes x y z in angstrom."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            series = _volume(path, tif)
            _check_length(path, tif, series)
            mapped = series.dataoffset is not None
            array = tifffile.memmap(path, mode="r") if mapped else series.asarray()
            sizes = _sizes(tif)
    except DAMAGE as error:
        raise FormatError(
            f"{path}: not a readable TIFF ({error})", "copy it again, or save it from ImageJ as an uncompressed TIFF"
        ) from error
    return native(array), sizes


def write_tiff(path: str | Path, array: NDArray[Any], voxel_spacing: float) -> None:
    """Write ``array`` (z y x, voxels) at ``voxel_spacing`` angstrom as OME-TIFF; the file appears when it is whole.

    Floats are stored as float32, booleans as uint8; integers of 64 bits are narrowed or refused.
    """
    import tifffile

    path = Path(path)
    data = storable(path, array, (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32))
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis in "XYZ":
        metadata |= {f"PhysicalSize{axis}": positive(voxel_spacing), f"PhysicalSize{axis}Unit": "Å"}
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, data, ome=True, photometric="minisblack", metadata=metadata)


def _volume(path: Path, tif: Any) -> Any:
    """The one series of the file, if it is a gray 3D stack."""
    if len(tif.series) != 1:
        raise FormatError(f"{path}: holds {len(tif.series)} images, not one volume", "save the tomogram alone")
    (series,) = tif.series
    for axis, (what, hint) in WRONG_AXES.items():
        if axis in series.axes:
            raise FormatError(f"{path}: not a volume but {what}, axes {series.axes} {series.shape}", hint)
    if len(series.shape) != 3 or not series.axes.endswith("YX"):
        what = "a single image" if len(series.shape) == 2 else f"an array with axes {series.axes}"
        raise FormatError(f"{path}: not a volume but {what} {series.shape}", "give one stack of slices: z y x")
    if np.dtype(series.dtype).kind not in "biuf":
        raise FormatError(f"{path}: {series.dtype} voxels aren't a tomogram's", "convert them to float32")
    return series


def _check_length(path: Path, tif: Any, series: Any) -> None:
    """Refuse a file that ends before its voxels do; tifffile would fill up with zeros."""
    if series.dataoffset is not None:
        needed = series.dataoffset + series.nbytes
    else:
        segments = ((page.dataoffsets, page.databytecounts) for page in series.pages if page is not None)
        needed = max(offset + count for segment in segments for offset, count in zip(*segment))
    size = tif.filehandle.size
    if needed > size:
        raise FormatError(
            f"{path}: cut short: {' x '.join(map(str, series.shape))} voxels (z y x) end at byte {needed}, the file at {size}",
            "copy or download it again",
        )


def _sizes(tif: Any) -> Sizes:
    if tif.is_ome:
        return _ome_sizes(tif)
    if tif.is_imagej:
        return _imagej_sizes(tif)
    return _tag_sizes(tif)


def _angstrom(unit: Any) -> float | None:
    """Length of ``unit`` in angstrom; None for pixels and for what we don't know."""
    name = str(unit or "")
    if "\\u" in name:  # ImageJ writes a micron sign as \u00B5
        name = name.encode("ascii", "ignore").decode("unicode_escape")
    return IN_ANGSTROM.get(name.strip().casefold())


def _scaled(size: Any, unit: float | None) -> float | None:
    if size is None or unit is None:
        return None
    length = known(float(size) * unit)
    return None if length is None or length > PRINT_RESOLUTION else length


def _ome_sizes(tif: Any) -> Sizes:
    import tifffile

    image = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    x, y, z = (
        _scaled(pixels.get(f"PhysicalSize{axis}"), _angstrom(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        for axis in "XYZ"
    )
    return x, y, z


def _imagej_sizes(tif: Any) -> Sizes:
    """ImageJ keeps x and y in the resolution tags, z and the unit in its text, where it leaves out a spacing of 1."""
    metadata = tif.imagej_metadata or {}
    width, height = _pixel(tif)
    one = 1.0 if width is not None and math.isclose(width, 1, rel_tol=ANISOTROPY) else None
    x, y, z = (
        _scaled(size, _angstrom(metadata.get(key, metadata.get("unit"))))
        for size, key in ((width, "unit"), (height, "yunit"), (metadata.get("spacing", one), "zunit"))
    )
    return x, y, z


def _tag_sizes(tif: Any) -> Sizes:
    """Plain tags hold x and y alone: z is taken to be the same, for a tomogram's voxels are cubes."""
    import tifffile

    units = {tifffile.RESUNIT.INCH: "inch", tifffile.RESUNIT.CENTIMETER: "cm"}
    unit = _angstrom(units.get(tif.pages[0].resolutionunit))
    x, y = (_scaled(size, unit) for size in _pixel(tif))
    return x, y, x


def _pixel(tif: Any) -> tuple[float | None, float | None]:
    """Width and height of a pixel in the file's own unit."""
    tags = tif.pages[0].tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None, None
    x, y = (tags[name].value for name in ("XResolution", "YResolution"))
    return (x[1] / x[0] if x[0] else None), (y[1] / y[0] if y[0] else None)
