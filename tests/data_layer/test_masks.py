"""Several masks as one multilabel volume."""

import copick
import numpy as np
import portal_scenes
import pytest
import zarr

from copick_tools.data import masks
from copick_tools.data.masks import merge_masks
from copick_tools.data.plan import segmentation_path
from copick_tools.data.project import ProjectObject, create_project
from copick_tools.data.uris import SegmentationUri
from copick_tools.errors import FormatError


@pytest.fixture
def store(tmp_path):
    """Write a mask as the portal has them."""

    def make(array, name="mask", chunks=(256, 256, 256)):
        path = tmp_path / f"{name}.zarr"
        portal_scenes.write_store(path, array, 10.0, chunks, levels=1)
        return path

    return make


def blobs(shape, count, seed=0):
    """Masks that overlap here and there."""
    rng = np.random.default_rng(seed)
    return [rng.random(shape) < 0.3 for _ in range(count)]


def expected(arrays, labels):
    """The union, lowest label first, and how many claims lose."""
    merged = np.zeros(arrays[0].shape, np.uint8)
    for label, array in sorted(zip(labels, arrays), reverse=True, key=lambda pair: pair[0]):
        merged[array] = label
    return merged, int(np.sum(arrays, axis=0).clip(1).sum() - merged.size)


def read(path):
    return zarr.open_group(str(path), mode="r")["0"][:]


@pytest.mark.parametrize("shape", [(2, 2, 2), (31, 5, 7), (32, 16, 16), (33, 70, 3), (65, 20, 300)])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32])
def test_labels_and_contested_voxels(store, tmp_path, shape, dtype):
    arrays, labels = blobs(shape, 3), (5, 2, 9)
    paths = [store(array.astype(dtype), f"m{label}") for array, label in zip(arrays, labels)]
    contested = merge_masks(list(zip(labels, paths)), 10.0, tmp_path / "out.zarr")
    merged, lost = expected(arrays, labels)
    np.testing.assert_array_equal(read(tmp_path / "out.zarr"), merged)
    assert contested == lost


def test_the_order_in_which_masks_come_does_not_matter(store, tmp_path):
    arrays = blobs((10, 12, 14), 2)
    pairs = [(2, store(arrays[0].astype(np.int8), "a")), (1, store(arrays[1].astype(np.int8), "b"))]
    merge_masks(pairs, 10.0, tmp_path / "out.zarr")
    merge_masks(pairs[::-1], 10.0, tmp_path / "turned.zarr")
    assert files(tmp_path / "out.zarr") == files(tmp_path / "turned.zarr")
    assert read(tmp_path / "out.zarr")[arrays[1]].tolist() == [1] * int(arrays[1].sum())


def test_values_above_one_and_below_zero(store, tmp_path):
    mask = np.array([[[-1, 0, 1, 127]]], np.int8)
    merge_masks([(3, store(mask))], 10.0, tmp_path / "out.zarr")
    assert read(tmp_path / "out.zarr").tolist() == [[[0, 0, 3, 3]]]


def test_two_masks_of_one_label(store, tmp_path):
    arrays = blobs((4, 5, 6), 2)
    pairs = [(1, store(array.astype(np.int8), str(number))) for number, array in enumerate(arrays)]
    assert merge_masks(pairs, 10.0, tmp_path / "out.zarr") == 0  # an object doesn't contest itself
    np.testing.assert_array_equal(read(tmp_path / "out.zarr"), arrays[0] | arrays[1])


def files(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_bytes_are_the_same_each_time_whatever_the_chunks(store, tmp_path):
    (array,) = blobs((70, 300, 40), 1)
    merge_masks([(1, store(array.astype(np.int8), "whole"))], 10.0, tmp_path / "a.zarr")
    for number, chunks in enumerate([(256, 256, 256), (16, 64, 64), (7, 300, 11)]):
        out = tmp_path / f"b{number}.zarr"
        merge_masks([(1, store(array.astype(np.int8), f"again{number}", chunks))], 10.0, out)
        assert files(out) == files(tmp_path / "a.zarr")


def test_all_chunks_are_written(store, tmp_path):
    merge_masks([(1, store(np.zeros((70, 300, 40), np.int8)))], 10.0, tmp_path / "out.zarr")
    chunks = {name for name in files(tmp_path / "out.zarr") if not name.rpartition("/")[2].startswith(".")}
    assert chunks == {f"0/{z}/{y}/0" for z in range(2) for y in range(2)}


def test_a_volume_of_many_chunks(store, tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "CHUNKS", (8, 4, 5))
    arrays = blobs((37, 9, 9), 2)
    pairs = [(number, store(array.astype(np.int8), str(number))) for number, array in enumerate(arrays, 1)]
    contested = merge_masks(pairs, 10.0, tmp_path / "out.zarr")
    merged, lost = expected(arrays, (1, 2))
    np.testing.assert_array_equal(read(tmp_path / "out.zarr"), merged)
    assert contested == lost


@pytest.mark.parametrize("shape", [(10, 10, 11), (9, 10, 10), (1, 10, 10)])
def test_masks_of_other_shapes_are_an_error(store, tmp_path, shape):
    pairs = [(1, store(np.ones((10, 10, 10), np.int8), "a")), (2, store(np.ones(shape, np.int8), "b"))]
    with pytest.raises(FormatError, match="can't be one volume"):
        merge_masks(pairs, 10.0, tmp_path / "out.zarr")


def test_a_store_that_is_no_volume_is_an_error(tmp_path):
    zarr.open_group(str(tmp_path / "empty.zarr"), mode="w")
    (tmp_path / "folder.zarr").mkdir()
    for name in ("empty", "folder", "none"):
        with pytest.raises(FormatError, match=f"{name}.zarr is no OME-Zarr volume"):
            merge_masks([(1, tmp_path / f"{name}.zarr")], 10.0, tmp_path / "out.zarr")


def test_copick_reads_it_as_a_multilabel_segmentation(store, tmp_path):
    thing = ProjectObject("cytoplasm", 1, None, False, (1, 2, 3, 255))
    project = create_project(tmp_path / "project", "x", [thing], "x")
    array = blobs((12, 13, 14), 1)[0]
    uri = SegmentationUri("compartments", "data-portal", "0", 13.48, "multilabel")
    out = project.folder / segmentation_path("TS_1", uri)
    out.parent.mkdir(parents=True)
    merge_masks([(1, store(array.astype(np.int8)))], 13.48, out)
    (found,) = copick.from_file(str(project.config)).get_run("TS_1").get_segmentations()
    assert (found.name, found.user_id, found.session_id, found.voxel_size) == (
        "compartments",
        "data-portal",
        "0",
        13.48,
    )
    assert found.is_multilabel
    np.testing.assert_array_equal(found.numpy(), array)
    scale = zarr.open(found.zarr(), mode="r").attrs["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale == [{"type": "scale", "scale": [13.48] * 3}]
