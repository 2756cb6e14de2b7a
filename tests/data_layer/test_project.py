"""Projects: opening, splits, reading, and writes that are whole or not there."""

import json
import os
import pickle
import shutil

import copick
import numpy as np
import pytest

from copick_tools.data import read, splits, write
from copick_tools.data.project import open_project
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri, picks_uri, segmentation_uri, tomogram_uri
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.types import Points


def test_plain_copick_opens_what_we_write(shared_project):
    root = copick.from_file(str(shared_project.config))
    run = root.get_run("TS_1")
    assert run.get_voxel_spacing(10.0).get_tomograms("wbp")[0].numpy("1").shape == (12, 24, 24)
    assert len(run.get_picks("ribosome")[0].points) == 2
    assert [o.name for o in root.pickable_objects] == ["ribosome", "apo-ferritin"]


def test_a_moved_project_opens(project, tmp_path):
    shutil.move(project.folder, tmp_path / "elsewhere")
    assert open_project(tmp_path / "elsewhere").run_names == ["TS_1", "TS_2", "TS_3"]


def test_a_project_pickles_as_its_path(shared_project):
    assert pickle.loads(pickle.dumps(shared_project)).run_names == shared_project.run_names


def test_a_copied_project_writes_into_itself(project, tmp_path):
    shutil.copytree(project.folder, tmp_path / "copy #1?")
    copied = open_project(tmp_path / "copy #1?")
    write.write_picks(copied, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([]))
    assert (tmp_path / "copy #1?/ExperimentRuns/TS_1/Picks/me_1_ribosome.json").exists()
    assert not (project.folder / "ExperimentRuns/TS_1/Picks/me_1_ribosome.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config_type": "filesystem"}', '{"config_type": "ftp"}'])
def test_foreign_configs(tmp_path, text):
    (tmp_path / "copick.json").write_text(text)
    with pytest.raises(FormatError):
        open_project(tmp_path / "copick.json")


def test_unknown_names_come_with_the_nearest(shared_project):
    with pytest.raises(NotFoundError) as caught:
        shared_project.object("ribosom")
    assert caught.value.hint == "did you mean ribosome?"
    with pytest.raises(NotFoundError, match="no run"):
        shared_project.run("TS_9")
    with pytest.raises(NotFoundError, match="no tomogram wbp@12"):
        read.read_tomogram(shared_project, "TS_1", tomogram_uri("wbp@12"))


def test_picks_keep_scores_orientations_and_ids(project):
    turn = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    points = Points(np.array([[1.0, 2, 3]]), np.array([0.25]), turn, True, np.array([7]))
    write.write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), points)
    again = read.read_picks(open_project(project.config), "TS_1", [picks_uri("ribosome:me/1")])["ribosome"]
    assert again.scores.tolist() == [0.25]
    assert again.instance_ids.tolist() == [7]
    assert again.trust_orientation
    np.testing.assert_array_equal(again.rotations, turn)


def test_predicted_picks_never_fake_an_orientation(project):
    write.write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([[1, 2, 3]], [0.5]))
    stored = json.loads((project.folder / "ExperimentRuns/TS_1/Picks/me_1_ribosome.json").read_text())
    assert stored["trust_orientation"] is False
    assert stored["points"][0]["transformation_"] == np.eye(4).tolist()


def test_shifts_count(project):
    path = project.folder / "ExperimentRuns/TS_1/Picks/truth_0_ribosome.json"
    stored = json.loads(path.read_text())
    before = stored["points"][0]["location"]["x"]
    stored["points"][0]["transformation_"][0][3] = 25.0
    path.write_text(json.dumps(stored))
    assert read.read_picks(project, "TS_1", [picks_uri("ribosome")])["ribosome"].positions[0, 0] == before + 25


def test_two_pick_sets_of_an_object_are_ambiguous(project):
    write.write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([]))
    with pytest.raises(PopsicleError, match="two pick sets of ribosome"):
        read.read_picks(project, "TS_1", [picks_uri("ribosome")])


def test_no_picks_is_a_statement(project):
    uri = PicksUri("ribosome", "me", "1")
    assert not write.has_picks(project, "TS_1", uri)
    write.write_picks(project, "TS_1", uri, Points.at([]))
    assert write.has_picks(project, "TS_1", uri)
    assert len(read.read_picks(project, "TS_1", [uri])["ribosome"]) == 0


def test_binary_and_multilabel_are_not_mixed(project):
    uri = SegmentationUri("ribosome", "me", "1", 10.0, "binary")
    write.write_segmentation(project, "TS_1", uri, np.ones((4, 4, 4), np.uint8))
    write.write_segmentation(
        project, "TS_1", SegmentationUri("ribosome", "me", "1", 10.0, "multilabel"), np.ones((4, 4, 4), np.uint8)
    )
    with pytest.raises(PopsicleError, match="binary and multilabel"):
        read.read_segmentation(project, "TS_1", segmentation_uri("ribosome:me/1"))
    assert read.read_segmentation(project, "TS_1", uri).shape == (4, 4, 4)


