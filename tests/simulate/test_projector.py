"""Where points fall on the detector, and back."""

import numpy as np
import pytest

from copick_tools.simulate import projector
from copick_tools.simulate.projector import back_project, project

ANGLES = np.array([-60.0, -31.0, 0.0, 20.0, 45.0])


@pytest.mark.parametrize("point", [(20, 10, 30), (3, 0, 25), (35, 39, 20)])
def test_a_point_lands_where_geometry_says(point):
    volume = np.zeros((40, 40, 60), np.float32)
    volume[point] = 2
    images = project(volume, ANGLES)
    assert images.shape == (5, 40, 60)
    z, y, x = point
    for image, angle in zip(images, np.deg2rad(ANGLES)):
        column = (x - 29.5) * np.cos(angle) + (z - 19.5) * np.sin(angle) + 29.5
        assert image.sum() == pytest.approx(2, rel=1e-5)
        assert image.sum(axis=1).argmax() == y
        assert image[y] @ np.arange(60) / 2 == pytest.approx(column, abs=1e-3)


def test_what_falls_beside_the_detector_is_lost():
    volume = np.zeros((40, 1, 20), np.float32)
    volume[39, 0, 19] = 1
    beside, inside = project(volume, np.array([60.0, 0.0]))
    assert beside.sum() == 0
    assert inside[0, 19] == 1


def test_back_projection_is_the_transpose(monkeypatch):
    rng = np.random.default_rng(0)
    volume = rng.random((20, 7, 30), np.float32)
    images = rng.random((5, 7, 30), np.float32)
    there = np.vdot(project(volume, ANGLES), images)
    back = np.vdot(volume, back_project(images, ANGLES, volume.shape)) * len(ANGLES)
    assert there == pytest.approx(back, rel=1e-5)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    volume = rng.random((20, 7, 30), np.float32)
    images = project(volume, ANGLES)
    tomogram = back_project(images, ANGLES, (20, 5, 22))
    monkeypatch.setattr(projector, "SLAB", 3)
    monkeypatch.setattr(projector, "BLOCK", 2)
    assert np.allclose(project(volume, ANGLES), images, rtol=1e-5)
    assert np.allclose(back_project(images, ANGLES, (20, 5, 22)), tomogram, rtol=1e-5)


def test_back_projection_of_a_narrower_volume_is_the_middle_of_the_wide_one():
    images = np.random.default_rng(0).random((5, 9, 40), np.float32)
    wide = back_project(images, ANGLES, (10, 9, 30))
    assert np.allclose(back_project(images, ANGLES, (10, 5, 20)), wide[:, 2:7, 5:25], rtol=1e-5)
