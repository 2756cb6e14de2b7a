"""Channels after the classes: averaged as they are, and vectors are turned back with what they lie in."""

import numpy as np
import pytest
import torch
from inference.tiled import noise, tiled, whole

from copick_tools.errors import PopsicleError
from copick_tools.inference.forward import ORIENTATIONS, Forward, turned, turned_back, vectors_back
from copick_tools.inference.geometry import Geometry, geometry_of
from copick_tools.inference.grid import CELL
from copick_tools.inference.mapped import predict_maps
from copick_tools.recipes.load import load_recipe
from copick_tools.volumes.decoding import FULL, UNIT
from copick_tools.volumes.normalize import intensity, normalize

CPU = torch.device("cpu")
KINDS = {"distances": 2, "flows": 3, "boundary": 1}
TTAS = [1, 2, 4, 8, 16, "turns"]
PATCH = (6, 8, 8)


class Slope(torch.nn.Module):
    """Classes of each voxel's value, and the slope of the values: it turns with what it sees."""

    def __init__(self, axes=(2, 3, 4)):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        slopes = [(x.roll(-1, axis) - x.roll(1, axis)) / 4 for axis in self.axes]
        return torch.cat([-x, x, 0.3 * x**2 - 1, *slopes], dim=1)


class Values(torch.nn.Module):
    """All of each voxel's value alone, with so many channels after the classes."""

    def __init__(self, more):
        super().__init__()
        self.more = more

    def forward(self, x):
        return torch.cat([-x, x, 0.3 * x**2 - 1, *((n + 1) * x / 3 - 0.2 for n in range(self.more))], dim=1)


class Broken(Values):
    """Its last channel isn't finite at one voxel."""

    def __init__(self, more, value):
        super().__init__(more)
        self.value = value

    def forward(self, x):
        found = super().forward(x)
        found[:, -1, 1, 2, 3] = self.value
        return found


