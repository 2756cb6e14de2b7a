"""Distances and boundaries are what their definitions say, voxel by voxel."""

from itertools import product

import numpy as np
import pytest
from volumes.blobs import ball, touching

from copick_tools.volumes.flow_fields import solids
from copick_tools.volumes.object_maps import boundary_map, distance_maps

SHAPES = [(10, 16, 16), (1, 24, 24)]


@pytest.mark.parametrize("shape", SHAPES)
def test_distances_by_definition(shape):
    ids = touching(shape, 4, 6.0)
    center, boundary = distance_maps(ids)
    assert (center[ids == 0] == 1).all()
    assert (boundary[ids == 0] == 1).all()
    for solid in solids(ids):
        inside, outside = np.argwhere(ids == solid.id), np.argwhere(ids != solid.id)
        middle = np.array(solid.center) + [part.start for part in solid.box]
        away = np.linalg.norm(inside - middle, axis=1)
        np.testing.assert_allclose(center[tuple(inside.T)], away / away.max(), atol=1e-6)
        deep = np.array([np.linalg.norm(outside - voxel, axis=1).min() for voxel in inside])
        np.testing.assert_allclose(boundary[tuple(inside.T)], 1 - deep / deep.max(), atol=1e-6)
    assert distance_maps(ids).dtype == np.float32


@pytest.mark.parametrize("shape", SHAPES)
def test_boundaries_by_definition(shape):
    ids = touching(shape, 4, 6.0)
    near = [step for step in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, step)) < 3]
    wanted = np.zeros(shape, bool)
    for voxel in np.argwhere(ids > 0):
        for place in voxel + near:
            if (place >= 0).all() and (place < shape).all():
                wanted[tuple(voxel)] |= ids[tuple(place)] != ids[tuple(voxel)]
    np.testing.assert_array_equal(boundary_map(ids), wanted)


def test_what_is_left_between_boundaries_does_not_touch():
    import cc3d

    ids = touching((20, 30, 30), 8, 7.0)
    left = np.where(boundary_map(ids), 0, ids)
    pieces = cc3d.connected_components(left > 0, connectivity=26)
    assert all(len(np.unique(left[pieces == number])) == 1 for number in range(1, pieces.max() + 1))
    assert set(np.unique(left)) == set(np.unique(ids))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_gaps_and_types_of_ids(dtype):
    ids = touching((8, 12, 12), 3, 5.0)
    renamed = np.array([0, 200, 3, 77])[ids].astype(dtype)
    np.testing.assert_array_equal(distance_maps(renamed), distance_maps(ids))
    np.testing.assert_array_equal(boundary_map(renamed), boundary_map(ids))


def test_other_memory_orders():
    ids = touching((8, 12, 14), 3, 5.0)
    turned = np.transpose(ids, (2, 0, 1))
    np.testing.assert_allclose(distance_maps(turned), np.transpose(distance_maps(ids), (0, 3, 1, 2)), atol=1e-6)
    np.testing.assert_array_equal(boundary_map(turned), np.transpose(boundary_map(ids), (2, 0, 1)))


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6)])
def test_nothing_one_voxel_and_everything(shape):
    none = np.zeros(shape, int)
    assert (distance_maps(none) == 1).all()
    assert not boundary_map(none).any()
    one = none.copy()
    one[0, 2, 2] = 9
    assert distance_maps(one)[:, 0, 2, 2].tolist() == [0, 0]
    assert boundary_map(one).sum() == 1
    full = np.full(shape, 3)
    assert not boundary_map(full).any()  # the volume's faces are no boundary
    center, boundary = distance_maps(full)
    assert (boundary == 0).all()
    assert center.min() == 0
    assert center.max() == 1


def test_objects_cut_by_the_volume_are_deep_at_its_faces():
    ids = ball((9, 21, 21), (0, 10, 10), 8).astype(int)
    _, boundary = distance_maps(ids)
    assert boundary[0, 10, 10] == boundary.min() == 0
    assert not boundary_map(ids)[0, 10, 10]
