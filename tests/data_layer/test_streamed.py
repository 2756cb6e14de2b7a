"""Segmentations that come in slabs: the same files as those written whole."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from copick_tools.data import read, slabs, write
from copick_tools.data.hashing import file_hash
from copick_tools.data.project import open_project
from copick_tools.data.uris import SegmentationUri, TomogramUri

KINDS = [("binary", np.uint8), ("multilabel", np.uint8), ("instance", np.uint16), ("instance", np.uint32)]


def store(project, uri):
    """Where a segmentation is stored."""
    return Path(read.read_segmentation(open_project(project.config), "TS_1", uri).entry.path)


def files(folder):
    return {str(path.relative_to(folder)): file_hash(path) for path in folder.rglob("*") if path.is_file()}


def cut(labels, heights):
    z = 0
    for height in heights:
        if z < len(labels):
            yield z, labels[z : z + height]
        z += height
    if z < len(labels):
        yield z, labels[z:]


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
@pytest.mark.parametrize("shape", [(5, 7, 9), (300, 20, 270), (256, 256, 3), (513, 2, 2)])
def test_the_files_are_those_of_the_whole_volume(project, kind, dtype, shape):
    rng = np.random.default_rng(0)
    top = {"binary": 1, "multilabel": 2}.get(kind, np.iinfo(dtype).max)
    labels = (rng.random(shape) < 0.1) * rng.integers(1, top, shape, dtype=np.int64, endpoint=True)
    labels[0, 0, 0] = top  # copick takes the smallest type that holds all labels
    whole = SegmentationUri("ribosome", "whole", "1", 10.0, kind)
    parts = SegmentationUri("ribosome", "parts", "1", 10.0, kind)
    write.write_segmentation(project, "TS_1", whole, labels)
    write.write_segmentation_slabs(project, "TS_1", parts, shape, cut(labels.astype(dtype), [1, 2, 255, 3]), dtype)
    assert files(store(project, parts)) == files(store(project, whole))
    assert files(store(project, parts))
    assert not list((project.folder / ".popsicle/staging").iterdir())


@pytest.mark.parametrize("kind", ["binary", "multilabel", "instance", "panoptic"])
def test_stores_are_as_copicks_but_for_chunks_beyond_the_volume(project, kind):
    labels = np.random.default_rng(0).integers(0, 2, (5, 300, 20))
    labels = np.stack([labels, labels * 9]) if kind == "panoptic" else labels
    ours = SegmentationUri("ribosome", "ours", "1", 10.0, kind)
    write.write_segmentation(project, "TS_1", ours, labels)
    flags = {f"is_{kind}": True} if kind != "binary" else {}
    theirs = open_project(project.config).run("TS_1").new_segmentation(10.0, "ribosome", "1", user_id="copick", **flags)
    theirs.from_numpy(labels)
    mine = read.read_segmentation(open_project(project.config), "TS_1", ours).entry
    assert mine.numpy().dtype == theirs.numpy().dtype
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    groups = [zarr.open(entry.zarr()) for entry in (mine, theirs)]
    assert groups[0].attrs.asdict() == groups[1].attrs.asdict()
    arrays = [group["0"] for group in groups]
    for name in ("dtype", "compressor", "fill_value", "order", "_dimension_separator"):
        assert getattr(arrays[0], name) == getattr(arrays[1], name)
    assert arrays[0].chunks[-3:] == (5, 256, 20)


def test_chunks_of_tomograms_are_no_larger_than_their_first_level(project):
    volume = np.random.default_rng(0).normal(size=(6, 40, 300)).astype(np.float32)
    write.write_tomogram(project, "TS_1", TomogramUri("other", 10.0), volume, levels=2)
    stored = read.read_tomogram(open_project(project.config), "TS_1", TomogramUri("other", 10.0))
    group = zarr.open(stored.entry.zarr())
    assert [group[level].chunks for level in ("0", "1")] == [(6, 40, 256)] * 2
    np.testing.assert_array_equal(stored.numpy(), volume)
    np.testing.assert_allclose(group["1"][:], volume.reshape(3, 2, 20, 2, 150, 2).mean(axis=(1, 3, 5)), atol=1e-6)


class Recorder:
    """Takes what would be stored."""

    def __init__(self, volume):
        self.volume = volume
        self.boxes = []

    def set_region(self, data, z, y, x):
        assert data.shape == self.volume[z, y, x].shape
        self.volume[z, y, x] = data
        self.boxes.append((z.start, y.start, x.start))


@given(st.integers(1, 12), st.integers(1, 9), st.lists(st.integers(1, 7), max_size=8))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_any_slabs_are_cut_into_whole_chunks(depth, width, heights):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SIZE", 4)
        labels = np.arange(depth * width * width, dtype=np.uint16).reshape(depth, width, width)
        rows = list(slabs._rows(cut(labels, heights), labels.shape, np.dtype(np.uint16)))
    assert [begun for begun, _ in rows] == list(range(0, depth, 4))
    assert all(sum(map(len, row)) == 4 for _, row in rows[:-1])
    np.testing.assert_array_equal(np.concatenate([slab for _, row in rows for slab in row]), labels)


def test_booleans_are_labels_too(project):
    uri = SegmentationUri("ribosome", "parts", "1", 10.0, "binary")
    mask = np.random.default_rng(0).random((4, 5, 6)) < 0.5
    write.write_segmentation_slabs(project, "TS_1", uri, mask.shape, cut(mask, [2]), np.uint8)
    stored = read.read_segmentation(open_project(project.config), "TS_1", uri).numpy()
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, mask)


def ones(*shape):
    return np.ones(shape, np.uint8)


@pytest.mark.parametrize(
    ("given_slabs", "message"),
    [
        ([(0, ones(2, 4, 4))], "end after 2 of 4"),
        ([], "end after 0 of 4"),
        ([(1, ones(3, 4, 4))], "doesn't follow 0"),
        ([(0, ones(2, 4, 4)), (3, ones(1, 4, 4))], "doesn't follow 2"),
        ([(0, ones(5, 4, 4))], "doesn't follow 0"),
        ([(0, ones(4, 4, 3))], "doesn't follow 0"),
        ([(0, ones(4, 4, 4)), (4, ones(0, 4, 4))], "doesn't follow 4"),
        ([(0, np.full((4, 4, 4), 300))], "do not fit uint8"),
        ([(0, np.full((4, 4, 4), -1))], "do not fit uint8"),
    ],
)
def test_slabs_that_do_not_fit_leave_what_was_there(project, given_slabs, message):
    uri = SegmentationUri("ribosome", "parts", "1", 10.0, "binary")
    write.write_segmentation(project, "TS_1", uri, ones(4, 4, 4))
    before = files(store(project, uri))
    with pytest.raises(ValueError, match=message):
        write.write_segmentation_slabs(project, "TS_1", uri, (4, 4, 4), iter(given_slabs), np.uint8)
    assert files(store(project, uri)) == before
    assert not list((project.folder / ".popsicle/staging").iterdir())


def test_an_error_on_the_way_leaves_nothing(project):
    uri = SegmentationUri("ribosome", "parts", "1", 10.0, "binary")

    def failing():
        yield 0, ones(2, 4, 4)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write.write_segmentation_slabs(project, "TS_1", uri, (4, 4, 4), failing(), np.uint8)
    assert not write.has_segmentation(project, "TS_1", uri)
    assert not list((project.folder / ".popsicle/staging").iterdir())


@pytest.mark.parametrize("shape", [(5, 7, 9), (300, 20, 270)])
def test_panoptic_ones_come_in_slabs_of_two_channels(project, shape):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, shape)
    both = np.stack([labels, np.where(labels > 0, rng.integers(0, 70_000, shape), 0)]).astype(np.uint32)
    both[:, 0, 0, 0] = 1, 70_000
    whole, parts = (SegmentationUri("both", user, "1", 10.0, "panoptic") for user in ("whole", "parts"))
    write.write_segmentation(project, "TS_1", whole, both)
    slabs_of = ((z, both[:, z : z + 3]) for z in range(0, shape[0], 3))
    write.write_segmentation_slabs(project, "TS_1", parts, shape, slabs_of, np.uint32)
    assert files(store(project, parts)) == files(store(project, whole))
    assert (read.read_segmentation(open_project(project.config), "TS_1", parts).numpy() == both).all()


@pytest.mark.parametrize("slab", [np.ones((4, 4, 4)), np.ones((3, 4, 4, 4)), np.ones((2, 5, 4, 4))])
def test_slabs_of_other_shapes_are_no_panoptic_ones(project, slab):
    uri = SegmentationUri("both", "parts", "1", 10.0, "panoptic")
    with pytest.raises(ValueError, match="doesn't follow 0 slices"):
        write.write_segmentation_slabs(project, "TS_1", uri, (4, 4, 4), iter([(0, slab.astype(int))]), np.uint16)
    assert not write.has_segmentation(project, "TS_1", uri)


def test_channels_are_read_one_by_one(project):
    uri = SegmentationUri("both", "parts", "1", 10.0, "panoptic")
    both = np.stack([np.full((3, 4, 5), 2), np.arange(60).reshape(3, 4, 5)])
    write.write_segmentation(project, "TS_1", uri, both)
    stored = read.read_segmentation(project, "TS_1", uri)
    assert stored.shape == (3, 4, 5)
    for number, channel in enumerate(("label", "instance")):
        one = stored.of_channel(channel)
        assert one.shape == (3, 4, 5)
        assert (one[1:, :2, 3:] == both[number, 1:, :2, 3:]).all()


def test_memory_does_not_grow_with_the_height(project):
    """Two rows of 256 x 300 x 300 are 46 MB each and padded to 4 chunks of 17 MB: one row and a chunk or two are held."""
    uri = SegmentationUri("ribosome", "parts", "1", 10.0, "binary")
    shape = (3 * 256, 300, 300)
    row = 256 * 300 * 300

    def made():
        for z in range(0, shape[0], 64):
            yield z, np.full((64, *shape[1:]), z // 64 % 2, np.uint8)

    write.write_segmentation_slabs(
        project, "TS_1", uri, (64, 300, 300), cut(np.zeros((64, 300, 300), bool), []), np.uint8
    )
    tracemalloc.start()
    try:
        write.write_segmentation_slabs(project, "TS_1", uri, shape, made(), np.uint8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < row + 64 * 300 * 300 + 4 * 256**3
    again = read.read_segmentation(open_project(project.config), "TS_1", uri)
    assert again[:, 0:1, 299:300].ravel().tolist() == [z // 64 % 2 for z in range(shape[0])]


def test_a_remote_overlay_is_written_directly_and_counts_once_its_record_is_there(tmp_path):
    config = {
        "config_type": "filesystem",
        "name": "far",
        "pickable_objects": [{"name": "ribosome", "label": 1, "is_particle": True, "radius": 100}],
        "overlay_root": f"memory://{tmp_path.name}",
        "overlay_fs_args": {},
    }
    (tmp_path / "far.json").write_text(json.dumps(config))
    project = open_project(tmp_path / "far.json")
    uri = SegmentationUri("ribosome", "parts", "1", 10.0, "binary")
    with pytest.raises(ValueError, match="end after 2 of 4"):
        write.write_segmentation_slabs(project, "TS_1", uri, (4, 4, 4), iter([(0, ones(2, 4, 4))]), np.uint8)
    assert not write.has_segmentation(open_project(project.config), "TS_1", uri)
    write.write_segmentation_slabs(project, "TS_1", uri, (4, 4, 4), cut(ones(4, 4, 4), [3]), np.uint8)
    assert write.has_segmentation(project, "TS_1", uri)
    assert read.read_segmentation(project, "TS_1", uri).numpy().all()
