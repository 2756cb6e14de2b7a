"""`manifest build` publishes nothing that can't be trusted; `manifest check` names whatever is wrong, and never trips."""

import csv
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from conftest import Popsicle, make_project

from copick_tools.data import croissant, groups
from copick_tools.data.manifests import export, origin
from copick_tools.data.project import write_text
from copick_tools.data.provenance import add_source, write_record
from copick_tools.data.splits import read_splits, write_splits
from copick_tools.data.uris import PicksUri
from copick_tools.data.write import write_picks
from copick_tools.recipes.data_results import ManifestBuild, ManifestChecks
from copick_tools.recipes.load import load_task
from copick_tools.recipes.provenance import (
    FetchedAnnotation,
    FetchedFile,
    FetchedTomogram,
    RunRecord,
    Source,
    SourceDataset,
    SourceDeposition,
)
from copick_tools.types import Points

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.parent for path in (ROOT / "croissant").glob("*/metadata.json"))
LICENSED = ("--license", "CC0-1.0", "--cite-as", "A. Author, 2026", "--rai", "dataLimitations=for tests")


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def document(folder):
    return json.loads((folder / "metadata.json").read_text())


def state(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def build(popsicle, project):
    """Build the project's manifest."""

    def run(*arguments, code=0):
        if code:
            return popsicle("manifest", "build", "-c", project.config, *LICENSED, *arguments, code=code)
        made = popsicle.json("manifest", "build", "-c", project.config, *LICENSED, *arguments)
        return ManifestBuild.model_validate(made)

    return run


@pytest.fixture
def check(popsicle):
    """The findings of a check; ``wrong``: it has to find an error."""

    def run(path, *arguments, wrong=False):
        found = ManifestChecks.model_validate(popsicle.json("manifest", "check", path, *arguments, code=int(wrong)))
        assert found.ok is not wrong
        return found.manifests[0]

    return run


def errors(result):
    return [f"{finding.where}: {finding.message}" for finding in result.findings if finding.level == "error"]


@pytest.fixture(scope="module")
def published_once(tmp_path_factory):
    """A project with a manifest, made once."""
    project = make_project(tmp_path_factory.mktemp("published") / "project")
    Popsicle()("manifest", "build", "-c", project.config, *LICENSED)
    return project.folder


@pytest.fixture
def published(published_once, tmp_path):
    """A copy of a project with a manifest: its folder."""
    return Path(shutil.copytree(published_once, tmp_path / "published"))


def rehash(folder):
    """Make the metadata agree with changed tables again, as somebody who tampers would."""
    import hashlib

    content = document(folder)
    for entry in content["distribution"]:
        entry["sha256"] = hashlib.sha256((folder / entry["contentUrl"]).read_bytes()).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(content))


