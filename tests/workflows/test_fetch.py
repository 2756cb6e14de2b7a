"""`popsicle fetch` by command, against a local portal."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import namedtuple
from pathlib import Path

import copick
import numpy as np
import portal_scenes
import pytest
from conftest import Popsicle
from local_portal import BUCKET, LocalPortal, environment

from copick_tools.data.locking import locked
from copick_tools.data.portal import client
from copick_tools.data.project import ProjectObject, create_project, open_project
from copick_tools.data.provenance import read_record, read_records, read_source
from copick_tools.data.splits import read_splits
from copick_tools.recipes.data_results import FetchEstimate
from copick_tools.recipes.results import RunsResult

SHAPE = (8, 16, 16)
TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("one_schema")
ORIENTED = {"beta-galactosidase", "ribosome", "thyroglobulin"}
Fetched = namedtuple("Fetched", "portal scene out document")


def use(portal, patch):
    """Have popsicle and boto3 go to a portal."""
    for name, value in portal.environment().items():
        patch.setenv(name, value)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Task phantom, fetched whole; the portal still serves. Only for tests that change neither."""
    with LocalPortal(tmp_path_factory.mktemp("server")) as portal, pytest.MonkeyPatch.context() as patch:
        scene = portal_scenes.phantom(portal, (2, 1, 1), SHAPE)
        use(portal, patch)
        out = tmp_path_factory.mktemp("fetched") / "phantom"
        yield Fetched(portal, scene, out, Popsicle().json("fetch", "phantom", "--out", out))
    assert not portal.errors


@pytest.fixture
def shared(phantom, monkeypatch):
    """The same portal, its log empty."""
    use(phantom.portal, monkeypatch)
    phantom.portal.forget()
    return phantom


@pytest.fixture
def portal(tmp_path, monkeypatch):
    """One for tests that change it."""
    with LocalPortal(tmp_path / "server") as portal:
        use(portal, monkeypatch)
        yield portal
    assert not portal.errors


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def small(portal):
    """Two runs of phantom, in a portal that may be changed."""
    return portal_scenes.phantom(portal, (2, 0, 0), SHAPE)


@pytest.fixture
def done(small, popsicle, out):
    """Them, fetched."""
    popsicle("fetch", "phantom", "--split", "train", "--out", out)
    small.portal.forget()
    return small


