"""Wherever putting a run in place ends, the next fetch comes to the same result."""

import hashlib
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import portal_scenes
import pytest
from local_portal import LocalPortal

from copick_tools.data import put, replace
from copick_tools.data.provenance import read_record

STEPS = [  # everything that changes the project while a run is put in place
    (put.os, "replace"),
    (put, "write_text"),
    (put, "make_picks"),
    (put, "write_record"),
    (put.shutil, "rmtree"),
    (put, "made_file"),
    (replace, "persist"),
]


pytestmark = pytest.mark.usefixtures("one_schema")
SHAPE = (12, 32, 24)


class Killed(BaseException):
    """As the power cut does: nothing is caught, nothing is tidied up by us."""


@contextmanager
def killed_at(number):
    """Raise at the start of the NUMBERth step (counted from 0); yields the list of steps that were begun."""
    begun = []

    def wrapped(step, name):
        def call(*arguments, **settings):
            begun.append(name)
            if len(begun) == number + 1:
                raise Killed
            return step(*arguments, **settings)

        return call

    patches = [patch.object(where, name, wrapped(getattr(where, name), name)) for where, name in STEPS]
    for each in patches:
        each.start()
    try:
        yield begun
    finally:
        for each in patches:
            each.stop()


def content(folder: Path) -> dict[str, str]:
    """Hashes of all files but the config, whose overlay is the folder itself."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "copick.json"
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with LocalPortal(tmp_path_factory.mktemp("served")) as portal:
        yield portal, portal_scenes.bacterial(portal, (1, 0, 0))


@pytest.fixture(autouse=True)
def _environment(served, monkeypatch):
    served[0].heal()
    for key, value in served[0].environment().items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def fetch(served, popsicle, tmp_path):
    """Fetch the one run with all that belongs to it: a tomogram, masks to be merged."""

    def run(name, *more, code=0):
        popsicle("fetch", "bacterial", "--out", tmp_path / name, *more, code=code)
        return tmp_path / name

    return run


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_killed_at_every_step(fetch, times):
    whole = content(fetch("whole"))
    with killed_at(10**6) as steps:
        fetch("counted")
    assert len(steps) > 12
    for number in range(0, len(steps), times):
        for _ in range(times):
            with killed_at(number), suppress(Killed):
                fetch("killed")
        assert content(fetch("killed")) == whole, f"killed at step {number}, {steps[number]}"
        shutil.rmtree(fetch("killed"))


@pytest.mark.slow
def test_overwriting_that_is_killed_at_every_step(fetch):
    whole = content(fetch("whole"))
    with killed_at(10**6) as steps:
        fetch("whole", "--overwrite")
    for number in range(len(steps)):
        with killed_at(number), suppress(Killed):
            fetch("whole", "--overwrite")
        again = ["--overwrite"] if number % 2 else []
        assert content(fetch("whole", *again)) == whole, f"killed at step {number}, {steps[number]}"


def test_what_was_begun_of_another_tomogram_is_not_taken_for_this_one(served, fetch, tmp_path):
    portal, scene = served
    (run,) = scene.runs.values()
    twin = scene.tomogram(run, 20.0, SHAPE, processing="denoised", deposition=10350, is_visualization_default=False)
    try:
        fault = portal.fail(404, path="zarr/.zattrs", times=None, kind="s3", method="GET")
        fetch("out", "--tomo-type", "wbp-raw", code=1)
        portal.heal()
        assert fault.fired
        fetch("out", "--tomo-type", "wbp-denoised")
        fetch("alone", "--tomo-type", "wbp-denoised")
        assert content(tmp_path / "out") == content(tmp_path / "alone")
    finally:
        portal.rows["Tomogram"].remove(twin)


def test_a_stale_download_never_replaces_a_whole_store(served, fetch):
    out = fetch("out")
    whole = content(out)
    (store,) = out.glob("ExperimentRuns/*/VoxelSpacing20.000/*.zarr")
    run = store.parts[-3]
    portal, _ = served
    portal.fail(404, path="zarr/0/0/0/0", kind="s3", times=None)
    fetch("out", "--overwrite", code=1)
    portal.heal()
    record = read_record(out, run)
    assert record is not None  # nothing was put in place, so what is there is what is stated
    (out / next(f.path for f in record.files if "Segmentations" in f.path)).unlink()
    assert content(fetch("out")) == whole


def test_another_alignment_never_mixes_with_the_first(served, popsicle, tmp_path):
    portal, scene = served
    (run,) = scene.runs.values()
    second = scene.tomogram(
        run, 20.0, SHAPE, processing="denoised", deposition=10350, alignment=scene.alignment(run, 10350)
    )
    out, common = tmp_path / "out", ("fetch", "--run-id", run["id"], "--voxel-spacing", 20, "--out", tmp_path / "out")
    try:
        popsicle(*common, "--tomo-type", "wbp-raw")
        before = content(out)
        refused = popsicle(*common, "--tomo-type", "wbp-denoised", code=1)
        assert "whose coordinates may be others" in refused.stderr
        assert content(out) == before
        popsicle(*common, "--tomo-type", "wbp-denoised", "--overwrite")
        assert not list(out.glob("ExperimentRuns/*/Segmentations/*"))
        assert [p.name for p in out.glob("ExperimentRuns/*/VoxelSpacing20.000/*/.zattrs")]
    finally:
        portal.rows["Tomogram"].remove(second)


def test_what_was_not_fetched_is_not_replaced(served, fetch, tmp_path):
    out = fetch("out")
    (record,) = (out / ".popsicle/portal/runs").iterdir()
    (tomogram,) = out.glob("ExperimentRuns/*/VoxelSpacing20.000/*.zarr/.zattrs")
    (merged,) = out.glob("ExperimentRuns/*/Segmentations/*/0/.zarray")
    for mine in (tomogram, merged):
        record.unlink()
        before = mine.read_bytes()
        mine.write_bytes(before + b" ")
        fetch("out", code=1)
        assert mine.read_bytes() == before + b" "
        fetch("out", "--overwrite")
        assert mine.read_bytes() == before


def test_a_lost_record_of_what_is_unchanged_is_written_again(fetch):
    out = fetch("out")
    whole = content(out)
    (record,) = (out / ".popsicle/portal/runs").iterdir()
    record.unlink()
    assert content(fetch("out")) == whole


def test_a_merged_volume_is_never_made_of_less_than_before(fetch):
    out = fetch("out", "--objects", "cytoplasm", "--objects", "membrane")
    whole = content(out)
    fetch("out", "--objects", "membrane", code=1)
    assert content(out) == whole
    assert content(fetch("out")) == content(fetch("alone"))


@pytest.mark.slow
def test_what_an_earlier_fetch_brought_stays_on_record(served, popsicle, tmp_path):
    _, scene = served
    (run,) = scene.runs.values()
    common = ("fetch", "--run-id", run["id"], "--voxel-spacing", 20, "--tomo-type", "wbp-raw")
    for number in range(40):
        out = tmp_path / str(number)
        popsicle(*common, "--objects", "cytoplasm", "--out", out)
        with killed_at(number) as begun, suppress(Killed):
            popsicle(*common, "--objects", "membrane", "--out", out)
        popsicle(*common, "--objects", "membrane", "--out", out)
        (name,) = (path.stem for path in (out / ".popsicle/portal/runs").iterdir())
        assert {a.object for a in read_record(out, name).annotations} == {"cytoplasm", "membrane"}, begun
        if len(begun) <= number:
            break
    assert number > 5


def test_the_downloads_of_other_runs_stay(served, fetch):
    out = fetch("out")
    room = out / ".popsicle/downloads/other"
    room.mkdir(parents=True)
    fetch("out", "--overwrite")
    assert room.is_dir()
