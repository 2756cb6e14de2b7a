"""Instances are read from one panoptic segmentation or from those of each object, on the grid of the network."""

import numpy as np
import pytest
from training.cells import NAMES, SHAPE, annotated, cells, recipe

from copick_tools.data.uris import SegmentationUri, segmentation_uri
from copick_tools.data.write import write_segmentation
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.recipes.load import load_recipe, load_task
from copick_tools.training.annotated import read_annotated
from copick_tools.training.data import TrainingData
from copick_tools.volumes.turned import VIEWS

GRID = (SHAPE, 10.0)


@pytest.fixture
def objects(tmp_path):
    recipe(tmp_path)
    return load_task(str(tmp_path / "cells.yaml")).targets


@pytest.fixture
def project(tmp_path):
    """Run A also has an instance segmentation of each object but the network."""
    made = cells(tmp_path)
    labels, ids = annotated()
    for name in ("vesicle", "mito"):
        own = np.where(labels == NAMES[name], ids, 0).astype(np.uint16)
        write_segmentation(made, "A", SegmentationUri(name, "truth", "0", 10.0, "instance"), own)
    return made


def read(project, objects, uri, run="A", grid=GRID):
    return read_annotated(project, run, segmentation_uri(uri), objects, grid)


def data(project, tmp_path, *settings):
    return TrainingData.resolve(project, load_recipe(recipe(tmp_path), settings))


def test_panoptic(project, objects):
    found = read(project, objects, "cells:truth/0@10.0?panoptic=true")
    np.testing.assert_array_equal(np.stack([found.labels, found.ids]), annotated())
    assert found.labels.dtype == np.uint8
    assert found.region is None


def test_one_of_each_object(project, objects):
    """What lacks one has none, where the URI leaves the object open."""
    labels, ids = annotated()
    found = read(project, objects, ":truth/0@10.0?instance=true")
    np.testing.assert_array_equal(found.labels, np.where(labels == 5, 0, labels))
    np.testing.assert_array_equal(found.ids, np.where(labels == 5, 0, ids))


def test_one_object(project, objects):
    labels, ids = annotated()
    found = read(project, objects, "mito:truth/0@10.0?instance=true")
    np.testing.assert_array_equal(found.labels, np.where(labels == 2, 2, 0))
    np.testing.assert_array_equal(found.ids, np.where(labels == 2, ids, 0))


def test_ids_that_scores_cannot_tell(project, objects):
    """Said before training, not when it first validates."""
    labels = np.zeros((2, *SHAPE), np.uint32)
    labels[:, 3:6, 4:9, 4:9] = np.array([1, 4_000_000_000])[:, None, None, None]
    write_segmentation(project, "A", SegmentationUri("cells", "large", "0", 10.0, "panoptic"), labels)
    with pytest.raises(FormatError, match="of run A holds id 4000000000"):
        read(project, objects, "cells:large/0@10.0?panoptic=true")


def test_what_is_not_there(project, objects):
    with pytest.raises(NotFoundError, match="no segmentation er:truth"):
        read(project, objects, "er:truth/0@10.0?instance=true")
    with pytest.raises(NotFoundError, match="names no object of the task"):
        read(project, objects, "mitos:truth/0@10.0?instance=true")
    with pytest.raises(NotFoundError, match="in run A"):
        read(project, objects, ":someone/0@10.0?instance=true")  # not a run without any instance
    with pytest.raises(NotFoundError, match="in run B"):
        read(project, objects, ":truth/0@10.0?instance=true", run="B")
    with pytest.raises(UsageError, match="names no instances"):
        read(project, objects, "cells:truth/0@10.0?multilabel=true")


def test_several_of_one_object(project, objects):
    write_segmentation(
        project, "A", SegmentationUri("mito", "other", "0", 10.0, "instance"), annotated()[1].astype(np.uint16)
    )
    with pytest.raises(PopsicleError, match="several match"):
        read(project, objects, ":*/0@10.0?instance=true")


