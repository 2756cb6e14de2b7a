import gzip
import itertools
import math
import os
import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from copick_tools.data.files import Volume, is_volume, read_volume, write_mrc, write_tiff, write_volume
from copick_tools.errors import FormatError, NotFoundError, UsageError

DATA = Path(__file__).parents[1] / "data"
IMOD = 1146047817
TYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}


def header(shape, mode=2, order="<", axes=(1, 2, 3), size=10.0, **words):
    """1024 bytes by hand, after the MRC2014 table; shape is sections, rows, columns, size angstrom along x y z."""
    sections, rows, columns = shape
    raw = bytearray(1024)

    def put(offset, kind, *values):
        struct.pack_into(f"{order}{len(values)}{kind}", raw, offset, *values)

    sampling = [dict(zip(axes, (columns, rows, sections))).get(axis, 1) for axis in (1, 2, 3)]
    sizes = size if isinstance(size, tuple) else (size,) * 3
    put(0, "i", columns, rows, sections, mode)
    put(28, "i", *sampling)
    put(40, "f", *(length * count for length, count in zip(sizes, sampling)), 90, 90, 90)
    put(64, "i", *axes)
    put(76, "f", *words.get("stats", (0, -1, -2)))
    put(88, "i", words.get("space_group", 1), words.get("extended", 0))
    put(152, "i", words.get("stamp", 0), words.get("flags", 0))
    raw[208:212] = words.get("name", b"MAP ")
    raw[212:216] = words.get("machine", b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    return raw


def ramp(shape=(3, 4, 5)):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def content(voxels, mode=2, order="<", between=b"", **words):
    """A whole file; ``between`` is its extended header."""
    voxels = np.asarray(voxels, dtype=order + TYPES[mode])
    return bytes(header(voxels.shape, mode, order, extended=len(between), **words)) + between + voxels.tobytes()


def patched(raw, offset, *words):
    return raw[:offset] + struct.pack(f"<{len(words)}i", *words) + raw[offset + 4 * len(words) :]


def mrc(path, voxels, mode=2, order="<", **words):
    path.write_bytes(content(voxels, mode, order, **words))
    return path


def test_plain_mrc_is_mapped(tmp_path):
    volume = read_volume(mrc(tmp_path / "a.mrc", ramp(), size=10.012))
    assert isinstance(volume, Volume)
    assert isinstance(volume.array, np.memmap)
    assert volume.array.shape == (3, 4, 5)
    assert not volume.array.flags.writeable
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.voxel_spacing == volume.header_voxel_spacing == 10.012


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_axes_are_turned_to_zyx(tmp_path, axes):
    """axes: along which of x y z (1 2 3) the columns, rows and sections of the file run."""
    zyx = ramp()
    stored = zyx.transpose([3 - axis for axis in reversed(axes)])  # sections, rows, columns
    volume = read_volume(mrc(tmp_path / "a.mrc", stored, axes=axes, size=(10.0, 10.05, 10.0)))
    np.testing.assert_array_equal(volume.array, zyx)
    assert volume.voxel_spacing == pytest.approx(10.0167, abs=1e-4)


def test_axes_left_out_are_xyz(tmp_path):
    (tmp_path / "a.mrc").write_bytes(patched(content(ramp()), 64, 0, 0, 0))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc").array, ramp())


def test_impossible_axes(tmp_path):
    with pytest.raises(FormatError, match=r"\[1, 1, 3\]"):
        read_volume(mrc(tmp_path / "a.mrc", ramp(), axes=(1, 1, 3)))


@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
@pytest.mark.parametrize("order", ["<", ">"])
def test_modes_and_byte_orders(tmp_path, mode, order):
    volume = read_volume(mrc(tmp_path / "a.mrc", ramp(), mode, order))
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.array.dtype == np.dtype(TYPES[mode])
    assert volume.array.dtype.isnative
    assert volume.voxel_spacing == 10.0


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ({}, -1),  # the standard
        ({"stamp": IMOD, "flags": 1}, -1),
        ({"stamp": IMOD, "flags": 0}, 255),
        ({"stamp": IMOD, "flags": 4}, 255),
        ({"stats": (0, 255, 90)}, 255),  # no IMOD, statistics that signed bytes can't have
        ({"stats": (-3, 120, 9)}, -1),
        ({"stats": (-3, 120, 9), "order": ">"}, -1),
        ({"stamp": IMOD, "flags": 0, "order": ">"}, 255),
    ],
)
def test_signs_of_bytes(tmp_path, words, first):
    voxels = np.full((2, 2, 2), -1)
    assert read_volume(mrc(tmp_path / "a.mrc", voxels, 0, **words)).array[0, 0, 0] == first


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".map", ".MRC"])
def test_suffixes(tmp_path, suffix):
    assert read_volume(mrc(tmp_path / f"a{suffix}", ramp())).voxel_spacing == 10.0
    assert is_volume(tmp_path / f"a{suffix}")