class TestBuild:
    def test_others_can_read_it(self, build, project, check):
        import copick
        import mlcroissant

        made = build("--rai", "dataBiases=round particles only")
        folder = project.folder / "Croissant"
        assert (made.status, made.data, made.runs, made.splits) == (
            "built",
            "beside",
            3,
            {"train": 1, "val": 1, "test": 1},
        )
        dataset = mlcroissant.Dataset(str(folder / "metadata.json"))
        assert not dataset.metadata.ctx.issues.errors
        assert not dataset.metadata.ctx.issues.warnings
        assert dataset.metadata.data_biases == ["round particles only"]
        counts = {r.uuid: len(list(dataset.records(r.uuid))) for r in dataset.metadata.record_sets}
        assert counts["copick/runs"] == 3
        assert counts["popsicle/files"] == made.files
        assert counts["popsicle/stores"] == made.stores == 6
        root = copick.from_croissant(str(folder / "metadata.json"))
        assert {run.name: run.split for run in root.runs} == {"TS_1": "train", "TS_2": "val", "TS_3": "test"}
        listed = {row["path"] for row in table(folder / "files.csv")}
        there = {p.relative_to(project.folder).as_posix() for p in project.folder.rglob("*") if p.is_file()}
        assert {path for path in there if path.endswith(".json") and "/Picks/" in path} <= listed
        assert {path for path in there if ".zarr/" in path} <= listed
        result = check(project.folder)
        assert result.files == made.files
        assert result.findings == []

    def test_nothing_of_this_machine(self, build, project):
        build()
        for name, content in state(project.folder / "Croissant").items():
            assert str(project.folder).encode() not in content, name
            assert b"local://" not in content
            assert b"user_id" not in content or name != "metadata.json" or b'"user_id":' not in content
        assert "copick:baseUrl" not in document(project.folder / "Croissant")

    def test_same_project_same_bytes(self, build, project, tmp_path):
        build("--out", tmp_path / "a" / "m")
        build("--out", tmp_path / "b" / "m")
        assert state(tmp_path / "a" / "m") == state(tmp_path / "b" / "m")

    def test_unchanged_changed_and_replaced(self, build, project):
        build("--date-published", "2020-02-03")
        before = {path: path.stat().st_mtime_ns for path in (project.folder / "Croissant").iterdir()}
        assert build().status == "unchanged"
        write_picks(project, "TS_1", PicksUri("ribosome", "me", "1"), Points.at([[1, 2, 3]]))
        refused = build(code=1).stderr
        assert "would change" in refused
        assert "--overwrite" in refused
        assert {path: path.stat().st_mtime_ns for path in (project.folder / "Croissant").iterdir()} == before
        assert build("--overwrite").status == "replaced"
        content = document(project.folder / "Croissant")
        assert content["datePublished"] == "2020-02-03"
        touched = {p.name for p, time in before.items() if p.stat().st_mtime_ns != time}
        assert touched == {"picks.csv", "files.csv", "metadata.json"}
        assert build("--overwrite").status == "unchanged"

    def test_nobody_s_licence_is_made_up(self, popsicle, project):
        built = popsicle("manifest", "build", "-c", project.config)
        assert "no licence is stated" in built.stderr
        assert "license" not in document(project.folder / "Croissant")
        assert "no licence" in popsicle("manifest", "check", "-c", project.config).stdout

    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (("--license", "ask me"), 2, "no licence"),
            (("--base-url", "ftp://x"), 2, "no base URL"),
            (("--date-published", "yesterday"), 2, "no date"),
            (("--rai", "dataBias=x"), 2, "dataBiases"),
            (("--rai", "dataBiases"), 2, "KEY=TEXT"),
            (("--picks", "ribosom:*/*"), 1, "matches nothing"),
            (("-r", "TS_9"), 1, "TS_9"),
            (("--out", "."), 2, "own folder"),
            (("--description", "from /home/jane/raw"), 1, "local path"),
            (("--task", "phantom", "-r", "TS_1", "--out", "x"), 2, "--task"),
            (("--task", "phantom-sim", "--out", "x"), 2, "simulated"),
            (("--task", "phantom"), 2, "--out"),
        ],
    )
    def test_mistakes(self, build, project, monkeypatch, arguments, code, says):
        monkeypatch.chdir(project.folder)
        assert says in build(*arguments, code=code).stderr
        assert not (project.folder / "Croissant").exists()

    def test_published_elsewhere(self, build, project, check):
        build("--base-url", "https://host.org/toy/")
        content = document(project.folder / "Croissant")
        assert content["copick:baseUrl"] == "https://host.org/toy"
        assert content["distribution"][0]["contentUrl"] == "https://host.org/toy/Croissant/runs.csv"
        result = check(project.folder)
        assert result.files == 36
        assert result.findings == []

    def test_a_part(self, build, project, check):
        made = build("--split", "train", "--picks", "ribosome:*/*", "--tomograms", "wbp@10")
        folder = project.folder / "Croissant"
        assert [row["name"] for row in table(folder / "runs.csv")] == ["TS_1"]
        assert [row["object_name"] for row in table(folder / "picks.csv")] == ["ribosome"]
        assert made.splits == {"train": 1}
        assert check(folder / "metadata.json").findings == []
        assert build("--segmentations", "truth:*/*?multilabel=true", "--overwrite").runs == 3

    def test_splits_have_to_be_good(self, build, project):
        write_splits(project, {"train": ["TS_1", "TS_2"], "test": ["TS_2", "TS_3"]})
        assert "TS_2" in build(code=1).stderr
        write_splits(project, {"train": ["TS_1"], "test": ["TS_2"]})
        assert "no split for run TS_3" in build(code=1).stderr
        write_splits(project, {"train": ["TS_1"], "test": ["TS_2", "TS_3", "TS_4"]})
        assert "TS_4" in build(code=1).stderr
        write_splits(project, {"train": ["TS_1"], "test": ["TS_2", "TS_3"]})
        groups.write_groups(project, groups.Groups(by=("grid",), groups={"TS_1": "a", "TS_2": "a", "TS_3": "b"}))
        assert "group 'a' leaks" in build(code=1).stderr
        assert not (project.folder / "Croissant").exists()
        groups.write_groups(project, groups.Groups(by=("grid",), groups={"TS_1": "a", "TS_2": "b", "TS_3": "b"}))
        build()
        assert [row["group"] for row in table(project.folder / "Croissant" / "groups.csv")] == ["a", "b", "b"]

    def test_what_a_killed_build_left_goes(self, build, project):
        left = project.folder / ".popsicle" / "manifest" / "left"
        left.mkdir(parents=True)
        (left / ".alive").touch()
        (left.parent / "older").mkdir()
        build()
        assert list(left.parent.iterdir()) == []

    @pytest.mark.parametrize("name", ["007", "1e5", "NA", "null", "true"])
    def test_names_that_readers_take_for_something_else(self, popsicle, tmp_path, name, monkeypatch):
        project = make_project(tmp_path / "p", runs=1)
        (project.folder / "ExperimentRuns" / "TS_1").rename(project.folder / "ExperimentRuns" / name)
        write_splits(project, {})
        monkeypatch.setattr(export, "hash_files", None)  # it is said before anything is read
        refused = popsicle("manifest", "build", "-c", project.config, *LICENSED, code=1).stderr
        assert f"runs.csv would not be read as it is by mlcroissant and copick: name '{name}' (line 2) as" in refused
        assert "rename the run" in refused

    def test_a_name_among_others_is_text(self, popsicle, tmp_path, check):
        project = make_project(tmp_path / "p", runs=2)
        (project.folder / "ExperimentRuns" / "TS_1").rename(project.folder / "ExperimentRuns" / "007")
        write_splits(project, {})
        groups.write_groups(project, groups.Groups(by=("grid",), groups={"007": "g"}))
        popsicle("manifest", "build", "-c", project.config, *LICENSED)
        assert check(project.folder).findings == []

    def test_groups_that_readers_take_for_numbers(self, build, project, check):
        import mlcroissant

        known = {"TS_1": "01", "TS_2": "1", "TS_3": "NA"}
        groups.write_groups(project, groups.Groups(by=("grid",), groups=known))
        build()
        folder = project.folder / "Croissant"
        assert check(folder).findings == []
        records = mlcroissant.Dataset(str(folder / "metadata.json")).records("popsicle/groups")
        read = {r["popsicle/groups/run"].decode(): r["popsicle/groups/group"].decode() for r in records}
        assert read == known
        (folder / "groups.csv").write_text((folder / "groups.csv").read_text().replace("TS_2,'1", "TS_2,'01"))
        rehash(folder)
        assert any("group '01' leaks" in text for text in errors(check(folder, wrong=True)))

    def test_nothing_is_left_beside_a_manifest(self, build, project, popsicle, tmp_path):
        (tmp_path / "shelf").mkdir()
        build("--out", tmp_path / "shelf" / "a")
        popsicle("manifest", "build", "--task", "phantom", "--out", tmp_path / "shelf" / "b")
        build("--out", tmp_path / "shelf" / "c", "--description", "from /home/jane/raw", code=1)
        build("--out", tmp_path / "shelf" / "d" / "e", "--picks", "nobody:*/*", code=1)
        assert sorted(path.name for path in (tmp_path / "shelf").iterdir()) == ["a", "b"]
        assert not [path for path in (tmp_path / "shelf").rglob("*") if path.name.startswith(".")]

    def test_elsewhere(self, build, project, check, tmp_path):
        made = build("--out", tmp_path / "published")
        assert made.data == "elsewhere"
        shutil.move(project.folder, tmp_path / "moved")
        away = check(tmp_path / "published")
        assert (away.files, away.unread) == (0, 36)
        assert [f.level for f in away.findings] == ["note"]
        assert "--data" in away.findings[0].message
        assert check(tmp_path / "published", "--data", tmp_path / "moved").files == 36
        next((tmp_path / "moved").rglob("wbp.zarr/0/0/0/0")).write_bytes(b"x")
        assert "wbp.zarr/0/0/0/0" in errors(check(tmp_path / "published", "--data", tmp_path / "moved", wrong=True))[0]