@pytest.mark.parametrize("uri", ["cells:truth/0@10.0?panoptic=true", ":truth/0@10.0?instance=true"])
def test_on_another_grid(project, objects, uri):
    fine = read(project, objects, uri)
    coarse = read(project, objects, uri, grid=((6, 14, 16), 20.0))
    for one, other in ((coarse.labels, fine.labels), (coarse.ids, fine.ids)):
        assert one.shape == (6, 14, 16)
        np.testing.assert_array_equal(one, other[1::2, 1::2, 1::2])
    with pytest.raises(FormatError, match="cover"):
        read(project, objects, uri, grid=((20, 28, 32), 10.0))


def test_labels_beyond_a_byte(tmp_path, monkeypatch, objects):
    monkeypatch.setitem(NAMES, "huge", 300)
    truth = annotated()
    truth[0][truth[0] == 2] = 300
    project = cells(tmp_path, A=truth)
    with pytest.raises(FormatError, match="labels are at most 255"):
        read(project, objects, "cells:truth/0@10.0?panoptic=true")


def test_targets_of_a_training(project, tmp_path):
    found = data(project, tmp_path)
    (run,) = found.training_runs("A")
    assert run.volume.shape == SHAPE
    crop = run.target.crop((0, 0, 0), SHAPE)
    np.testing.assert_array_equal(crop[0], np.array([0, 1, 2, 0, 0, 3])[annotated()[0]])
    held_out = found.validation_run("B")
    np.testing.assert_array_equal(held_out.annotated.ids, annotated(1)[1])
    assert held_out.labels is None


def test_targets_are_resampled_with_their_tomogram(project, tmp_path):
    found = data(project, tmp_path, "voxel_spacing=20", "train.patch=[4,8,8]")
    (run,) = found.training_runs("A")
    assert run.volume.shape == (6, 14, 16)
    fine = np.array([0, 1, 2, 0, 0, 3])[annotated()[0]]
    np.testing.assert_array_equal(run.target.crop((0, 0, 0), (6, 14, 16))[0], fine[1::2, 1::2, 1::2])
    assert found.validation_run("B").annotated.ids.shape == SHAPE  # scored on the tomogram's grid


def test_three_views_of_a_network_of_slices(project, tmp_path):
    slices = ("model={family: slices, channels: [4, 8], strides: [2]}", "train.patch=[1,8,8]")
    runs = data(project, tmp_path, *slices).training_runs("A")
    assert [run.volume.shape for run in runs] == [tuple(SHAPE[axis] for axis in axes) for axes in VIEWS]
    for run, axes in zip(runs, VIEWS):
        voxels, target = run.patch((3, 2, 1), (1, 8, 8))
        whole, labels = runs[0].volume, np.array([0, 1, 2, 0, 0, 3])[annotated()[0]]
        np.testing.assert_array_equal(voxels, np.transpose(whole, axes)[3:4, 2:10, 1:9])
        np.testing.assert_array_equal(target[0], np.transpose(labels, axes)[3:4, 2:10, 1:9])
        assert len(target) == 4
    stitching = data(project, tmp_path, *slices, "instances.views=stitched")
    assert len(stitching.training_runs("A")) == 1
    from_disk = data(project, tmp_path, *slices, "train.cache=false").training_runs("A")
    for one, other in zip(runs, from_disk):
        for a, b in zip(one.patch((3, 2, 1), (1, 8, 8)), other.patch((3, 2, 1), (1, 8, 8))):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_region(project, tmp_path):
    region = np.zeros(SHAPE, np.uint8)
    region[:, :14] = 1
    write_segmentation(project, "A", SegmentationUri("vesicle", "seen", "0", 10.0, "binary"), region)
    (run,) = data(project, tmp_path, "target.region=vesicle:seen/0@10.0").training_runs("A")
    assert (run.target.crop((0, 0, 0), SHAPE)[0, :, 14:] == 255).all()
    coarse = data(project, tmp_path, "target.region=vesicle:seen/0@10.0", "voxel_spacing=20", "train.patch=[4,8,8]")
    (far,) = coarse.training_runs("A")
    assert (far.target.crop((0, 0, 0), (6, 14, 16))[0, :, 7:] == 255).all()
    assert (far.target.crop((0, 0, 0), (6, 7, 16))[0] != 255).all()
