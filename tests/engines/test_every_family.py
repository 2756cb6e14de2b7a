"""The one small recipe, from the command line: each family finds particles that random picks don't.

Octopi's and DeepFinder's are trained in the README's walk; ResEnc and MedNeXt by nnU-Net's trainer, as nnunet here, for time is
short. docs/benchmarks.md has all seven.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from copick_tools.data import read
from copick_tools.data.project import open_project
from copick_tools.data.uris import picks_uri
from copick_tools.metrics.points import score_points
from copick_tools.metrics.table import PointTable
from copick_tools.recipes.load import load_task
from copick_tools.recipes.rules import point_rule
from copick_tools.types import Points

SIDES = np.array([256, 256, 64]) * 10.012  # xyz, angstrom
FAMILIES = ("nnunet", "swinunetr", "deepetpicker")


@pytest.fixture(scope="module")
def popsicle(tmp_path_factory):
    """The command, in a process, on a project of four simulated tomograms and with all cores, in a home of its own."""
    folder = tmp_path_factory.mktemp("families")
    home = folder / "home"
    home.mkdir()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "COPICK_CONFIG": "sim/copick.json", "HOME": str(home)}
    for name in ("OMP_NUM_THREADS", "MPLCONFIGDIR"):
        environment.pop(name, None)

    def run(*arguments):
        command = [sys.executable, "-m", "copick_tools.cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert list(home.iterdir()) == []
        return done.stdout

    run("simulate", "phantom", "--out", "sim", "--runs", 4, "--seed", 0)
    run.folder = folder
    return run


def random_picks(folder: Path) -> float:
    """The best score of picks that are anywhere, however many."""
    project, task = open_project(folder / "sim"), load_task("phantom-sim")
    runs = json.loads((folder / "sim/.popsicle/splits.json").read_text())["test"]
    reference = {run: read.read_picks(project, run, [picks_uri("*:simulation/0")]) for run in runs}
    radii, rng, scores = {o.name: o.radius for o in task.targets}, np.random.default_rng(0), []
    for count in (5, 15, 50, 150, 500, 1500):
        found = {run: {name: Points.at(rng.uniform(0, 1, (count, 3)) * SIDES) for name in radii} for run in runs}
        tables = [PointTable.of(picks, tuple(runs), tuple(radii)) for picks in (reference, found)]
        scores.append(score_points(*tables, point_rule(task, radii)).score())
    return max(scores)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_it_finds_particles(popsicle, family):
    shorter = ("-s", "train.steps_per_epoch=25")  # of 40; docs/benchmarks.md has the whole trainings
    best = popsicle("train", "phantom-sim/tiny", "-s", f"model.family={family}", *shorter, "--out", family).strip()
    assert best == f"{family}/best.ckpt"
    assert {path.name for path in (popsicle.folder / family).iterdir()} == {
        *(
            "recipe.yaml",
            "data.json",
            "versions.json",
            "usage.json",
            "log.txt",
            "metrics.csv",
            "best.ckpt",
            "last.ckpt",
            "finished",
        ),
    }
    popsicle("localize", best, "-i", "wbp@10.012", "-o", f":{family}/1", "--split", "test")
    found = json.loads(
        popsicle("evaluate", "-i", f"*:{family}/1", "--task", "phantom-sim", "--split", "test", "--json")
    )
    assert found["score"] > max(0.12, 3 * random_picks(popsicle.folder))
