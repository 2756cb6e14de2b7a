"""nnU-Net behind our contract: trained in this process, nothing left behind, resumed to the very bits, predicted as by itself."""

import csv
import functools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from bridged import MODEL, QUICK, Stop, stop_at, weights
from families import sizes, write_recipe

pytest.importorskip("nnunetv2")

from copick_tools.engines import mednext, nnunet, nnunet_resenc, registry
from copick_tools.engines.bridge.environment import surroundings
from copick_tools.engines.bridge.plans import CONFIGURATION, dataset_json, nnunet_plans
from copick_tools.errors import UsageError
from copick_tools.training import checkpoint
from copick_tools.training.loop import COLUMNS
from copick_tools.workflows.train import plan_training, train

EXPERIMENT = {
    "best.ckpt",
    "last.ckpt",
    "data.json",
    "finished",
    "log.txt",
    "metrics.csv",
    "recipe.yaml",
    "usage.json",
    "versions.json",
}


@pytest.fixture(scope="module")
def recipe(recipe_path, tmp_path_factory):
    return write_recipe(recipe_path, MODEL, (16, 24, 24), tmp_path_factory.mktemp("nnunet"))


@pytest.fixture(scope="module")
def trained(shared_project, recipe, tmp_path_factory):
    """An experiment, what was seen of its progress, what HOME held afterwards, and whether the environment was changed."""
    folder, home = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("home")
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("MPLCONFIGDIR", raising=False)
        before = dict(os.environ)
        plan = plan_training(shared_project, recipe, ("train.epochs=3", "train.steps_per_epoch=4"), folder)
        train(shared_project, plan, lambda done, total: steps.append((done, total)), device="cpu")
        same = {k: v for k, v in os.environ.items() if k.startswith(("nnUNet", "MPL"))} == {
            k: v for k, v in before.items() if k.startswith(("nnUNet", "MPL"))
        }
    return folder, steps, list(home.iterdir()), same


@pytest.mark.parametrize(
    ("family", "parameters", "elements"),
    [(nnunet, 30_790_019, 88_214_819), (nnunet_resenc, 102_353_795, 383_475_683), (mednext, 10_517_763, 10_517_763)],
)
def test_sizes_are_the_papers(family, parameters, elements):
    assert sizes(family, family.Model()) == (parameters, elements)


def test_experiment_is_like_any_other(trained):
    folder, steps, home, same = trained
    assert {path.name for path in folder.iterdir()} == EXPERIMENT
    assert steps == [(step, 12) for step in range(1, 13)]
    assert home == []
    assert same
    rows = list(csv.reader((folder / "metrics.csv").read_text().splitlines()))
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[1:]] == ["4", "8", "12"]
    assert [bool(row[4]) for row in rows[1:]] == [False, True, True]
    assert "nnU-Net plans patches of 16x24x24 voxels" in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_predicts_without_nnunet(trained, tmp_path):
    folder, *_ = trained
    script = """
import sys
import numpy as np
sys.modules["nnunetv2"] = None
from pathlib import Path
from copick_tools.engines.registry import load
predictor = load(Path(sys.argv[1]), "cpu")
slabs = [slab for _, slab in predictor.slabs(np.random.default_rng(0).normal(size=(10, 30, 40)).astype(np.float32))]
np.save(sys.argv[2], np.concatenate(slabs, 1))
"""
    command = [sys.executable, "-c", script, str(folder / "best.ckpt"), str(tmp_path / "found.npy")]
    subprocess.run(command, check=True)
    found = np.load(tmp_path / "found.npy").astype(float)
    assert found.shape == (3, 10, 30, 40)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=5e-3)


def test_checkpoint_says_how_it_was_made(trained):
    card = checkpoint.read_card(trained[0] / "best.ckpt")
    assert card.normalize == 0
    assert card.patch == (16, 24, 24)
    assert card.plan["deep_supervision"]
    assert card.plan["mirror_axes"] == [0, 1, 2]
    predictor = registry.load(trained[0] / "best.ckpt", "cpu")
    assert predictor.rules == "nnunet"
    assert list(predictor.objects) == ["ribosome", "apo-ferritin"]