def by_hand(kind, volume):
    """(C, z, y, x) of `Values`, without tiles."""
    geometry = Geometry(kind, KINDS[kind])
    with torch.no_grad():
        x = torch.from_numpy(normalize(volume, intensity(volume, 0.0)))[None, None]
        found = Values(geometry.channels)(x)
    return torch.cat([found[:, :3].softmax(1), geometry.of(found[:, 3:])], dim=1)[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("tta", [1, 8])
def test_tiles_change_nothing(kind, overlap, tta):
    volume = noise((13, 17, 19))
    network = Values(KINDS[kind])
    if kind == "flows":
        tta = 1  # those of `Values` don't turn
    exact = tiled(network, PATCH, overlap, tta=tta, sums="float32", geometry=Geometry(kind, KINDS[kind]))
    np.testing.assert_allclose(whole(exact.stitched(volume)), by_hand(kind, volume), atol=2e-6)
    half = tiled(network, PATCH, overlap, tta=tta, geometry=Geometry(kind, KINDS[kind]))
    np.testing.assert_allclose(whole(half.stitched(volume)), by_hand(kind, volume), atol=4e-3)


def test_classes_are_what_they_are_without_geometry():
    volume = noise((9, 12, 12))
    with_more = tiled(Values(2), PATCH, geometry=Geometry("distances", 2))
    alone = tiled(Values(0), PATCH)
    np.testing.assert_allclose(whole(with_more.slabs(volume)), whole(alone.slabs(volume)), atol=5e-4)
    assert whole(with_more.slabs(volume)).shape[0] == 3
    for one, other in zip(with_more.likeliest(volume), alone.likeliest(volume)):
        for a, b in zip(one[1:], other[1:]):
            np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("tta", TTAS)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_network_that_turns_with_its_input(tta, batch):
    geometry, windows = Geometry("flows", 3), [((0, n), torch.from_numpy(noise(PATCH, n) / 4)) for n in range(3)]
    found = []
    for orientations in (1, tta):
        forward = Forward(Slope(), CPU, False, batch, orientations)
        forward.geometry = geometry
        with torch.inference_mode():
            found.append(torch.stack([out.clone() for _, out in forward(iter(windows))]))
    count = len(ORIENTATIONS[tta])
    torch.testing.assert_close(found[1][:, 3:] / count, found[0][:, 3:], atol=1e-6, rtol=1e-5)
    if count > 1:
        torch.testing.assert_close(found[1][:, :3] / count, found[0][:, :3].softmax(1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tta", TTAS)
def test_orientations_change_nothing_in_tiles(tta):
    """Windows beside each other; at their edges slopes look around to the other side."""
    volume = noise((12, 16, 16)) / 4
    found = [
        whole(tiled(Slope(), PATCH, 0.0, tta=t, sums="float32", geometry=Geometry("flows", 3)).stitched(volume))
        for t in (1, tta)
    ]
    np.testing.assert_allclose(found[1], found[0], atol=2e-6)
    assert np.abs(found[0][3:]).max() > 0.3


@pytest.mark.parametrize("tta", [1, 2, 4, 8, 16, "turns"])
def test_flows_of_a_plane(tta):
    windows = torch.from_numpy(noise((3, 1, 8, 8)))[:, None]
    slope = Slope((3, 4))
    for orientation in ORIENTATIONS[tta]:
        back = turned_back(slope(turned(windows, orientation)), orientation)[:, 3:]
        torch.testing.assert_close(vectors_back(back, orientation), slope(windows)[:, 3:])


@pytest.mark.parametrize("kind", KINDS)
def test_maps_in_bytes(kind):
    volume = noise((13, 16, 16))
    predictor = tiled(Values(KINDS[kind]), PATCH, 0.5, sums="float32", geometry=Geometry(kind, KINDS[kind]))
    parts = [[np.asarray(part).copy() for part in slab[1:]] for slab in predictor.maps(volume)]
    foreground, labels = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    geometry = np.concatenate([part[2] for part in parts], axis=1)
    wanted = by_hand(kind, volume)
    assert (foreground.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert geometry.dtype == (np.int8 if kind == "flows" else np.uint8)
    np.testing.assert_allclose(foreground, FULL * (1 - wanted[0]), atol=0.51)
    assert (labels == wanted[:3].argmax(0)).mean() > 0.999
    np.testing.assert_allclose(geometry, (UNIT if kind == "flows" else FULL) * wanted[3:], atol=0.51)


def test_bytes_do_not_overflow():
    beyond = torch.tensor([-1.03, -1.0, 0.0, 1.0, 1.03])
    assert Geometry("flows", 3).in_bytes(beyond).tolist() == [-127, -127, 0, 127, 127]
    assert Geometry("boundary", 1).in_bytes(beyond).tolist() == [0, 0, 0, 255, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("tta", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_geometry_that_is_not_finite(kind, tta, value):
    predictor = tiled(Broken(KINDS[kind], value), PATCH, tta=tta, geometry=Geometry(kind, KINDS[kind]))
    with pytest.raises(ValueError, match="isn't finite"):
        whole(predictor.stitched(noise((6, 16, 16))))
    with pytest.raises(PopsicleError, match="run r: the network's output"):
        predict_maps(predictor, noise((6, 16, 16)), 10.0, "run r")


class Left:
    """A sample that ends at half of x, which is asked for in columns."""

    def rows(self, y, x):
        return (0, 12) if x.start < CELL else (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_of_the_sample_is_nothing(kind):
    """Distances are then those of the background, for maps are smoothed."""
    volume = noise((12, 16, 2 * CELL))
    predictor = tiled(Values(KINDS[kind]), PATCH, geometry=Geometry(kind, KINDS[kind]))
    found = predict_maps(predictor, volume, 10.0, "here", lambda *grid: Left()).maps
    every = predict_maps(predictor, volume, 10.0, "here").maps
    outside = found.foreground == 0
    assert outside[:, :, CELL:].all()
    assert outside.mean() < 0.6
    assert not found.labels[outside].any()
    assert (found.geometry[:, outside] == (FULL if kind == "distances" else 0)).all()
    assert np.abs(found.geometry[:, ~outside].astype(int) - every.geometry[:, ~outside]).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_a_tomogram(kind):
    volume = noise((13, 17, 19))
    predictor = tiled(Values(KINDS[kind]), PATCH, geometry=Geometry(kind, KINDS[kind]))
    same = predict_maps(predictor, volume, 10.05, "here")
    assert same.voxel_spacing == 10.05
    assert same.maps.kind == kind
    assert same.maps.foreground.shape == same.maps.labels.shape == volume.shape
    assert same.maps.geometry.shape == (KINDS[kind], *volume.shape)
    resampled = predict_maps(predictor, volume, 5.0, "here")
    assert resampled.voxel_spacing == 10.0
    assert resampled.maps.labels.shape == (6, 8, 10)
    with pytest.raises(PopsicleError, match="trained at 10"):
        predict_maps(predictor, volume, 400.0, "here")


def test_rules_of_nnunet_are_for_classes():
    with pytest.raises(ValueError, match="all channels are of classes"):
        tiled(Values(1), PATCH, rules="nnunet", geometry=Geometry("boundary", 1))


def test_channels_of_a_recipe(recipe_path):
    assert geometry_of(load_recipe(recipe_path)) is None
    for kind, channels in KINDS.items():
        assert geometry_of(load_recipe(recipe_path, (f"target.kind={kind}",))) == Geometry(kind, channels)
    slices = load_recipe(recipe_path, ("target.kind=flows", "train.patch=[1,8,8]"))
    assert geometry_of(slices) == Geometry("flows", 2)
