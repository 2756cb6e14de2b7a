"""A training that was stopped anywhere and resumed ends with the same weights as one that was left alone."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from copick_tools.training import checkpoint
from copick_tools.workflows.train import plan_training, train


class Stop(Exception):
    """Ends a training from its progress callback."""


def weights(folder):
    _, tensors = checkpoint.read(folder / "last.ckpt")
    return {**tensors["network"], **{f"ema.{key}": value for key, value in tensors["ema"].items()}}


def assert_same(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("step", [1, 7, 10, 19])
def test_stopped_at_any_step(shared_project, recipe_path, checkpoint, tmp_path, step):
    plan = plan_training(shared_project, str(recipe_path), (), tmp_path)

    def stop(done, total):
        if done == step:
            raise Stop

    with pytest.raises(Stop):
        train(shared_project, plan, stop, device="cpu")
    train(shared_project, plan, lambda done, total: None, resume=True, device="cpu")
    assert_same(checkpoint.parent, tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == (checkpoint.parent / "metrics.csv").read_text()
    assert checkpoint_card(tmp_path) == checkpoint_card(checkpoint.parent)


def checkpoint_card(folder):
    return checkpoint.read_card(folder / "best.ckpt")


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch(project, recipe_path, tmp_path):
    settings = ("train.epochs=6", "train.steps_per_epoch=40")
    alone = plan_training(project, str(recipe_path), settings, tmp_path / "alone")
    train(project, alone, lambda done, total: None, device="cpu")
    command = [sys.executable, "-m", "copick_tools.cli", "train", str(recipe_path), "-c", str(project.config)]
    command += ["--out", str(tmp_path / "killed"), "--resume", "--device", "cpu"]
    command += [part for setting in settings for part in ("-s", setting)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    last = tmp_path / "killed" / "last.ckpt"
    for _ in range(1200):
        if last.exists() and checkpoint.read(last)[1]["step"] % 40 > 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < checkpoint.read(last)[1]["step"] < 240
    subprocess.run(command, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert_same(tmp_path / "alone", tmp_path / "killed")
