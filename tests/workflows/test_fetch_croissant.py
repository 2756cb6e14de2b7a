"""`fetch --croissant` of our own manifests brings back all that is known of the data; of others, what they say."""

import csv
import hashlib
import json
import shutil

import portal_scenes
import pytest
from conftest import Popsicle, make_project
from local_portal import LocalPortal

from copick_tools.data.groups import Groups, known_of_runs, read_groups, write_groups
from copick_tools.data.project import open_project
from copick_tools.data.provenance import read_records, read_source
from copick_tools.data.splits import read_splits
from copick_tools.data.uris import PicksUri
from copick_tools.data.write import write_picks
from copick_tools.types import Points

SHAPE = (8, 16, 16)


def tables(folder):
    """The files of a manifest, metadata.json as an object."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {name: json.loads(text) if name == "metadata.json" else text for name, text in found.items()}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(folder, name, change):
    """Change a table of a manifest, and its hash with it."""
    text = change((folder / name).read_text())
    (folder / name).write_text(text)
    document = json.loads((folder / "metadata.json").read_text())
    for entry in document["distribution"]:
        if entry["contentUrl"] == name:
            entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def fetched_once(tmp_path_factory):
    """A task, fetched from a portal, with its manifest."""
    popsicle, folder = Popsicle(), tmp_path_factory.mktemp("fetched") / "phantom"
    with LocalPortal(tmp_path_factory.mktemp("server")) as portal, pytest.MonkeyPatch.context() as patch:
        portal_scenes.phantom(portal, (2, 1, 1), SHAPE)
        for name, value in portal.environment().items():
            patch.setenv(name, value)
        popsicle("fetch", "phantom", "--out", folder)
    popsicle("manifest", "build", "-c", folder / "copick.json", "--date-published", "2026-01-02")
    return folder


@pytest.fixture
def fetched(fetched_once, tmp_path):
    return shutil.copytree(fetched_once, tmp_path / "fetched")


def test_a_copy_of_a_copy_is_the_same(fetched, popsicle, tmp_path):
    annotations = rows(fetched / "Croissant" / "annotations.csv")
    assert {row["reference"] for row in annotations} == {"true", "false"}
    assert all(row["portal_annotation_id"] and row["url"] for row in annotations)
    copy = tmp_path / "copy"
    popsicle("fetch", "--croissant", fetched, "--out", copy)
    popsicle("manifest", "build", "-c", copy / "copick.json", "--date-published", "2026-01-02")
    assert tables(copy / "Croissant") == tables(fetched / "Croissant")
    old, new = read_records(open_project(fetched)), read_records(open_project(copy))
    for run, record in old.items():
        assert new[run].tomogram == record.tomogram
        assert (new[run].dataset_id, new[run].portal_run_id, new[run].split, new[run].notes) == (
            record.dataset_id, record.portal_run_id, record.split, record.notes,
        )  # fmt: skip
        without = [a.model_copy(update={"sha256": None}) for a in new[run].annotations]
        assert without == [a.model_copy(update={"sha256": None}) for a in record.annotations]
    source = read_source(copy)
    assert (source.kind, source.task) == ("croissant", "phantom")
    assert source.datasets == read_source(fetched).datasets
    assert source.depositions == read_source(fetched).depositions
    assert known_of_runs(open_project(copy)) == known_of_runs(open_project(fetched))
    found = popsicle.json("split", "-c", copy / "copick.json", "--group-by", "dataset", "--counts", "train=2,test=2",
                          "--overwrite")  # fmt: skip
    assert found["group_by"] == ["dataset"]
    assert popsicle.json("manifest", "check", fetched)["manifests"][0]["findings"] == []


def test_picks_of_ones_own_are_no_reference(fetched, popsicle, tmp_path):
    project = open_project(fetched)
    write_picks(project, project.run_names[0], PicksUri("ribosome", "me", "1"), Points.at([[1, 2, 3]]))
    popsicle("manifest", "build", "-c", project.config, "--overwrite")
    popsicle("fetch", "--croissant", fetched, "--out", tmp_path / "copy")
    record = read_records(open_project(tmp_path / "copy"))[project.run_names[0]]
    assert [a.reference for a in record.annotations if a.uri == "ribosome:me/1"] == [False]
    popsicle("manifest", "build", "-c", tmp_path / "copy" / "copick.json")
    for name in ("annotations.csv", "fetched_runs.csv", "runs.csv", "picks.csv"):
        made = (tmp_path / "copy" / "Croissant" / name).read_bytes()
        assert made == (fetched / "Croissant" / name).read_bytes(), name


def test_of_other_manifests_all_annotations_count(project, popsicle, tmp_path):
    popsicle("manifest", "build", "-c", project.config, "--license", "CC0-1.0")
    popsicle("fetch", "--croissant", project.folder, "--out", tmp_path / "copy")
    records = read_records(open_project(tmp_path / "copy"))
    assert all(a.reference for record in records.values() for a in record.annotations)
    popsicle("manifest", "build", "-c", tmp_path / "copy" / "copick.json")
    popsicle("fetch", "--croissant", tmp_path / "copy", "--out", tmp_path / "again")
    again = read_records(open_project(tmp_path / "again"))
    assert [a.reference for a in again["TS_1"].annotations] == [a.reference for a in records["TS_1"].annotations]


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "annotations.csv",
            "OrientedPoint,4.99,",
            "OrientedPoint,wide,",
            "an annotation that can't be read: voxel_spacing",
        ),
        ("portal_datasets.csv", "\n10440,", "\nx,", "a dataset that can't be read: id"),
        ("portal_runs.csv", ",10440,", ",x,", "'x' is no id"),
    ],
)
def test_tampered_records(fetched, popsicle, tmp_path, name, old, new, says):
    assert old in (fetched / "Croissant" / name).read_text()
    rewrite(fetched / "Croissant", name, lambda text: text.replace(old, new))
    result = popsicle("fetch", "--croissant", fetched, "--out", tmp_path / "copy", code=1)
    assert says in result.stdout + result.stderr


def test_a_file_listed_twice(project, popsicle, tmp_path):
    popsicle("manifest", "build", "-c", project.config, "--license", "CC0-1.0")
    line = next(
        text for text in (project.folder / "Croissant" / "files.csv").read_text().splitlines() if "Picks" in text
    )
    rewrite(project.folder / "Croissant", "files.csv", lambda text: f"{text}{line}\n")
    failed = popsicle("fetch", "--croissant", project.folder, "--out", tmp_path / "copy", code=1)
    assert "twice" in failed.stderr


def test_groups_that_look_like_numbers_come_back(project, popsicle, tmp_path):
    grids = Groups(by=("grid",), groups={"TS_1": "01", "TS_2": "1", "TS_3": "NA"})
    write_groups(project, grids)
    popsicle("manifest", "build", "-c", project.config, "--license", "CC0-1.0")
    popsicle("fetch", "--croissant", project.folder, "--out", tmp_path / "copy")
    assert read_groups(open_project(tmp_path / "copy")) == grids


class TestStream:
    @pytest.fixture
    def streamed(self, project, popsicle, tmp_path):
        popsicle("manifest", "build", "-c", project.config, "--license", "CC0-1.0")
        popsicle("fetch", "--stream", "--croissant", project.folder, "--out", tmp_path / "streamed")
        return tmp_path / "streamed"

    def test_a_changed_manifest_is_read_again(self, streamed, project, popsicle):
        assert len(open_project(streamed).run("TS_1").picks) == 2
        write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([[1, 2, 3]]))
        popsicle("manifest", "build", "-c", project.config, "--license", "CC0-1.0", "--overwrite")
        popsicle("fetch", "--stream", "--croissant", project.folder, "--out", streamed)
        opened = open_project(streamed)
        assert len(opened.run("TS_1").picks) == 3
        assert opened.run("TS_1").get_picks("ribosome", user_id="me")[0].numpy()[0].tolist() == [[1, 2, 3]]
        assert read_splits(opened) == read_splits(project)
        left = {path.name for path in (streamed / ".popsicle" / "croissant").rglob("*") if path.name.startswith(".")}
        assert left == set()

    def test_another_project_stays_as_it_is(self, streamed, popsicle, tmp_path, another):
        before = {path: path.read_bytes() for path in another.folder.rglob("*") if path.is_file()}
        failed = popsicle("fetch", "--stream", "--croissant", streamed / ".popsicle" / "croissant", "--out",
                          another.folder, code=2)  # fmt: skip
        assert "another project" in failed.stderr
        assert {path: path.read_bytes() for path in another.folder.rglob("*") if path.is_file()} == before

    @pytest.fixture
    def another(self, tmp_path):
        return make_project(tmp_path / "other", runs=1)
