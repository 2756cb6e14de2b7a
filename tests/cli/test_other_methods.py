"""Mean shift and mean pooling, from the command to the picks."""

import numpy as np
import pytest

from copick_tools.data import read
from copick_tools.data.uris import picks_uri, segmentation_uri
from copick_tools.inference.extract import Wanted
from copick_tools.recipes.recipe import Pick
from copick_tools.volumes.extraction import Particle

LABELS = "truth:truth/0?multilabel=true"


def test_pick_by_mean_shift(project, popsicle):
    given = ("pick", "-c", project.config, "-i", LABELS, "--method", "mean-shift", "--min-volume", 0)
    popsicle(*given, "-o", ":shift/1", "--radius-fraction", 0.5, "--instances")
    popsicle(*given, "-o", ":shift/2", "--bandwidth", 60)
    for run in ("TS_1", "TS_2", "TS_3"):
        truth, found, same = (
            read.read_picks(project, run, [picks_uri(f"*:{u}")]) for u in ("truth/0", "shift/1", "shift/2")
        )
        assert set(found) == {"ribosome", "apo-ferritin"}
        for name, points in found.items():
            np.testing.assert_array_equal(points.positions, same[name].positions)  # the largest ball's radius is 60
            away = np.linalg.norm(truth[name].positions[:, None] - points.positions[None], axis=2)
            assert (away.min(axis=1, initial=np.inf) < 50).all()
            ids = read.read_segmentation(project, run, segmentation_uri(f"{name}:shift/1?instance=true")).numpy()
            assert set(np.unique(ids)) == {0, *(points.instance_ids.tolist() if len(points) else ())}


def test_refusals(project, popsicle):
    given = ("pick", "-c", project.config, "-i", LABELS, "-o", ":shift/1")
    failed = popsicle(*given, "--method", "mean-shift", "--bandwidth", 5, code=1)
    assert "a bandwidth of 5 A is below a voxel, 10 A" in failed.stderr
    assert "--bandwidth" in popsicle(*given, "--method", "mean-shift", "--bandwidth", 0, code=2).stderr
    assert "mean-pool" in popsicle(*given, "--method", "mean-pool", code=2).stderr


@pytest.mark.parametrize("method", ["mean-shift", "mean-pool"])
def test_calibrated_where_asked_for(shared_project, checkpoint, popsicle, tmp_path, method):
    out = tmp_path / "thresholds.yaml"
    base = ("calibrate", checkpoint, "-c", shared_project.config, "-i", "wbp", "-r", "TS_1", "-r", "TS_2", "--out", out)
    document = popsicle.json(*base, "--device", "cpu", "--method", method, "--overwrite")
    known = [way for setting in document["settings"] for way in setting["objects"].values()]
    assert {way["method"] for way in known if way["fbeta"] is not None} <= {method}
    assert all("bandwidth" in way for way in known)


def test_what_they_need_of_the_probabilities():
    particles = [Particle("a", 1, 60.0), Particle("b", 2, 60.0), Particle("c", 3, 60.0)]
    settings = {"a": Pick(method="mean-pool", threshold=0.3), "b": Pick(method="mean-shift", threshold=0.4)}
    settings["c"] = Pick(method="peaks", threshold=0.5)
    assert Wanted.for_picks(settings, particles) == Wanted(0.4, (1, 3), 0.25)
    assert Wanted.for_picks(settings, particles[:2]) == Wanted(0.4, (1,), 0.3)
    assert Wanted.for_picks(settings, particles[1:2]) == Wanted(0.4, (), 1.0)