def files(folder, skip=("copick.json",)):
    """All files and their bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name not in skip}


def data_requests(portal):
    return [request for request in portal.requests() if request.kind in ("file", "s3")]


def statuses(document):
    return {run["run"]: run["status"] for run in document["runs"]}


def failed(result):
    """The words of a command that failed in a friendly way."""
    assert "Traceback" not in result.output
    assert "Error" in result.stderr
    return result.stderr


def open_run(out, name):
    return copick.from_file(str(out / "copick.json")).get_run(name)


def picks_of(out, run, name, user="data-portal"):
    """The points of an object and whether their orientation counts."""
    (picks,) = open_run(out, run).get_picks(object_name=name, user_id=user)
    picks.load()
    return picks.numpy()[0], picks.trust_orientation


# ---- a task
def test_the_document_counts_the_references(shared):
    document = RunsResult.model_validate(shared.document)
    assert [run.status for run in document.runs] == ["done"] * 4
    for run in document.runs:
        assert run.counts == {name: len(xyz) for name, xyz in shared.scene.truth[run.run].items()}


def test_picks_are_where_they_are(shared):
    for run, objects in shared.scene.truth.items():
        for name, xyz in objects.items():
            found, trusted = picks_of(shared.out, run, name)
            np.testing.assert_allclose(found, xyz, rtol=0, atol=1e-6)
            assert trusted == (name in ORIENTED)


def test_orientations_come_along(shared):
    (picks,) = open_run(shared.out, "TS_5_4").get_picks(object_name="ribosome", user_id="data-portal")
    count = len(shared.scene.truth["TS_5_4"]["ribosome"])
    np.testing.assert_allclose(picks.numpy()[1][:, :3, :3], portal_scenes.turns(count), atol=1e-9)


def test_tomograms_are_the_bytes_of_the_portal(shared):
    for run in shared.scene.runs.values():
        row = shared.scene.row("Tomogram", runId=run["id"], processing="denoised")
        source = shared.portal.folder / row["s3OmezarrDir"].removeprefix("s3://")
        folder = shared.out / "ExperimentRuns" / run["name"] / "VoxelSpacing10.012"
        assert files(folder / "wbp-denoised-denoiset-ctfdeconv.zarr") == files(source)
        assert [path.name for path in folder.iterdir()] == ["wbp-denoised-denoiset-ctfdeconv.zarr"]
        volume = open_run(shared.out, run["name"]).get_voxel_spacing(10.012).tomograms[0].numpy()
        np.testing.assert_array_equal(volume, shared.scene.volumes[row["id"]])


def test_objects_are_those_of_the_task(shared):
    objects = {o.name: o for o in copick.from_file(str(shared.out / "copick.json")).pickable_objects}
    assert [(o.name, o.label, o.radius, tuple(o.color)) for o in objects.values()] == [
        (entry["name"], entry["label"], entry["radius"], tuple(entry["color"]))
        for entry in shared.scene.task["objects"]
    ]


def test_splits_are_the_published_ones(shared):
    splits = read_splits(open_project(shared.out))
    assert splits == {"train": ["TS_5_4", "TS_69_2"], "val": ["TS_100_1"], "test": ["TS_300_1"]}


def test_annotations_of_others_have_their_own_user_id(shared):
    users = {picks.user_id for picks in open_run(shared.out, "TS_5_4").get_picks(object_name="ribosome")}
    assert users == {"data-portal", "portal-10314"}


def test_only_the_config_lies_in_the_root_and_nothing_is_left_over(shared):
    assert {path.name for path in shared.out.iterdir()} == {"copick.json", ".popsicle", "ExperimentRuns"}
    assert not (shared.out / ".popsicle" / "downloads").exists()
    assert not list(shared.out.rglob("*.part"))


def test_the_record_of_a_run(shared):
    record = read_record(shared.out, "TS_100_1")
    row = shared.scene.runs["TS_100_1"]
    assert (record.portal_run_id, record.portal_run_name, record.dataset_id) == (row["id"], "TS_100_1", 10445)
    assert record.split == "val"
    assert record.tomogram.id == shared.scene.row("Tomogram", runId=row["id"])["id"]
    assert record.tomogram.deposition_id == 10310
    assert record.tomogram.authors == ("Jane Doe",)
    by_object = {entry.object: entry for entry in record.annotations}
    ribosome = by_object["ribosome"]
    assert (ribosome.voxel_spacing, ribosome.shape_type, ribosome.reference) == (4.99, "OrientedPoint", True)
    assert (ribosome.ground_truth_status, ribosome.method_type) == (True, "hybrid")
    assert ribosome.points == len(shared.scene.truth["TS_100_1"]["ribosome"])
    source = shared.portal.folder / ribosome.url.removeprefix(f"{shared.portal.url}/files/")
    assert ribosome.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()


def test_the_hashes_of_all_files(shared):
    recorded = [file for record in read_records(open_project(shared.out)).values() for file in record.files]
    there = files(shared.out / "ExperimentRuns")
    assert {f"ExperimentRuns/{name}" for name in there} == {file.path for file in recorded}
    for file in recorded:
        content = there[file.path.removeprefix("ExperimentRuns/")]
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_source_names_datasets_depositions_licences(shared):
    source = read_source(shared.out)
    assert (source.kind, source.task) == ("portal", "phantom")
    assert {entry.id: (entry.deposition_id, entry.license) for entry in source.datasets} == dict.fromkeys(
        (10440, 10445, 10446), (10310, "CC0-1.0")
    )
    assert 10310 in {entry.id for entry in source.depositions}


def test_copick_counts_the_same_picks(shared):
    command = [Path(sys.executable).with_name("copick"), "stats", "picks", "-c", shared.out / "copick.json"]
    command += ["--output", "json", "--no-parallel", "--user-id", "data-portal"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    document = json.loads(text[text.index("{") :])
    truth = [(name, len(xyz)) for objects in shared.scene.truth.values() for name, xyz in objects.items()]
    assert document["total_picks"] == sum(count for _, count in truth)
    by_object = {name: sum(count for other, count in truth if other == name) for name, _ in truth}
    assert document["distribution_by_object"] == by_object


def test_metadata_takes_few_requests(shared, popsicle, out):
    popsicle("fetch", "phantom", "--out", out, "--dry-run")
    assert 0 < len(shared.portal.requests("graphql")) <= 12 + 8


def test_metadata_takes_few_requests_per_fifty_runs(shared, popsicle, out, monkeypatch):
    monkeypatch.setattr("copick_tools.data.portal.client.BATCH", 2)
    monkeypatch.setattr("copick_tools.workflows.fetch_portal.BATCH", 2)
    popsicle("fetch", "phantom", "--out", out, "--dry-run")
    assert len(shared.portal.requests("graphql")) <= 12 + 8 * 2


def test_a_second_fetch_asks_for_no_file(shared, popsicle):
    before = files(shared.out, skip=())
    document = popsicle.json("fetch", "phantom", "--out", shared.out)
    assert set(statuses(document).values()) == {"skipped"}
    assert data_requests(shared.portal) == []
    assert files(shared.out, skip=()) == before


def test_everything_of_it_is_as_it_was_in_another_folder(shared, popsicle, out):
    popsicle("fetch", "phantom", "--out", out, "-w", 3)
    assert files(out) == files(shared.out)
    assert shared.portal.max_in_flight <= 3 + 4  # and metadata


# ---- which runs
@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["phantom", "--split", "train"], ["TS_5_4", "TS_69_2"]),
        (["phantom", "--split", "train", "--limit", 1], ["TS_5_4"]),
        (["phantom", "-r", "TS_300_1", "-r", "TS_5_4"], ["TS_5_4", "TS_300_1"]),
        (["phantom", "-r", "16463"], ["TS_5_4"]),
        (["--dataset-id", 10440], ["TS_5_4", "TS_69_2"]),
        (["--dataset-id", 10440, "--dataset-id", 10446], ["TS_5_4", "TS_69_2", "TS_300_1"]),
        (["--deposition-id", 10310, "--limit", 3], ["TS_5_4", "TS_69_2", "TS_100_1"]),
        (["--deposition-id", 10314], ["TS_5_4"]),
        (["--run-id", 16464], ["TS_69_2"]),
        (["--dataset-id", 10440, "-r", "TS_69_2"], ["TS_69_2"]),
    ],
)
def test_runs_are_chosen(shared, popsicle, out, arguments, runs):
    document = popsicle.json("fetch", *arguments, "--out", out, "--dry-run")
    estimate = FetchEstimate.model_validate(document)
    assert sorted(run.run for run in estimate.runs) == sorted(runs)
    assert not any(run.error for run in estimate.runs)
    assert estimate.bytes == estimate.missing_bytes == sum(run.bytes for run in estimate.runs) > 0
    assert not out.exists()
    assert data_requests(shared.portal) == []


def test_a_dry_run_knows_what_is_there(shared, popsicle):
    before = files(shared.out, skip=())
    document = popsicle.json("fetch", "phantom", "--out", shared.out, "--dry-run")
    assert all(run["complete"] for run in document["runs"])
    assert document["missing_bytes"] == 0 < document["bytes"]
    assert files(shared.out, skip=()) == before


def test_a_dry_run_for_people(shared, popsicle, out):
    result = popsicle("fetch", "phantom", "--out", out, "--dry-run")
    assert "TS_300_1" in result.stdout
    assert "4 runs" in result.stderr
    assert "GB" in result.stderr


def test_ids_bring_the_portals_objects(shared, popsicle, out):
    popsicle(
        "fetch", "--run-id", 16463, "--out", out, "--tomo-type", "wbp-filtered-ctfdeconv", "--radius", "membrane=20"
    )
    objects = open_project(out).objects
    assert {"membrane", "cytosolic-ribosome", "ferritin-complex"} <= set(objects)
    assert objects["membrane"].radius == 20
    assert not objects["membrane"].is_particle
    run = open_run(out, "TS_5_4")
    assert [t.tomo_type for t in run.get_voxel_spacing(10.012).tomograms] == ["wbp-filtered-ctfdeconv"]
    (mask,) = run.get_segmentations(name="membrane")
    assert (mask.user_id, mask.is_multilabel) == ("portal-10301", False)
    (truth,) = shared.scene.masks.values()
    np.testing.assert_array_equal(mask.numpy() > 0, truth)
    assert read_splits(open_project(out)) == {}


def test_objects_limit_what_comes_and_more_come_later(shared, popsicle, out):
    popsicle("fetch", "phantom", "-r", "TS_5_4", "--objects", "ribosome", "--out", out)
    assert {picks.pickable_object_name for picks in open_run(out, "TS_5_4").picks} == {"ribosome"}
    shared.portal.forget()
    popsicle("fetch", "phantom", "-r", "TS_5_4", "--out", out)
    assert len({picks.pickable_object_name for picks in open_run(out, "TS_5_4").picks}) == 6
    assert shared.portal.requests("s3") == []  # the tomogram is there
    assert len(read_record(out, "TS_5_4").annotations) == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phantom", "--split", "trian"], ["trian", "train"]),
        (["phantom", "-r", "TS_5_5"], ["TS_5_5", "TS_5_4"]),
        (["phantom", "--objects", "ribosom"], ["ribosom", "ribosome"]),
        (["--dataset-id", 10440, "--objects", "cytosolic-ribosom"], ["cytosolic-ribosom", "cytosolic-ribosome"]),
        (["--dataset-id", 10440, "--split", "train"], ["train", "popsicle split"]),
        (["--dataset-id", 999], ["dataset 999"]),
        (["--dataset-id", 10440, "--dataset-id", 999], ["dataset 999"]),
        (["--run-id", 999], ["run 999"]),
        (["--deposition-id", 999], ["deposition 999"]),
        (["phantm"], ["phantm", "phantom"]),
        (["phantom", "--croissant", "/nowhere"], ["/nowhere"]),
    ],
)
def test_what_does_not_exist_is_named(shared, popsicle, out, arguments, words):
    message = failed(popsicle("fetch", *arguments, "--out", out, code=1))
    for word in words:
        assert word in message
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["phantom", "--dataset-id", 10440],
        ["--croissant", "x", "--dataset-id", 10440],
        ["phantom", "--limit", 0],
        ["--dataset-id", 0],
        ["phantom", "-w", 0],
        ["phantom", "--voxel-spacing", -1],
        ["phantom", "--no-such-option"],
    ],
)
def test_wrong_usage(popsicle, out, arguments):
    assert "Traceback" not in popsicle("fetch", *arguments, "--out", out, code=2).output
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["--tomo-type", "sirt-raw"], ["--voxel-spacing", 7.5]])
def test_a_tomogram_that_no_run_has(shared, popsicle, out, arguments):
    document = popsicle.json("fetch", "phantom", *arguments, "--out", out, "--dry-run", code=1)
    assert all("no tomogram" in run["error"] and "wbp-filtered" in run["hint"] for run in document["runs"])
    document = popsicle.json("fetch", "phantom", *arguments, "--out", out, code=1)
    assert set(statuses(document).values()) == {"failed"}


def test_an_empty_dataset(portal, popsicle, out):
    portal_scenes.Scene(portal).dataset(10440, 10310)
    assert "no runs" in failed(popsicle("fetch", "--dataset-id", 10440, "--out", out, code=1))
    assert "no runs" in failed(popsicle("fetch", "phantom", "--out", out, code=1))
    assert not out.exists()


def test_names_that_clash_get_their_dataset(portal, popsicle, out):
    scene = portal_scenes.Scene(portal)
    for number in (10440, 10445):
        scene.tomogram(scene.run(scene.dataset(number, 10310), "TS_1"), shape=SHAPE, levels=1)
    scene.tomogram(scene.run(scene.row("Dataset", id=10445), "..TS 2"), shape=SHAPE, levels=1)
    popsicle("fetch", "--dataset-id", 10440, "--dataset-id", 10445, "--out", out)
    records = read_records(open_project(out))
    assert set(records) == {"10440-TS_1", "10445-TS_1", "TS-2"}
    assert records["TS-2"].portal_run_name == "..TS 2"


def test_a_run_keeps_its_name_when_another_dataset_comes(portal, popsicle, out):
    scene = portal_scenes.Scene(portal)
    for number in (10440, 10445):
        scene.tomogram(scene.run(scene.dataset(number, 10310), "TS_1"), shape=SHAPE, levels=1)
    popsicle("fetch", "--dataset-id", 10445, "--out", out)
    popsicle("fetch", "--dataset-id", 10440, "--dataset-id", 10445, "--out", out)
    assert {run: record.dataset_id for run, record in read_records(open_project(out)).items()} == {
        "TS_1": 10445,
        "10440-TS_1": 10440,
    }


def test_a_run_without_annotations_is_a_negative(small, popsicle, out):
    run = small.run(small.row("Dataset", id=10440), "TS_empty")
    portal_scenes.phantom_tomograms(small, run, SHAPE)
    document = popsicle.json("fetch", "phantom", "--split", "train", "--out", out)
    assert statuses(document)["TS_empty"] == "done"
    assert read_splits(open_project(out))["train"] == ["TS_5_4", "TS_69_2", "TS_empty"]
    assert open_run(out, "TS_empty").picks == []
    assert read_record(out, "TS_empty").annotations == ()


# ---- the other tasks
@pytest.mark.parametrize(("task", "spacing"), [("bacterial", 20.0), ("yeast", 13.48)])
def test_compartments_become_one_multilabel_volume(portal, popsicle, out, task, spacing):
    scene = portal_scenes.SCENES[task](portal, (1, 1))
    document = popsicle.json("fetch", task, "--out", out)
    assert statuses(document) == dict.fromkeys(scene.runs, "done")
    for name in scene.runs:
        expected = np.zeros((12, 32, 24), np.uint8)
        for entry in sorted(scene.task["objects"], key=lambda e: -e["label"]):
            mask = scene.truth[name].get(entry["name"], np.zeros(expected.shape, bool))
            expected[mask] = entry["label"]
        found = [s for s in open_run(out, name).get_segmentations() if s.user_id == "data-portal"]
        (segmentation,) = found
        assert (segmentation.name, segmentation.is_multilabel) == ("compartments", True)
        assert segmentation.voxel_size == pytest.approx(spacing)
        np.testing.assert_array_equal(segmentation.numpy(), expected)
        assert read_record(out, name).tomogram.uri == f"wbp-raw@{spacing:.3f}".rstrip("0").rstrip(".")
    assert sum(map(len, read_splits(open_project(out)).values())) == 0  # they stand in the suite's Croissant only


def test_motors(portal, popsicle, out):
    scene = portal_scenes.motorbench(portal)
    document = popsicle.json("fetch", "motorbench", "--out", out)
    assert set(statuses(document).values()) == {"done"}
    splits = read_splits(open_project(out))
    annotated = {name for name, objects in scene.truth.items() if objects}
    assert annotated <= set(statuses(document))
    assert {"mba2011-02-16-11", "ycw2012-09-23-5"} <= set(splits["train"])
    assert {"aba2013-04-06-7", "aba2013-04-06-9"} <= set(splits["test"])
    for name in annotated:
        xyz, trusted = picks_of(out, name, "flagellar-motor")
        np.testing.assert_allclose(xyz, scene.truth[name]["flagellar-motor"], rtol=0, atol=1e-6)
        assert not trusted


def test_motorbench_keeps_runs_without_annotations(portal, popsicle, out):
    """Their tomograms are of the task's depositions: DESIGN 4, runs never come from what has picks."""
    scene = portal_scenes.motorbench(portal)
    popsicle("fetch", "motorbench", "--out", out)
    assert set(read_records(open_project(out))) == set(scene.runs)


