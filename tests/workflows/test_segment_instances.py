"""Networks that tell instances apart, by command: train, segment, evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from training.cells import NAMES, SHAPE, annotated, cells, recipe

from copick_tools.data.project import Project, open_project
from copick_tools.data.read import read_segmentation
from copick_tools.data.uris import TomogramUri, segmentation_uri
from copick_tools.data.write import write_tomogram


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def learned(project, tmp_path_factory):
    """Makes a checkpoint of two steps with these settings, once."""
    from copick_tools.workflows.train import plan_training, train

    folder, made = tmp_path_factory.mktemp("recipes"), {}

    def make(*settings: str):
        if settings not in made:
            plan = plan_training(project, recipe(folder), settings, folder / str(len(made)), device="cpu")
            made[settings] = train(project, plan, lambda done, total: None, device="cpu")[0]
        return made[settings]

    return make


ALL_OVER = ("-s", "instances.foreground=0")
EVERYTHING = (*ALL_OVER, "-s", "instances.flow_error=null")  # the flows of a network that learned nothing are wrong


def stored(project: Project, run: str, uri: str) -> np.ndarray:
    """A segmentation; (2, z, y, x) of a panoptic one."""
    found = read_segmentation(open_project(project.config), run, segmentation_uri(uri))
    if found.entry.segmentation_type != "panoptic":
        return found.numpy()
    return np.stack([found.of_channel(channel).numpy() for channel in ("label", "instance")])


def segment(popsicle, project, checkpoint, output, *more, **how):
    return popsicle.json("segment", checkpoint, "-c", project.config, "-i", "wbp@10.0", "-o", output, *more, **how)


@pytest.mark.parametrize("kind", ["distances", "flows", "boundary"])
def test_the_kinds_of_output_agree(project, learned, popsicle, kind):
    checkpoint, every = learned(f"target.kind={kind}"), EVERYTHING if kind == "flows" else ALL_OVER
    whole = segment(popsicle, project, checkpoint, f"cells:{kind}/1?panoptic=true", *every)
    each = segment(popsicle, project, checkpoint, f":{kind}/1?instance=true", *every)
    one = segment(popsicle, project, checkpoint, f"vesicle:{kind}/2@10.0?instance=true", *every)
    assert [run["status"] for run in (*whole["runs"], *each["runs"], *one["runs"])] == ["done"] * 6
    for run, counted in zip("AB", whole["runs"]):
        labels, ids = stored(project, run, f"cells:{kind}/1?panoptic=true")
        assert ((labels > 0) == (ids > 0)).all()
        for name, label in NAMES.items():
            own = stored(project, run, f"{name}:{kind}/1?instance=true")
            np.testing.assert_array_equal(own, np.where(labels == label, ids, 0))
            assert counted["counts"][name] == own.max() == len(np.unique(own)) - (own == 0).any()
        np.testing.assert_array_equal(
            stored(project, run, f"vesicle:{kind}/2?instance=true"),
            stored(project, run, f"vesicle:{kind}/1?instance=true"),
        )
    assert [run["counts"] for run in each["runs"]] == [run["counts"] for run in whole["runs"]]
    assert list(one["runs"][0]["counts"]) == ["vesicle"]


def test_finished_outputs_are_skipped(project, learned, popsicle):
    checkpoint = learned("target.kind=flows")
    segment(popsicle, project, checkpoint, "mito:skipped/1?instance=true", *EVERYTHING)
    each = segment(popsicle, project, checkpoint, ":skipped/1?instance=true", *EVERYTHING)
    assert [run["status"] for run in each["runs"]] == ["done", "done"]  # the others weren't there
    again = segment(popsicle, project, checkpoint, ":skipped/1?instance=true", *EVERYTHING)
    assert [run["status"] for run in again["runs"]] == ["skipped", "skipped"]
    anew = segment(popsicle, project, checkpoint, ":skipped/1?instance=true", "--overwrite", "-r", "B")
    assert [run["status"] for run in anew["runs"]] == ["done"]


def test_instances_of_an_object_that_are_there_stay(project, learned, popsicle):
    """Those that were made with other settings, too, unless they are to be overwritten."""
    checkpoint, few = learned("target.kind=flows"), ("-s", "instances.min_volume=1e6")
    segment(popsicle, project, checkpoint, "mito:kept/1?instance=true", *few, "-r", "A")
    each = segment(popsicle, project, checkpoint, ":kept/1?instance=true", *EVERYTHING, "-r", "A")
    assert list(each["runs"][0]["counts"]) == ["vesicle", "er"]
    assert stored(project, "A", "mito:kept/1?instance=true").max() == 0
    anew = segment(popsicle, project, checkpoint, ":kept/1?instance=true", *EVERYTHING, "-r", "A", "--overwrite")
    assert anew["runs"][0]["counts"]["mito"] == stored(project, "A", "mito:kept/1?instance=true").max() > 0


def test_labels_of_the_same_network(project, learned, popsicle):
    """Its classes alone are a segmentation as of any other network."""
    found = segment(popsicle, project, learned("target.kind=distances"), "cells:labels/1?multilabel=true")
    labels = stored(project, "A", "cells:labels/1?multilabel=true")
    assert labels.shape == SHAPE
    assert set(np.unique(labels)) <= {0, *NAMES.values()}
    assert found["runs"][0]["counts"] == {name: int((labels == label).sum()) for name, label in NAMES.items()}


def test_settings_change_what_is_an_instance(project, learned, popsicle):
    checkpoint = learned("target.kind=flows")
    every = segment(popsicle, project, checkpoint, "cells:all/1?panoptic=true", *EVERYTHING)
    large = segment(
        popsicle, project, checkpoint, "cells:few/1?panoptic=true", *EVERYTHING, "-s", "instances.min_volume=1e6"
    )
    assert sum(every["runs"][0]["counts"].values()) > sum(large["runs"][0]["counts"].values()) == 0
    assert stored(project, "A", "cells:few/1?panoptic=true").max() == 0


def test_another_voxel_spacing(tmp_path, popsicle, learned):
    """The network's grid is finer than the tomogram's; what is stored has the tomogram's."""
    other = cells(tmp_path, A=annotated(3))
    coarse = np.random.default_rng(0).normal(0, 1, (6, 14, 16)).astype(np.float32)
    write_tomogram(other, "A", TomogramUri("bin2", 20.0), coarse, levels=1)
    checkpoint = learned("target.kind=flows")
    done = popsicle.json(
        *("segment", checkpoint, "-c", other.config, "-i", "bin2@20.0", "-o", "cells:far/1?panoptic=true", *EVERYTHING)
    )
    assert done["runs"][0]["status"] == "done"
    labels, ids = stored(other, "A", "cells:far/1@20.0?panoptic=true")
    assert labels.shape == coarse.shape
    assert ids.max() > 0


