"""Plain files to one table of picks: the same picks as in a project, and nothing is lost or done twice."""

import csv
import os
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from conftest import Popsicle, make_project

from copick_tools.data import read
from copick_tools.data.project import open_project
from copick_tools.data.uris import picks_uri, segmentation_uri, tomogram_uri
from copick_tools.errors import UsageError
from copick_tools.workflows import localize_files as table
from copick_tools.workflows.predict import Model
from copick_tools.workflows.where import Where

RUNS = ("TS_1", "TS_2", "TS_3")


@pytest.fixture(scope="module")
def tomograms(tmp_path_factory, shared_project):
    """One file for each run of the project."""
    folder = tmp_path_factory.mktemp("tomograms")
    for run in RUNS:
        with mrcfile.new(folder / f"{run}.mrc") as mrc:
            mrc.set_data(read.read_tomogram(shared_project, run, tomogram_uri("wbp")).numpy())
            mrc.voxel_size = 10.0
    return folder


class Files:
    """Copies of the files, and the command on them."""

    def __init__(self, folder, tomograms, checkpoint):
        self.folder, self.checkpoint, self.popsicle = folder, checkpoint, Popsicle()
        for run in RUNS:
            shutil.copy2(tomograms / f"{run}.mrc", folder)
        self.out = folder / "picks.csv"
        self.parts = folder / "picks.csv.parts"

    def path(self, run):
        return self.folder / f"{run}.mrc"

    def __call__(self, *options, code=0, runs=RUNS):
        base = ("--out", self.out, "--device", "cpu")
        return self.popsicle("localize", self.checkpoint, *map(self.path, runs), *base, *options, code=code)

    def rows(self, out=None):
        with (out or self.out).open(newline="") as file:
            return list(csv.DictReader(file))

    def runs(self):
        return sorted({row["run_name"] for row in self.rows()})


@pytest.fixture
def files(tmp_path, tomograms, checkpoint):
    return Files(tmp_path, tomograms, checkpoint)


@pytest.fixture
def predicted(monkeypatch):
    """What is predicted, in order; killed at a name in ``deadly``."""
    names, real = Names(), Model.predict

    def predict(self, volume, voxel_spacing, where, **options):
        if where in names.deadly:
            raise RuntimeError("killed")
        names.append(where)
        return real(self, volume, voxel_spacing, where, **options)

    monkeypatch.setattr(Model, "predict", predict)
    return names


class Names(list):
    deadly = ()

    def taken(self):
        """What there is, and begin again."""
        found = list(self)
        self.clear()
        return found