@pytest.fixture
def fetched(project):
    """The project as if run TS_1 and TS_2 were fetched."""
    picks = "ExperimentRuns/TS_1/Picks/truth_0_ribosome.json"
    from copick_tools.data.hashing import digest

    known = digest(project.folder / picks)
    common = {"reference": True, "shape_type": "Point", "method_type": "hybrid", "ground_truth_status": True}
    mask = {**common, "shape_type": "SegmentationMask", "uri": "truth:truth/0@10.0?multilabel=true"}
    write_record(
        project.folder,
        RunRecord(
            run="TS_1",
            portal_run_id=16463,
            portal_run_name="TS_1",
            dataset_id=10440,
            tomogram=FetchedTomogram(uri="wbp@10.0", id=17001, chosen_by="the task's type"),
            annotations=(
                FetchedAnnotation(
                    uri="ribosome:truth/0", object="ribosome", id=5, file_id=50, url="https://x", points=2,
                    portal_object_name="cytosolic ribosome", deposition_id=10310, **common,
                ),
                FetchedAnnotation(object="ribosome", id=6, file_id=60, url="https://x", **mask),
                FetchedAnnotation(object="apo-ferritin", id=7, file_id=70, url="https://x", **mask),
            ),
            files=(FetchedFile(path=picks, size=known.size, sha256=known.sha256, url="https://x"),),
            notes=("one tomogram was missing",),
        ),
    )  # fmt: skip
    add_source(
        project.folder,
        Source(
            kind="portal",
            task="phantom",
            datasets=(SourceDataset(id=10440, title="phantom", authors=("A. B.", "C. D."), license="CC0-1.0"),),
            depositions=(SourceDeposition(id=10310, title="challenge", authors=("A. B.",)),),
        ),
    )
    return project


