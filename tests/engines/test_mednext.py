"""MedNeXt in nnU-Net's trainer."""

import pytest
import torch
from families import round_trip, sizes, write_recipe
from monai.networks.nets.mednext import create_mednext

pytest.importorskip("nnunetv2")

from copick_tools.engines import mednext
from copick_tools.errors import UsageError
from copick_tools.workflows.train import plan_training


@pytest.mark.parametrize(("preset", "variant"), [("S", "S"), ("paper", "B"), ("M", "M"), ("L", "L")])
def test_presets_are_monais_variants(preset, variant):
    with torch.device("meta"):
        theirs = create_mednext(variant, 3, 1, 7, kernel_size=3, deep_supervision=True).state_dict()
        ours = mednext.build(mednext.Model(preset=preset), 7).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert sizes(mednext, mednext.Model(preset=preset))[0] == sum(v.numel() for v in theirs.values())


def test_outputs_of_each_resolution():
    network = mednext.build(mednext.Model(preset="tiny"), 3).train()
    found = network(torch.zeros(1, 1, 16, 32, 32))
    assert [list(out.shape[2:]) for out in found] == [
        [round(16 * z), round(32 * y), round(32 * x)] for z, y, x in mednext.scales({})
    ]
    mednext.supervise(network, False)
    assert network(torch.zeros(1, 1, 16, 32, 32)).shape == (1, 3, 16, 32, 32)


def test_round_trip(project, recipe_path, tmp_path):
    recipe = write_recipe(recipe_path, "{family: mednext, preset: tiny}", (16, 32, 32), tmp_path)
    round_trip(project, recipe, tmp_path)


def test_patch_has_to_be_a_multiple_of_16(shared_project, recipe_path, tmp_path):
    recipe = write_recipe(recipe_path, "{family: mednext}", (24, 48, 48), tmp_path)
    with pytest.raises(UsageError, match="doesn't fit"):
        plan_training(shared_project, recipe, (), tmp_path)
