"""Picks become a challenge's file, and that file scores as the picks do."""

import csv

import numpy as np
import pytest

from copick_tools.data.uris import PicksUri, TomogramUri
from copick_tools.data.write import write_picks, write_tomogram
from copick_tools.types import Points

MOTORS = """
name: toy-motors
title: one ball or none
kind: localization
description: for tests
source: made here
voxel_spacing: null
tomo_types: [wbp]
reference: "ribosome:truth/0"
splits:
  test: {runs: 3, role: scores}
objects:
  - {name: ribosome, label: 1, color: [0, 92, 49, 255], radius: 120}
metric: {name: fbeta, beta: 2, rule: kaggle, official: byu, distance: 100}
"""


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def motors(tmp_path):
    (tmp_path / "motors.yaml").write_text(MOTORS)
    return tmp_path / "motors.yaml"


def test_czii_scores_as_evaluate_does(popsicle, project, recipe_path, tmp_path):
    task = recipe_path.parent / "toy.yaml"
    rng = np.random.default_rng(0)
    for run in project.run_names:
        for name in ("ribosome", "apo-ferritin"):
            xyz = rng.uniform(50, 200, (4, 3))
            write_picks(project, run, PicksUri(name, "guess", "1"), Points.at(xyz, [0.2, 0.4, 0.6, 0.8]))
    for source, out in (("guess/1", "submission.csv"), ("truth/0", "solution.csv")):
        said = popsicle.json(
            "submit", "-c", project.config, "-i", f"*:{source}", "--task", task, "--out", tmp_path / out
        )
        assert said["runs"] == 3
    assert list(rows(tmp_path / "submission.csv")[0]) == ["id", "experiment", "particle_type", "x", "y", "z"]
    files = tmp_path / "submission.csv", tmp_path / "solution.csv"
    scored = popsicle.json("score", *files, "--task", task)
    evaluated = popsicle.json("evaluate", "-c", project.config, "-i", "*:guess/1", "--task", task)
    assert scored["score"] == evaluated["score"]
    counts = [{n: (o["tp"], o["fp"], o["fn"]) for n, o in found["objects"].items()} for found in (scored, evaluated)]
    assert counts[0] == counts[1]


def test_threshold_and_what_it_leaves(popsicle, project, recipe_path, tmp_path):
    task, out = recipe_path.parent / "toy.yaml", tmp_path / "s.csv"
    xyz = np.array([[10.0, 20, 30], [40, 50, 60]])
    write_picks(project, "TS_1", PicksUri("ribosome", "guess", "1"), Points.at(xyz, [0.3, 0.7]))
    base = ("submit", "-c", project.config, "-i", "ribosome:guess/1", "--task", task, "--out", out, "-r", "TS_1")
    popsicle(*base, "--threshold", 0.5)
    assert [[float(row[axis]) for axis in "xyz"] for row in rows(out)] == [[40, 50, 60]]
    assert "is there already" in popsicle(*base, code=1).stderr
    assert "no pick reaches" in popsicle(*base, "--threshold", 0.9, "--overwrite").stderr
    assert rows(out) == []
    for value in ("nan", "-1", "2"):
        popsicle(*base, "--threshold", value, "--overwrite", code=2)
    popsicle(*base, "--tomogram", "wbp", "--overwrite", code=2)


def test_byu_counts_in_voxels_zyx_and_takes_the_best(popsicle, project, motors, tmp_path):
    out = tmp_path / "s.csv"
    picks = {"TS_1": ([[10, 20, 30], [40, 50, 60]], [0.4, 0.6]), "TS_2": ([[1, 2, 3]], [0.1]), "TS_3": ([], [])}
    for run, (xyz, scores) in picks.items():
        write_picks(project, run, PicksUri("ribosome", "guess", "1"), Points.at(xyz, scores))
    base = ("submit", "-c", project.config, "-i", "ribosome:guess/1", "--task", motors, "--out", out)
    assert popsicle.json(*base, "--threshold", 0.2)["picks"] == 1
    assert [list(row.values()) for row in rows(out)] == [
        ["TS_1", "6.0", "5.0", "4.0"],
        ["TS_2", "-1.0", "-1.0", "-1.0"],
        ["TS_3", "-1.0", "-1.0", "-1.0"],
    ]
    assert list(rows(out)[0]) == ["tomo_id", "Motor axis 0", "Motor axis 1", "Motor axis 2"]
    write_tomogram(project, "TS_1", TomogramUri("wbp", 20.0), np.zeros((8, 8, 8), np.float32), levels=1)
    assert "several voxel spacings" in popsicle(*base, "--overwrite", code=1).stderr
    popsicle(*base, "--overwrite", "--tomogram", "wbp@10.0")
    assert rows(out)[1]["Motor axis 2"] == "0.1"


def test_byu_never_writes_a_motor_that_reads_as_none(popsicle, project, motors, tmp_path):
    write_picks(project, "TS_1", PicksUri("ribosome", "guess", "1"), Points.at([[-10, 20, 30]]))
    base = ("submit", "-c", project.config, "-i", "ribosome:guess/1", "--task", motors, "--out", tmp_path / "s.csv")
    assert "would read as no motor" in popsicle(*base, "-r", "TS_1", code=1).stderr
    assert not (tmp_path / "s.csv").exists()


def test_what_it_refuses(popsicle, project, recipe_path, tmp_path):
    task = recipe_path.parent / "toy.yaml"
    base = ("submit", "-c", project.config, "--out", tmp_path / "s.csv")
    assert "no challenge" in popsicle(*base, "-i", "*:truth/0", "--task", "bacterial", code=2).stderr
    assert "no prediction picks match" in popsicle(*base, "-i", "*:nobody/1", "--task", task, code=1).stderr
    write_picks(project, "TS_1", PicksUri("ribosome", "guess", "1"), Points.at([[1, 2, 3]]))
    some = (*base, "-i", "ribosome:guess/1", "--task", task)
    assert "2 of 3 runs have no prediction" in popsicle(*some, code=1).stderr
    popsicle(*some, "--missing", "empty")
    assert len(rows(tmp_path / "s.csv")) == 1
