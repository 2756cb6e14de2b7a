"""Manifests opened by many at once, hashes that anybody can recompute, and what may not stand in a manifest."""

import hashlib
import json
import shutil
import subprocess
import sys
import textwrap

import pytest

from copick_tools.data import croissant
from copick_tools.data.manifests import document, files, leaks
from copick_tools.data.manifests.hashes import is_inside
from copick_tools.data.project import open_project
from copick_tools.errors import FormatError, NotFoundError, UsageError
from copick_tools.recipes.data_results import ManifestBuild


@pytest.fixture
def built(popsicle, project):
    """A project with a manifest."""
    ManifestBuild.model_validate(popsicle.json("manifest", "build", "-c", project.config, "--license", "CC0-1.0"))
    return project


def contents(root):
    """What copick sees: per run its split, picks and tomograms."""
    return {
        run.name: (
            run.split,
            sorted(p.pickable_object_name for p in run.picks),
            [t.tomo_type for vs in run.voxel_spacings for t in vs.tomograms],
        )
        for run in root.runs
    }


class TestHashes:
    def test_the_tree_hash_is_what_the_shell_says(self, project):
        store = next(project.folder.rglob("wbp.zarr"))
        url = store.relative_to(project.folder).as_posix()
        listed = files.files_of(project.folder, url)
        digests = files.digests(project.folder, listed, 2, lambda done, total: None)
        ours = files.tree_hash(url, [(path, digest.sha256) for path, digest in digests])
        script = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
        shell = subprocess.run(["bash", "-c", script], cwd=store, capture_output=True, text=True, check=True)
        assert ours == shell.stdout.split()[0]

    def test_every_file_is_read_and_missing_ones_are_told(self, tmp_path):
        (tmp_path / "a").write_bytes(b"x" * 3_000_000)
        seen = []
        found = dict(files.digests(tmp_path, ["a", "b"], 3, lambda done, total: seen.append((done, total))))
        assert found["a"] == files.Digest(3_000_000, hashlib.sha256(b"x" * 3_000_000).hexdigest())
        assert isinstance(found["b"], FileNotFoundError)
        assert seen == [(1, 2), (2, 2)]

    def test_the_store_of_a_file(self):
        stores = {"R/a.zarr", "R/b.zarr"}
        assert files.store_of("R/a.zarr/0/0/0/0", stores) == "R/a.zarr"
        assert files.store_of("R/a.zarr2/0", stores) is None


class TestTexts:
    @pytest.mark.parametrize(
        "text",
        [
            "/home/jane/data",
            "see file:///data/x",
            "local://project",
            r"C:\Users\jane",
            "D:/data",
            "E:/em/x",
            r"\\server\share",
            "made in /data/run1/ today",
            "~jane/data",
            "/scratch",
            "base=/mnt/x/y",
        ],
    )
    def test_local(self, text):
        assert leaks.local_name(text)

    @pytest.mark.parametrize(
        "text",
        [
            "ExperimentRuns/TS_1/Picks/jane_0_ribosome.json",
            "https://host.org/home/jane/data",
            "s3://bucket/tmp/x",
            "and/or",
            "GO:0005737",
            "10.1101/2024.11.04.621686",
            "3 / 4 of them",
            "C:/N ratio",
            "the C:/N/P of it",
            "popsicle/files",
        ],
    )
    def test_public(self, text):
        assert leaks.local_name(text) is None

    def test_secrets(self, tmp_path):
        assert leaks.local_name(f"made in {tmp_path}", leaks.own_names(tmp_path))
        assert list(leaks.leaks({"a": ["x/y", "/home/me/z"]}, {}, [])) == [
            "metadata.json: a[1] names a local path (/home/me/z)"
        ]

    def test_licenses(self):
        assert document.license_url("CC0-1.0") == document.CC0
        assert document.license_url("Apache-2.0") == "https://spdx.org/licenses/Apache-2.0.html"
        assert document.license_url("https://example.org/terms") == "https://example.org/terms"
        for text in ("", "ask me", "file:///x"):
            with pytest.raises(UsageError):
                document.license_url(text)

    def test_base_urls(self):
        assert document.check_base_url("https://host.org/data/") == "https://host.org/data"
        for url in (
            "http://host.org",
            "/data",
            "file:///data",
            "https://",
            "https://a:b@host.org/x",
            "https://h/x?y=1",
        ):
            with pytest.raises(UsageError):
                document.check_base_url(url)

    def test_rai(self):
        merged = document.merge_rai({"dataBiases": ["a"], "dataCollection": []}, {"rai:dataBiases": ["b", "c"]})
        assert merged == {"dataBiases": ["b", "c"]}
        with pytest.raises(UsageError, match="dataBias") as error:
            document.merge_rai({}, {"dataBias": ["x"]})
        assert "did you mean dataBiases" in error.value.hint
        with pytest.raises(UsageError, match="once"):
            document.merge_rai({}, {"dataCollection": ["x", "y"]})

    def test_rai_keys_are_those_that_mlcroissant_reads(self):
        from mlcroissant._src.core import dataclasses as nodes
        from mlcroissant._src.structure_graph.nodes.metadata import Metadata

        known = {
            str(f.url).rpartition("/")[2]: f.cardinality == "MANY"
            for f in nodes.jsonld_fields(Metadata)
            if "/RAI/" in str(f.url)
        }
        assert document.RAI_KEYS.items() <= known.items()

    @pytest.mark.parametrize("url", ["../x", "a/../../x", "/x", "~/x", "", "a\\..\\..\\x", "a\0b"])
    def test_outside(self, url):
        assert not is_inside(url)


