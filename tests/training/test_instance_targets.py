"""What tells instances apart is made of whole objects, and known where they are."""

import numpy as np
import pytest
from training.cells import TASK, annotated
from volumes.blobs import ball

from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.load import load_task
from copick_tools.recipes.recipe import IGNORED, Target
from copick_tools.training.instance_targets import SPREAD, Annotated, Seen, shapes
from copick_tools.training.layouts import Shaped
from copick_tools.training.patches import TrainingRun
from copick_tools.volumes.flow_fields import flow_fields
from copick_tools.volumes.object_maps import boundary_map, distance_maps
from copick_tools.volumes.turned import VIEWS

KINDS = {"distances": 2, "flows": 3, "boundary": 1}


@pytest.fixture
def objects(tmp_path):
    (tmp_path / "cells.yaml").write_text(TASK.replace("METRIC", "instances"))
    return load_task(str(tmp_path / "cells.yaml")).targets


@pytest.fixture
def given():
    labels, ids = annotated()
    return Annotated(labels.astype(np.uint8), ids)


def whole(made):
    return made.crop((0, 0, 0), made.classes.shape)


def apart(given):
    """(z, y, x) one number for each object but networks."""
    keys = np.where((given.labels != 5) & (given.ids > 0), given.labels.astype(int) * 1000 + given.ids, 0)
    return np.searchsorted(np.unique(np.r_[0, keys.ravel()]), keys)


@pytest.mark.parametrize("kind", KINDS)
def test_channels(kind, given, objects):
    made = shapes(given, objects, Target(kind=kind))
    crop = whole(made)
    assert crop.shape == (2 + KINDS[kind], *given.labels.shape)
    assert crop.dtype == np.float32
    assert made.layout == Shaped(kind == "flows")
    np.testing.assert_array_equal(crop[0], np.array([0, 1, 2, 0, 0, 3])[given.labels])
    np.testing.assert_array_equal(crop[1], np.isin(given.labels, [1, 2]))  # of a network nothing is known
    maps = {"distances": distance_maps, "flows": flow_fields, "boundary": lambda i: boundary_map(i)[None]}[kind]
    np.testing.assert_allclose(crop[2:], maps(apart(given)), atol=1e-3)
    part = made.crop((2, 3, 5), (4, 6, 7))
    np.testing.assert_array_equal(part, crop[:, 2:6, 3:9, 5:12])


def test_the_same_id_of_two_objects(objects):
    labels, ids = np.zeros((1, 6, 8), np.uint8), np.zeros((1, 6, 8), int)
    labels[:, :, :4], labels[:, :, 4:], ids[:] = 1, 2, 7
    flows = whole(shapes(Annotated(labels, ids), objects, Target(kind="flows")))[2:]
    np.testing.assert_allclose(flows, flow_fields(labels.astype(int)), atol=1e-3)
    assert (whole(shapes(Annotated(labels, ids), objects, Target(kind="boundary")))[2, 0, :, 3:5] == 1).all()


def test_a_volume_without_background(objects):
    full = Annotated(np.ones((3, 4, 5), np.uint8), np.full((3, 4, 5), 9))
    crop = whole(shapes(full, objects, Target(kind="distances")))
    assert (crop[:2] == 1).all()
    assert crop[2].max() == 1


def test_nothing_at_all(objects):
    none = Annotated(np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.int64))
    for kind in KINDS:
        made = shapes(none, objects, Target(kind=kind))
        assert not whole(made)[:2].any()
        assert [made.anchors(channel).shape for channel in (1, 2, 3)] == [(0, 3)] * 3


def test_a_label_without_an_id(given, objects):
    given.ids[given.labels == 2] = 0
    crop = whole(shapes(given, objects, Target(kind="distances")))
    assert (crop[0][given.labels == 2] == 2).all()
    assert not crop[1][given.labels == 2].any()
    assert crop[1][given.labels == 1].all()


def test_voxels_to_ignore(given, objects):
    given.labels[:, :, :6] = 77
    given.labels[:, :, 30:] = 99  # of no object of the task
    target = Target(kind="flows", ignore_label=77)
    crop = whole(shapes(given, objects, target))
    assert (crop[0, :, :, :6] == IGNORED).all()
    assert not crop[0, :, :, 30:].any()
    assert not crop[1, :, :, :6].any()
    assert not crop[1, :, :, 30:].any()
    assert not whole(shapes(given, objects, target.model_copy(update={"ignore_label": None})))[0, :, :, :6].any()
    with pytest.raises(UsageError, match="ignore_label 2 is the label of an object"):
        shapes(given, objects, Target(kind="flows", ignore_label=2))
    with pytest.raises(FormatError, match="at most 255"):
        shapes(Annotated(given.labels.astype(int) + 200, given.ids), objects, target)


