"""A project of three kinds of organelles in two runs, touching vesicles and mitochondria and a network, each with an id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from volumes.blobs import touching

from copick_tools.data.project import Project, ProjectObject, create_project
from copick_tools.data.splits import write_splits
from copick_tools.data.uris import SegmentationUri, TomogramUri
from copick_tools.data.write import write_segmentation, write_tomogram

SHAPE, SPACING = (12, 28, 32), 10.0
NAMES = {"vesicle": 1, "mito": 2, "er": 5}
TASK = """
name: cells
title: organelles
kind: instances
description: for tests
source: made here
voxel_spacing: 10.0
tomo_types: [wbp]
reference: "cells:truth/0@10.0?panoptic=true"
splits:
  train: {runs: 1, role: training}
  val: {runs: 1, role: choice}
objects:
  - {name: vesicle, label: 1, color: [0, 0, 0, 255], is_particle: false}
  - {name: mito, label: 2, color: [0, 0, 0, 255], is_particle: false}
  - {name: er, label: 5, color: [0, 0, 0, 255], is_particle: false, shape: network}
metric: {name: METRIC}
"""
RECIPE = """
task: FOLDER/cells.yaml
input: wbp@10.0
model: {family: octopi, channels: [8, 16], strides: [2], num_res_units: 1, dropout: 0.1}
target: {kind: flows}
optimizer: {lr: 0.01}
train: {patch: [8, 16, 16], batch_size: 2, epochs: 1, steps_per_epoch: 2, validate_every: 1, precision: fp32, threads: 1}
"""


def annotated(seed: int = 0) -> np.ndarray:
    """(2, z, y, x) labels, and ids within a label: blobs of the three kinds in turn."""
    ids = touching(SHAPE, 6, 7.0, seed)
    labels = np.array([0, 1, 2, 5, 1, 2, 1])[ids]
    return np.stack([labels, np.array([0, 1, 1, 1, 4, 2, 300])[ids]])


def cells(folder: Path, **runs: np.ndarray) -> Project:
    """A project whose runs have these panoptic references; by default one for training, one for validation."""
    objects = [ProjectObject(name, label, None, False, (0, 0, 0, 255)) for name, label in NAMES.items()]
    project = create_project(folder / "project", "cells", objects, "for tests")
    for number, (run, truth) in enumerate((runs or {"A": annotated(0), "B": annotated(1)}).items()):
        volume = np.random.default_rng(number).normal(0, 0.3, truth.shape[1:]) - truth[0]
        write_tomogram(project, run, TomogramUri("wbp", SPACING), volume.astype(np.float32), levels=1)
        write_segmentation(
            project, run, SegmentationUri("cells", "truth", "0", SPACING, "panoptic"), truth.astype(np.uint16)
        )
    names = list(runs or "AB")
    write_splits(project, {"train": names[:1], "val": names[1:]})
    return project


def recipe(folder: Path, metric: str = "instances") -> str:
    """The path of a recipe."""
    (folder / "cells.yaml").write_text(TASK.replace("METRIC", metric))
    (folder / "recipe.yaml").write_text(RECIPE.replace("FOLDER", str(folder)))
    return str(folder / "recipe.yaml")