# ---- what goes wrong
def test_a_size_other_than_the_portals_fails_that_run_alone(small, popsicle, out):
    row = small.row("Tomogram", runId=small.runs["TS_5_4"]["id"], processing="denoised")
    row["fileSizeOmezarr"] += 5
    document = popsicle.json("fetch", "phantom", "--out", out, code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "done"}
    (error,) = [run for run in document["runs"] if run["error"]]
    assert "the portal states" in error["error"]
    assert "--trust-listing" in error["hint"]
    assert read_splits(open_project(out))["train"] == ["TS_69_2"]
    document = popsicle.json("fetch", "phantom", "--out", out, "--trust-listing")
    assert statuses(document) == {"TS_5_4": "done", "TS_69_2": "skipped"}
    assert read_splits(open_project(out))["train"] == ["TS_5_4", "TS_69_2"]


def test_picks_of_another_size_fail_that_run_alone(small, popsicle, out, monkeypatch):
    monkeypatch.setattr("copick_tools.data.remote.download.FIRST_PAUSE", 0.01)
    small.row("AnnotationFile", format="ndjson")["fileSize"] += 1
    document = popsicle.json("fetch", "phantom", "--out", out, code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "done"}
    assert statuses(popsicle.json("fetch", "phantom", "--out", out, "--trust-listing"))["TS_5_4"] == "done"


