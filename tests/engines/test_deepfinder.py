"""DeepFinder's network: the paper's size, the paper's padding, and it learns."""

import families
import pytest
import torch

from copick_tools.engines import deepfinder
from copick_tools.engines.deepfinder import Model, Up, build

TINY = Model(preset="tiny")


@pytest.mark.parametrize("outputs", [2, 7, 13])
def test_parameters_are_the_papers(outputs):
    count = 902_928 + 33 * outputs
    assert families.sizes(deepfinder, Model(), outputs) == (count, count)  # nothing but weights


def test_seven_outputs():
    assert families.sizes(deepfinder, Model())[0] == 903_159


def test_presets():
    assert TINY.features == (16, 24, 32)
    assert TINY.multiple == Model(preset="paper").multiple == 4
    assert 200_000 < families.sizes(deepfinder, TINY)[0] < 250_000


@pytest.mark.parametrize("features", [(4, 6), (4, 5, 6), (3, 4, 5, 6)])
def test_output_is_as_large_as_the_input(features):
    model = Model(features=features)
    side = model.multiple
    assert build(model, 3)(torch.zeros(2, 1, side, 2 * side, 3 * side)).shape == (2, 3, side, 2 * side, 3 * side)


def test_even_kernels_reach_forward():
    """As frameworks pad that know "same": a voxel sees itself and the next one along each axis."""
    up = Up(1)
    torch.nn.init.ones_(up.conv.weight)
    torch.nn.init.zeros_(up.conv.bias)
    voxels = torch.zeros(1, 1, 3, 3, 3)
    voxels[0, 0, 1, 1, 1] = 1
    seen = up(voxels)[0, 0] > 0
    assert seen.nonzero().min(dim=0).values.tolist() == [1, 1, 1]
    assert seen.nonzero().max(dim=0).values.tolist() == [3, 3, 3]


def test_the_scale_survives():
    """Without normalization, weights decide what reaches the end."""
    torch.manual_seed(0)
    network = build(Model(), 7)
    with torch.no_grad():
        assert 0.1 < float(network(torch.randn(1, 1, 24, 24, 24)).std()) < 10


@pytest.mark.parametrize("lr", [1e-3, 3e-3])
def test_it_learns(lr):
    torch.manual_seed(0)
    losses = families.falling(build(TINY, 2), (16, 16, 16), 25, lr)
    assert losses[-1] < 0.6 * losses[0]


def test_trained_loaded_and_applied(project, recipe_path, tmp_path):
    recipe = families.write_recipe(recipe_path, "{family: deepfinder, features: [4, 6, 8]}", (16, 24, 24), tmp_path)
    families.round_trip(project, recipe, tmp_path)


def test_refusals(project, recipe_path, tmp_path, popsicle):
    recipe = families.write_recipe(recipe_path, "{family: deepfinder, preset: tiny}", (16, 24, 26), tmp_path)
    failed = popsicle("train", recipe, "-c", project.config, "--dry-run", code=2)
    assert "multiple of 4" in failed.stderr
    assert "[16, 24, 24] and [16, 24, 28]" in failed.stderr
    assert "no preset" in popsicle("train", recipe, "-c", project.config, "-s", "model.preset=tine", code=1).stderr
