"""Distances from surfaces, and bodies that come to touch."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from copick_tools.simulate.geometry import field_around
from copick_tools.simulate.membranes import bilayer_potential
from copick_tools.simulate.organelles.ground import SQUEEZE, Ground, come_to_rest
from copick_tools.simulate.organelles.shapes import REACH, Ellipsoid, Tube, Unevenness, bent, tube_depth
from copick_tools.simulate.placement import random_rotations

FIELD = field_around((40, 50, 60), 20.0, 0)
EVERYWHERE = tuple(slice(0, size) for size in FIELD.padded)
AXES = FIELD.axes(EVERYWHERE)
PLACES = np.stack(np.broadcast_arrays(*AXES)[::-1], axis=-1)  # zyx of xyz


def ball(center, radius):
    return Ellipsoid(np.array(center, float), np.full(3, float(radius)), np.eye(3))


def put(ground, ellipsoid):
    box = ellipsoid.box(FIELD)
    ground.add(box, ellipsoid.depth(FIELD.axes(box)))


def test_axes_are_the_places_of_a_box_and_a_box_holds_its_corners():
    low, high = np.array([-30.0, 100, 50]), np.array([210.0, 333, 10_000])
    z, y, x = FIELD.axes(FIELD.box(low, high))
    assert (x.min(), x.max()) == (-20, 200)
    assert (y.min(), y.max()) == (100, 320)
    assert (z.min(), z.max()) == (60, 39 * 20)  # no farther than the field
    assert (z.shape, y.shape[1], x.shape[2]) == ((37, 1, 1), 12, 12)
    assert FIELD.axes(FIELD.box(high, low))[2].size == 0


def test_depth_of_a_ball_is_the_distance_and_its_center_is_inside():
    center = PLACES[20, 30, 40]  # a voxel
    depth = ball(center, 200).depth(AXES)
    expected = np.linalg.norm(PLACES - center, axis=-1) - 200
    assert np.allclose(depth[expected > -199], expected[expected > -199], atol=0.1)
    assert depth[20, 30, 40] < -150
    assert depth.dtype == np.float32


def test_depth_of_a_turned_ellipsoid_vanishes_on_its_surface():
    rotation = random_rotations(1, np.random.default_rng(0))[0]
    ellipsoid = Ellipsoid(np.array([600.0, 500, 400]), np.array([200.0, 240, 290]), rotation)
    for point in ellipsoid.points()[:200:20]:
        axes = tuple(np.float32(value).reshape(1, 1, 1) for value in point[::-1])
        assert abs(ellipsoid.depth(axes).item()) < 0.1
    depth = ellipsoid.depth(AXES)
    near = np.abs(depth) < 40
    nearest, _ = KDTree(dense_surface(ellipsoid)).query(PLACES[near])
    assert np.abs(np.abs(depth[near]) - nearest).max() < 10


def dense_surface(ellipsoid):
    directions = np.random.default_rng(1).standard_normal((40_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return ellipsoid.center + (directions * ellipsoid.half_axes) @ ellipsoid.rotation.T


def test_depth_of_a_tube_is_that_of_balls_along_its_spine():
    spine = bent(np.array([200.0, 300, 300]), np.array([900.0, 600, 500]), np.array([0, 150.0, 0]), 9)
    tube = Tube(spine, np.full(9, 120.0))
    depth = tube_depth(FIELD, EVERYWHERE, [tube])
    fine = np.concatenate([np.linspace(a, b, 8) for a, b in zip(spine[:-1], spine[1:])])
    expected = np.min([np.linalg.norm(PLACES - point, axis=-1) for point in fine], axis=0) - 120
    near = (expected > -80) & (expected < REACH - 20)
    assert np.abs(depth - expected)[near].max() < 2
    assert (depth[expected >= REACH - 20] > REACH - 23).all()


def test_a_tube_of_no_length_is_a_ball():
    center = np.array([600.0, 500, 400])
    tube = Tube(np.stack([center, center]), np.array([150.0, 150]))
    depth = tube_depth(FIELD, EVERYWHERE, [tube])
    expected = ball(center, 150).depth(AXES)
    near = (expected < 100) & (expected > -140)
    assert np.allclose(depth[near], expected[near], atol=0.1)


def test_unevenness_has_a_deviation_of_one_and_is_smooth():
    values = Unevenness.draw((200.0, 400.0), np.random.default_rng(0)).at(AXES)
    assert values.shape == FIELD.padded
    assert values.std() == pytest.approx(1, abs=0.2)
    assert np.abs(np.diff(values, axis=2)).max() < 2 * np.pi * 20 / 200 * 4


@pytest.mark.parametrize("blur", [2.0, 5.8, 15.0])
def test_a_blurred_bilayer_has_the_same_integral(blur):
    depth = np.linspace(-150, 150, 3001)
    sharp, blurred = bilayer_potential(depth), bilayer_potential(depth, blur)
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=1e-3)
    assert blurred.max() < sharp.max()


def test_ground_is_the_distance_to_the_nearest_body():
    ground = Ground.empty(FIELD)
    assert ground.share() == 1
    put(ground, ball((600, 500, 400), 200))
    assert ground.at(np.array([[600.0, 500, 700], [600, 500, 400]])) == pytest.approx([100, -180], abs=25)
    assert ground.clear(np.array([[600.0, 500, 700], [600, 500, 700]]), 80).all()
    assert not ground.clear(np.array([[600.0, 500, 700]]), 120).any()
    assert ground.gap(ball((850, 500, 400), 100).points()) == pytest.approx(-50, abs=5)
    assert 0.5 < ground.share() < 1


def test_no_body_swallows_another():
    ground = Ground.empty(FIELD)
    put(ground, ball((600, 480, 400), 105))
    assert ground.gap(ball((700, 500, 400), 350).points()) < 0
    assert ground.gap(Tube(np.array([[200.0, 500, 400], [600, 500, 400]]), np.full(2, 430.0)).points()) < 0


def test_a_body_comes_to_rest_where_it_touches():
    ground = Ground.empty(FIELD)
    put(ground, ball((300, 500, 400), 200))
    vesicle, west = ball((1100, 500, 400), 100), np.array([-1.0, 0, 0])
    way = come_to_rest(vesicle.points(), west, ground, 2000)
    assert way == pytest.approx([-(500 + SQUEEZE), 0, 0], abs=6)
    assert come_to_rest(vesicle.points(), -west, ground, 2000) is None  # nothing there
    assert come_to_rest(ball((450, 500, 400), 100).points(), west, ground, 2000) is None  # begins in it
