"""Two processes train as one does with the same batches: the same losses, the same scores, one set of files."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bridged import MODEL, Stop, stop_at
from conftest import make_project
from families import write_recipe
from several import LOSSES

from copick_tools.data.splits import write_splits
from copick_tools.engines import registry
from copick_tools.training import checkpoint as files
from copick_tools.workflows.train import plan_training, train

pytestmark = pytest.mark.slow  # each start of two processes takes half a minute
TESTS = Path(__file__).parents[1]
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
ACCELERATE = (
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--mixed_precision",
    "no",
    "--module",
)
MADE = {"recipe.yaml", "data.json", "versions.json", "usage.json", "log.txt", "metrics.csv", "best.ckpt", "last.ckpt"}
CPU = ("--device", "cpu")
SETTINGS = ("model.family=seen.family", "model.dropout=0", "train.batch_size=4", "train.checkpoint_every=7")
FAMILIES = (
    (MODEL.replace("nnunet", "seen.nnunet"), ("train.workers=1",)),
    ("{family: mednext, preset: tiny}", ("loss.name=tversky-focal",)),
)


def quiet(done, total):
    """No progress."""


@pytest.fixture(scope="module")
def launch(tmp_path_factory, recipe_path):
    """Runs `popsicle train` in two processes, on a project of two validation runs."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "seen").mkdir()
    (folder / "seen/__init__.py").write_text("")
    (folder / "seen/family.py").write_text("from several import *\n")
    (folder / "seen/nnunet.py").write_text("from several_nnunet import *\n")
    project = make_project(folder / "project")
    write_splits(project, {"train": ["TS_1"], "val": ["TS_2", "TS_3"]})
    places = os.pathsep.join([str(folder), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}

    def start(out, *settings, launcher=TORCHRUN, options=(), recipe=recipe_path, more=None, code=0):
        command = [sys.executable, "-m", *launcher, "copick_tools.cli", "train", recipe, "-c", project.config]
        command += ["--out", out, *(options or CPU), *(part for setting in settings for part in ("-s", setting))]
        variables = {**environment, **(more or {})}
        done = subprocess.run(list(map(str, command)), cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        start.project, start.folder = project, folder
        yield start


def rows(folder):
    """metrics.csv as numbers."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [[float(cell or "nan") for cell in row] for row in csv.reader(lines[1:])]


def assert_same(folder, expected):
    """A pick more or less may hang on the last bits of the weights."""
    found, wanted = np.array(rows(folder)), np.array(rows(expected))
    np.testing.assert_allclose(found[:, :4], wanted[:, :4], rtol=1e-4)
    np.testing.assert_allclose(found[:, 4], wanted[:, 4], atol=0.05)


@pytest.fixture(scope="module")
def alone(launch, recipe_path):
    """An experiment of one process."""
    plan = plan_training(launch.project, str(recipe_path), SETTINGS, launch.folder / "alone", "cpu")
    train(launch.project, plan, quiet, device="cpu")
    return launch.folder / "alone"


@pytest.fixture(scope="module")
def together(launch):
    """An experiment of two processes, and what they said."""
    return launch.folder / "together", launch(launch.folder / "together", *SETTINGS)


def test_losses_and_scores_are_those_of_one(alone, together):
    assert len(rows(alone)) == 4
    assert rows(alone)[-1][-1] > 0
    assert_same(together[0], alone)


@pytest.mark.parametrize("target", ["labels", "heat"])
@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_and_its_gradient(alone, together, name, target):
    found, expected = (np.load(folder / "seen.npz")[f"{name} {target}"] for folder in (together[0], alone))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected[1:]).max() > 1e-3


def test_what_processes_share(together):
    seen = np.load(together[0] / "seen.npz")
    assert seen["merged"].tolist() == list(range(7))
    assert seen["by main"] == 5


def test_one_speaks_and_writes(together):
    folder, said = together
    assert said.stdout == f"{folder / 'best.ckpt'}\n"
    assert said.stderr.count("training on 1 runs, validating on 2") == 1
    assert said.stderr.count("2 processes share each batch of 4") == 1
    assert "Warning" not in said.stderr
    assert {path.name for path in folder.iterdir()} == MADE | {"finished", "seen.npz"}
    assert (folder / "log.txt").read_text().count("epoch 4: validation score") == 1


def test_checkpoints_are_as_ever(alone, together):
    found, expected = (files.read(folder / "last.ckpt")[1] for folder in (together[0], alone))
    assert found["step"] == expected["step"] == 20
    assert found["network"].keys() == expected["network"].keys()
    predictor = registry.load(together[0] / "best.ckpt", "cpu")
    volume = np.random.default_rng(0).normal(size=(24, 48, 48)).astype(np.float32)
    slabs = np.concatenate([slab for _, slab in predictor.slabs(volume)], axis=1)
    theirs = np.concatenate([slab for _, slab in registry.load(alone / "best.ckpt", "cpu").slabs(volume)], axis=1)
    np.testing.assert_allclose(slabs, theirs, atol=0.02)


def test_killed_and_resumed_by_one(launch, alone, recipe_path):
    folder, often = launch.folder / "killed", (*SETTINGS, "train.checkpoint_every=1")
    said = launch(folder, *often, more={"DIE_AT": "8"}, code=1)
    assert "Error: rank 0 of 2: another process of this training has ended" in said.stderr
    assert "Traceback" not in said.stderr.partition("ChildFailedError")[0].partition("torch/distributed/elastic")[0]
    assert files.read(folder / "last.ckpt")[1]["step"] == 8
    plan = plan_training(launch.project, str(recipe_path), often, folder, "cpu")
    train(launch.project, plan, quiet, resume=True, device="cpu")
    assert_same(folder, alone)


def test_stopped_and_resumed_by_two_with_accelerate(launch, alone, recipe_path):
    folder, often = launch.folder / "stopped", (*SETTINGS, "train.checkpoint_every=1")
    plan = plan_training(launch.project, str(recipe_path), often, folder, "cpu")
    with pytest.raises(Stop):
        train(launch.project, plan, stop_at(7), device="cpu")
    said = launch(folder, *often, launcher=ACCELERATE, options=(*CPU, "--resume"))
    assert said.stderr.count("going on from step 7") == 1
    assert_same(folder, alone)


def test_finished_is_left_alone(launch, alone):
    before = (alone / "last.ckpt").stat().st_mtime_ns
    said = launch(alone, *SETTINGS)
    assert said.stdout == f"{alone / 'best.ckpt'}\n"
    assert said.stderr.count("is finished already") == 1
    assert (alone / "last.ckpt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.batch_size=3", "Error: 2 processes can't share batches of train.batch_size=3 evenly"),
        ("train.epochs=3", "holds an experiment of another recipe (train.epochs)"),
    ],
)
def test_all_end_with_one_message(launch, alone, setting, message):
    said = launch(alone, *SETTINGS, setting, code=1)
    assert said.stderr.count(message) == said.stderr.count("Error: ") - said.stderr.count("ChildFailedError: ") == 1
    assert said.stderr.count("Hint: ") == 1
    assert said.stdout == ""


@pytest.mark.parametrize(("family", "more"), FAMILIES)
def test_nnunet(launch, recipe_path, tmp_path, family, more):
    pytest.importorskip("nnunetv2")
    recipe = write_recipe(recipe_path, family, (16, 32, 32), tmp_path)
    settings = ("train.batch_size=4", "train.epochs=2", "train.steps_per_epoch=3", *more)
    plan = plan_training(launch.project, recipe, settings, tmp_path / "alone", "cpu")
    train(launch.project, plan, quiet, device="cpu")
    launch(tmp_path / "together", *settings, recipe=recipe)
    assert_same(tmp_path / "together", tmp_path / "alone")
    made = {path.name for path in (tmp_path / "together").iterdir()}
    assert made - {"seen.npz"} == MADE | {"finished"}
    if "seen.npz" in made:
        found, expected = (np.load(tmp_path / name / "seen.npz") for name in ("together", "alone"))
        for case in expected:
            np.testing.assert_allclose(found[case], expected[case], rtol=1e-4, atol=1e-6)
