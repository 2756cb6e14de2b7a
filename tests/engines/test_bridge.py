"""nnU-Net's surroundings and plans: nothing stays set, and a patch is planned or refused before anything is computed."""

import json
import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nnunetv2")

from copick_tools.engines import mednext, nnunet, nnunet_resenc
from copick_tools.engines.bridge.environment import surroundings
from copick_tools.engines.bridge.networks import architecture, expect_background, unet
from copick_tools.engines.bridge.plans import DATASET, check_patch, dataset_json, fits, make_plan, topology
from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.load import load_recipe

RAW = "nnUNet_raw"


class Trouble(Exception):
    """Raised inside."""


@pytest.fixture
def recipe(recipe_path):
    return load_recipe(str(recipe_path))


def with_patch(recipe, patch):
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"patch": patch})})


def trouble(folder):
    """Disorder in nnU-Net's surroundings, and an error."""
    with surroundings(folder):
        assert os.environ[RAW] == str(folder / "raw")
        os.environ["LEFT_BY_SOME_LIBRARY"] = "1"
        del os.environ[RAW]
        np.random.seed(1)
        random.seed(1)
        print("Attempting to find")  # noqa: T201
        raise Trouble


def test_surroundings_are_put_back(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(RAW, "mine")
    before, drawn = dict(os.environ), (random.getstate(), np.random.get_state()[1].tolist())
    with caplog.at_level(logging.DEBUG, "copick_tools"), pytest.raises(Trouble):
        trouble(tmp_path)
    assert dict(os.environ) == before
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn
    assert [record.message for record in caplog.records] == ["nnU-Net: Attempting to find"]


def test_matplotlib_keeps_a_folder_that_stays(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    with surroundings(tmp_path):
        folder = Path(os.environ["MPLCONFIGDIR"])
    assert folder.is_dir()
    assert not folder.is_relative_to(tmp_path)
    with surroundings(tmp_path):
        assert os.environ["MPLCONFIGDIR"] == str(folder)
    assert "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    with surroundings(tmp_path):
        assert os.environ["MPLCONFIGDIR"] == "mine"


def test_prints_reach_no_stream(tmp_path, capsys):
    with surroundings(tmp_path):
        print("said by nnU-Net")  # noqa: T201
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("patch", "multiple", "below", "above"),
    [
        ((33, 64, 64), 1, "[32, 64, 64]", "[40, 64, 64]"),
        ((20, 50, 63), 1, "[20, 48, 56]", "[20, 56, 64]"),
        ((24, 48, 48), 16, "[16, 48, 48]", "[32, 48, 48]"),
        ((16, 24, 40), 16, "[16, 16, 32]", "[16, 32, 48]"),
        ((3, 3, 3), 1, None, None),
    ],
)
def test_patch_that_does_not_fit(recipe, patch, multiple, below, above):
    with pytest.raises(UsageError) as caught:
        check_patch(with_patch(recipe, patch), multiple)
    assert str(list(patch)) in caught.value.message
    if below:
        assert f"{below} and {above}" in caught.value.hint


@pytest.mark.parametrize("patch", [(48, 48, 48), (96, 160, 160), (32, 64, 64), (16, 24, 24), (128, 256, 224), None])
def test_patch_that_fits(recipe, patch):
    check_patch(with_patch(recipe, patch), 1)


@pytest.mark.parametrize("family", [nnunet, nnunet_resenc])
def test_reference_is_what_is_planned_for_its_patch(family):
    strides, kernels, patch = topology(family.REFERENCE_PATCH)
    assert patch == family.REFERENCE_PATCH
    assert [tuple(stride) for stride in strides] == [tuple(stride) for stride in family.STRIDES]
    assert {tuple(kernel) for kernel in kernels} == {(3, 3, 3)}


def described(folder, shape=(48, 96, 96), runs=2):
    """What nnU-Net's planner reads."""
    cases = [f"case{number}" for number in range(runs)]
    statistics = dict.fromkeys(("mean", "std", "median", "min", "max", "percentile_00_5", "percentile_99_5"), 0.0)
    found = {
        "spacings": [[10.0] * 3] * runs,
        "shapes_after_crop": [list(shape)] * runs,
        "median_relative_size_after_cropping": 0.5,
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }
    for part in ("raw", "preprocessed"):
        (folder / part / DATASET).mkdir(parents=True)
        text = json.dumps(dataset_json(["a", "b"], cases, False))
        (folder / part / DATASET / "dataset.json").write_text(text)
    (folder / "preprocessed" / DATASET / "dataset_fingerprint.json").write_text(json.dumps(found))


@pytest.mark.parametrize("family", [nnunet, nnunet_resenc])
def test_ours_is_the_architecture_that_nnunet_plans(recipe, tmp_path, family):
    model = family.Model(preset="tiny")
    described(tmp_path)
    with surroundings(tmp_path):
        plan = make_plan(family.FAMILY, model, with_patch(recipe, None), False)
    strides, kernels, patch = topology(plan["patch"])
    assert plan["architecture"] == family.planned(model, strides, kernels)
    assert list(patch) == plan["patch"]
    assert plan["batch_size"] == recipe.train.batch_size
    assert plan["nnunet"]["configurations"]["3d_fullres"]["use_mask_for_norm"] == [False]
    assert json.loads(json.dumps(plan)) == plan


def test_planned_patch_of_mednext_is_a_multiple(recipe, tmp_path):
    described(tmp_path, shape=(40, 72, 72))
    with surroundings(tmp_path):
        plan = make_plan(mednext.FAMILY, mednext.Model(), with_patch(recipe, None), False)
    assert not any(side % 16 for side in plan["patch"])
    assert plan["patch"][0] < plan["patch"][1]
    assert plan["architecture"] == mednext.planned(mednext.Model(), [], [])


def test_given_patch_stays(recipe, tmp_path):
    described(tmp_path, shape=(184, 630, 630))
    with surroundings(tmp_path):
        plan = make_plan(nnunet.FAMILY, nnunet.Model(), with_patch(recipe, (32, 48, 320)), True)
    assert plan["patch"] == [32, 48, 320]
    assert plan["ignored"]
    assert plan["nnunet"]["configurations"]["3d_fullres"]["batch_dice"]  # as where nnU-Net plans a low resolution too
    assert fits((32, 48, 320), 1)
    scales = nnunet.FAMILY.scales(plan)
    assert scales[0] == [1, 1, 1]
    assert scales[1] == [0.5, 0.5, 0.5]
    assert len(scales) == plan["architecture"]["arch_kwargs"]["n_stages"] - 1


@pytest.mark.parametrize("family", [nnunet, nnunet_resenc, mednext])
def test_training_may_begin_with_background(family):
    model = family.Model(preset="tiny")
    network = family.build(model, 4).train()
    heads = family.FAMILY.heads(network)
    assert len(heads) == len(network(torch.zeros(1, 1, 32, 64, 64)))
    expect_background(heads, 0.9)
    for head in heads:
        torch.testing.assert_close(head.bias.softmax(0), torch.tensor([0.9] + [0.1 / 3] * 3))


def test_foreign_plan_runs_no_code():
    plan = architecture("PlainConvUNet", nnunet.Model(preset="tiny"), [(1, 1, 1), (2, 2, 2)], [(3, 3, 3)] * 2, {})
    for change in ({"network_class_name": "os.system"}, {"arch_kwargs": {}}, {"arch_kwargs": {"conv_op": "os.system"}}):
        with pytest.raises(FormatError, match="can't be built"):
            unet({**plan, **change}, 3, True)


def test_foreign_plan_with_impossible_numbers():
    plan = architecture("PlainConvUNet", nnunet.Model(preset="tiny"), [(1, 1, 1), (2, 2, 2)], [(3, 3, 3)] * 2, {})
    counts = {"n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1]}
    for change in ({"features_per_stage": [-4, 8]}, {"kernel_sizes": [[3, 3, 3], [-3, 3, 3]]}):
        with pytest.raises(FormatError, match="can't be built"):
            unet({**plan, "arch_kwargs": {**plan["arch_kwargs"], **counts, **change}}, 3, True)
