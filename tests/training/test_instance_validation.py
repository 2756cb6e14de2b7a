"""Validation scores instances as `evaluate` does: a perfect predictor gets 1."""

from types import SimpleNamespace

import numpy as np
import pytest
from training.cells import NAMES, SHAPE, annotated, cells, recipe
from volumes.blobs import perfect

from copick_tools.data.uris import SegmentationUri
from copick_tools.data.write import write_segmentation
from copick_tools.inference.geometry import Geometry
from copick_tools.recipes.decoding import decoding
from copick_tools.recipes.load import load_recipe
from copick_tools.training.data import TrainingData
from copick_tools.training.validation import validation_score

KINDS = {"distances": 2, "flows": 3, "boundary": 1}


def apart(truth):
    labels, ids = truth
    return np.unique(labels.astype(int) * 1000 + ids, return_inverse=True)[1].reshape(ids.shape)


class Knowing:
    """Says of each tomogram in turn what is true of it."""

    objects, normalize, voxel_spacing = NAMES, 0.1, 10.0

    def __init__(self, kind, *truths):
        self.geometry, self.truths = Geometry(kind, KINDS[kind]), list(truths)

    def maps(self, volume, sample=None):
        labels, _ = truth = self.truths.pop(0)
        found = perfect(self.geometry.kind, apart(truth), labels)
        for z in range(0, len(labels), 5):
            yield z, found.foreground[z : z + 5], found.labels[z : z + 5], found.geometry[:, z : z + 5]


def score(tmp_path, project, predictor, *settings, metric="instances"):
    chosen = load_recipe(
        recipe(tmp_path, metric), (f"target.kind={predictor.geometry.kind}", "instances.smoothing=0", *settings)
    )
    data = TrainingData.resolve(project, chosen)
    return validation_score(predictor, [data.validation_run(run) for run in data.validation], chosen, data.task)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_predictor(kind, tmp_path):
    found = score(tmp_path, cells(tmp_path), Knowing(kind, annotated(1)))
    assert found == (pytest.approx(1, abs=0.1) if kind == "boundary" else 1.0)


def test_means_of_objects_not_of_instances(tmp_path):
    """A mitochondrion of two is missed: 0.5 of three objects' scores."""
    truth = annotated(1)
    seen = truth.copy()
    seen[:, (truth[0] == 2) & (truth[1] == 1)] = 0
    assert score(tmp_path, cells(tmp_path), Knowing("flows", seen)) == pytest.approx((1 + 0.5 + 1) / 3)


def test_what_neither_side_has_is_left_out(tmp_path):
    truth = annotated(1)
    truth[:, truth[0] == 2] = 0
    assert score(tmp_path, cells(tmp_path, A=annotated(0), B=truth), Knowing("flows", truth)) == 1.0
    none = np.zeros_like(truth)
    empty = cells(tmp_path / "empty", A=annotated(0), B=none)
    assert score(tmp_path, empty, Knowing("flows", none)) == 0.0
    assert score(tmp_path, empty, Knowing("flows", truth)) == 0.0


def test_outside_of_the_region_nothing_counts(tmp_path):
    project, truth = cells(tmp_path), annotated(1)
    region = np.zeros(SHAPE, np.uint8)
    region[:, :14] = 1
    write_segmentation(project, "B", SegmentationUri("vesicle", "seen", "0", 10.0, "binary"), region)
    wrong = truth.copy()
    wrong[:, :, 14:] = truth[:, :, 14:][:, ::-1]
    wrong[1][:, 14:] += (wrong[1][:, 14:] > 0) * 50
    known = "target.region=vesicle:seen/0@10.0"
    assert score(tmp_path, project, Knowing("flows", wrong)) < 0.7
    assert score(tmp_path, project, Knowing("flows", wrong), known, "instances.flow_error=null") > 0.9


def test_a_coarser_network_is_scored_on_the_tomograms_grid(tmp_path):
    coarse = Knowing("flows", annotated(1)[:, 1::2, 1::2, 1::2])
    coarse.voxel_spacing = 20.0
    assert 0.6 < score(tmp_path, cells(tmp_path), coarse, "train.patch=[4,8,8]", "voxel_spacing=20") < 1


def test_other_metrics_stay_what_they_are(tmp_path):
    """A task of labels scores labels, also of a network that tells instances apart."""
    project, labels = cells(tmp_path), annotated(1)[0]
    predictor = Knowing("flows")

    def slabs(volume):
        yield 0, np.stack([labels == value for value in (0, *NAMES.values())]).astype(np.float16)

    predictor.slabs = slabs
    assert score(tmp_path, project, predictor, metric="dice") == 1.0


def test_settings_become_voxels(tmp_path):
    path = recipe(tmp_path)
    chosen = load_recipe(path, ("instances.min_volume=8", "instances.max_volume=64", "instances.join=3"))
    task = SimpleNamespace(targets=TrainingData.resolve(cells(tmp_path), chosen).task.targets)
    found = decoding(chosen, task, 20.0)
    assert found.limits == (1, 8)
    assert found.join == 1.5
    assert found.networks == (5,)
    assert found.stitch is None
    assert decoding(load_recipe(path), task, 10.0).limits == (0, np.inf)
    assert decoding(load_recipe(path, ("target.kind=boundary",)), task, 10.0).smoothing == 0
    flat = ("train.patch=[1,8,8]", "instances.views=stitched", "instances.stitch=0.4")
    assert decoding(load_recipe(path, flat), task, 10.0).stitch == 0.4
    assert decoding(load_recipe(path, flat[:1]), task, 10.0).stitch is None