class TestOrigin:
    def test_portal_ids_licence_authors_and_how_it_was_annotated(self, popsicle, fetched):
        import mlcroissant

        popsicle("manifest", "build", "-c", fetched.config)
        folder = fetched.folder / "Croissant"
        assert table(folder / "runs.csv")[0]["portal_run_id"] == "16463"
        assert table(folder / "tomograms.csv")[0]["portal_tomogram_id"] == "17001"
        ribosome = next(row for row in table(folder / "picks.csv") if row["object_name"] == "ribosome")
        assert (ribosome["portal_annotation_id"], ribosome["portal_annotation_file_id"]) == ("5", "50")
        assert ribosome["portal_object_name"] == "cytosolic ribosome"
        assert table(folder / "segmentations.csv")[0]["portal_annotation_file_id"] == "60;70"
        assert table(folder / "portal_runs.csv")[0]["portal_dataset_id"] == "10440"
        ids = [
            r["copick/runs/portal_run_id"]
            for r in mlcroissant.Dataset(str(folder / "metadata.json")).records("copick/runs")
        ]
        assert ids == [16463, None, None]  # not 16463.0
        assert croissant.open_croissant(folder).index.runs_by_name["TS_1"]["portal_run_id"] == 16463
        assert table(folder / "fetched_runs.csv")[0]["tomogram"] == "wbp@10"
        annotations = table(folder / "annotations.csv")
        assert [(a["uri"], a["object"], a["portal_annotation_file_id"], a["reference"]) for a in annotations] == [
            ("ribosome:truth/0", "ribosome", "50", "true"),
            ("truth:truth/0@10?multilabel=true", "ribosome", "60", "true"),
            ("truth:truth/0@10?multilabel=true", "apo-ferritin", "70", "true"),
        ]
        assert table(folder / "portal_depositions.csv")[0]["url"] == f"{origin.PORTAL}/depositions/10310"
        metadata = mlcroissant.Dataset(str(folder / "metadata.json")).metadata
        assert metadata.license == ["https://creativecommons.org/publicdomain/zero/1.0/"]
        assert "CZCDP-10310" in metadata.cite_as
        assert sorted(person.name for person in metadata.creators) == ["A. B.", "C. D."]
        assert any("hybrid, ground truth" in line for line in metadata.data_annotation_protocol)
        assert "one tomogram was missing" in metadata.data_limitations
        assert set(load_task("phantom").notes) <= set(metadata.data_limitations)
        assert popsicle.json("manifest", "check", fetched.folder)["manifests"][0]["findings"] == []

    def test_a_file_that_is_not_what_was_fetched(self, popsicle, fetched):
        path = fetched.folder / "ExperimentRuns/TS_1/Picks/truth_0_ribosome.json"
        path.write_bytes(path.read_bytes() + b" ")
        refused = popsicle("manifest", "build", "-c", fetched.config, code=1).stderr
        assert "ExperimentRuns/TS_1/Picks/truth_0_ribosome.json isn't what was fetched" in refused

    def test_simulated(self, popsicle, project):
        import mlcroissant

        write_text(project.sidecar / "simulation.json", '{"preset": "easy", "seed": 3, "shape": [1, 2, 3]}')
        popsicle("manifest", "build", "-c", project.config, *LICENSED)
        metadata = mlcroissant.Dataset(str(project.folder / "Croissant" / "metadata.json")).metadata
        assert "preset easy, seed 3, 1 x 2 x 3 voxels" in metadata.data_collection