@pytest.mark.parametrize("path", [r"TS_5_4/.*wbp.*|TS_5_4/.*zarr/0/0/0/0", r"TS_5_4/.*ndjson"])
def test_a_file_that_is_not_there_fails_that_run_alone(small, popsicle, out, path):
    small.portal.fail(404, path=path, method="GET")
    document = popsicle.json("fetch", "phantom", "--out", out, code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "done"}
    assert "404" in document["runs"][0]["error"]
    small.portal.heal()
    assert statuses(popsicle.json("fetch", "phantom", "--out", out)) == {"TS_5_4": "done", "TS_69_2": "skipped"}


def test_faults_that_pass_change_nothing(shared, popsicle, out, monkeypatch):
    monkeypatch.setattr("copick_tools.data.remote.download.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("copick_tools.data.portal.client.FIRST_PAUSE", 0.01)
    portal = shared.portal
    faults = [portal.fail(503, kind="s3", times=5), portal.truncate(kind="s3", times=5, skip=3)]
    faults += [portal.reset(kind="file", times=3), portal.fail(502, kind="graphql", times=2)]
    faults += [portal.fail(503, kind="list", times=1), portal.graphql_error(times=1, skip=2)]
    try:
        popsicle("fetch", "phantom", "--out", out)
    finally:
        portal.heal()
    assert all(fault.fired == fault.times for fault in faults)
    assert files(out) == files(shared.out)


@pytest.mark.parametrize(
    "line",
    [
        '{"location": {"x": 1, "y": 2}}',
        "not json",
        '{"location": {"x": NaN, "y": 2, "z": 3}}',
        '{"type": "point", "location": {"x": "a", "y": 2, "z": 3}}',
        "[" * 100_000,
    ],
    ids=["no z", "text", "nan", "letters", "deep"],
)
def test_picks_that_are_none_fail_that_run_alone(small, popsicle, out, line):
    row = small.row("AnnotationFile", format="ndjson")
    path = small.portal.folder / row["s3Path"].removeprefix("s3://")
    path.write_text(line + "\n")
    row["fileSize"] = path.stat().st_size
    document = popsicle.json("fetch", "phantom", "--out", out, code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "done"}
    assert "ndjson" in document["runs"][0]["error"]


def test_a_hostile_key_fails_that_run_and_nothing_leaves_the_folder(small, popsicle, out, monkeypatch):
    page = small.portal.page

    def hostile(bucket, asked):
        text = page(bucket, asked)
        return text.replace("/0/0/0/0</Key>", "/../../../../../../evil</Key>") if "TS_5_4" in asked["prefix"] else text

    monkeypatch.setattr(small.portal, "page", hostile)
    document = popsicle.json("fetch", "phantom", "--out", out, code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "done"}
    assert "evil" in document["runs"][0]["error"]
    assert not list(out.parent.rglob("*evil*"))


def test_a_portal_that_is_not_there(popsicle, out, monkeypatch):
    monkeypatch.setattr("copick_tools.data.portal.client.FIRST_PAUSE", 0.01)
    monkeypatch.setenv("POPSICLE_PORTAL_URL", "http://127.0.0.1:1/graphql")
    begin = time.monotonic()
    assert "127.0.0.1:1" in failed(popsicle("fetch", "phantom", "--out", out, code=1))
    assert time.monotonic() - begin < 5
    monkeypatch.setenv("POPSICLE_PORTAL_URL", "not an address")
    assert "not an address" in failed(popsicle("fetch", "phantom", "--out", out, code=1))


def test_too_little_space(shared, popsicle, out, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 1000))
    assert "free" in failed(popsicle("fetch", "phantom", "--out", out, code=1))
    assert "room" in failed(popsicle("fetch", "phantom", "--out", out, "--dry-run", code=1))
    assert not out.exists()
    assert data_requests(shared.portal) == []