def rounded(rows):
    """run, object, x, y, z, score."""
    return sorted(
        (r["run_name"], r["object"], *(round(float(r[key]), 3) for key in ("x", "y", "z", "score"))) for r in rows
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same tomograms in a project that may be written to."""
    return make_project(tmp_path_factory.mktemp("stored") / "project")


class TestSameAsInAProject:
    @pytest.mark.parametrize(
        ("session", "options"),
        [
            (1, ()),
            (2, ("--method", "peaks", "--threshold", 0.2)),
            (3, ("--border", 55)),
            (4, ("--min-volume", 0.5, "--tta", 2)),
        ],
    )
    def test_picks(self, files, stored, session, options):
        files(*options)
        base = ("-c", stored.config, "-i", "wbp", "-o", f":net/{session}", "--device", "cpu")
        files.popsicle("localize", files.checkpoint, *base, *options)
        expected = []
        for run in RUNS:
            for name, points in read.read_picks(
                open_project(stored.config), run, [picks_uri(f"*:net/{session}")]
            ).items():
                for xyz, score in zip(points.positions, points.scores):
                    expected.append((run, name, *(round(float(value), 3) for value in (*xyz, score))))
        assert expected
        np.testing.assert_allclose(
            [row[2:] for row in rounded(files.rows())], [row[2:] for row in sorted(expected)], atol=0.002
        )
        assert [row[:2] for row in rounded(files.rows())] == [row[:2] for row in sorted(expected)]

    def test_volumes_are_in_the_table(self, files):
        files()
        volumes = [float(row["volume"]) for row in files.rows()]
        assert all(volume >= 1000 and volume % 1000 == 0 for volume in volumes)  # whole voxels of 10 A


class TestFailures:
    def test_a_broken_file_is_recorded_and_the_others_go_on(self, files, predicted):
        whole = files.path("TS_2").read_bytes()
        files.path("TS_2").write_bytes(whole[:5000])
        result = files(code=1)
        assert "run TS_2 failed" in result.stderr
        assert "2 done, 0 skipped, 1 failed" in result.stderr
        assert files.runs() == ["TS_1", "TS_3"]
        assert predicted.taken() == ["TS_1", "TS_3"]
        assert files.parts.exists()
        # mended, only that one is predicted
        files.path("TS_2").write_bytes(whole)
        said = files(code=1).stderr
        assert "is there already" in said
        assert "--overwrite replaces it; files whose picks were kept aren't computed again" in said
        assert predicted.taken() == []
        assert "3 done" in files("--overwrite").stderr
        assert predicted == ["TS_2"]
        assert files.runs() == list(RUNS)
        assert not files.parts.exists()

    def test_a_missing_file(self, files):
        files.path("TS_1").unlink()
        assert "no file" in files(code=1).stderr
        assert files.runs() == ["TS_2", "TS_3"]

    def test_all_bad_no_table(self, files):
        for run in RUNS:
            files.path(run).write_bytes(b"nothing")
        assert "3 failed" in files(code=1).stderr
        assert not files.out.exists()

    def test_one_without_voxel_spacing(self, files):
        with mrcfile.open(files.path("TS_2"), "r+") as mrc:
            mrc.voxel_size = 0
        result = files(code=1)
        assert "TS_2.mrc doesn't state its voxel spacing" in result.stderr
        assert files.runs() == ["TS_1", "TS_3"]


class TestAgain:
    def test_interrupted_it_goes_on(self, files, predicted):
        predicted.deadly = ("TS_3",)
        with pytest.raises(RuntimeError, match="killed"):
            files()
        assert predicted.taken() == ["TS_1", "TS_2"]
        assert not files.out.exists()
        assert len(list(files.parts.iterdir())) == 2
        predicted.deadly = ()
        assert "3 done, 0 skipped" in files().stderr
        assert predicted.taken() == ["TS_3"]
        assert not files.parts.exists()
        first = files.out.read_text()
        files("--overwrite")
        assert predicted == list(RUNS)
        assert files.out.read_text() == first

    @pytest.mark.parametrize(
        ("options", "again"),
        [
            (("--threshold", 0.4), ["TS_1", "TS_2", "TS_3"]),
            (("--border", 50), ["TS_1", "TS_2", "TS_3"]),
            (("--overlap", 0.5), ["TS_1", "TS_2", "TS_3"]),
            (("--voxel-spacing", 10.0), ["TS_1", "TS_2", "TS_3"]),
            (("--invert",), ["TS_1", "TS_2", "TS_3"]),
            ((), ["TS_3"]),
        ],
    )
    def test_other_options_are_predicted_again(self, files, predicted, options, again):
        predicted.deadly = ("TS_3",)
        with pytest.raises(RuntimeError):
            files()
        predicted.deadly = ()
        predicted.clear()
        files(*options)
        assert predicted == again

    def test_a_changed_file_is_predicted_again(self, files, predicted):
        predicted.deadly = ("TS_3",)
        with pytest.raises(RuntimeError):
            files()
        predicted.deadly = ()
        predicted.clear()
        os.utime(files.path("TS_1"), ns=(1, 1))
        files()
        assert predicted == ["TS_1", "TS_3"]

    def test_another_table_has_its_own_parts(self, files, predicted):
        predicted.deadly = ("TS_3",)
        with pytest.raises(RuntimeError):
            files()
        predicted.deadly = ()
        predicted.clear()
        files.out = files.folder / "other.csv"
        files()
        assert predicted == list(RUNS)
        assert files.parts.exists()

    @pytest.mark.slow
    def test_several_devices(self, files):
        """A process each; the table is the same."""
        files()
        first = files.out.read_text()
        base = ("--out", files.folder / "two.csv", "--device", "cpu,cpu")
        files.popsicle("localize", files.checkpoint, *map(files.path, RUNS), *base)
        assert (files.folder / "two.csv").read_text() == first


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (("--exclude", "ribosome:mask/1"), "--exclude goes with a project, not with files"),
            (("--sample", "ribosome:clicks/1"), "--sample goes with a project"),
            (("--instances",), "--instances goes with a project"),
            (("--select", "top-k=1"), "--select goes with a project"),
            (("--one-per-tomogram",), "--one-per-tomogram goes with a project"),
            (("-i", "wbp"), "-i goes with a project"),
            (("-r", "TS_1"), "-r goes with a project"),
            (("--exclude-distance", "10"), "--exclude-distance goes with --exclude"),
            (("--sample-margin", "10"), "--sample-margin goes with --sample"),
            (("--border", "-1"), "--border is -1"),
        ],
    )
    def test_options_of_projects(self, files, options, reason):
        assert reason in files(*options, code=2).stderr
        assert not files.out.exists()

    @pytest.mark.parametrize(
        "where",
        [
            Where(exclude=segmentation_uri("ribosome:mask/1")),
            Where(sample=(picks_uri("ribosome:clicks/1"),)),
            Where(box=12.5),
        ],
    )
    def test_what_is_in_a_project(self, files, where):
        """Also where nobody asks the command, which checks its own options."""
        inputs = table.Files(tuple(map(files.path, RUNS)))
        task = table.FilesTask(files.checkpoint, inputs, files.out, where=where)
        with pytest.raises(UsageError, match="plain files"):
            next(table.localize_files(task, ["cpu"]))
        assert not files.out.exists()

    def test_names_of_tables(self, files):
        files.out = Path("picks.txt")
        assert "name it .star, .csv or .json" in files(code=2).stderr

    def test_two_files_of_one_name(self, files):
        (files.folder / "more").mkdir()
        shutil.copy(files.path("TS_1"), files.folder / "more/TS_1.mrc")
        paths = (files.path("TS_1"), files.folder / "more/TS_1.mrc")
        base = ("--out", files.out, "--device", "cpu")
        result = files.popsicle("localize", files.checkpoint, *paths, *base, code=2)
        assert "two files are named TS_1" in result.stderr
