"""What a training reads: labels are labels, and ids take no more memory than they need."""

import numpy as np
import pytest
from training.cells import NAMES, annotated, cells, recipe

from copick_tools.data.uris import SegmentationUri
from copick_tools.data.write import write_segmentation
from copick_tools.errors import UsageError
from copick_tools.recipes.load import load_recipe
from copick_tools.training.data import TrainingData


def data(project, tmp_path, *settings, metric="instances"):
    return TrainingData.resolve(project, load_recipe(recipe(tmp_path, metric), settings))


def with_vesicles(tmp_path):
    """A project whose runs also have the instances of one object."""
    project = cells(tmp_path)
    for seed, run in enumerate("AB"):
        labels, ids = annotated(seed)
        own = np.where(labels == NAMES["vesicle"], ids % 3, 0).astype(np.uint16)
        write_segmentation(project, run, SegmentationUri("vesicle", "truth", "0", 10.0, "instance"), own)
    return project


def test_ids_of_instances_are_no_labels(tmp_path):
    """Ids 1 and 2 would be taken for vesicles and mitochondria."""
    project, uri = with_vesicles(tmp_path), "vesicle:truth/0@10.0?instance=true"
    kind = "target.kind=segmentation"
    with pytest.raises(UsageError, match="holds ids of instances, not labels"):
        data(project, tmp_path, kind, f"target.uri={uri}").training_runs("A")
    with pytest.raises(UsageError, match="holds ids of instances, not labels"):
        data(project, tmp_path, kind, f"reference={uri}").validation_run("B")
    with pytest.raises(UsageError, match="holds ids of instances, not labels"):
        data(project, tmp_path, f"reference={uri}", metric="dice").validation_run("B")
    assert len(data(project, tmp_path, kind).training_runs("A")) == 1


def test_ids_that_are_held_are_small(tmp_path):
    found = data(with_vesicles(tmp_path), tmp_path, "reference=vesicle:truth/0@10.0?instance=true").validation_run("B")
    labels, ids = annotated(1)
    np.testing.assert_array_equal(found.annotated.ids, np.where(labels == NAMES["vesicle"], ids % 3, 0))
    assert found.annotated.ids.dtype == np.uint8