def test_gzip(tmp_path):
    whole = gzip.compress(mrc(tmp_path / "a.mrc", ramp()).read_bytes())
    (tmp_path / "a.mrc.gz").write_bytes(whole)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc.gz").array, ramp())
    (tmp_path / "b.mrc.gz").write_bytes(whole[:-40])
    with pytest.raises(FormatError, match="b.mrc.gz"):
        read_volume(tmp_path / "b.mrc.gz")


def test_extended_header_trailing_bytes_and_odd_stamps(tmp_path):
    path = mrc(tmp_path / "a.mrc", ramp(), between=b"x" * 768)
    path.write_bytes(path.read_bytes() + b"padding")
    np.testing.assert_array_equal(read_volume(path).array, ramp())
    np.testing.assert_array_equal(read_volume(mrc(path, ramp(), machine=bytes(4))).array, ramp())
    np.testing.assert_array_equal(read_volume(mrc(path, ramp(), order=">", machine=bytes(4))).array, ramp())
    np.testing.assert_array_equal(read_volume(mrc(path, ramp(), name=bytes(4))).array, ramp())  # before MRC2000


def test_image_stacks_hold_tomograms_too(tmp_path):
    assert read_volume(mrc(tmp_path / "a.mrc", ramp(), space_group=0)).array.shape == (3, 4, 5)  # IMOD's habit
    assert read_volume(mrc(tmp_path / "a.mrc", ramp(), space_group=401)).array.shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("size", "spacing", "stated"),
    [(0.0, None, None), (1.0, None, 1.0), (1.01, 1.01, 1.01), (-3.0, None, None), (math.nan, None, None)],
)
def test_voxel_size_that_is_not_set(tmp_path, size, spacing, stated):
    volume = read_volume(mrc(tmp_path / "a.mrc", ramp(), size=size))
    assert (volume.voxel_spacing, volume.header_voxel_spacing) == (spacing, stated)
    assert read_volume(tmp_path / "a.mrc", 7.84).voxel_spacing == 7.84


def test_zero_sampling_is_no_voxel_size(tmp_path):
    (tmp_path / "a.mrc").write_bytes(patched(content(ramp()), 28, 0, 0, 0))
    assert read_volume(tmp_path / "a.mrc").voxel_spacing is None


def test_anisotropic(tmp_path):
    path = mrc(tmp_path / "a.mrc", ramp(), size=(10.0, 10.0, 12.0))
    with pytest.raises(FormatError, match="x 10, y 10, z 12 angstrom") as caught:
        read_volume(path)
    assert "resample" in caught.value.hint
    volume = read_volume(path, 10.0)
    assert (volume.voxel_spacing, volume.header_voxel_spacing) == (10.0, None)


@pytest.mark.parametrize("spacing", [0, -1.0, math.nan, math.inf])
def test_a_spacing_that_is_no_length(tmp_path, spacing):
    path = mrc(tmp_path / "a.mrc", ramp())
    with pytest.raises(UsageError):
        read_volume(path, spacing)
    with pytest.raises(UsageError):
        write_volume(tmp_path / "b.mrc", ramp(), spacing)
    with pytest.raises(UsageError):
        write_volume(tmp_path / "b.tif", ramp(), spacing)


