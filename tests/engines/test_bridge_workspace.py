"""The folder with nnU-Net's data: made anew when it is stale, and nobody else's is touched."""

from types import SimpleNamespace

import numpy as np
import pytest
from bridged import MODEL, QUICK, Stop, stop_at
from families import write_recipe

from copick_tools.data.read import StoredVolume, read_picks
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri, picks_uri
from copick_tools.data.write import write_picks, write_segmentation, write_tomogram
from copick_tools.engines.bridge.folder import NOTE, WORKSPACE, remove
from copick_tools.errors import PopsicleError
from copick_tools.types import Points
from copick_tools.workflows.train import plan_training, train

pytest.importorskip("nnunetv2")

from copick_tools.engines.bridge.sources import made_of
from copick_tools.training.data import TrainingData

ALONE = (*QUICK, "validation_split=null")


@pytest.fixture(scope="module")
def recipe(recipe_path, tmp_path_factory):
    return write_recipe(recipe_path, MODEL, (16, 24, 24), tmp_path_factory.mktemp("nnunet"))


def begin(project, recipe, folder, *settings, **how):
    """Train one step, and return the case and when it was written."""
    plan = plan_training(project, recipe, (*ALONE, *settings), folder)
    with pytest.raises(Stop):
        train(project, plan, stop_at(1), device="cpu", **how)
    (case,) = folder.glob(f"{WORKSPACE}/preprocessed/*/*/*TS_1.b2nd")
    return case, case.stat().st_mtime_ns


def test_stale_cases_are_made_anew(project, recipe, tmp_path):
    folder = tmp_path / "out"
    first = begin(project, recipe, folder)
    assert begin(project, recipe, folder, resume=True) == first
    write_picks(project, "TS_1", PicksUri("ribosome", "truth", "0"), Points.at(np.array([[100.0, 100.0, 100.0]])))
    second = begin(project, recipe, folder, resume=True)
    assert second[1] > first[1]
    assert begin(project, recipe, folder) == second
    assert begin(project, recipe, folder, "train.seed=1", overwrite=True)[1] > second[1]


def test_what_a_case_is_made_of(project, recipe, tmp_path):
    def digest(*settings):
        return made_of(TrainingData.resolve(project, plan_training(project, recipe, settings, tmp_path).recipe), "TS_1")

    def changes(*settings):
        before = seen[settings]
        seen[settings] = digest(*settings)
        return seen[settings] != before

    picks, stored = (), ("target.kind=segmentation", "target.uri='truth:truth/0@10.0'")
    region = ("target.region='ribosome:annotated/0@10.0'",)
    inside = np.ones((24, 48, 48), np.uint8)
    write_segmentation(project, "TS_1", SegmentationUri("ribosome", "annotated", "0", 10.0, "binary"), inside)
    seen = {settings: digest(*settings) for settings in (picks, stored, region)}
    assert not any(changes(*settings) for settings in seen)
    found = read_picks(project, "TS_1", [picks_uri("*:truth/0")])["apo-ferritin"]
    write_picks(project, "TS_1", PicksUri("apo-ferritin", "other", "0"), found)
    assert not any(changes(*settings) for settings in seen)
    write_picks(project, "TS_1", PicksUri("apo-ferritin", "truth", "0"), Points.at(found.positions + 1))
    assert [changes(*settings) for settings in seen] == [True, False, True]
    truth = np.zeros((24, 48, 48), np.uint8)
    write_segmentation(project, "TS_1", SegmentationUri("truth", "truth", "0", 10.0, "multilabel"), truth)
    assert [changes(*settings) for settings in seen] == [False, True, False]
    write_segmentation(project, "TS_1", SegmentationUri("ribosome", "annotated", "0", 10.0, "binary"), inside)
    assert [changes(*settings) for settings in seen] == [False, False, True]
    write_tomogram(project, "TS_1", TomogramUri("wbp", 10.0), np.ones((24, 48, 48), np.float32))
    assert [changes(*settings) for settings in seen] == [True, True, True]


def test_volumes_elsewhere_count_by_voxels():
    class Remote(np.ndarray):
        entry = SimpleNamespace(zarr=lambda: SimpleNamespace(fs=SimpleNamespace(protocol=("s3", "s3a")), path="b/k"))

    volume = np.zeros((4, 3, 3), np.float32).view(Remote)
    before = StoredVolume.fingerprint(volume)
    assert StoredVolume.fingerprint(volume) == before
    volume[2] = 1
    assert StoredVolume.fingerprint(volume) != before


def test_an_experiment_may_be_called_nnunet(project, recipe, tmp_path):
    inner = tmp_path / "experiments" / "nnunet"
    inner.mkdir(parents=True)
    (inner / "best.ckpt").write_text("precious")
    begin(project, recipe, tmp_path / "experiments")
    begin(project, recipe, tmp_path / "experiments", overwrite=True)
    assert (inner / "best.ckpt").read_text() == "precious"


def test_foreign_folder_stays(project, recipe, tmp_path):
    folder = tmp_path / "out"
    (folder / WORKSPACE).mkdir(parents=True)
    (folder / WORKSPACE / "mine").write_text("precious")
    plan = plan_training(project, recipe, ALONE, folder)
    with pytest.raises(PopsicleError, match="isn't nnU-Net's data") as caught:
        train(project, plan, lambda done, total: None, device="cpu")
    assert "move it away" in caught.value.hint
    assert (folder / WORKSPACE / "mine").read_text() == "precious"


def filled(folder):
    (folder / "raw" / "inner").mkdir(parents=True)
    (folder / "raw" / "inner" / "case").write_text("")
    (folder / "file").write_text("")
    return folder


def test_removed(tmp_path):
    assert remove(tmp_path / "none")
    assert not remove(filled(tmp_path / "foreign"))
    assert (tmp_path / "foreign" / "raw" / "inner" / "case").exists()
    ours = filled(tmp_path / "ours")
    (ours / NOTE).write_text("{}")
    (ours / "link").symlink_to(tmp_path / "foreign")
    assert remove(ours)
    assert not ours.exists()
    assert (tmp_path / "foreign" / "file").exists()
    (tmp_path / "empty").mkdir()
    assert remove(tmp_path / "empty")
    (tmp_path / "plain").write_text("")
    assert not remove(tmp_path / "plain")


def test_link_to_a_faster_disk(tmp_path):
    there = filled(tmp_path / "there")
    (there / NOTE).write_text("{}")
    link = tmp_path / "link"
    link.symlink_to(there)
    assert remove(link)
    assert list(there.iterdir()) == []
    assert link.is_symlink()


def test_note_goes_last(tmp_path, monkeypatch):
    ours = filled(tmp_path / "ours")
    (ours / NOTE).write_text("{}")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # a file in use
    assert not remove(ours)
    assert (ours / NOTE).exists()
    monkeypatch.undo()
    assert remove(ours)
