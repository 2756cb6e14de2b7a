"""One small project for all tests, made without any physics, in well under two seconds."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from copick_tools.data.project import Project, ProjectObject, create_project, open_project
from copick_tools.data.splits import write_splits
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri
from copick_tools.data.write import write_picks, write_segmentation, write_tomogram
from copick_tools.types import Points
from copick_tools.volumes.coordinates import to_angstrom
from copick_tools.volumes.paint import spheres

SPACING = 10.0
SHAPE = (24, 48, 48)
OBJECTS = (
    ProjectObject("ribosome", 1, 120.0, True, (0, 92, 49, 255)),
    ProjectObject("apo-ferritin", 2, 60.0, True, (0, 117, 220, 255)),
)
TASK = """
name: toy
title: two kinds of dark balls
kind: localization
description: for tests
source: made here
simulated: true
voxel_spacing: 10.0
tomo_types: [wbp]
reference: "*:truth/0"
splits:
  train: {runs: 1, role: training}
  val: {runs: 1, role: choice}
  test: {runs: 1, role: scores}
objects:
  - {name: ribosome, label: 1, color: [0, 92, 49, 255], radius: 120, weight: 1}
  - {name: apo-ferritin, label: 2, color: [0, 117, 220, 255], radius: 60, weight: 2}
metric: {name: fbeta, beta: 4, rule: kaggle, official: czii, distance_multiplier: 0.5}
"""
RECIPE = """
task: {task}
input: wbp@10.0
model: {{family: octopi, channels: [8, 16], strides: [2], num_res_units: 1, dropout: 0.1}}
optimizer: {{lr: 0.01}}
train: {{patch: [16, 24, 24], batch_size: 2, epochs: 4, steps_per_epoch: 5, validate_every: 2, checkpoint_every: 1, precision: fp32, threads: 1}}
"""


@pytest.fixture(scope="session", autouse=True)
def _calm() -> Iterator[None]:
    """One torch thread, and none of the user's settings."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.delenv("COPICK_CONFIG", raising=False)
    patch.delenv("POPSICLE_DEBUG", raising=False)
    yield
    patch.undo()


def make_project(folder: Path, runs: int = 3) -> Project:
    """Dark balls on noise; one run of each split, the last one without apo-ferritin."""
    project = create_project(folder, "toy", OBJECTS, "for tests")
    rng = np.random.default_rng(0)
    for number in range(runs):
        run = f"TS_{number + 1}"
        ribosomes = rng.uniform([6, 10, 10], [18, 38, 38], (2, 3))
        ferritins = rng.uniform([4, 6, 6], [20, 42, 42], (0 if number == 2 else 3, 3))
        centers = np.concatenate([ribosomes, ferritins])
        labels = np.repeat([1, 2], [len(ribosomes), len(ferritins)])
        truth = spheres(centers, np.array([0, 6.0, 3.0])[labels], labels, SHAPE)
        volume = rng.normal(0, 0.3, SHAPE) - 2.0 * (truth == 1) - 3.0 * (truth == 2)
        for name, xyz in (("ribosome", ribosomes), ("apo-ferritin", ferritins)):
            write_picks(project, run, PicksUri(name, "truth", "0"), Points.at(to_angstrom(xyz, SPACING)))
        write_segmentation(project, run, SegmentationUri("truth", "truth", "0", SPACING, "multilabel"), truth)
        write_tomogram(project, run, TomogramUri("wbp", SPACING), volume.astype(np.float32), levels=2)
    write_splits(project, {"train": ["TS_1"], "val": ["TS_2"], "test": ["TS_3"]})
    return project


def copied(project: Project, folder: Path) -> Project:
    """A project's copy, which takes a hundredth of the time."""
    shutil.copytree(project.folder, folder)
    config = folder / project.config.name
    config.write_text(config.read_text().replace(str(project.folder), str(folder)))
    return open_project(config)


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("made") / "project")


@pytest.fixture(scope="session")
def shared_project(_made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, for tests that only read it."""
    return copied(_made, tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture
def project(_made: Project, tmp_path: Path) -> Project:
    """The project, for tests that write into it."""
    return copied(_made, tmp_path / "project")


@pytest.fixture(scope="session")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of twenty steps for the project."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "toy.yaml").write_text(TASK)
    (folder / "tiny.yaml").write_text(RECIPE.format(task=folder / "toy.yaml"))
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def checkpoint(shared_project: Project, recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of those twenty steps."""
    from copick_tools.workflows.train import plan_training, train

    plan = plan_training(shared_project, str(recipe_path), (), tmp_path_factory.mktemp("experiment"))
    best, done = train(shared_project, plan, lambda done, total: None, device="cpu")
    assert done
    return best


class Popsicle:
    """The command, in this process."""

    def __call__(self, *arguments: object, code: int = 0) -> Result:
        from copick_tools.cli.main import popsicle

        result = CliRunner().invoke(popsicle, [str(a) for a in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: object, code: int = 0) -> object:
        """Its one JSON document."""
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture
def popsicle() -> Popsicle:
    """The command ``popsicle``."""
    return Popsicle()


@pytest.fixture(scope="module")
def one_schema() -> Iterator[None]:
    """Parse the portal's schema once, not once for each command."""
    from copick_tools.data.portal import client

    real = functools.cache(client._Client)

    def make(address: str) -> object:
        made = copy.copy(real("http://127.0.0.1:1/graphql"))
        made.url = address
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_Client", make)
        yield