BROKEN = {
    "cut": (content(ramp())[:-4], "cut short: .* 5 x 4 x 3 voxels of float32, the file has 1260 bytes"),
    "header only": (content(ramp())[:1024], "cut short"),
    "half a header": (content(ramp())[:500], "not an MRC file"),
    "empty": (b"", "not an MRC file"),
    "web page": (b"<html>404 Not Found</html>" * 100, "not an MRC file"),
    "zeros": (bytes(5000), "not an MRC file"),
    "section": (content(ramp((1, 4, 5))), "a single image"),
    "image": (content(ramp((1, 4, 5)), space_group=0), "a single image"),
    "one row": (content(ramp((4, 1, 5))), "a single image"),
    "complex": (content(ramp(), 4), r"mode 4 \(complex float32\)"),
    "RGB": (bytes(header((3, 4, 5), 16)) + bytes(180), r"mode 16 \(RGB\)"),
    "unknown mode": (bytes(header((3, 4, 5), 77)) + bytes(240), "mode 77"),
    "two volumes": (patched(content(ramp((4, 4, 5)), space_group=401), 36, 2), "a stack of 2 volumes"),
    "volumes of nothing": (patched(content(ramp(), space_group=401), 36, 0), "not an MRC file"),
    "no sections": (bytes(header((0, 4, 5))), "cut short"),
    "negative sections": (bytes(header((-3, 4, 5))) + bytes(240), "cut short"),
    "negative extended header": (bytes(header((3, 4, 5), extended=-5)) + bytes(240), "not an MRC file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_volume(tmp_path, name):
    raw, words = BROKEN[name]
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=words) as caught:
        read_volume(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_paths_that_are_no_volume(tmp_path):
    with pytest.raises(NotFoundError, match=r"nowhere\.mrc"):
        read_volume(tmp_path / "nowhere.mrc")
    with pytest.raises(FormatError, match="folder"):
        read_volume(tmp_path)
    with pytest.raises(FormatError, match="stack of images|mrcs"):
        read_volume(mrc(tmp_path / "a.mrcs", ramp()))
    with pytest.raises(FormatError, match="npy"):
        read_volume(mrc(tmp_path / "a.npy", ramp()))
    with pytest.raises(UsageError, match="npy"):
        write_volume(tmp_path / "b.npy", ramp(), 10.0)
    assert not is_volume("a.mrcs")
    assert not is_volume("a.tif.gz")


INTEGERS = {
    "bool": np.array([[[True, False], [False, True]]] * 2),
    "small bytes": np.full((2, 2, 2), 127, np.uint8),
    "bytes": np.full((2, 2, 2), 200, np.uint8),
    "int8": np.full((2, 2, 2), -7, np.int8),
    "int16": np.full((2, 2, 2), -700, np.int16),
    "uint16": np.full((2, 2, 2), 60_000, np.uint16),
    "int64 labels": np.full((2, 2, 2), 40_000, np.int64),
    "float16": np.full((2, 2, 2), 0.1, np.float16),
    "float32": np.full((2, 2, 2), 0.1, np.float32),
    "swapped": np.full((2, 2, 2), 0.1, ">f4"),
}


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
@pytest.mark.parametrize("name", INTEGERS)
def test_written_volumes_read_back_equal(tmp_path, suffix, name):
    path = tmp_path / f"new/a{suffix}"
    write_volume(path, INTEGERS[name], 10.012)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, INTEGERS[name])
    assert (volume.voxel_spacing, volume.header_voxel_spacing) == (10.012, 10.012)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_written_mrc_is_good_mrc(tmp_path, capsys):
    write_mrc(tmp_path / "a.mrc", np.asfortranarray(ramp()), 13.48)
    assert mrcfile.validate(tmp_path / "a.mrc")
    capsys.readouterr()
    write_mrc(tmp_path / "a.mrc", np.full((2, 2, 2), math.nan), 13.48)  # replaces, and warns of nothing
    assert np.isnan(read_volume(tmp_path / "a.mrc").array).all()


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.mrc"
    write_mrc(path, ramp(), 10.0)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    for writer in (write_mrc, write_tiff):
        with pytest.raises(OSError, match="disk full"):
            writer(path, ramp() + 1, 10.0)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mrc"]
    np.testing.assert_array_equal(read_volume(path).array, ramp())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4)), "isn't a volume"),
        (np.zeros((0, 4, 4)), "isn't a volume"),
        (np.zeros((2, 2, 2), complex), "complex128"),
        (np.full((2, 2, 2), 70_000), "70000"),
        (np.array([[[-1, 60_000]]]), "-1 to 60000"),
    ],
)
def test_what_mrc_can_not_hold(tmp_path, array, words):
    with pytest.raises(FormatError, match=words):
        write_mrc(tmp_path / "a.mrc", array, 10.0)
    assert not list(tmp_path.iterdir())