def test_two_fetches_at_once(shared, popsicle, out):
    with locked(out / ".popsicle" / "fetch.lock"):
        message = failed(popsicle("fetch", "phantom", "-r", "TS_5_4", "--out", out, code=1))
    assert "another fetch" in message
    popsicle("fetch", "phantom", "-r", "TS_5_4", "--out", out)


def test_somebody_elses_project_is_left_alone(shared, popsicle, out):
    create_project(out, "mine", [ProjectObject("ribosome", 9, 1.0, True, (1, 2, 3, 255))], "x")
    before = files(out, skip=())
    assert "ribosome" in popsicle("fetch", "phantom", "--out", out, code=2).stderr
    there = files(out, skip=())
    assert {name: there[name] for name in before} == before
    assert not (out / "ExperimentRuns").exists()


def test_what_a_config_says_besides_stays(shared, popsicle, out):
    config = create_project(out, "mine", [ProjectObject("membrane", 9, None, False, (1, 2, 3, 255))], "my words").config
    before = {**json.loads(config.read_text()), "user_id": "me"}
    config.write_text(json.dumps(before))
    popsicle("fetch", "phantom", "-r", "TS_5_4", "--objects", "ribosome", "--out", out)
    after = json.loads(config.read_text())
    assert {"membrane", "ribosome"} <= {entry["name"] for entry in after["pickable_objects"]}
    assert {**after, "pickable_objects": None} == {**before, "pickable_objects": None}


def test_a_project_whose_data_are_elsewhere_is_left_alone(shared, popsicle, out, tmp_path):
    create_project(tmp_path / "elsewhere", "mine", [], "x")
    shutil.copytree(tmp_path / "elsewhere", out)
    (out / ".popsicle" / "project.json").unlink()
    failed(popsicle("fetch", "phantom", "--out", out, code=2))
    assert not (tmp_path / "elsewhere" / "ExperimentRuns").exists()
    assert not (out / "ExperimentRuns").exists()


# ---- what was changed since
def a_pick_file(out):
    return out / "ExperimentRuns" / "TS_5_4" / "Picks" / "data-portal_0_ribosome.json"


