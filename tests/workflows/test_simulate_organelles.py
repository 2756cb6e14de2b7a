"""Projects of simulated organelles: what they hold, what is refused, and what is made again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from copick_tools.data import read, splits
from copick_tools.data.project import open_project
from copick_tools.data.uris import segmentation_uri, tomogram_uri
from copick_tools.errors import NotFoundError, UsageError
from copick_tools.recipes.load import load_task
from copick_tools.workflows.simulate import PhantomProject
from copick_tools.workflows.simulate_organelles import OrganelleProject
from copick_tools.workflows.simulating import simulate

QUICK = {"tilt_step": 10}
PLAN = OrganelleProject(runs=2, shape=(24, 96, 96), seed=5, changes=QUICK)
TASK = load_task("organelle-sim")


def make(folder, plan=PLAN, **options):
    """run -> status"""
    project, _, results = simulate(folder, plan, **options)
    return project, {result.run: result.status for result in results}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("organelles") / "a")[0]


def contents(project):
    folder = project.folder / "ExperimentRuns"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truth(project, run, uri):
    return read.read_segmentation(project, run, segmentation_uri(uri)).numpy()


def test_a_project_that_opens(made):
    project = open_project(made.config)
    assert project.run_names == ["TS_001", "TS_002"]
    assert {name: entry.label for name, entry in project.objects.items()} == {o.name: o.label for o in TASK.objects}
    assert splits.read_splits(project) == {"train": ["TS_001"], "val": [], "test": ["TS_002"]}
    tomogram = read.read_tomogram(project, "TS_001", tomogram_uri("wbp@20.0"))
    assert tomogram.shape == PLAN.shape
    assert len(list(tomogram.entry.zarr().keys())) >= 3
    assert not project.run("TS_001").picks


def test_voxels_that_are_coarser_than_the_objects(tmp_path):
    """A million angstrom would be a cell of kilometers, full of vesicles."""
    with pytest.raises(UsageError, match="voxels of 1000 A are coarser") as caught:
        simulate(tmp_path / "coarse", replace(PLAN, voxel_spacing=1000.0))
    assert "at most 105 A" in caught.value.hint
    assert not (tmp_path / "coarse").exists()


def test_the_task_names_what_is_there(made):
    assert TASK.kind == "instances"
    assert TASK.voxel_spacing == PLAN.voxel_spacing == 20.0
    assert sum(split.runs for split in TASK.splits.values()) == OrganelleProject().runs
    assert read.read_segmentation(made, "TS_001", segmentation_uri(TASK.reference)).shape[-3:] == PLAN.shape


@pytest.mark.parametrize("run", ["TS_001", "TS_002"])
def test_panoptic_multilabel_and_instances_agree(made, run):
    labels, ids = truth(made, run, TASK.reference)
    assert np.array_equal(labels, truth(made, run, "organelles:simulation/0@20.0?multilabel=true"))
    assert np.array_equal(labels > 0, ids > 0)
    record = json.loads((made.sidecar / "runs" / f"{run}.json").read_text())
    for entry in TASK.objects:
        own = np.where(labels == entry.label, ids, 0)
        assert np.array_equal(own, truth(made, run, f"{entry.name}:simulation/0@20.0?instance=true"))
        found = np.unique(own[own > 0])
        assert found.tolist() == list(range(1, len(found) + 1)) == record["instances"][entry.name]


def test_more_workers_and_more_runs_change_no_byte(made, tmp_path):
    project, _ = make(tmp_path / "b", replace(PLAN, runs=1))
    project, statuses = make(project.folder, workers=2)
    assert statuses == {"TS_001": "skipped", "TS_002": "done"}
    assert contents(project) == contents(made)


def test_a_run_without_its_tomogram_is_made_again(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "c")
    killed = open_project(tmp_path / "c" / "copick.json")
    shutil.rmtree(killed.folder / "ExperimentRuns/TS_002/VoxelSpacing20.000")
    shutil.rmtree(killed.folder / "ExperimentRuns/TS_002/PanopticSegmentations")
    project, statuses = make(killed.folder)
    assert statuses == {"TS_001": "skipped", "TS_002": "done"}
    assert contents(project) == contents(made)
    assert make(killed.folder, overwrite=True)[1] == {"TS_001": "done", "TS_002": "done"}
    assert contents(project) == contents(made)


def test_bacteria_are_spread_evenly_over_the_runs(monkeypatch):
    from copick_tools.workflows import simulate_organelles as workflow

    seen = []

    def note(shape, spacing, labels, settings, seed):
        seen.append(settings.bacterium)
        raise UsageError("seen")

    monkeypatch.setattr(workflow, "simulate_organelles", note)
    simulator = OrganelleProject().simulator()
    for number in range(13):
        with pytest.raises(UsageError, match="seen"):
            simulator.run(number, 0)
    assert sum(seen) == 5
    assert all(any(part) and not all(part) for part in (seen[:7], seen[7:9], seen[9:]))  # in each split


@pytest.mark.parametrize("other", [{"seed": 6}, {"preset": "easy"}, {"changes": {"dose": 9}}, {"shape": (24, 96, 90)}])
def test_two_simulations_are_not_mixed(made, other):
    with pytest.raises(UsageError, match="other settings"):
        simulate(made.folder, replace(PLAN, **other))


def test_phantoms_do_not_go_into_the_same_project(made):
    with pytest.raises(UsageError, match="label"):
        simulate(made.folder, PhantomProject(runs=1, shape=(8, 16, 16)))


def test_mistakes(tmp_path):
    with pytest.raises(NotFoundError, match="no preset 'hardest'") as caught:
        simulate(tmp_path / "x", OrganelleProject(preset="hardest"))
    assert "hard" in str(caught.value.hint)
    with pytest.raises(UsageError, match="dose has to be positive"):
        simulate(tmp_path / "x", OrganelleProject(changes={"dose": -1}))
    with pytest.raises(UsageError, match="can't simulate"):
        simulate(tmp_path / "x", OrganelleProject(voxel_spacing=0))
    assert not (tmp_path / "x").exists()


def test_the_command(popsicle, tmp_path):
    out = tmp_path / "cells"
    arguments = ("simulate", "organelles", "--out", out, "--runs", 1, "--shape", "16,48,48", "--tilt-step", 30)
    document = popsicle.json(*arguments)
    assert document["command"] == "organelles"
    (run,) = document["runs"]
    assert run["status"] == "done"
    assert list(run["counts"]) == [o.name for o in TASK.objects]
    assert popsicle.json(*arguments)["runs"][0]["status"] == "skipped"
    assert popsicle.json(*arguments, "--overwrite")["runs"][0]["status"] == "done"
    assert "other settings" in popsicle(*arguments, "--seed", 1, code=2).output
    assert "no preset" in popsicle(*arguments, "--preset", "hardest", code=1).output