@pytest.mark.slow
def test_slices_averaged_and_stitched(project, learned, popsicle):
    """The same network in both ways."""
    slices = ("model={family: slices, channels: [8, 16], strides: [2]}", "train.patch=[1,16,16]", "target.kind=flows")
    checkpoint = learned(*slices)
    averaged = segment(popsicle, project, checkpoint, "cells:averaged/1?panoptic=true", *EVERYTHING)
    stitched = segment(
        popsicle, project, checkpoint, "cells:stitched/1?panoptic=true", *EVERYTHING, "-s", "instances.views=stitched"
    )
    assert {run["status"] for run in (*averaged["runs"], *stitched["runs"])} == {"done"}
    assert (stored(project, "A", "cells:averaged/1?panoptic=true")[1] > 0).any()


def test_scores_by_the_task(project, learned, popsicle, tmp_path):
    segment(popsicle, project, learned("target.kind=distances"), "cells:scored/1?panoptic=true", *ALL_OVER)
    recipe(tmp_path)
    asked = ("-c", project.config, "--task", tmp_path / "cells.yaml")
    own = popsicle.json("evaluate", *asked, "-i", "cells:truth/0?panoptic=true")
    assert (own["kind"], own["score"], own["task"]) == ("instances", 1.0, "cells")
    assert not any("official" in warning for warning in own["warnings"])
    scored = popsicle.json("evaluate", *asked, "-i", "cells:scored/1?panoptic=true")
    assert 0 <= scored["score"] < 1
    wrong = popsicle("evaluate", *asked, "-i", "cells:labels/1?multilabel=true", code=2)
    assert "names no instances" in wrong.stderr