def test_outside_of_the_region_nothing_is_known(given, objects):
    region = np.ones(given.labels.shape, bool)
    region[:, 14:] = False
    made = shapes(Annotated(given.labels, given.ids, region), objects, Target(kind="distances"))
    crop = whole(made)
    assert (crop[0, :, 14:] == IGNORED).all()
    assert not crop[1, :, 14:].any()
    np.testing.assert_array_equal(crop[1, :, :14], np.isin(given.labels, [1, 2])[:, :14])
    assert all((made.anchors(channel)[:, 1] < 14).all() for channel in (1, 2, 3))


def test_networks_alone_have_labels(objects):
    labels = np.full((3, 4, 5), 5, np.uint8)
    made = shapes(Annotated(labels, np.ones((3, 4, 5), int)), objects, Target(kind="flows"))
    crop = whole(made)
    assert (crop[0] == 3).all()
    assert not crop[1:].any()
    assert len(made.anchors(3)) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_slices_know_their_pieces_alone(kind, objects):
    """An object that a slice cuts twice is two there; flows lie in the slice."""
    ids = np.zeros((4, 12, 20), int)
    ids[0, 4:8, 2:18] = ids[1:, 4:8, 2:7] = ids[1:, 4:8, 12:18] = 3
    given = Annotated((ids > 0).astype(np.uint8), ids)
    crop = whole(shapes(given, objects, Target(kind=kind), seen=Seen(planar=True)))
    assert crop.shape[0] == 2 + KINDS[kind] - (kind == "flows")
    first, later = (ids[z : z + 1].copy() for z in (0, 1))
    later[:, :, 12:] *= 2
    for z, plane in enumerate((first, later, later, later)):
        maps = {"distances": distance_maps, "flows": flow_fields, "boundary": lambda i: boundary_map(i)[None]}[kind]
        np.testing.assert_allclose(crop[2:, z], maps(plane)[1 if kind == "flows" else 0 :, 0], atol=1e-3)


@pytest.mark.parametrize("axes", VIEWS)
def test_turned_views(axes, given, objects):
    turned = Annotated(np.transpose(given.labels, axes), np.transpose(given.ids, axes))
    crop = whole(shapes(turned, objects, Target(kind="flows"), seen=Seen(planar=True)))
    np.testing.assert_array_equal(crop[0], np.transpose(np.array([0, 1, 2, 0, 0, 3])[given.labels], axes))
    vectors = np.linalg.norm(crop[2:], axis=0)
    assert vectors[crop[1] == 0].max() == 0
    assert (vectors[crop[1] == 1] > 0.99).mean() > 0.9


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_the_same(kind, planar, given, objects):
    held, filed = (shapes(given, objects, Target(kind=kind), seen=Seen(planar, held)) for held in (True, False))
    assert isinstance(filed.geometry, np.memmap)
    np.testing.assert_array_equal(whole(filed), whole(held))
    for channel in (1, 2, 3):
        np.testing.assert_array_equal(filed.anchors(channel), held.anchors(channel))


def test_each_object_has_as_many_places(objects):
    ids = np.zeros((20, 40, 40), int)
    ids[ball(ids.shape, (10, 12, 12), 9)], ids[ball(ids.shape, (10, 30, 30), 2)] = 1, 2
    made = shapes(Annotated((ids > 0).astype(np.uint8), ids), objects, Target(kind="boundary"))
    at = ids[tuple(made.anchors(1).T)]
    assert np.bincount(at).tolist() == [0, SPREAD, SPREAD]
    assert made.anchors(2).shape == (0, 3)


def test_a_patch_reaches_beyond_a_thin_volume(given, objects):
    made = shapes(given, objects, Target(kind="flows"))
    run = TrainingRun("r", np.zeros(given.labels.shape, np.float32), None, made)
    voxels, target = run.patch((0, 4, 4), (16, 8, 8))
    assert voxels.shape == (16, 8, 8)
    assert target.shape == (5, 16, 8, 8)
    assert (target[0, 12:] == IGNORED).all()
    assert not target[1:, 12:].any()


def test_objects_that_are_never_cut(given, objects):
    crop = whole(shapes(given, objects, Target(kind="distances"), (1,)))
    assert (crop[0][given.labels == 1] == 1).all()
    assert not crop[1][given.labels == 1].any()
    assert crop[1][given.labels == 2].any()
