"""What a recipe says is done, refused before it costs time, or said to have no effect."""

import logging
import os

import numpy as np
import pytest
import torch
from bridged import MODEL, QUICK, Stop, stop_at
from families import write_recipe

pytest.importorskip("nnunetv2")

from copick_tools.data.uris import SegmentationUri, TomogramUri
from copick_tools.data.write import write_segmentation, write_tomogram
from copick_tools.engines import registry
from copick_tools.engines.bridge.dataset import Workspace
from copick_tools.errors import FormatError, PopsicleError, UsageError
from copick_tools.training import checkpoint
from copick_tools.workflows.train import plan_training, train


@pytest.fixture(scope="module")
def recipe(recipe_path, tmp_path_factory):
    return write_recipe(recipe_path, MODEL, (16, 24, 24), tmp_path_factory.mktemp("nnunet"))


@pytest.mark.parametrize(
    "settings",
    [
        ("loss.name=focal-tversky", "optimizer.name=sgd", "train.ema=0", "augment.turn=1.0"),
        ("model.augmentation=nnunet", "model.deep_supervision=false", "loss.name=focal"),
        (
            "train.patch=null",
            "loss.name=tversky",
            "train.steps_per_epoch=1",
            "train.precision=bf16",
            "train.background=1.0",
        ),
        ("inference.tta=8", "validation_split=null"),
    ],
    ids=lambda settings: settings[0],
)
def test_recipe_is_obeyed(shared_project, recipe, tmp_path, settings):
    plan = plan_training(shared_project, recipe, (*QUICK, *settings), tmp_path)
    best, done = train(shared_project, plan, lambda done, total: None, device="cpu")
    assert done
    card, tensors = checkpoint.read(tmp_path / "last.ckpt")
    _, kept = checkpoint.read(best)
    assert card.plan["patch"] == ([24, 48, 48] if plan.recipe.train.patch is None else [16, 24, 24])
    assert all(torch.equal(kept["network"][key], value) for key, value in tensors["ema"].items())
    if plan.recipe.train.ema == 0:
        assert all(torch.equal(tensors["network"][key], value) for key, value in tensors["ema"].items())
    assert all(torch.isfinite(value).all() for value in tensors["ema"].values())


def test_ignored_voxels(project, recipe, tmp_path):
    inside = np.zeros((24, 48, 48), np.uint8)
    inside[:, :24] = 1
    for run in ("TS_1", "TS_2"):
        write_segmentation(project, run, SegmentationUri("ribosome", "annotated", "0", 10.0, "binary"), inside)
    settings = (*QUICK, "target.region='ribosome:annotated/0@10.0'", "train.steps_per_epoch=3")
    plan = plan_training(project, recipe, settings, tmp_path)
    train(project, plan, lambda done, total: None, device="cpu")
    card = checkpoint.read_card(tmp_path / "best.ckpt")
    assert card.plan["ignored"]
    assert len(registry.load(tmp_path / "best.ckpt", "cpu").objects) == 2


def test_refused_before_training(shared_project, recipe, tmp_path):
    for setting, words in (
        ("target.kind=gaussian", "heatmaps"),
        ("scaling=percentiles", "has no effect"),
        ("train.patch=[16,24,25]", "doesn't fit"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            plan_training(shared_project, recipe, (setting,), tmp_path)
        assert caught.value.hint
    with pytest.raises(FormatError, match="features"):
        plan_training(shared_project, recipe, ("model.features=3",), tmp_path)


def test_loss_that_is_not_finite(shared_project, recipe, tmp_path):
    settings = (*QUICK, "optimizer.lr=1e30", "optimizer.clip=null", "train.precision=fp32", "train.steps_per_epoch=9")
    plan = plan_training(shared_project, recipe, settings, tmp_path)
    before = dict(os.environ)
    with pytest.raises(PopsicleError, match="the loss is nan"):
        train(shared_project, plan, lambda done, total: None, device="cpu")
    assert dict(os.environ) == before


def test_augmentation_that_would_be_ignored(shared_project, recipe, tmp_path):
    with pytest.raises(UsageError, match="augment has no effect") as caught:
        plan_training(shared_project, recipe, ("model.augmentation=nnunet", "augment.flip_z=0"), tmp_path)
    assert "model.augmentation=recipe" in caught.value.hint
    plan = plan_training(shared_project, recipe, ("model.augmentation=nnunet", "augment.flip_z=0.5"), tmp_path)
    train_to(plan, shared_project, 1)
    plan_training(shared_project, str(tmp_path / "recipe.yaml"), (), tmp_path)  # which states all defaults


def train_to(plan, project, step):
    with pytest.raises(Stop):
        train(project, plan, stop_at(step), device="cpu", overwrite=True)


def test_settings_without_effect_are_named(shared_project, recipe, tmp_path, caplog):
    def notes(path, *settings):
        caplog.clear()
        with caplog.at_level(logging.INFO, "copick_tools"):
            train_to(plan_training(shared_project, path, settings, tmp_path), shared_project, 1)
        return [record.message.split()[0] for record in caplog.records if "has no effect" in record.message]

    assert notes(recipe, "train.cache=false") == ["train.cache", "train.checkpoint_every"]
    assert notes(recipe, "train.checkpoint_every=100") == []
    assert notes(str(tmp_path / "recipe.yaml")) == []  # it states every default


@pytest.mark.parametrize("tta", [16, "turns"])
def test_planned_patch_that_cannot_be_turned(project, recipe, tmp_path, tta, monkeypatch):
    monkeypatch.setattr("copick_tools.engines.bridge.training.preprocess", lambda *_: pytest.fail("went on"))
    voxels = np.random.default_rng(0).normal(size=(24, 32, 48)).astype(np.float32)
    write_tomogram(project, "TS_1", TomogramUri("wbp", 10.0), voxels)
    plan = plan_training(project, recipe, ("train.patch=null", f"inference.tta={tta}"), tmp_path / "out")
    with pytest.raises(UsageError, match="turns windows by 90 degrees") as caught:
        train(project, plan, lambda done, total: None, device="cpu")
    assert "train.patch=[24,32,32]" in caught.value.hint


def test_memory_that_preparing_needs(shared_project, recipe, tmp_path, monkeypatch):
    """A smaller batch or patch would be no help."""

    def exhausted(self, run):
        raise MemoryError

    monkeypatch.setattr(Workspace, "arrays", exhausted)
    plan = plan_training(shared_project, recipe, QUICK, tmp_path)
    with pytest.raises(PopsicleError, match="while preparing the tomogram of run TS_1") as caught:
        train(shared_project, plan, lambda done, total: None, device="cpu")
    assert "batch" not in caught.value.hint


@pytest.mark.parametrize("where", ["fingerprint", "preprocess"])
def test_memory_of_the_device_is_no_matter_of_preparing(shared_project, recipe, tmp_path, monkeypatch, where):
    def exhausted(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(f"copick_tools.engines.bridge.training.{where}", exhausted)
    plan = plan_training(shared_project, recipe, QUICK, tmp_path)
    with pytest.raises(torch.OutOfMemoryError):
        train(shared_project, plan, lambda done, total: None, device="cpu")
