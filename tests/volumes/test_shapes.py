"""Instances measured: known bodies, any blocks, ids with gaps, faces of the volume."""

import numpy as np
import pytest
from scipy import ndimage

from copick_tools.volumes.shapes import WEIGHTS, measured


def body(shape, inside, number=1):
    return np.where(inside(*np.indices(shape)), number, 0)


def ball(radius, number=1):
    side = 2 * radius + 7
    return body((side,) * 3, lambda *at: sum((a - side / 2 + 0.5) ** 2 for a in at) <= radius**2, number)


@pytest.mark.parametrize("radius", [5, 8, 15])
def test_balls(radius):
    found = measured(ball(radius))
    assert found.surface[0] == pytest.approx(4 * np.pi * radius**2, rel=0.04)
    assert found.sphericity[0] > 0.97
    assert found.compactness[0] > 0.97
    assert not found.at_border[0]


def test_boxes_and_tubes():
    cube = measured(
        body((40,) * 3, lambda z, y, x: (np.minimum.reduce([z, y, x]) > 4) & (np.maximum.reduce([z, y, x]) < 35))
    )
    assert cube.surface[0] == pytest.approx(6 * 30**2, rel=0.1)
    assert cube.low[0].tolist() == [5, 5, 5]
    assert cube.high[0].tolist() == [35, 35, 35]
    tubes = [
        body((60, 60, 60), lambda z, y, x: (np.hypot(z - 30, y - 30) <= 5) & (x > 5) & (x < 55)),
        body((60, 60, 60), lambda z, y, x: (np.hypot(z - 30, (x - y) / 2**0.5) <= 5) & (abs(x + y - 60) < 25 * 2**0.5)),
    ]
    along, across = (measured(tube) for tube in tubes)
    assert along.sphericity[0] == pytest.approx(across.sphericity[0], rel=0.05)  # however it lies
    assert along.sphericity[0] < 0.75


def test_weights_are_all_directions():
    assert sum(weight * {1: 3, 2: 6, 3: 4}[squared] for squared, weight in WEIGHTS.items()) == pytest.approx(
        1, abs=1e-5
    )


def test_blocks_change_nothing():
    ids = np.random.default_rng(0).integers(0, 6, (13, 14, 15))
    ids[ids == 4] = 4_000_000_000
    expected = measured(ids)
    assert expected.ids.tolist() == [1, 2, 3, 5, 4_000_000_000]
    for chunk in (3, 5, 8):
        found = measured(ids, chunk)
        for name in ("ids", "voxels", "low", "high", "centers", "surface", "compactness", "at_border"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_as_scipy_counts():
    ids = np.random.default_rng(1).integers(0, 4, (9, 10, 11)).astype(np.uint16)
    found = measured(ids)
    np.testing.assert_array_equal(found.voxels, np.bincount(ids.ravel())[1:])
    np.testing.assert_allclose(found.centers, ndimage.center_of_mass(ids > 0, ids, [1, 2, 3]))
    for row, box in enumerate(ndimage.find_objects(ids)):
        assert found.low[row].tolist() == [part.start for part in box]
        assert found.high[row].tolist() == [part.stop for part in box]


def test_touching_instances_have_a_surface_between_them():
    ids = np.zeros((20, 20, 20), int)
    ids[5:15, 5:15, 5:10], ids[5:15, 5:15, 10:15] = 1, 2
    alone = np.where(ids == 1, ids, 0)
    assert measured(ids).surface[0] == pytest.approx(measured(alone).surface[0])


def test_faces_of_the_volume():
    cut = measured(ball(8)[12:])
    assert cut.at_border[0]
    assert cut.surface[0] == pytest.approx(2 * np.pi * 8**2, rel=0.15)  # half a ball, its cut isn't counted
    assert measured(np.ones((3, 3, 3), int)).surface.tolist() == [0]
    assert measured(np.ones((3, 3, 3), int)).sphericity.tolist() == [1]


@pytest.mark.parametrize("shape", [(3, 3, 3), (0, 3, 3), (1, 1, 1)])
def test_nothing(shape):
    found = measured(np.zeros(shape, np.uint32))
    assert len(found) == 0
    assert found.sphericity.shape == (0,)


def test_one_voxel():
    ids = np.zeros((3, 3, 3), int)
    ids[1, 1, 1] = 9
    found = measured(ids)
    assert found.ids.tolist() == [9]
    assert found.voxels.tolist() == [1]
    assert found.centers.tolist() == [[1, 1, 1]]
    assert found.sphericity.tolist() == [1]