def test_tiff_holds_32_bits_not_64(tmp_path):
    write_tiff(tmp_path / "a.tif", np.full((2, 2, 2), 70_000), 10.0)
    assert read_volume(tmp_path / "a.tif").array.max() == 70_000
    with pytest.raises(FormatError, match="5000000000"):
        write_tiff(tmp_path / "b.tif", np.full((2, 2, 2), 5_000_000_000), 10.0)


def test_real_tomogram():
    volume = read_volume(DATA / "13pf_MT.tif")
    assert volume.array.shape == (36, 206, 94)
    assert volume.array.dtype == np.uint8
    assert isinstance(volume.array, np.memmap)
    assert volume.voxel_spacing == 10.52
    assert read_volume(DATA / "13pf_MT.tif", 10.0).header_voxel_spacing == 10.52


def imagej(path, unit, pixels=(0.1, 0.1), **metadata):
    """An ImageJ stack with so many pixels per unit along x and y."""
    tifffile.imwrite(path, ramp(), imagej=True, resolution=pixels, metadata={"axes": "ZYX", "unit": unit, **metadata})
    return path


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("nm", 10),
        ("angstrom", 1),
        ("Angstroms", 1),
        ("A", 1),
        ("\\u00c5", 1),
        ("micron", 1e4),
        ("um", 1e4),
        ("\\u00B5m", 1e4),
    ],
)
def test_imagej_units(tmp_path, unit, scale):
    pixel = 10.0 / scale
    path = imagej(tmp_path / "a.tif", unit, (1 / pixel, 1 / pixel), spacing=pixel)
    assert read_volume(path).voxel_spacing == pytest.approx(10.0, rel=1e-5)
    np.testing.assert_array_equal(read_volume(path).array, ramp())


def test_imagej_says_nothing(tmp_path):
    path = tmp_path / "a.tif"
    assert read_volume(imagej(path, "pixel", (1, 1), spacing=1.0)).voxel_spacing is None
    assert read_volume(imagej(path, "furlong", spacing=10.0)).voxel_spacing is None
    assert read_volume(imagej(path, "inch", (72, 72), spacing=1 / 72)).voxel_spacing is None  # a printer's
    assert read_volume(imagej(path, "nm", (0.5, 0.5))).voxel_spacing is None  # z isn't said
    assert read_volume(imagej(path, "nm", (1, 1))).voxel_spacing == 10.0  # ImageJ leaves out a spacing of 1
    assert read_volume(imagej(path, "nm", (1, 1), spacing=10.0, zunit="angstrom")).voxel_spacing == 10.0


def test_imagej_anisotropic(tmp_path):
    path = imagej(tmp_path / "a.tif", "nm", (1, 1), spacing=1.02)
    with pytest.raises(FormatError, match=r"z 10\.2 angstrom"):
        read_volume(path)
    assert read_volume(path, 10.0).voxel_spacing == 10.0
    assert read_volume(imagej(path, "nm", (1, 1), spacing=1.005)).voxel_spacing == pytest.approx(10.017, abs=1e-3)