class TestCheck:
    @pytest.mark.slow
    def test_a_flipped_byte_in_any_file_is_named(self, build, project, check):
        build("-r", "TS_1")
        folder = project.folder / "Croissant"
        paths = [project.folder / row["path"] for row in table(folder / "files.csv")]
        tables = sorted(folder.glob("*.csv"))
        assert len(paths) == 12
        assert len(tables) == 12
        for path in [*paths, *tables]:
            good = path.read_bytes()
            flipped = bytearray(good)
            flipped[len(good) // 2] ^= 1
            path.write_bytes(flipped)
            name = path.name if path in tables else path.relative_to(project.folder).as_posix()
            found = errors(check(folder, wrong=True))
            assert any(text.startswith(f"{name}: ") for text in found), (name, found)
            path.write_bytes(good)
        assert check(folder).findings == []

    def test_cells_that_readers_take_for_something_else(self, published, check):
        folder = published / "Croissant"
        text = (folder / "picks.csv").read_text()
        (folder / "picks.csv").write_text(text.replace(",truth,0,", ",truth,00,"))
        rehash(folder)
        found = [told for told in errors(check(folder, wrong=True)) if "by mlcroissant" in told or "so are" in told]
        assert found[0].startswith("picks.csv: line 2, session_id: '00' is read as '0' by mlcroissant")
        assert len(found) == 4
        assert found[3] == "picks.csv: so are 3 other cells"

    def test_lost_truncated_and_foreign_files(self, published, check):
        store = next(published.rglob("wbp.zarr"))
        name = store.relative_to(published).as_posix()
        (store / "0" / "9").write_bytes(b"new")
        assert errors(check(published, wrong=True)) == [f"{name}/0/9: it isn't listed, but lies in a store that is"]
        (store / "0" / "9").unlink()
        chunk = store / "0" / "0" / "0" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-1])
        assert "bytes, not" in errors(check(published, wrong=True))[0]
        chunk.unlink()
        assert errors(check(published, wrong=True)) == [f"{name}/0/0/0/0: the file isn't there"]

    def test_moved(self, published, check, tmp_path):
        shutil.move(published, tmp_path / "moved")
        assert check(tmp_path / "moved" / "copick.json").findings == []

    def test_read_only(self, published, check):
        folder = published / "Croissant"
        folder.chmod(0o555)
        try:
            assert check(folder).findings == []
        finally:
            folder.chmod(0o755)

    def test_splits(self, published, check):
        folder = published / "Croissant"
        good = (folder / "runs.csv").read_text()

        def found(text):
            (folder / "runs.csv").write_text(text)
            rehash(folder)
            return "\n".join(errors(check(folder, wrong=True)))

        assert "run TS_1 is listed 2 times, in the splits test, train" in found(good + "TS_1,,test\n")
        assert "incomplete: no split for run TS_2" in found(good.replace("val", ""))
        assert "other splits than in the project's splits.json: run TS_2" in found(good.replace("val", "test"))
        assert "split 'fold' isn't declared" in found(good.replace("val", "fold"))
        assert "split 'val' is declared in copick/splits but no run is in it" in found(good.replace("val", "test"))
        assert "it speaks of run TS_2" in found(good.replace("TS_2,,val\n", ""))

    def test_a_group_in_two_splits(self, build, project, check):
        groups.write_groups(project, groups.Groups(by=("grid",), groups={"TS_1": "a", "TS_2": "b", "TS_3": "c"}))
        build()
        folder = project.folder / "Croissant"
        (folder / "groups.csv").write_text((folder / "groups.csv").read_text().replace("TS_3,c", "TS_3,a"))
        rehash(folder)
        found = errors(check(folder, wrong=True))
        assert found == ["groups.csv: group 'a' leaks from one split into another (test: run TS_3; train: run TS_1)"]

    @pytest.mark.parametrize(
        ("name", "old", "new", "says"),
        [
            ("tomograms.csv", "ExperimentRuns/TS_1", "/data/TS_1", "leaves the project"),
            ("picks.csv", "ExperimentRuns/TS_1", "../../TS_1", "leaves the project"),
            ("picks.csv", "ExperimentRuns/TS_1", "file:///data/TS_1", "nobody else can open file"),
            ("files.csv", "ExperimentRuns/TS_1/Picks", "../Picks", "leaves the project"),
            ("stores.csv", "VoxelSpacing10.000", "VoxelSpacing10.001", "has no hash"),
            ("stores.csv", ",6,", ",5,", "lists other files"),
            ("picks.csv", "apo-ferritin.json,", "apo-ferritin.json,0", "another sha256"),
            ("files.csv", ".zarr/.zattrs,", ".zarr/.zattrs," + "9" * 5000, "bytes, not 9999"),
            ("tomograms.csv", "tomo_type", "type", "lacks the columns tomo_type"),
            ("tomograms.csv", ",10.0,", ",ten,", "copick"),
        ],
    )
    def test_tampered_tables(self, published, check, name, old, new, says):
        folder = published / "Croissant"
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
        rehash(folder)
        assert says in "\n".join(errors(check(folder, wrong=True)))

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("description", "in /home/jane/data", "names a local path"),
            ("distribution", {}, "distribution"),
            ("distribution", [1, "a"], "isn't a list of objects"),
            ("recordSet", [[]], "isn't a list of objects"),
            ("recordSet", [{"@id": 3}], "isn't a list of objects"),
            ("@context", "https://schema.org", "refers to https://schema.org"),
            ("@context", {"x": {"@import": "https://x.org"}}, "mlcroissant"),
            ("@type", "sc:Person", "mlcroissant"),
            ("conformsTo", "http://x", "mlcroissant"),
            ("copick:config", [], "copick"),
            ("copick:config", {"pickable_objects": [{"name": 3}]}, "copick"),
            ("name", None, "name is missing"),
            ("license", {"a": 1}, "mlcroissant"),
        ],
    )
    def test_tampered_metadata(self, published, check, key, value, says):
        folder = published / "Croissant"
        (folder / "metadata.json").write_text(json.dumps({**document(folder), key: value}))
        assert says in "\n".join(errors(check(folder, wrong=True)))

    @pytest.mark.parametrize(
        "address", ["file:///x/runs.csv", "s3://b/runs.csv", "/x/runs.csv", "../runs.csv", 3, None]
    )
    def test_addresses_that_nobody_can_use(self, published, check, address):
        folder = published / "Croissant"
        content = document(folder)
        content["distribution"][0]["contentUrl"] = address
        (folder / "metadata.json").write_text(json.dumps(content))
        assert any(f.check == "structure" for f in check(folder, wrong=True).findings)

    def test_what_is_missing_is_said(self, published, check):
        folder = published / "Croissant"
        gone = ("license", "citeAs", "rai:dataLimitations")
        content = {key: value for key, value in document(folder).items() if key not in gone}
        (folder / "metadata.json").write_text(json.dumps(content))
        assert [f.message for f in check(folder).findings] == [
            "no licence is stated",
            "no citation is stated",
            "no RAI fields say how the data were collected and annotated",
        ]

    def test_only_the_metadata(self, build, project, check, tmp_path):
        build("--base-url", "https://host.invalid/toy")
        shutil.copy(project.folder / "Croissant" / "metadata.json", tmp_path / "alone.json")
        levels = {f.level for f in check(tmp_path / "alone.json").findings}
        assert levels == {"note"}

    def test_a_lost_table(self, published, check):
        (published / "Croissant" / "tomograms.csv").unlink()
        assert "tomograms.csv: the file isn't there" in errors(check(published, wrong=True))

    def test_what_copick_writes_by_itself(self, project, check):
        from copick.ops.croissant import export_croissant

        given = {"validate": False, "objects": [], "splits": read_splits(project)}
        export_croissant(project.root, str(project.folder), base_url="https://host.org/x", **given)
        result = check(project.folder, "--data", project.folder)
        assert result.files == 6
        messages = [f.message for f in result.findings if f.level == "warning"]
        assert "zarr stores aren't hashed: there is no record set popsicle/stores" in messages
        picks = next(project.folder.rglob("*_ribosome.json"))
        picks.write_bytes(picks.read_bytes() + b" ")
        assert "sha256 differs" in errors(check(project.folder, "--data", project.folder, wrong=True))[0]
        shutil.rmtree(project.folder / "Croissant")
        export_croissant(project.root, str(project.folder), base_url=str(project.folder), **given)
        assert any("local path" in text for text in errors(check(project.folder, wrong=True)))

    @pytest.mark.parametrize(
        "content",
        [b"", b"\xff\xfe\x00", b"[]", b"3", b"{}", b"null", b'{"recordSet": ', b"9" * 6000, b"[" * 100_000, b'{"a": 1e999}',
         b'{"@context": {}, "recordSet": [{"@id": "copick/runs"}], "distribution": [{"@id": "a\\ud800"}]}'],
    )  # fmt: skip
    def test_rubbish_for_metadata(self, tmp_path, check, content):
        (tmp_path / "metadata.json").write_bytes(content)
        assert errors(check(tmp_path, wrong=True))

    @pytest.mark.parametrize(
        "content",
        [b"", b"\xff\xfe\x00\x01", b"name\n", b"a,a\n1,2\n", b'name,"', b"\0", b"name,portal_run_id,split\nx\n"],
    )
    @pytest.mark.slow
    def test_rubbish_for_a_table(self, published, check, content):
        folder = published / "Croissant"
        (folder / "runs.csv").write_bytes(content)
        assert any(text.startswith("runs.csv: ") for text in errors(check(folder, wrong=True)))
        rehash(folder)
        assert any(text.startswith("runs.csv: ") for text in errors(check(folder, wrong=True)))

    def test_nothing_there(self, tmp_path, check, popsicle):
        assert "no manifest" in errors(check(tmp_path / "nowhere", wrong=True))[0]
        (tmp_path / "metadata.json").mkdir()
        assert "no manifest" in errors(check(tmp_path, wrong=True))[0]
        assert "no folder" in popsicle("manifest", "check", tmp_path, "--data", tmp_path / "x", code=1).stderr


