"""The residual encoder in nnU-Net's trainer."""

import pytest
import torch
from families import round_trip, write_recipe

pytest.importorskip("nnunetv2")

from copick_tools.engines import nnunet_resenc
from copick_tools.engines.bridge.plans import topology
from copick_tools.training import checkpoint


def test_blocks_repeat():
    assert nnunet_resenc.Model().blocks_of(8) == [1, 3, 4, 6, 6, 6, 6, 6]
    assert nnunet_resenc.Model(blocks=(2, 1)).blocks_of(4) == [2, 1, 1, 1]
    assert nnunet_resenc.Model(blocks=(2, 1)).blocks_of(1) == [2]


def test_outputs_of_each_resolution():
    model = nnunet_resenc.Model(preset="tiny")
    strides, kernels, _ = topology((16, 32, 32))
    plan = {"architecture": nnunet_resenc.planned(model, strides, kernels)}
    network = nnunet_resenc.build_planned(plan, model, 3)
    found = network(torch.zeros(1, 1, 16, 32, 32))
    scales = nnunet_resenc.FAMILY.scales(plan)
    assert [list(out.shape[2:]) for out in found] == [[16 * z, 32 * y, 32 * x] for z, y, x in scales]
    nnunet_resenc.FAMILY.supervise(network, False)
    assert network(torch.zeros(1, 1, 16, 32, 32)).shape == (1, 3, 16, 32, 32)


def test_round_trip(project, recipe_path, tmp_path):
    recipe = write_recipe(
        recipe_path, "{family: nnunet-resenc, preset: tiny, base_features: 4}", (16, 24, 24), tmp_path
    )
    round_trip(project, recipe, tmp_path)
    card = checkpoint.read_card(tmp_path / "experiment" / "best.ckpt")
    assert card.plan["architecture"]["arch_kwargs"]["n_blocks_per_stage"] == [1, 1, 2]
