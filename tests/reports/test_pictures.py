"""Crops and slices show what they say, where they say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from copick_tools.reports import pictures
from copick_tools.reports.gallery import examples, telling_runs
from copick_tools.reports.pictures import Mark

SPACING = 10.0


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.url.partition(",")[2]))))


def mark(x=0.0, y=0.0, z=0.0, outcome="fp", run="TS_1", **more):
    return Mark(run, "ribosome", np.array([x, y, z]), 100.0, outcome, **more)


def test_crop_is_centered_and_y_points_up():
    volume = np.zeros((60, 60, 60), np.float32)
    volume[29:32, 34:37, 24:27] = 1.0  # around voxel z 30, y 35, x 25
    picture = pictures.crop_picture(volume, SPACING, mark(250, 300, 300), (0.0, 1.0))
    image = pixels(picture)
    assert (picture.width, picture.height) == image.shape[::-1]
    half = picture.width // 2
    rows, columns = np.nonzero(image[:, :half] > 128)
    scale = picture.height / 41
    assert columns.mean() + 0.5 == pytest.approx(picture.circles[0].x, abs=0.6)
    assert rows.mean() + 0.5 == pytest.approx(picture.circles[0].y - 5 * scale, abs=0.6)  # y + 5 voxels is up
    assert [c.x for c in picture.circles] == pytest.approx([20.5 * scale, half + 20.5 * scale])
    assert picture.circles[0].radius == pytest.approx(10 * scale)


def test_crop_at_the_edge_is_gray_outside():
    image = pixels(pictures.crop_picture(np.zeros((30, 30, 30), np.float32), SPACING, mark(0, 0, 150), (0.0, 1.0)))
    assert image[4:10, 28:36].mean() < 10  # inside: x, y >= 0 lie to the right and up
    assert abs(int(image[-4, 4]) - 127) < 5
    far = pictures.crop_picture(np.zeros((30, 30, 30), np.float32), SPACING, mark(9999, 0, 0), (0.0, 1.0))
    assert abs(pixels(far).mean() - 127) < 3


def test_crop_survives_what_is_not_finite():
    volume = np.full((40, 40, 40), np.nan, np.float32)
    assert pictures.contrast(volume[20]) == (0.0, 1.0)
    assert pixels(pictures.crop_picture(volume, SPACING, mark(200, 200, 200), (0.0, 1.0))).std() < 2


def test_crop_reads_little():
    class Volume:
        shape = (200, 1000, 1000)
        read = 0

        def __getitem__(self, region):
            sizes = [part.stop - part.start for part in region]
            self.read += np.prod(sizes)
            return np.zeros(sizes, np.float32)

    volume = Volume()
    pictures.crop_picture(volume, SPACING, mark(5000, 5000, 1000), (0.0, 1.0))
    assert volume.read <= 41**3


def test_slice_circles_cross_the_slice():
    slab = np.zeros((40, 1024), np.float32)
    picture, scale = pictures.slice_picture(slab, (0.0, 1.0), "TS_1", "")
    assert (picture.width, picture.height, scale) == (512, 20, 0.5)
    marks = [mark(100, 50, 300), mark(100, 50, 360), mark(100, 50, 401)]
    circles = pictures.slice_circles(marks, SPACING, 30, scale, picture.height)
    assert [round(c.radius, 2) for c in circles] == [5.0, 4.0]
    assert (circles[0].x, circles[0].y) == (5.25, 17.25)


def test_outline_goes_around():
    mask = np.zeros((20, 20), bool)
    mask[5:10, 8:16] = True
    path = pictures.outline(mask, 1.0, 20)
    numbers = np.array([[float(v) for v in pair.split()] for pair in path.strip("MZ").split("L")])
    assert (numbers.min(axis=0) == [8, 10]).all()
    assert (numbers.max(axis=0) == [16, 15]).all()
    assert pictures.outline(np.zeros((5, 5), bool), 1.0, 5) == ""


class TestChoice:
    def test_runs_from_worst_to_best(self):
        scores = {f"r{i}": 1 - i / 100 for i in range(100)}
        chosen = telling_runs(scores, 5)
        assert (chosen[0], chosen[-1], len(set(chosen))) == ("r99", "r0", 5)
        assert telling_runs({"b": None, "a": 1.0}, 5) == ["b", "a"]

    def test_examples(self):
        marks = [mark(x=i, outcome="fp", score=i / 10) for i in range(10)]
        assert [m.score for m in examples(marks, "fp", 3)] == [0.9, 0.8, 0.7]
        found = [mark(x=i, outcome="tp", score=i / 10) for i in range(10)]
        assert [m.score for m in examples(found, "tp", 3)] == [0.0, 0.1, 0.2]
        plain = [mark(x=i, outcome="tp", distance=float(i)) for i in range(10)]
        assert [m.distance for m in examples(plain, "tp", 2)] == [9.0, 8.0]
        missed = [mark(x=i, outcome="fn") for i in range(10)]
        assert [m.position[0] for m in examples(missed[::-1], "fn", 4)] == [0, 3, 6, 9]
        assert examples(missed, "tp", 4) == []
