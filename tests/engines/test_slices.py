"""A network of slices: what it takes, what it refuses, and that it learns."""

import families
import numpy as np
import pytest
import torch
from training.cells import cells, recipe

from copick_tools.engines import octopi, registry, slices
from copick_tools.engines.slices import Model, build
from copick_tools.errors import UsageError
from copick_tools.inference.mapped import predict_maps
from copick_tools.inference.tiler import Tiled
from copick_tools.inference.views import Views
from copick_tools.recipes.load import load_recipe
from copick_tools.workflows.train import plan_training, train

SMALL = "model={family: slices, channels: [4, 8], strides: [2], num_res_units: 1}"


def read(tmp_path, *settings):
    return load_recipe(recipe(tmp_path), (SMALL, "train.patch=[1,16,16]", *settings))


def test_windows_of_one_slice():
    network = build(Model(channels=(4, 8), strides=(2,)), 5)
    assert network(torch.zeros(3, 1, 1, 16, 24)).shape == (3, 5, 1, 16, 24)
    assert all(weights.dim() <= 4 for weights in network.parameters())
    parameters, stored = families.sizes(slices, Model())
    assert 0 < parameters <= stored


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.patch=[8,16,16]"], ["no patch of slices", "[1,128,128]"]),
        (["train.patch=[1,15,16]"], ["multiples of 2", "[1,128,128]"]),
        (["train.patch=null"], ["None", "[1,128,128]"]),
        (["train.patch=[1,16,18]", "inference.tta=16"], ["square in the plane"]),
        (["target.kind=distances"], ["averaged is for flows", "stitched"]),
        (["target.kind=boundary"], ["averaged is for flows", "target.kind=flows"]),
        (["model={family: slices, channels: [4, 8, 8], strides: [2, 100]}"], ["multiples of 200", "[1,200,200]"]),
    ],
)
def test_refusals(tmp_path, settings, words):
    with pytest.raises(UsageError) as failed:
        slices.check(read(tmp_path, *settings))
    said = f"{failed.value.message} {failed.value.hint}"
    assert all(word in said for word in words)


@pytest.mark.parametrize("kind", ["distances", "boundary"])
def test_a_3d_network_that_is_given_slices_has_no_views_of_distances_either(tmp_path, kind):
    settings = (
        "model={family: octopi, channels: [4, 8], strides: [1]}",
        "train.patch=[1,16,16]",
        f"target.kind={kind}",
    )
    with pytest.raises(UsageError, match="averaged is for flows"):
        octopi.check(load_recipe(recipe(tmp_path), settings))
    octopi.check(load_recipe(recipe(tmp_path), (*settings, "instances.views=stitched")))


@pytest.mark.parametrize(
    "settings",
    [
        ["target.kind=flows"],
        ["target.kind=distances", "instances.views=stitched"],
        ["target.kind=segmentation"],
        ["target.kind=flows", "inference.tta=turns"],
    ],
)
def test_what_it_takes(tmp_path, settings):
    slices.check(read(tmp_path, *settings))


@pytest.mark.parametrize("family", ["nnunet", "mednext"])
def test_families_of_nnunet_learn_labels_alone(tmp_path, family):
    pytest.importorskip("nnunetv2")
    chosen = load_recipe(recipe(tmp_path), (f"model={{family: {family}}}", "train.patch=[32,32,32]"))
    with pytest.raises(UsageError, match="doesn't learn flows"):
        registry.engine(family).check(chosen)


@pytest.mark.parametrize(
    ("settings", "kind", "channels"),
    [
        (["target.kind=flows"], Views, 6),
        (["target.kind=flows", "instances.views=stitched"], Tiled, 6),
        (["target.kind=distances", "instances.views=stitched"], Tiled, 6),
    ],
)
def test_two_steps_and_back(tmp_path, settings, kind, channels):
    project = cells(tmp_path)
    plan = plan_training(project, recipe(tmp_path), (SMALL, "train.patch=[1,16,16]", *settings), tmp_path / "out")
    best, done = train(project, plan, lambda done, total: None, device="cpu")
    assert done
    predictor = registry.load(best, "cpu")
    assert type(predictor) is kind
    weights = list(predictor.network.state_dict().values())
    assert all(torch.isfinite(value).all() for value in weights)
    found = predict_maps(predictor, np.random.default_rng(0).normal(size=(5, 20, 24)).astype(np.float32), 10.0, "here")
    assert found.maps.labels.shape == (5, 20, 24)
    assert set(np.unique(found.maps.labels)) <= {0, 1, 2, 5}
    assert len(found.maps.geometry) == (3 if "flows" in settings[0] else 2)
    assert predictor.network(torch.zeros(1, 1, 1, 16, 16)).shape[1] == channels


def test_loss_falls():
    torch.manual_seed(0)

    class Flat(torch.nn.Module):
        """Slices as a batch."""

        def __init__(self):
            super().__init__()
            self.network = build(Model(channels=(8, 16), strides=(2,), dropout=0.0), 2)

        def forward(self, x):
            batch, _, depth, *sides = x.shape
            found = self.network(x.movedim(2, 1).reshape(batch * depth, 1, 1, *sides))
            return found.reshape(batch, depth, 2, *sides).movedim(1, 2)

    losses = families.falling(Flat(), (8, 16, 16), 10, 1e-2)
    assert losses[-1] < 0.8 * losses[0]