@pytest.mark.parametrize(("step", "workers"), [(3, 0), pytest.param(10, 1, marks=pytest.mark.slow)])
def test_resumed_to_the_very_bits(trained, shared_project, recipe, tmp_path, step, workers):
    settings = ("train.epochs=3", "train.steps_per_epoch=4", f"train.workers={workers}")
    plan = plan_training(shared_project, recipe, settings, tmp_path)

    with pytest.raises(Stop):
        train(shared_project, plan, stop_at(step), device="cpu")
    assert len(list(tmp_path.glob(".nnunet/preprocessed/*/*/*.pkl"))) == 1
    np.random.seed(step)  # what was drawn elsewhere doesn't matter
    torch.manual_seed(step)
    train(shared_project, plan, lambda done, total: None, resume=True, device="cpu")
    one, other = weights(trained[0]), weights(tmp_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (tmp_path / "metrics.csv").read_text() == (trained[0] / "metrics.csv").read_text()
    found, expected = (checkpoint.read_card(folder / "best.ckpt") for folder in (tmp_path, trained[0]))
    assert (found.step, found.score, found.plan) == (expected.step, expected.score, expected.plan)
    assert {path.name for path in tmp_path.iterdir()} == EXPERIMENT


@pytest.mark.slow
def test_killed(project, recipe, tmp_path):
    settings = ("train.epochs=6", "train.steps_per_epoch=20", "train.validate_every=3")
    alone = plan_training(project, recipe, settings, tmp_path / "alone")
    train(project, alone, lambda done, total: None, device="cpu")
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "copick_tools.cli", "train", recipe, "-c", str(project.config), "--resume"]
    command += ["--out", str(folder), "--device", "cpu"]
    command += [part for setting in settings for part in ("-s", setting)]
    process = subprocess.Popen(command)
    while not (folder / "last.ckpt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (folder / ".nnunet").exists()
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout.splitlines() == [str(folder / "best.ckpt")]
    assert "going on from step" in (folder / "log.txt").read_text()
    one, other = weights(tmp_path / "alone"), weights(folder)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert {path.name for path in folder.iterdir()} == EXPERIMENT


def test_finished_but_for_the_note(trained, shared_project, recipe, tmp_path):
    plan = plan_training(shared_project, recipe, ("train.epochs=3", "train.steps_per_epoch=4"), tmp_path)
    (tmp_path / "last.ckpt").write_bytes((trained[0] / "last.ckpt").read_bytes())
    (tmp_path / "best.ckpt").write_bytes((trained[0] / "best.ckpt").read_bytes())
    train(shared_project, plan, lambda done, total: pytest.fail("trained again"), resume=True, device="cpu")
    assert not (tmp_path / ".nnunet").exists()


def test_another_recipe_is_not_resumed(trained, shared_project, recipe, tmp_path):
    (tmp_path / "last.ckpt").write_bytes((trained[0] / "last.ckpt").read_bytes())
    plan = plan_training(shared_project, recipe, QUICK, tmp_path)
    with pytest.raises(UsageError, match="comes from another recipe"):
        train(shared_project, plan, lambda done, total: None, resume=True, device="cpu")
    assert not (tmp_path / ".nnunet").exists()


@pytest.fixture(scope="module")
def pair(trained):
    """A random network behind our tiler, and what nnU-Net needs to use it."""
    card = checkpoint.read_card(trained[0] / "best.ckpt")
    torch.manual_seed(0)
    predictor = registry.load(trained[0] / "best.ckpt", "cpu")
    predictor.overlap, predictor.bf16 = 0.5, False
    for parameter in predictor.network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    return predictor, card


def by_nnunet(ours, card, volume, mirrored):
    """Labels and probabilities of nnU-Net's own predictor."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(nnunet_plans(card.plan))
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.manual_initialization(
        ours.network,
        plans,
        plans.get_configuration(CONFIGURATION),
        [ours.network.state_dict()],
        dataset_json(list(card.objects), ["case"], False),
        "nnUNetTrainer",
        (0, 1, 2),
    )
    return predictor.predict_single_npy_array(volume[None].copy(), {"spacing": card.plan["spacing"]}, None, None, True)


@pytest.mark.parametrize(
    ("shape", "border", "mirrored"),
    [((20, 30, 41), 0, False), ((11, 29, 24), 0, True), ((17, 41, 31), 5, False), ((11, 35, 30), 4, True)],
)
def test_predicts_as_nnunet_does(pair, tmp_path, monkeypatch, shape, border, mirrored):
    """Volumes that are no multiple of a window, thinner than one, with borders of zeros.

    nnU-Net adds up in float16, where the weights of a window's corners are denormal and logits are rounded to whole
    numbers; without that rounding the two are the same.
    """
    ours, card = pair
    volume = np.zeros(shape, np.float32)
    part = volume[:, border : shape[1] - border, border:]
    part[:] = np.random.default_rng(1).normal(3, 1, part.shape)
    ours.tta = 8 if mirrored else 1
    found = np.concatenate([slab for _, slab in ours.slabs(volume)], axis=1).astype(np.float32)
    with surroundings(tmp_path):
        from nnunetv2.inference import predict_from_raw_data

        labels, rounded = by_nnunet(ours, card, volume, mirrored)
        exact = functools.partial(predict_from_raw_data.compute_gaussian, dtype=torch.float32)
        exact.cache_clear = lambda: None
        monkeypatch.setattr(predict_from_raw_data, "compute_gaussian", exact)
        monkeypatch.setattr(torch, "half", torch.float32)
        _, expected = by_nnunet(ours, card, volume, mirrored)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(found - rounded).mean() < 1e-2
    assert (found.argmax(axis=0) == labels).mean() > 0.998
    assert len(np.unique(labels)) > 1
