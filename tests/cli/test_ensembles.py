"""Several checkpoints in one command, and orientations, from the command line to what is written."""

import numpy as np
import pytest

from copick_tools.cli.predicting import models_and_files
from copick_tools.data.files import write_volume
from copick_tools.data.project import open_project
from copick_tools.data.read import read_picks, read_segmentation, read_tomogram
from copick_tools.data.uris import picks_uri, segmentation_uri, tomogram_uri
from copick_tools.workflows.predict import Model, Options
from copick_tools.workflows.train import plan_training, train


@pytest.fixture(scope="module")
def second(shared_project, recipe_path, tmp_path_factory):
    """Another network for the same task, with other windows."""
    settings = ("train.seed=1", "model.channels=[6,12]", "train.patch=[8,16,16]")
    plan = plan_training(shared_project, str(recipe_path), settings, tmp_path_factory.mktemp("second"))
    return train(shared_project, plan, lambda done, total: None, device="cpu")[0]


def picks(project, uri, run="TS_3"):
    return read_picks(open_project(project.config), run, [picks_uri(uri)])


def test_localize_averages(project, checkpoint, second, popsicle, tmp_path):
    common = ("-c", project.config, "-i", "wbp", "-r", "TS_3", "--device", "cpu")
    for paths, name in (((checkpoint,), "one"), ((second,), "two"), ((checkpoint, second), "both")):
        popsicle("localize", *paths, *common, "-o", f":{name}/1")
    one, two, both = (picks(project, f"*:{name}/1") for name in ("one", "two", "both"))
    assert both.keys() == one.keys() == two.keys()
    assert any(len(both[name]) for name in both)
    scores = [np.concatenate([found[name].scores for name in found]) for found in (one, two, both)]
    assert not any(np.array_equal(scores[2], other) for other in scores[:2])
    volume = tmp_path / "volume.mrc"
    write_volume(volume, read_tomogram(project, "TS_3", tomogram_uri("wbp")).numpy(), 10.0)
    result = popsicle.json(
        *("localize", checkpoint, second, volume, "--out", tmp_path / "p.csv"),
        *("--thresholds", "none", "--device", "cpu"),
    )
    assert result["runs"][0]["counts"] == {name: len(found) for name, found in both.items()}


def test_segment_averages(project, checkpoint, second, popsicle):
    uri = "net:both/1?multilabel=true"
    popsicle(
        "segment", checkpoint, second, "-c", project.config, "-i", "wbp", "-o", uri, "-r", "TS_2", "--tta", "turns"
    )
    stored = read_segmentation(project, "TS_2", segmentation_uri(uri)).numpy()
    assert stored.shape == (24, 48, 48)
    predictor = Model.open(checkpoint, "cpu", Options(tiling={"tta": "turns"}, others=(second,))).predictor
    assert [member.tta for member in predictor.members] == ["turns", "turns"]


def test_thresholds_of_several_belong_to_all_of_them(project, checkpoint, second, popsicle, tmp_path):
    common = ("-c", project.config, "-i", "wbp", "--device", "cpu")
    failed = popsicle("calibrate", checkpoint, second, *common, code=2)
    assert "--out" in failed.stderr
    out = tmp_path / "both.yaml"
    popsicle("calibrate", checkpoint, second, *common, "--out", out, "--method", "components")
    again = popsicle("calibrate", second, checkpoint, *common, "--out", out, "--method", "components")
    assert "finished already" in again.stderr
    where = ("-o", ":both/2", "-r", "TS_3", "--thresholds", out)
    popsicle("localize", second, checkpoint, *common, *where)
    assert "another checkpoint" in popsicle("localize", checkpoint, *common, *where, "--overwrite", code=1).stderr


def test_models_of_other_objects(project, checkpoint, recipe_path, popsicle, tmp_path):
    task = (recipe_path.parent / "toy.yaml").read_text().replace("apo-ferritin, label: 2", "ferritin, label: 2")
    (tmp_path / "toy.yaml").write_text(task)
    from copick_tools.recipes.load import load_task
    from copick_tools.training import checkpoint as files

    card, tensors = files.read(checkpoint)
    files.save(tmp_path / "other.ckpt", card.model_copy(update={"task": load_task(tmp_path / "toy.yaml")}), tensors)
    failed = popsicle(
        "localize", checkpoint, tmp_path / "other.ckpt", "-c", project.config, "-i", "wbp", "-o", ":x/1", code=2
    )
    assert "different objects" in failed.stderr


def test_quarter_turns_of_other_windows(project, recipe_path, popsicle, tmp_path):
    plan = plan_training(project, str(recipe_path), ("train.patch=[8,16,24]", "train.epochs=1"), tmp_path / "e")
    best, _ = train(project, plan, lambda done, total: None, device="cpu")
    failed = popsicle("localize", best, "-c", project.config, "-i", "wbp", "-o", ":x/1", "--tta", "16", code=2)
    assert "square in the plane" in failed.stderr


def test_models_and_files(tmp_path):
    (tmp_path / "folder").mkdir()
    names = ["best.ckpt", "second.ckpt", "folder", "net.pth", "a.mrc", "b.mrc.gz", "c.tif"]
    paths = [tmp_path / name for name in names]
    assert models_and_files(paths) == (tuple(paths[:4]), tuple(paths[4:]))
    assert models_and_files(paths[:1]) == (tuple(paths[:1]), ())
    (tmp_path / "odd.xyz").touch()
    (tmp_path / "nameless").touch()
    odd, volume = tmp_path / "odd.xyz", tmp_path / "nowhere.mrc"
    assert models_and_files([paths[0], odd]) == ((paths[0],), (odd,))
    config = tmp_path / "model_config.yaml"
    for models in ([paths[0], tmp_path / "nowhere.ckpt"], [paths[0], config], [paths[0], tmp_path / "nameless"]):
        assert models_and_files([*models, volume]) == (tuple(models), (volume,))


@pytest.mark.parametrize("name", ["second", "typo.xyz"])
def test_what_is_not_there_is_no_tomogram(name, project, checkpoint, popsicle, tmp_path):
    paths = (checkpoint, tmp_path / name)
    for given in (("-c", project.config, "-i", "wbp", "-o", ":x/1"), ("--out", tmp_path / "p.star")):
        failed = popsicle("localize", *paths, *given, code=1)
        assert f"no file or folder {tmp_path / name}" in failed.stderr
        assert ".ckpt" in failed.stderr
        assert ".mrc" in failed.stderr


def test_what_any_of_them_was_trained_on_is_said(project, checkpoint, second, popsicle, tmp_path):
    where = ("-c", project.config, "-i", "wbp", "--device", "cpu", "-r", "TS_1", "-r", "TS_2")
    out = ("--out", tmp_path / "both.yaml", "--method", "components")
    warnings = popsicle.json("calibrate", checkpoint, second, *where, *out)["warnings"]
    assert sum("was trained on TS_1" in warning for warning in warnings) == 2