@pytest.mark.parametrize(
    ("output", "more", "code", "words"),
    [
        ("cells:x/1?panoptic=true", ("-s", "instances.centre=0.4"), 1, "center"),
        ("cells:x/1?panoptic=true", ("-s", "instances.center=4"), 1, "--set instances: center"),
        ("cells:x/1?panoptic=true", ("-s", "instances.join=1e300"), 1, "--set instances: join"),
        ("cells:x/1?panoptic=true", ("-s", "instances.views=stitched"), 2, "this one sees volumes"),
        ("cells:x/1?panoptic=true", ("--threshold", "0.3"), 2, "-s instances.foreground=0.3"),
        ("cells:x/1?panoptic=true", ("-s", "train.epochs=4"), 2, "only keys of instances and prompting"),
        ("cells:x/1?panoptic=true", ("-s", "promptin.mode=apg"), 2, "-s prompting.mode=apg"),
        ("cells:x/1?panoptic=true", ("-s", "instances.whole=[vesicl]"), 2, "did you mean vesicle"),
        ("cells:x/1?multilabel=true", ("-s", "instances.center=0.4"), 2, "the output has none"),
        ("vesicles:x/1?instance=true", (), 1, "did you mean vesicle"),
        (":x/1?panoptic=true", (), 2, "full name"),
        ("cells:x/1@13.0?panoptic=true", (), 1, "10 A per voxel, the output 13"),
    ],
)
def test_mistakes(project, learned, popsicle, output, more, code, words):
    failed = popsicle(
        *("segment", learned("target.kind=distances"), "-c", project.config, "-i", "wbp@10.0", "-o", output, *more),
        code=code,
    )
    assert words in failed.stderr


def test_several_checkpoints(project, learned, popsicle):
    both = learned("target.kind=distances"), learned("target.kind=flows")
    failed = popsicle("segment", *both, "-c", project.config, "-i", "wbp@10.0", "-o", "cells:x/1?panoptic=true", code=2)
    assert "can't be averaged" in failed.stderr


def test_networks_of_classes_say_what_to_do(shared_project, checkpoint, popsicle):
    failed = popsicle(
        *("segment", checkpoint, "-c", shared_project.config, "-i", "wbp@10.0", "-o", "x:x/1?panoptic=true"), code=2
    )
    assert "predicts classes, not instances" in failed.stderr
    assert "popsicle instances" in failed.stderr


@pytest.mark.slow
def test_a_benchmark_run_of_instances(project, popsicle, tmp_path):
    """Labels become instances by a step of their own, which networks that tell them apart don't need."""
    folder = tmp_path / "bench"
    names = []
    for kind in ("distances", "segmentation"):
        path = tmp_path / f"{kind}.yaml"
        recipe(tmp_path)
        path.write_text((tmp_path / "recipe.yaml").read_text().replace("kind: flows", f"kind: {kind}"))
        names.append(path)
    asked = (*names, "-c", project.config, "--seeds", 1, "--split", "val", "--out", folder)
    planned = popsicle("bench", *asked, "--dry-run").stdout
    assert planned.count("popsicle instances") == 1
    result = popsicle.json("bench", *asked)
    assert {row["name"] for row in result["rows"]} == {"octopi-distances", "octopi-segmentation"}
    assert all(row["score"]["mean"] is not None for row in result["rows"])
    assert result["metric"] == "mean segmentation accuracy"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["distances", "flows"])
def test_a_network_learns_to_tell_them_apart(tmp_path, popsicle, kind):
    """On what it was trained on, in a minute."""
    project = cells(tmp_path, A=annotated(0), B=annotated(0))
    settings = ("train.epochs=10", "train.steps_per_epoch=60", "train.validate_every=10", f"target.kind={kind}")
    network = ("model.dropout=0", "model.channels=[16,32,32]", "model.strides=[1,2]", "train.patch=[12,16,16]")
    flags = [part for setting in (*settings, *network) for part in ("-s", setting)]
    popsicle("train", recipe(tmp_path), "-c", project.config, "--out", tmp_path / "run", *flags, "--device", "cpu")
    segment(popsicle, project, tmp_path / "run" / "best.ckpt", "cells:it/1?panoptic=true")
    scored = popsicle.json(
        *("evaluate", "-c", project.config, "-i", "cells:it/1?panoptic=true", "--task", tmp_path / "cells.yaml"),
        "-r",
        "A",
    )
    assert scored["objects"]["vesicle"]["ap50"] >= 0.5
    assert scored["score"] > 0.35
