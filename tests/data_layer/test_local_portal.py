"""The portal that other tests lean on, asked by the portal's own client, boto3, requests and copick."""

import hashlib
import subprocess
import sys
import threading
import time

import boto3
import cryoet_data_portal as cdp
import local_portal
import numpy as np
import portal_scenes
import pytest
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, ResponseStreamingError
from local_portal import BUCKET, LocalPortal


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A portal with the phantom, and its scene."""
    with LocalPortal(tmp_path_factory.mktemp("phantom")) as portal:
        yield portal, portal_scenes.phantom(portal, (2, 1, 0))
    assert not portal.errors


@pytest.fixture
def portal(tmp_path):
    """An empty one, for files and faults."""
    with LocalPortal(tmp_path) as portal:
        yield portal
    assert not portal.errors


@pytest.fixture(scope="module")
def client(shared):
    return cdp.Client(f"{shared[0].url}/graphql")


@pytest.fixture
def s3(portal, monkeypatch):
    for name, value in portal.environment().items():
        monkeypatch.setenv(name, value)
    return boto3.client("s3", config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}))


@pytest.fixture
def get(portal):
    """GET a key from the https host, on one connection that is kept."""
    with requests.Session() as session:
        session.trust_env = False

        def ask(key, **headers):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return session.get(portal.https(key), headers=named, timeout=10)

        yield ask


def put(portal, key, content=b"0123456789"):
    portal.path(key).write_bytes(content)
    return content


# ---- metadata
def test_the_client_finds_by_nested_filters(client):
    runs = cdp.Run.find(client, [cdp.Run.dataset.deposition_id == 10310, cdp.Run.name._in(["TS_5_4", "TS_100_1"])])
    assert [(run.name, run.dataset_id, run.id) for run in runs] == [
        ("TS_5_4", 10440, 16463),
        ("TS_100_1", 10445, 16465),
    ]
    shape = cdp.AnnotationFile.annotation_shape
    of_ferritin = [shape.annotation.object_id == "GO:0070288", shape.annotation.run.dataset_id == 10445]
    (found,) = cdp.AnnotationFile.find(client, [*of_ferritin, shape.shape_type._in(["Point", "OrientedPoint"])])
    assert found.tomogram_voxel_spacing.voxel_spacing == 4.99


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (lambda t: [t.processing == "denoised"], 3),
        (lambda t: [t.processing != "denoised"], 3),
        (lambda t: [t.processing_software.is_null()], 3),
        (lambda t: [t.processing_software.is_null(False)], 3),
        (lambda t: [t.processing_software.like("Denois_T%")], 3),
        (lambda t: [t.processing_software.like("denois%")], 0),
        (lambda t: [t.processing_software.ilike("denois%")], 3),
        (lambda t: [t.voxel_spacing > 10, t.voxel_spacing <= 10.012], 6),
        (lambda t: [t.run.dataset.id._in([10440])], 4),
        (lambda t: [t.run.annotations.deposition_id == 10301], 2),
    ],
)
def test_conditions(client, filters, count):
    assert len(cdp.Tomogram.find(client, filters(cdp.Tomogram))) == count


def test_counts_order_pages_and_nesting(shared):
    query = """{ runs(where: {datasetId: {_eq: 10440}}, orderBy: [{name: desc}], limitOffset: {limit: 1, offset: 1})
        { name dataset { title } annotations { edges { node { objectName } } } annotationsAggregate { aggregate { count } } }
        runsAggregate { aggregate { count } } }"""
    found = requests.post(f"{shared[0].url}/graphql", json={"query": query}, timeout=10).json()["data"]
    (run,) = found["runs"]
    assert (run["name"], run["dataset"]["title"]) == ("TS_5_4", "phantom 10440")
    assert run["annotationsAggregate"]["aggregate"] == [{"count": len(run["annotations"]["edges"])}] == [{"count": 8}]
    assert found["runsAggregate"]["aggregate"] == [{"count": 3}]


def test_rows_may_change_and_typing_errors_are_errors(portal):
    client = cdp.Client(f"{portal.url}/graphql")
    row = portal_scenes.Scene(portal).dataset(1, 2, "one")
    row["title"] = "another"
    assert cdp.Dataset.get_by_id(client, 1).title == "another"
    with pytest.raises(KeyError, match="titel"):
        portal.add("Dataset", titel="x")
    assert "errors" in requests.post(f"{portal.url}/graphql", json={"query": "{ runs { nam } }"}, timeout=10).json()


# ---- what scenes hold
def test_the_client_downloads_a_store(shared, client, tmp_path):
    portal, scene = shared
    tomogram = cdp.Tomogram.find(client, [cdp.Tomogram.run.name == "TS_5_4"])[0]
    with portal.portal_client():
        tomogram.download_omezarr(str(tmp_path))
    copied = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    served = portal.path(tomogram.s3_omezarr_dir.removeprefix(portal.s3("")))
    assert copied == {
        path.relative_to(served.parent): path.read_bytes() for path in served.rglob("*") if path.is_file()
    }
    assert sum(map(len, copied.values())) == tomogram.file_size_omezarr


def test_copick_reads_what_the_scene_says(shared, tmp_path):
    import copick

    portal, scene = shared
    with portal.portal_client():
        place = {"overlay_root": f"local://{tmp_path}", "overlay_fs_args": {"auto_mkdir": True}}
        root = copick.from_czcdp_datasets([10445], **place, output_path=str(tmp_path / "copick.json"))
        (run,) = root.runs
        tomograms = run.get_voxel_spacing(10.012).tomograms
        assert {t.tomo_type for t in tomograms} == set(scene.task["tomo_types"])
        for tomogram in tomograms:
            assert (tomogram.numpy() == scene.volumes[tomogram.meta.portal_metadata.portal_metadata.id]).all()
        assert len(run.picks) == 6
        for picks in run.picks:
            np.testing.assert_allclose(picks.numpy()[0], scene.angstrom[int(picks.session_id)], rtol=1e-12)


def test_scenes_in_short(portal):
    scene = portal_scenes.bacterial(portal, (1, 1))
    first, second = scene.truth.values()
    assert set(first) - set(second) == {"flagellum"}
    assert sum(mask.astype(int) for mask in first.values()).max() == 1
    assert {mask.dtype for mask in first.values()} == {np.dtype(bool)}


def test_scenes_with_points_of_no_motor(portal):
    scene = portal_scenes.motorbench(portal)
    motors = [truth["flagellar-motor"].shape if truth else None for truth in scene.truth.values()]
    assert motors == [(1, 3), (2, 3), (0, 3), None, (1, 3), (1, 3), (0, 3), None]
    assert len(portal_scenes.yeast(portal, (1, 1)).truth) == 2


# ---- the bucket
def test_lists_come_in_pages_in_order(portal, s3):
    keys = sorted(f"a/b c+&é/{folder}/{number}" for folder in ("0", "0.x", "1") for number in range(4))
    for key in [*keys, "ab/0", "b"]:
        put(portal, key)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="a/", PaginationConfig={"PageSize": 5})
    found = [entry for page in pages for entry in page["Contents"]]
    assert [entry["Key"] for entry in found] == keys
    assert {(entry["Size"], entry["ETag"]) for entry in found} == {(10, f'"{hashlib.md5(b"0123456789").hexdigest()}"')}
    assert len(portal.requests("list", "^" + BUCKET + "/a/$")) == 3
    folders = s3.list_objects_v2(Bucket=BUCKET, Prefix="a/b c+&é/", Delimiter="/", MaxKeys=2)
    assert [entry["Prefix"][-2:] for entry in folders["CommonPrefixes"]] == ["x/", "0/"]  # "." sorts before "/"
    more = s3.list_objects_v2(
        Bucket=BUCKET, Prefix="a/b c+&é/", Delimiter="/", ContinuationToken=folders["NextContinuationToken"]
    )
    assert [entry["Prefix"][-2:] for entry in more["CommonPrefixes"]] == ["1/"]
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="a", StartAfter=keys[-1])["Contents"][0]["Key"] == "ab/0"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="none/")["KeyCount"] == 0
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.list_objects_v2(Bucket="other")


def test_objects(portal, s3):
    content = put(portal, "a/0")
    assert s3.head_object(Bucket=BUCKET, Key="a/0")["ContentLength"] == 10
    part = s3.get_object(Bucket=BUCKET, Key="a/0", Range="bytes=2-4")
    assert (part["Body"].read(), part["ContentRange"]) == (content[2:5], "bytes 2-4/10")
    portal.etags[f"{BUCKET}/a/0"] = "abc-2"
    assert s3.get_object(Bucket=BUCKET, Key="a/0")["ETag"] == '"abc-2"'
    for key in ("a/1", "a"):
        with pytest.raises(ClientError, match="NoSuchKey"):
            s3.get_object(Bucket=BUCKET, Key=key)


# ---- files
@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ("bytes=0-", 206, b"0123456789"),
        ("bytes=7-", 206, b"789"),
        ("bytes=3-3", 206, b"3"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=-2", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_ranges(portal, get, header, status, body):
    put(portal, "a/0")
    answer = get("a/0", Range=header)
    assert answer.status_code == status
    assert body is None or answer.content == body
    assert portal.requests("file")[-1].range == header
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */10"


def test_conditions_on_the_etag(portal, get):
    put(portal, "a/0")
    tag = get("a/0").headers["ETag"]
    assert get("a/0", Range="bytes=5-", If_Range=tag).status_code == 206
    put(portal, "a/0", b"changed it")
    assert get("a/0", Range="bytes=5-", If_Range=tag).content == b"changed it"
    assert get("a/0", If_Match=tag).status_code == 412
    assert get("../../etc/passwd").status_code == 404


# ---- what may go wrong
def test_statuses_are_counted(portal, get):
    put(portal, "a/0")
    fault = portal.fail(429, retry_after=0.5, times=2, skip=1, kind="file", path="a/[0-9]$")
    answers = [get("a/0") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "0.5"
    assert fault.fired == 2
    portal.fail(404)
    portal.heal()
    assert get("a/0").content == b"0123456789"
    assert [(request.status, request.sent) for request in portal.requests("file", "a/0")][-1] == (200, 10)


def test_bodies_that_end_early(portal, get):
    content = put(portal, "a/0", b"x" * 3_000_000)
    portal.truncate(1000, times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="1000 bytes read"):
        get("a/0")
    portal.short(5, times=1)
    assert len(get("a/0").content) == len(content) - 5
    portal.ignore_range(times=1)
    answer = get("a/0", Range="bytes=5-")
    assert (answer.status_code, len(answer.content)) == (200, len(content))
    portal.reset(times=1)
    with pytest.raises(requests.ConnectionError):
        get("a/0")
    assert get("a/0").content == content


def test_a_body_fault_waits_for_a_body(portal, s3):
    put(portal, "a/0")
    portal.truncate(3, times=1)
    portal.on_request = lambda request: portal.fail(404, times=1) if request.path.endswith("a/1") else None
    assert s3.head_object(Bucket=BUCKET, Key="a/0")["ContentLength"] == 10
    with pytest.raises(ResponseStreamingError):
        s3.get_object(Bucket=BUCKET, Key="a/0")["Body"].read()
    put(portal, "a/1")
    with pytest.raises(ClientError, match="404"):
        s3.get_object(Bucket=BUCKET, Key="a/1")


@pytest.mark.parametrize("how", [{"rate": 100}, {"pause": 0.1}])
def test_slow_bodies(portal, get, how):
    put(portal, "a/0")
    portal.slow(**how, times=1)
    start = time.monotonic()
    assert get("a/0").content == b"0123456789"
    assert time.monotonic() - start >= 0.1


def test_a_query_that_fails(portal):
    client = cdp.Client(f"{portal.url}/graphql")
    portal.graphql_error("too much", times=1)
    with pytest.raises(Exception, match="too much"):
        cdp.Run.find(client)
    assert cdp.Run.find(client) == []
    assert [request.path for request in portal.requests("graphql")] == ["runs", "runs"]


def test_delay_and_how_many_at_a_time(portal):
    put(portal, "a/0")
    portal.delay = 0.1
    threads = [threading.Thread(target=requests.get, args=(portal.https("a/0"),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert portal.max_in_flight == 3
    assert portal.counts()["requests"] == {"file GET": 3}
    assert requests.get(f"{portal.url}/_log", timeout=10).json()["total"] == 3
    portal.forget()
    assert not portal.requests()


def test_it_stops_within_a_slow_answer(tmp_path):
    with LocalPortal(tmp_path) as portal:
        put(portal, "a/0")
        portal.slow(pause=60)
        answer = requests.get(portal.https("a/0"), stream=True, timeout=10)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        answer.content  # noqa: B018
    with pytest.raises(requests.ConnectionError):
        requests.get(portal.https("a/0"), timeout=10)


def test_as_a_process_of_its_own(tmp_path):
    command = [
        sys.executable,
        local_portal.__file__,
        "--scene",
        "phantom",
        "--runs",
        "1,0,0",
        "--folder",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        (run,) = cdp.Run.find(cdp.Client(f"{url}/graphql"))
        assert run.s3_prefix == f"s3://{BUCKET}/10440/TS_5_4/"
        assert requests.get(f"{url}/_log", timeout=10).json()["requests"] == {"graphql POST": 1}
        requests.delete(f"{url}/_log", timeout=10)
        assert requests.get(f"{url}/_log", timeout=10).json()["total"] == 0
        process.terminate()
    assert process.returncode == 0
