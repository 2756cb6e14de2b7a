"""DeepETPicker's network: the paper's sizes, its coordinates and pyramid, and normalization through the averaged weights."""

import families
import pytest
import torch
from torch.nn import functional

from copick_tools.engines import deepetpicker
from copick_tools.engines.deepetpicker import Model, build
from copick_tools.engines.deepetpicker import _coordinates as coordinates
from copick_tools.recipes.recipe import Loss
from copick_tools.training.checkpoint import read
from copick_tools.training.losses import make_loss
from copick_tools.workflows.train import plan_training, train

TINY = Model(preset="tiny")


@pytest.mark.parametrize("outputs", [1, 2, 7, 13])
def test_parameters_are_the_papers(outputs):
    assert families.sizes(deepetpicker, Model(), outputs)[0] == 2_429_820 + 25 * outputs


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 2_429_995),
        ({"coordinates": False, "pyramid": False}, 2_391_763),
        ({"coordinates": False, "pyramid": False, "features": (32, 64, 128, 256)}, 8_772_071),
    ],
)
def test_ablations(settings, count):
    assert families.sizes(deepetpicker, Model(**settings))[0] == count


def test_presets():
    assert TINY.multiple == Model(preset="paper").multiple == 8
    assert 600_000 < families.sizes(deepetpicker, TINY)[0] < 650_000


@pytest.mark.parametrize("given", [{}, {"coordinates": False}, {"pyramid": False}])
def test_output_is_as_large_as_the_input(given):
    network = build(Model(features=(3, 4, 5, 6), **given), 4)
    assert network(torch.zeros(2, 1, 8, 16, 24)).shape == (2, 4, 8, 16, 24)


def test_coordinates_go_from_face_to_face():
    made = coordinates(torch.zeros(2, 5, 3, 5, 2))
    assert made.shape == (2, 3, 3, 5, 2)
    assert made[1, 0, :, 2, 0].tolist() == [-1, 0, 1]
    assert made[0, 1, 0, :, 1].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert made[0, 2, 0, 0].tolist() == [-1, 1]


def test_with_coordinates_a_network_tells_places_apart():
    torch.manual_seed(0)
    flat = torch.ones(1, 1, 48, 48, 48)
    middle = (0, 0, *[slice(22, 26, 2)] * 3)  # far from the padding, and alike to strides
    for given, told_apart in ((True, True), (False, False)):
        network = build(Model(features=(3, 4), coordinates=given), 2).eval()
        with torch.no_grad():
            assert (network(flat)[middle].std() > 1e-4) == told_apart


def test_the_pyramid_reaches_the_deepest_level():
    network = build(Model(features=(2, 3), coordinates=False), 2).eval()
    given = []
    network.down[0].register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    voxels = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        network(voxels)
    torch.testing.assert_close(given[0][:, -1:], functional.avg_pool3d(voxels, 2))


def test_it_learns():
    torch.manual_seed(0)
    losses = families.falling(build(TINY, 2), (16, 16, 16), 20)
    assert losses[-1] < 0.5 * losses[0]


def test_averaged_statistics_follow_those_of_training(project, recipe_path, tmp_path):
    """The average has its own running means and variances; it never trains, not even where it is validated."""
    model = "{family: deepetpicker, features: [3, 4], coordinates: false}"
    recipe = families.write_recipe(recipe_path, model, (16, 24, 24), tmp_path)
    plan = plan_training(project, recipe, ("train.ema=0.8", "train.validate_every=1"), tmp_path / "experiment")
    train(project, plan, lambda done, total: None, device="cpu")
    _, tensors = read(tmp_path / "experiment/last.ckpt")
    mean, own = tensors["ema"], tensors["network"]
    for name in mean:
        if name.endswith("num_batches_tracked"):
            assert int(mean[name]) == int(own[name]) == 20
        elif "running" in name:
            assert 0 < float((mean[name] - own[name]).abs().max()) < 0.5 * max(1, float(own[name].abs().max()))
        if name.endswith("running_var"):
            assert (mean[name] > 0).all()
    network, (voxels, wanted) = build(Model(features=(3, 4), coordinates=False), 3).eval(), families.balls((24, 24, 24))
    found = []
    for weights in (mean, own):
        network.load_state_dict(weights)
        with torch.no_grad():
            found.append(float(make_loss(Loss())(network(voxels), wanted)))
    assert found[0] == pytest.approx(found[1], rel=0.3)


def test_trained_loaded_and_applied(project, recipe_path, tmp_path):
    recipe = families.write_recipe(recipe_path, "{family: deepetpicker, features: [4, 6, 8]}", (16, 24, 24), tmp_path)
    families.round_trip(project, recipe, tmp_path)


def test_refusals(project, recipe_path, tmp_path, popsicle):
    recipe = families.write_recipe(recipe_path, "{family: deepetpicker, preset: tiny}", (16, 24, 28), tmp_path)
    failed = popsicle("train", recipe, "-c", project.config, "--dry-run", code=2)
    assert "multiple of 8" in failed.stderr
    assert "[16, 24, 24] and [16, 24, 32]" in failed.stderr
    wrong = popsicle("train", recipe, "-c", project.config, "-s", "model.pyramids=true", code=1)
    assert "pyramid" in wrong.stderr