class TestOpen:
    def test_as_copick_does_and_without_a_trace(self, built):
        import copick

        folder = built.folder / "Croissant"
        before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
        ours = croissant.open_croissant(built.folder)
        assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before
        theirs = copick.from_croissant(str(folder / "metadata.json"))
        assert contents(ours) == contents(theirs)
        assert contents(ours)["TS_2"][:2] == ("val", ["apo-ferritin", "ribosome"])
        assert ours.get_run("TS_1").picks[0].points

    def test_a_folder_that_may_not_be_written_to(self, built):
        folder = built.folder / "Croissant"
        folder.chmod(0o555)
        try:
            assert len(croissant.open_croissant(folder / "metadata.json").runs) == 3
        finally:
            folder.chmod(0o755)

    def test_moved(self, built, tmp_path):
        shutil.move(built.folder, tmp_path / "elsewhere")
        root = croissant.open_croissant(tmp_path / "elsewhere")
        assert root.get_run("TS_1").picks[0].points

    def test_a_config_of_type_mlcroissant(self, built, tmp_path):
        config = {
            "config_type": "mlcroissant",
            "croissant_url": str(built.folder / "Croissant" / "metadata.json"),
            "overlay_root": f"local://{tmp_path / 'overlay'}",
            "overlay_fs_args": {"auto_mkdir": True},
            "pickable_objects": [],
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        project = open_project(tmp_path / "config.json")
        assert project.run_names == ["TS_1", "TS_2", "TS_3"]
        assert project.objects["ribosome"].label == 1
        assert project.root.mode == "B"

    def test_copick_writes_through_it(self, built):
        root = croissant.open_croissant(built.folder)
        root.get_run("TS_1").new_picks("ribosome", "1", user_id="me").store()
        assert "me" in (built.folder / "Croissant" / "picks.csv").read_text()
        assert len(croissant.open_croissant(built.folder).get_run("TS_1").picks) == 3

    @pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"copick:config": [1]}', "\0"])
    def test_rubbish(self, text, tmp_path):
        (tmp_path / "metadata.json").write_text(text)
        with pytest.raises(FormatError):
            croissant.open_croissant(tmp_path)

    def test_nothing(self, tmp_path):
        with pytest.raises(NotFoundError, match="no manifest"):
            croissant.open_croissant(tmp_path)


LOAD = """
    import sys
    from pathlib import Path
    from copick_tools.data.croissant import open_croissant
    for _ in range(6):
        root = open_croissant(Path(sys.argv[1]))
        assert len(root.runs) == 3 and len(root.index.picks) == 6 and root.config.name in ("toy", "one", "two"), root
"""
BUILD = """
    import sys
    from copick_tools.data.project import open_project
    from copick_tools.workflows.manifest import Wanted, build
    for _ in range(3):
        project = open_project(sys.argv[1])
        built = build(project, project.run_names, Wanted(name=sys.argv[2], license="CC0-1.0"), overwrite=True)
        assert built.runs == 3
"""


class TestSnapshot:
    """Where there is no lock a builder may begin while we copy."""

    def test_tables_of_two_states_are_copied_again(self, built, monkeypatch):
        (built.sidecar / "manifest.lock").unlink()
        folder, copies = built.folder / "Croissant", []
        old = (folder / "runs.csv").read_bytes()
        real = croissant._copy

        def copy(manifest, place):
            copies.append(place)
            (folder / "runs.csv").write_bytes(b"name,portal_run_id,split\n" if len(copies) < 3 else old)
            if len(copies) == 2:
                (folder / "runs.csv").write_bytes(b"name,portal_run_id,split\nTS_1,,\n")
            return real(manifest, place)

        monkeypatch.setattr(croissant, "_copy", copy)
        assert len(croissant.open_croissant(built.folder).runs) == 3
        assert len(copies) == 3

    def test_tables_that_stay_wrong_are_not_waited_for(self, built, monkeypatch):
        (built.folder / "Croissant" / "runs.csv").write_text("name,portal_run_id,split\nTS_1,,\n")
        copies = []
        real = croissant._copy
        monkeypatch.setattr(croissant, "_copy", lambda *paths: copies.append(paths) or real(*paths))
        with pytest.raises(FormatError, match="Hash"):
            croissant.open_croissant(built.folder)
        assert len(copies) == 2


def test_three_build_outside_of_any_project_at_once(project, tmp_path):
    """The lock comes and goes with them."""
    script = """
        import sys
        from pathlib import Path
        from copick_tools.data.project import open_project
        from copick_tools.workflows.manifest import Wanted, build
        for number in range(2):
            project = open_project(sys.argv[1])
            wanted = Wanted(out=Path(sys.argv[2]), name=f"{sys.argv[3]}-{number}", license="CC0-1.0")
            assert build(project, project.run_names, wanted, overwrite=True).runs == 3
    """
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(script),
                str(project.folder),
                str(tmp_path / "out" / "m"),
                str(name),
            ],
            stderr=subprocess.PIPE,
        )
        for name in range(3)
    ]
    failed = [error.decode() for process in running if (error := process.communicate()[1]) and process.returncode]
    assert failed == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]
    assert not [path for path in (tmp_path / "out" / "m").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_eight_load_while_two_build(built, popsicle):
    def start(script, *arguments):
        code = textwrap.dedent(script)
        return subprocess.Popen([sys.executable, "-c", code, str(built.folder), *arguments], stderr=subprocess.PIPE)

    running = [start(BUILD, "one"), start(BUILD, "two"), *(start(LOAD) for _ in range(8))]
    failed = [error.decode() for process in running if (error := process.communicate()[1]) and process.returncode]
    assert failed == []
    assert popsicle.json("manifest", "check", built.folder)["ok"]
    assert list((built.folder / ".popsicle" / "manifest").iterdir()) == []
    assert not [path for path in (built.folder / "Croissant").iterdir() if path.name.startswith(".")]