def test_changed_picks_are_not_overwritten_unasked(done, popsicle, out):
    path = a_pick_file(out)
    before = files(out)
    path.write_text(path.read_text() + " ")
    document = popsicle.json("fetch", "phantom", "--out", out, code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "skipped"}
    assert "data-portal_0_ribosome.json was changed" in document["runs"][0]["error"]
    assert "--overwrite" in document["runs"][0]["hint"]
    popsicle("fetch", "phantom", "--out", out, "--overwrite")
    assert files(out) == before


@pytest.mark.parametrize("name", ["data-portal_0_ribosome.json", "0"])
def test_verify_finds_a_flipped_byte(done, popsicle, out, name):
    path = next(path for path in sorted((out / "ExperimentRuns" / "TS_5_4").rglob(name)) if path.is_file())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if not name.endswith(".json"):  # picks are compared at every fetch
        assert statuses(popsicle.json("fetch", "phantom", "--out", out))["TS_5_4"] == "skipped"
    document = popsicle.json("fetch", "phantom", "--out", out, "--verify", code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "skipped"}
    assert path.relative_to(out).as_posix() in document["runs"][0]["error"]
    assert data_requests(done.portal) == []


@pytest.mark.parametrize("lost", ["Picks/data-portal_0_ribosome.json", "VoxelSpacing10.012"])
def test_what_was_lost_comes_back(done, popsicle, out, lost):
    before = files(out)
    path = out / "ExperimentRuns" / "TS_5_4" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert statuses(popsicle.json("fetch", "phantom", "--out", out)) == {"TS_5_4": "done", "TS_69_2": "skipped"}
    assert files(out) == before


def test_a_lost_chunk_alone_is_asked_for(done, popsicle, out):
    before = files(out)
    chunk = next(path for path in sorted((out / "ExperimentRuns" / "TS_5_4").rglob("0/0/0/0")) if path.is_file())
    chunk.unlink()
    popsicle("fetch", "phantom", "--out", out)
    assert files(out) == before


# ---- streams
def test_stream_copies_nothing(shared, popsicle, out):
    with shared.portal.portal_client():
        result = popsicle("fetch", "phantom", "--split", "train", "--out", out, "--stream")
        assert result.stdout.strip() == str(out / "copick.json")
        assert data_requests(shared.portal) == []
        document = json.loads((out / "copick.json").read_text())
        assert (document["config_type"], document["dataset_ids"]) == ("cryoet_data_portal", [10440])
        labels = {entry["name"]: entry["label"] for entry in document["pickable_objects"]}
        assert labels == {entry["name"]: entry["label"] for entry in shared.scene.task["objects"]}
        project = open_project(out)
        assert set(project.run_names) == {"16463", "16464"}
        assert read_splits(project) == {"train": ["16463", "16464"]}
        volume = project.run("16463").get_voxel_spacing(10.012).tomograms[0].numpy()
        assert volume.shape == SHAPE


# ---- Croissants
@pytest.fixture
def croissant(project, popsicle):
    """A small project with a manifest."""
    popsicle("manifest", "build", "-c", project.config, "--license", "CC0-1.0", "--cite-as", "nobody")
    return project


def test_a_croissant_brings_the_same_bytes_and_splits(croissant, popsicle, out):
    popsicle("fetch", "--croissant", croissant.folder / "Croissant", "--out", out)
    assert files(out / "ExperimentRuns") == files(croissant.folder / "ExperimentRuns")
    splits = read_splits(open_project(out))
    assert splits == read_splits(croissant)
    assert open_project(out).objects == croissant.objects
    assert read_source(out).kind == "croissant"
    document = popsicle.json("fetch", "--croissant", croissant.folder / "Croissant", "--out", out)
    assert set(statuses(document).values()) == {"skipped"}


def test_a_split_of_a_croissant(croissant, popsicle, out):
    popsicle("fetch", "--croissant", croissant.folder / "Croissant", "--split", "val", "--out", out)
    assert open_project(out).run_names == ["TS_2"]
    message = failed(popsicle("fetch", "--croissant", croissant.folder, "--split", "tset", "--out", out, code=1))
    assert "test" in message


@pytest.mark.parametrize("kind", ["Picks/truth_0_ribosome.json", "VoxelSpacing10.000"])
def test_what_was_tampered_with_is_named(croissant, popsicle, out, kind):
    path = croissant.folder / "ExperimentRuns" / "TS_2" / kind
    path = path if path.is_file() else next(p for p in sorted(path.rglob("0")) if p.is_file())
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    document = popsicle.json("fetch", "--croissant", croissant.folder / "Croissant", "--out", out, code=1)
    assert statuses(document) == {"TS_1": "done", "TS_2": "failed", "TS_3": "done"}
    assert path.relative_to(croissant.folder).as_posix() in str(document["runs"])


def test_a_table_that_was_tampered_with_is_named(croissant, popsicle, out):
    path = croissant.folder / "Croissant" / "runs.csv"
    path.write_text(path.read_text().replace("test", "tset"))
    message = failed(popsicle("fetch", "--croissant", croissant.folder / "Croissant", "--out", out, code=1))
    assert "runs.csv" in message


def test_a_croissant_by_https(croissant, portal, popsicle, out):
    shutil.copytree(croissant.folder, portal.path("toy"), ignore=shutil.ignore_patterns(".popsicle"))
    popsicle("fetch", "--croissant", portal.https("toy/Croissant/metadata.json"), "--out", out)
    assert files(out / "ExperimentRuns") == files(croissant.folder / "ExperimentRuns")
    assert read_source(out).url == portal.https("toy/Croissant/metadata.json")


