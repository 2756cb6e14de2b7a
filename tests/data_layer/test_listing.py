"""What lies in a folder of S3: no more, no less, and nothing of a name that could leave the project."""

import os

import pytest
from local_portal import BUCKET, LocalPortal

from copick_tools.data.remote.address import join, local_files, resolve
from copick_tools.data.remote.listing import Bucket, inside, split_address
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError


@pytest.fixture
def portal(tmp_path, monkeypatch):
    with LocalPortal(tmp_path) as portal:
        for name, value in portal.environment().items():
            monkeypatch.setenv(name, value)
        yield portal
    assert not portal.errors


def put(portal, *keys, content=b"abc"):
    for key in keys:
        portal.path(key).write_bytes(content)


def listed(portal, key):
    return {file.path: file for file in Bucket().folder(portal.s3(key))}


# ---- folders
def test_a_folder_with_sizes_etags_and_addresses(portal):
    put(portal, "a/t.zarr/0/0/0/0", "a/t.zarr/.zattrs")
    files = listed(portal, "a/t.zarr")
    assert set(files) == {"0/0/0/0", ".zattrs"}
    chunk = files["0/0/0/0"]
    assert (chunk.size, chunk.etag) == (3, '"900150983cd24fb0d6963f7d28e17f72"')
    assert chunk.url == f"{portal.url}/{BUCKET}/a/t.zarr/0/0/0/0"


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_siblings_that_share_a_prefix_are_not_listed(portal, end):
    put(portal, "a/t.zarr/0", "a/t.zarr2/0", "a/t.zarr.json", "a/t.zar")
    assert set(listed(portal, "a/t.zarr" + end)) == {"0"}


def test_a_key_that_is_a_file_itself_is_no_folder(portal):
    put(portal, "a/t.zarr")
    with pytest.raises(NotFoundError, match=r"nothing under s3://.*a/t\.zarr"):
        listed(portal, "a/t.zarr")


def test_more_than_a_page(portal):
    put(portal, *(f"a/many.zarr/0/{n // 50}/{n}" for n in range(2345)))
    assert len(listed(portal, "a/many.zarr")) == 2345
    assert len(portal.requests("list")) == 3


def test_an_empty_file_counts(portal):
    put(portal, "a/t.zarr/.zgroup", content=b"")
    assert listed(portal, "a/t.zarr")[".zgroup"].size == 0


def test_characters_that_an_address_has_to_quote(portal):
    put(portal, "a b/täg+1/t.zarr/x@y=1+2")
    (file,) = listed(portal, "a b/täg+1/t.zarr").values()
    assert file.url == f"{portal.url}/{BUCKET}/a%20b/t%C3%A4g%2B1/t.zarr/x%40y%3D1%2B2"


def test_nothing_there_and_no_such_bucket(portal):
    with pytest.raises(NotFoundError, match="nothing under"):
        listed(portal, "a/none.zarr")
    with pytest.raises(PopsicleError, match="can't read"):
        list(Bucket().folder("s3://another-bucket/a"))


@pytest.mark.parametrize("address", ["s3://bad bucket!/x", "s3://b/", "ftp://b/x", "s3:///x"])
def test_what_is_no_address(portal, address):
    with pytest.raises(PopsicleError, match="no address in S3"):
        list(Bucket().folder(address))


def test_a_profile_that_is_not_there(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(PopsicleError, match="nope"):
        Bucket().url("s3://bucket/key")


def test_a_server_that_stumbles_is_asked_again(portal):
    put(portal, "a/t.zarr/0")
    fault = portal.fail(503, kind="list", times=1)
    assert set(listed(portal, "a/t.zarr")) == {"0"}
    assert fault.fired == 1


def page(*keys):
    """A page as a bad server sends it: such names can't be files."""
    rows = "".join(f"<Contents><Key>a/t.zarr/{key}</Key><Size>{size}</Size></Contents>" for key, size in keys)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"


HOSTILE = [
    "../x",
    "..",
    "0/../../x",
    "0/..",
    "./x",
    "0/./x",
    "/etc/passwd",
    "0//x",
    "a\\b",
    "..\\x",
    "C:x",
    "a b",
    "a&#9;b",
    "a&#10;b",
    "a&#127;b",
    "tägä",
    "a\u202eb",
    "a%2e%2e",
    "~x?",
    "a*",
    "...",
    "0/" * 300 + "x",
]


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: ascii(key)[:30])
def test_hostile_keys_are_refused_by_name(portal, monkeypatch, key):
    monkeypatch.setattr(portal, "page", lambda bucket, asked: page(("0/0", 3), (key, 3)))
    with pytest.raises(FormatError, match="has a file of the name") as error:
        listed(portal, "a/t.zarr")
    assert "t.zarr" in error.value.message