def test_a_write_that_fails_leaves_what_was_there(project, monkeypatch):
    uri = TomogramUri("wbp", 10.0)
    before = read.read_tomogram(project, "TS_1", uri).numpy()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(write, "_replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write.write_tomogram(project, "TS_1", uri, np.zeros_like(before))
    monkeypatch.undo()
    np.testing.assert_array_equal(read.read_tomogram(project, "TS_1", uri).numpy(), before)
    assert not list((project.folder / ".popsicle/staging").iterdir())


def test_what_a_killed_process_staged_is_swept(project):
    import socket
    import subprocess

    gone = subprocess.Popen(["true"])
    gone.wait()
    left = project.folder / f".popsicle/staging/{socket.gethostname()}@{gone.pid}-abc"
    left.mkdir(parents=True)
    alive = left.with_name(f"{socket.gethostname()}@{os.getpid()}-abc")
    alive.mkdir()
    write.write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([]))
    assert not left.exists()
    assert alive.exists()


def test_what_a_killed_process_had_moved_away_comes_back(project):
    import socket
    import subprocess

    gone = subprocess.Popen(["true"])
    gone.wait()
    store = project.folder / "ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr"
    left = (
        project.folder
        / f".popsicle/staging/{socket.gethostname()}@{gone.pid}-abc/ExperimentRuns/TS_1/VoxelSpacing10.000"
    )
    left.mkdir(parents=True)
    store.rename(left / ("wbp.zarr" + write.OLD))
    write.write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([]))
    assert read.read_tomogram(open_project(project.config), "TS_1", tomogram_uri("wbp")).shape == (24, 48, 48)


def test_features(project):
    tomogram = read.read_tomogram(project, "TS_1", tomogram_uri("wbp"))
    maps = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    write.write_features(project, "TS_1", tomogram, "heat", maps)
    again = read.read_tomogram(open_project(project.config), "TS_1", tomogram_uri("wbp"))
    assert write.has_features(project, "TS_1", again, "heat")
    np.testing.assert_array_equal(again.entry.get_features("heat").numpy(), maps)


@pytest.mark.parametrize("stated", [10.012444, 12.0])
def test_spacing_comes_from_the_data(project, stated):
    """Kaggle's copy of the phantom is filed under 10.000 and has 10.012444 A per voxel."""
    path = project.folder / "ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr/.zattrs"
    path.write_text(path.read_text().replace("10.0", str(stated)))
    tomogram = read.read_tomogram(open_project(project.config), "TS_1", tomogram_uri("wbp@10"))
    assert tomogram.voxel_spacing == stated


def test_voxels_that_are_no_cubes(project):
    path = project.folder / "ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr/.zattrs"
    path.write_text(path.read_text().replace("10.0", "20.0", 1))
    with pytest.raises(FormatError, match="aren't cubes"):
        _ = read.read_tomogram(open_project(project.config), "TS_1", tomogram_uri("wbp")).voxel_spacing


def test_new_runs_are_split_and_old_ones_stay(project):
    splits.write_splits(project, {"train": ["TS_2"], "mine": ["TS_1"]})
    splits.add_to_splits(project, ["TS_1", "TS_2", "TS_3"])
    assert splits.read_splits(project) == {"train": ["TS_2"], "val": [], "test": ["TS_3"], "mine": ["TS_1"]}


def test_splits(project):
    assert splits.runs(project) == ["TS_1", "TS_2", "TS_3"]
    assert splits.runs(project, "val") == ["TS_2"]
    assert splits.runs(project, "val", ["TS_2"]) == ["TS_2"]
    with pytest.raises(UsageError):
        splits.runs(project, "val", ["TS_1"])
    with pytest.raises(NotFoundError, match="no split 'valid'"):
        splits.runs(project, "valid")
    splits.write_splits(project, {"train": ["TS_7"]})
    with pytest.raises(NotFoundError, match="lacks: TS_7"):
        splits.runs(project, "train")
    (project.sidecar / "splits.json").write_text("[1]")
    with pytest.raises(FormatError):
        splits.read_splits(project)


def test_remote_overlay_counts_as_finished_with_its_record(project, tmp_path):
    """fsspec's memory file system stands for S3: no rename, so a record comes last."""
    document = json.loads(project.config.read_text())
    document |= {
        "static_root": document["overlay_root"],
        "static_fs_args": {},
        "overlay_root": "memory://remote",
        "overlay_fs_args": {},
    }
    config = tmp_path / "remote.json"
    config.write_text(json.dumps(document))
    remote = open_project(config)
    uri = PicksUri("ribosome", "me", "1")
    write.write_picks(remote, "TS_1", uri, Points.at([[1, 2, 3]]))
    assert write.has_picks(remote, "TS_1", uri)
    path = remote.root.get_run("TS_1").get_picks("ribosome", user_id="me")[0].path
    remote.root.fs_overlay.rm(write._record(remote, path))
    assert not write.has_picks(remote, "TS_1", uri)
