"""A network of slices sees a volume from three sides: what it says is averaged."""

import numpy as np
import pytest
import torch
from inference.tiled import noise, tiled, whole

from copick_tools.inference.geometry import Geometry
from copick_tools.inference.grid import CELL
from copick_tools.inference.mapped import predict_maps
from copick_tools.inference.tiler import Tiled
from copick_tools.inference.views import Views, seeing
from copick_tools.volumes.decoding import UNIT
from copick_tools.volumes.normalize import intensity, normalize


class Plane(torch.nn.Module):
    """Classes and flows along y and x, of each pixel alone."""

    def forward(self, x):
        assert x.shape[2] == 1
        return torch.cat([-x, x, 0.3 * x**2 - 1, x / 4, 0.1 - x / 8], dim=1)


class Slopes(torch.nn.Module):
    """Flows along y and x: the slope, so that each axis is seen alike from both sides."""

    def forward(self, x):
        slopes = [(x.roll(-1, axis) - x.roll(1, axis)) / 8 for axis in (3, 4)]
        return torch.cat([-x, x, x, *slopes], dim=1)


def views(network, patch=(1, 8, 8), **more):
    return seeing(tiled(network, patch, geometry=Geometry("flows", 2), **{"overlap": 0.5, **more}), "averaged")


def test_the_mean_of_what_each_plane_says():
    volume = noise((9, 12, 10))
    x = normalize(volume, intensity(volume, 0.0))
    classes = torch.from_numpy(np.stack([-x, x, 0.3 * x**2 - 1])).softmax(0).numpy()
    first, second = np.clip(x / 4, -1, 1), np.clip(0.1 - x / 8, -1, 1)
    # z is seen twice as the first axis of a plane, x twice as the second, y once as each
    wanted = np.concatenate([classes, np.stack([first, (first + second) / 2, second])])
    found = whole(views(Plane()).stitched(volume))
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    np.testing.assert_allclose(found[:3].sum(axis=0), 1, atol=2e-3)


@pytest.mark.parametrize("tta", [1, 4, 16])
def test_slopes_of_all_axes(tta):
    """Each axis lies in two planes, which see the same."""
    volume = noise((8, 8, 8)) / 2
    x = normalize(volume, intensity(volume, 0.0))
    wanted = np.stack([(np.roll(x, -1, axis) - np.roll(x, 1, axis)) / 8 for axis in range(3)])
    found = whole(views(Slopes(), tta=tta, overlap=0.0).stitched(volume))
    np.testing.assert_allclose(found[3:], wanted, atol=3e-3)


def test_maps_have_three_components():
    volume = noise((9, 12, 10))
    found = predict_maps(views(Plane()), volume, 10.0, "here").maps
    assert found.geometry.shape == (3, *volume.shape)
    np.testing.assert_allclose(found.geometry, UNIT * whole(views(Plane()).stitched(volume))[3:], atol=0.51)
    stitching = seeing(views(Plane()), "stitched")
    flat = predict_maps(stitching, volume, 10.0, "here").maps
    assert not flat.geometry[0].any()  # slices know no flow along z
    assert flat.geometry[1:].any()


class Left:
    """A sample that ends at half of x, which is asked for in columns."""

    def rows(self, y, x):
        return (0, 20) if x.start < CELL else (0, 0)


def test_outside_of_the_sample_is_background():
    volume = noise((20, 16, 2 * CELL))
    found, every = (whole(views(Plane()).stitched(volume, sample)) for sample in (Left(), None))
    outside = np.broadcast_to(np.arange(2 * CELL) >= CELL, volume.shape)
    assert (found[0, outside] == 1).all()
    assert not found[1:, outside].any()
    np.testing.assert_allclose(found[:, ~outside], every[:, ~outside], atol=1e-3)


def test_what_one_view_refuses():
    with pytest.raises(ValueError, match="all voxels are"):
        whole(views(Plane()).stitched(np.ones((4, 8, 8), np.float32)))


def test_seeing_keeps_all_settings():
    one = tiled(Plane(), (1, 8, 8), geometry=Geometry("flows", 2), tta=4, sums="float32")
    both = seeing(one, "averaged")
    assert type(both) is Views
    assert seeing(both, "averaged") is both
    back = seeing(both, "stitched")
    assert type(back) is Tiled
    assert back == one


def test_a_predictor_of_an_engines_own_stays():
    class Own(Tiled):
        """Sees volumes in its own way."""

    made = tiled(Plane(), (1, 8, 8), geometry=Geometry("flows", 2))
    made.__class__ = Own
    for own in (made, object()):
        assert all(seeing(own, views) is own for views in ("averaged", "stitched"))