@pytest.mark.parametrize(("unit", "value"), [("Å", 10.012), ("nm", 1.0012), ("µm", 0.0010012), ("pixel", None)])
def test_ome(tmp_path, unit, value):
    metadata = {"axes": "ZYX"}
    for axis in "XYZ":
        metadata |= {f"PhysicalSize{axis}": value or 1.0, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp(), ome=True, photometric="minisblack", metadata=metadata)
    assert read_volume(tmp_path / "a.ome.tif").voxel_spacing == (None if value is None else 10.012)


def test_ome_without_depth_or_sizes(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.001, "PhysicalSizeY": 0.001}
    tifffile.imwrite(tmp_path / "a.tif", ramp(), ome=True, photometric="minisblack", metadata=metadata)
    assert read_volume(tmp_path / "a.tif").voxel_spacing is None
    tifffile.imwrite(tmp_path / "a.tif", ramp(), ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    assert read_volume(tmp_path / "a.tif").voxel_spacing is None


@pytest.mark.parametrize(
    ("pixels", "unit", "spacing"),
    [
        ((1e7, 1e7), "CENTIMETER", 10.0),
        ((2.54e7, 2.54e7), "INCH", 10.0),
        ((72, 72), "INCH", None),
        ((1, 1), "NONE", None),
    ],
)
def test_plain_resolution_tags(tmp_path, pixels, unit, spacing):
    tifffile.imwrite(tmp_path / "a.tif", ramp(), photometric="minisblack", resolution=pixels, resolutionunit=unit)
    assert read_volume(tmp_path / "a.tif").voxel_spacing == spacing


@pytest.mark.parametrize(
    "options", [{"compression": "zlib"}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}]
)
def test_kinds_of_tiff(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tiff", ramp(), photometric="minisblack", metadata=None, **options)
    volume = read_volume(tmp_path / "a.tiff")
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.array.dtype.isnative
    assert volume.voxel_spacing is None


def tiff(path, array, **options):
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    return path


def test_what_is_no_tiff_volume(tmp_path):
    path = tmp_path / "a.tif"
    bytes3 = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(FormatError, match="single image"):
        read_volume(tiff(path, np.zeros((8, 8), np.uint8)))
    with pytest.raises(FormatError, match="RGB"):
        read_volume(tiff(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb"))
    with pytest.raises(FormatError, match="RGB"):
        read_volume(tiff(path, bytes3, photometric="rgb"))
    for axes, words in (("CYX", "channels"), ("TYX", "time"), ("TZYX", "time"), ("ZCYX", "channels")):
        array = bytes3 if len(axes) == 3 else np.zeros((2, 3, 8, 8), np.uint8)
        with pytest.raises(FormatError, match=words):
            read_volume(tiff(path, array, imagej=True, metadata={"axes": axes}))
    with pytest.raises(FormatError, match="not a volume"):
        read_volume(tiff(path, np.zeros((2, 3, 8, 8), np.uint8)))
    with pytest.raises(FormatError, match="complex64"):
        read_volume(tiff(path, np.zeros((3, 8, 8), np.complex64)))
    with tifffile.TiffWriter(path) as writer:
        writer.write(bytes3, photometric="minisblack")
        writer.write(np.zeros((4, 5), np.uint8), photometric="minisblack")
    with pytest.raises(FormatError, match="2 images"):
        read_volume(path)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}])
@pytest.mark.parametrize("kept", [0, 6, 100, 8000])
def test_damaged_tiff(tmp_path, options, kept):
    voxels = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)
    path = tiff(tmp_path / "a.tif", voxels, metadata={"axes": "ZYX"}, **options)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FormatError, match=r"a\.tif"):
        read_volume(path)


def test_web_page_as_tiff(tmp_path):
    (tmp_path / "a.tif").write_text("<html>404</html>")
    with pytest.raises(FormatError, match="not a readable TIFF"):
        read_volume(tmp_path / "a.tif")