class TestShipped:
    def test_all_are_there(self):
        assert [folder.name for folder in SHIPPED] == ["bacterial", "motorbench", "phantom", "phantom-sim", "yeast"]

    @pytest.mark.slow
    @pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
    def test_they_pass(self, folder, check):
        import mlcroissant

        result = check(folder)
        assert [f.message for f in result.findings if f.level != "note"] == []
        dataset = mlcroissant.Dataset(str(folder / "metadata.json"))
        assert not dataset.metadata.ctx.issues.warnings
        for record_set in dataset.metadata.record_sets:
            list(dataset.records(record_set.uuid))
        assert len(croissant.open_croissant(folder).runs) == result.runs

    @pytest.mark.parametrize("task", ["phantom", "yeast", "bacterial", "motorbench"])
    def test_tasks_are_as_the_command_makes_them(self, popsicle, tmp_path, task):
        date = document(ROOT / "croissant" / task)["datePublished"]
        popsicle("manifest", "build", "--task", task, "--out", tmp_path / task, "--date-published", date)
        assert state(tmp_path / task) == state(ROOT / "croissant" / task)

    def test_a_task_with_public_splits(self, popsicle, tmp_path, check):
        text = (ROOT / "configs" / "tasks" / "phantom.yaml").read_text()
        runs = "portal_runs:\n  10440: [TS_1, TS_2]\n  10445: [TS_2, TS_3]\n"
        (tmp_path / "mine.yaml").write_text(text.replace("splits:\n", runs + "splits:\n", 1))
        popsicle("manifest", "build", "--task", tmp_path / "mine.yaml", "--out", tmp_path / "mine")
        assert [(row["name"], row["split"]) for row in table(tmp_path / "mine" / "runs.csv")] == [
            ("10440-TS_2", "train"),
            ("10445-TS_2", "val"),
            ("TS_1", "train"),
            ("TS_3", "val"),
        ]
        assert check(tmp_path / "mine").findings == []

    @pytest.mark.slow
    def test_the_validator_passes(self):
        """In a process of its own, as its command does: absl's flags are made once per process."""
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(_validate, SHIPPED) == [None] * len(SHIPPED)


def _validate(folder):
    import subprocess
    import sys

    command = Path(sys.executable).with_name("mlcroissant")
    done = subprocess.run(
        [command, "validate", "--jsonld", folder / "metadata.json"], capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(("key", "value"), [("label", 9), ("radius", 1.0), ("name", "renamed")])
def test_objects_that_changed_since_are_named(popsicle, project, key, value):
    popsicle("manifest", "build", "-c", project.config, *LICENSED)
    config = json.loads(project.config.read_text())
    config["pickable_objects"][0][key] = value
    project.config.write_text(json.dumps(config))
    assert "ribosome" in popsicle("manifest", "check", project.folder, code=1).stdout


def test_a_licence_that_nobody_knows_is_refused(popsicle, project):
    assert "CC-BY-4.0" in popsicle("manifest", "build", "-c", project.config, "--license", "CC-BY", code=2).stderr