def published(folder, *rows):
    """A Croissant that only says which runs there are."""
    (folder / "Croissant").mkdir(parents=True)
    (folder / "Croissant" / "runs.csv").write_text("\n".join(["name,portal_run_id,split", *rows]) + "\n")
    entry = {"@type": "cr:FileObject", "@id": "runs.csv", "contentUrl": "runs.csv"}
    (folder / "Croissant" / "metadata.json").write_text(json.dumps({"name": "x", "distribution": [entry]}))
    return folder / "Croissant"


def test_the_croissant_of_a_portal_task_says_runs_and_splits(shared, popsicle, out, tmp_path):
    place = published(tmp_path / "suite", "16463,16463,test", "TS_69_2,,train")
    popsicle("fetch", "phantom", "--croissant", place, "--out", out)
    assert read_splits(open_project(out)) == {"train": ["TS_69_2"], "test": ["TS_5_4"]}
    assert read_source(out).kind == "portal"
    document = popsicle.json("fetch", "phantom", "--croissant", place, "--split", "test", "--out", out)
    assert statuses(document) == {"TS_5_4": "skipped"}


def test_runs_of_the_list_that_the_portal_lacks_are_named(shared, popsicle, out, tmp_path):
    place = published(tmp_path / "suite", "TS_5_4,16463,test", "TS_9_9,99,train")
    assert "TS_9_9" in failed(popsicle("fetch", "phantom", "--croissant", place, "--out", out, code=1))


def test_a_list_with_our_names_of_runs_finds_them(portal, popsicle, out, tmp_path):
    """As in a manifest of a fetched project, whose runs are called by names that are safe."""
    scene = portal_scenes.phantom(portal, (1, 0, 0), SHAPE)
    run = scene.run(scene.row("Dataset", id=10440), "..TS 2")
    portal_scenes.phantom_tomograms(scene, run, SHAPE)
    place = published(tmp_path / "suite", f"TS-2,{run['id']},train")
    popsicle("fetch", "phantom", "--croissant", place, "--out", out)
    assert read_splits(open_project(out)) == {"train": ["TS-2"]}


def test_a_list_of_a_portal_that_renumbered_its_runs(portal, popsicle, out, tmp_path):
    """The id is that of another run by now: the name counts."""
    scene = portal_scenes.phantom(portal, (1, 0, 0), SHAPE)
    other = scene.run(scene.row("Dataset", id=10440), "4")
    place = published(tmp_path / "suite", f"TS_5_4,{other['id']},train")
    popsicle("fetch", "phantom", "--croissant", place, "--out", out)
    assert read_record(out, "TS_5_4").portal_run_id == scene.runs["TS_5_4"]["id"]


def test_compartments_are_in_their_published_splits(portal, popsicle, out, tmp_path):
    scene = portal_scenes.yeast(portal, (1, 1))
    first, second = scene.runs
    place = published(tmp_path / "suite", f"{first},{scene.runs[first]['id']},train", f"{second},,test")
    popsicle("fetch", "yeast", "--croissant", place, "--out", out)
    assert read_splits(open_project(out)) == {"train": [first], "test": [second]}