def test_folder_markers_are_left_out(portal, monkeypatch):
    monkeypatch.setattr(portal, "page", lambda bucket, asked: page(("", 0), ("0/", 0), ("0/0", 3)))
    assert set(listed(portal, "a/t.zarr")) == {"0/0"}


def test_a_folder_marker_with_content_is_refused(portal, monkeypatch):
    monkeypatch.setattr(portal, "page", lambda bucket, asked: page(("0/", 3), ("0/0", 3)))
    with pytest.raises(FormatError):
        listed(portal, "a/t.zarr")


def test_only_folder_markers_are_nothing(portal, monkeypatch):
    monkeypatch.setattr(portal, "page", lambda bucket, asked: page(("", 0), ("0/", 0)))
    with pytest.raises(NotFoundError):
        listed(portal, "a/t.zarr")


@pytest.mark.parametrize("path", [".zattrs", "0/0/0/0", "0/1.2.3", "c/0", "a-b_c+d=e@f", "x" * 200])
def test_names_of_zarr_stay(path):
    assert inside(path, "x") == path


# ---- addresses
def test_addresses_in_s3():
    assert split_address("s3://bucket/a/b c#1?x") == ("bucket", "a/b c#1?x")
    for wrong in ("s3://bucket", "s3://bucket/", "s3:///a", "https://a/b", "a/b", ""):
        with pytest.raises(FormatError):
            split_address(wrong)


def test_https_addresses_stay_and_s3_becomes_https(portal):
    assert Bucket().url("https://host/a%20b") == "https://host/a%20b"
    assert Bucket().url("s3://bucket/a b") == f"{portal.url}/bucket/a%20b"


def test_addresses_that_mean_places(tmp_path):
    assert resolve(str(tmp_path)) == resolve(f"file://{tmp_path}") == resolve(f"local://{tmp_path}") == str(tmp_path)
    assert resolve("https://host/x") == "https://host/x"
    assert (
        resolve("hf://datasets/biohub/popsicle@main/a/b.json")
        == "https://huggingface.co/datasets/biohub/popsicle/resolve/main/a/b.json"
    )
    for wrong in ("hf://datasets/popsicle", "hf://spaces/a/b/c", "ftp://host/x", "gs://b/x"):
        with pytest.raises(UsageError):
            resolve(wrong)
    with pytest.raises(NotFoundError):
        resolve(str(tmp_path / "none"))


def test_paths_in_a_manifest_stay_in_it():
    assert join("https://host/a", "b c/d") == "https://host/a/b%20c/d"
    assert join("s3://bucket/a/", "b/c") == "s3://bucket/a/b/c"
    assert join("/data", "b/c") == "/data/b/c"
    assert join("/data", "https://host/x") == "https://host/x"
    for wrong in ("../x", "a/../x", "/etc/passwd", "file:///etc/passwd", "local:///x", "a\\b"):
        with pytest.raises(FormatError):
            join("/data", wrong)


def test_local_folders(tmp_path):
    (tmp_path / "t.zarr" / "0").mkdir(parents=True)
    (tmp_path / "t.zarr" / "0" / "0").write_bytes(b"abc")
    ((file),) = local_files(str(tmp_path / "t.zarr"))
    assert (file.path, file.size) == ("0/0", 3)
    (tmp_path / "t.zarr" / "a b").touch()
    with pytest.raises(FormatError):
        list(local_files(str(tmp_path / "t.zarr")))
    for nothing in ("none", "t.zarr/0/0"):
        with pytest.raises(NotFoundError):
            list(local_files(os.fspath(tmp_path / nothing)))