# ---- processes
@pytest.fixture
def server(tmp_path):
    """A portal as a process of its own; its address."""
    command = [sys.executable, TESTS / "local_portal.py", "--scene", "phantom", "--runs", "2,1,1"]
    with subprocess.Popen(
        [*command, "--delay", "0.02", "--folder", tmp_path / "server"], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process.stdout.readline().strip()
        process.terminate()


def start(url, out, *arguments):
    """popsicle fetch phantom, as a process."""
    command = [sys.executable, "-m", "copick_tools.cli", "fetch", "phantom", "--out", out, "-w", "4", *arguments]
    calm = {**os.environ, **environment(url), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=calm, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def requests_so_far(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_log") as answer:
        counts = json.load(answer)["requests"]
    return sum(count for kind, count in counts.items() if kind.split()[0] in ("s3", "file", "list"))


def kill_after(url, process, count):
    """SIGKILL once the server has seen so many more requests for data; whether it was still running."""
    first = requests_so_far(url)
    while process.poll() is None and requests_so_far(url) - first < count:
        time.sleep(0.005)
    process.kill()
    process.stderr.close()
    return process.wait() == -9


def interrupt(url, tmp_path, kills, most):
    """Fetch with SIGKILLs, then whole; compare with a fetch that nobody disturbed."""
    chance = random.Random(0)
    killed = sum(kill_after(url, start(url, tmp_path / "out"), chance.randint(1, most)) for _ in range(kills))
    for name in ("out", "undisturbed"):
        process = start(url, tmp_path / name)
        words = process.communicate(timeout=60)[1]
        assert process.returncode == 0, words
    assert not list((tmp_path / "out").rglob("*.part"))
    assert files(tmp_path / "out") == files(tmp_path / "undisturbed")
    configs = [json.loads((tmp_path / name / "copick.json").read_text()) for name in ("out", "undisturbed")]
    assert configs[0].pop("overlay_root") != configs[1].pop("overlay_root")
    assert configs[0] == configs[1]
    return killed


@pytest.mark.slow
def test_killed_at_random_moments(server, tmp_path):
    assert interrupt(server, tmp_path, 5, 20) >= 3


@pytest.mark.slow
def test_killed_often_at_random_moments(server, tmp_path):
    assert interrupt(server, tmp_path, 20, 12) >= 10


BIG, COUNT = 64 << 20, 24


def peak(process):
    """The largest resident size of a process until it ends, in bytes."""
    largest = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        largest = max([largest, *(int(size) << 10 for size in found)])
        time.sleep(0.02)
    return largest


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_bounded_whatever_the_size(small, out):
    row = small.row("Tomogram", runId=small.runs["TS_5_4"]["id"], processing="denoised")
    store = row["s3OmezarrDir"].removeprefix("s3://")
    for number in range(COUNT):
        path = small.portal.path(f"{store.removeprefix(BUCKET + '/')}/9/0/0/{number}")
        with path.open("wb") as file:
            file.truncate(BIG)
        small.portal.etags[f"{store}/9/0/0/{number}"] = f"sparse{number}"
    row["fileSizeOmezarr"] += BIG * COUNT
    process = start(small.portal.url, out, "-w", "32")
    largest = peak(process)
    assert process.returncode == 0, process.stderr.read()
    process.stderr.close()
    assert sum(path.stat().st_size for path in out.rglob("*/9/0/0/*")) == BIG * COUNT
    assert largest < 300e6


def test_ctrl_c_ends_it_and_the_next_fetch_goes_on(small, popsicle, out):
    """Within a slow body; what had come is kept."""
    fault = small.portal.slow(rate=300, kind="s3", path="TS_5_4")
    process = start(small.portal.url, out, "--split", "train")
    while fault.fired < 1 and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)  # until something has come
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    words = process.communicate(timeout=20)[1].decode()
    assert process.returncode not in (0, None)
    assert time.monotonic() - begin < 3
    assert "Traceback" not in words
    small.portal.heal()
    popsicle("fetch", "phantom", "--split", "train", "--out", out)
    assert not list(out.rglob("*.part"))


# ---- what a portal should not say, and what it says of itself
@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("Tomogram", "s3OmezarrDir", "store"),
        ("AnnotationFile", "httpsPath", "file"),
    ],
)
def test_no_file_of_this_machine_is_read_for_a_portal(small, popsicle, out, tmp_path, table, column, kind):
    secret = tmp_path / "secret.zarr"
    secret.mkdir()
    (secret / "0").write_text("mine")
    row = next(row for row in small.portal.rows[table] if row.get(column))
    row[column] = str(secret if kind == "store" else secret / "0")
    row["processing"] = "denoised"
    document = popsicle.json("fetch", "phantom", "--out", out, "--trust-listing", code=1)
    assert "which is no server's" in " ".join(run["error"] or "" for run in document["runs"])
    assert b"mine" not in files(out).values()


def test_an_answer_without_data_is_a_friendly_error(small, popsicle, out, monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.01)

    def nothing(*_):
        raise AssertionError("Transport returned an ExecutionResult without data or errors")

    monkeypatch.setattr("cryoet_data_portal.Run.find", nothing)
    assert "doesn't answer" in failed(popsicle("fetch", "phantom", "--out", out, code=1))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dataset-id", 99999999999999999999],
        ["--run-id", 2**31],
        ["phantom", "--radius", "ribosome=100"],
        ["phantom", "--voxel-spacing", "nan"],
    ],
)
def test_more_wrong_usage(small, popsicle, out, arguments):
    assert "Traceback" not in popsicle("fetch", *arguments, "--out", out, code=2).output
    assert not out.exists()


def test_other_numbers_than_stated_and_points_outside_are_noted(small, popsicle, out):
    annotation, other = small.portal.rows["Annotation"][:2]
    annotation["objectCount"] = 99
    (shape,) = [row for row in small.portal.rows["AnnotationShape"] if row["annotationId"] == other["id"]]
    (file,) = [row for row in small.portal.rows["AnnotationFile"] if row["annotationShapeId"] == shape["id"]]
    path = small.portal.folder / file["s3Path"].removeprefix("s3://")
    path.write_text(path.read_text() + '{"type": "point", "location": {"x": 900, "y": 1, "z": 1}}\n')
    file["fileSize"] = path.stat().st_size
    words = popsicle("fetch", "phantom", "--out", out).stderr
    assert "the portal states 99 objects" in words
    assert "1 of " in words
    assert "points lie outside of the tomogram" in words


def test_a_tomogram_that_is_no_volume_fails_its_run(small, popsicle, out):
    row = small.row("Tomogram", runId=small.runs["TS_5_4"]["id"], processing="denoised")
    (small.portal.folder / row["s3OmezarrDir"].removeprefix("s3://") / ".zattrs").write_text("{")
    document = popsicle.json("fetch", "phantom", "--out", out, "--trust-listing", code=1)
    assert statuses(document) == {"TS_5_4": "failed", "TS_69_2": "done"}
    assert "no OME-Zarr volume" in document["runs"][0]["error"]


def test_a_streamed_project_is_one_document(shared, popsicle, out):
    document = RunsResult.model_validate(popsicle.json("fetch", "phantom", "--stream", "--split", "val", "--out", out))
    assert document.output == str(out / "copick.json")
    assert len(document.runs) == 1


def test_many_depositions_need_no_more_requests(small, popsicle, out):
    wanted = [argument for number in (10310, 10301, 10314, 10300) for argument in ("--deposition-id", number)]
    small.portal.rows["Deposition"] += [
        {**small.portal.rows["Deposition"][0], "id": number} for number in (10301, 10314, 10300)
    ]
    popsicle("fetch", *wanted, "--out", out, "--dry-run")
    assert len(small.portal.requests("graphql")) <= 20
