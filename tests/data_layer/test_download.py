"""The downloader against a server that does all the wrong things a server can do."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from local_portal import LocalPortal

from copick_tools.data.remote import connections, download, part
from copick_tools.data.remote.download import Downloader
from copick_tools.data.remote.listing import RemoteFile
from copick_tools.data.remote.part import Cancelled
from copick_tools.errors import FormatError, NotFoundError, PopsicleError

SIZE = 1_000_003


@pytest.fixture(scope="module")
def content():
    return np.random.default_rng(0).bytes(SIZE)


@pytest.fixture
def portal(tmp_path, monkeypatch):
    for name, value in {"FIRST_PAUSE": 0.01, "LONGEST_PAUSE": 0.02, "LONGEST_WAIT": 0.3}.items():
        monkeypatch.setattr(download, name, value)
    with LocalPortal(tmp_path / "server") as portal:
        yield portal
    assert not portal.errors


@pytest.fixture
def target(tmp_path):
    return tmp_path / "here" / "deep" / "file.bin"


@pytest.fixture
def put(portal):
    """Serve a file; what a listing says of it."""

    def make(content, key="a/file.bin", size=True, etag=True):
        path = portal.path(key)
        path.write_bytes(content)
        tag = f'"{portal.etag(path)}"' if etag else None
        return RemoteFile(portal.https(key), len(content) if size else None, tag, key)

    return make


class Moves(list):
    """Collects progress."""

    def __call__(self, count):
        self.append(count)


def bring(remote, target, workers=4, patience=part.ATTEMPTS):
    """Download, and what every finished download has to fulfil."""
    moves = Moves()
    with Downloader(workers, patience) as downloader:
        done = downloader.get(remote, target, moves)
    assert done.path == target
    assert done.url == remote.url
    assert done.size == target.stat().st_size == sum(moves)
    assert done.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert not part_of(target).exists()
    return done


def part_of(target):
    return target.with_name(target.name + ".part")


def ranges(portal):
    return [request.range for request in portal.requests("file")]


# ---- what goes well
@pytest.mark.parametrize(("size", "etag"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_file_comes_whole(portal, put, content, target, size, etag):
    bring(put(content, size=size, etag=etag), target)
    assert target.read_bytes() == content
    assert len(portal.requests()) == 1


@pytest.mark.parametrize("size", [True, False])
def test_an_empty_file(put, target, size):
    bring(put(b"", size=size), target)
    assert target.read_bytes() == b""


def test_what_is_here_in_the_right_size_is_kept_without_a_request(portal, put, content, target):
    remote = put(content)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x" * SIZE)
    bring(remote, target)
    assert target.read_bytes() == b"x" * SIZE
    assert portal.requests() == []


def test_what_is_here_with_another_hash_is_fetched_again(put, content, target):
    remote = put(content)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x" * SIZE)
    stated = RemoteFile(remote.url, remote.size, sha256=hashlib.sha256(content).hexdigest())
    bring(stated, target)
    assert target.read_bytes() == content


def test_what_is_here_in_another_size_is_fetched_again(put, content, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"older")
    bring(put(content), target)
    assert target.read_bytes() == content


def test_a_file_on_this_machine_is_copied_and_checked(tmp_path, target):
    (tmp_path / "source").write_bytes(b"abc")
    bring(RemoteFile(str(tmp_path / "source"), 3, sha256=hashlib.sha256(b"abc").hexdigest()), target)
    with Downloader(1) as downloader, pytest.raises(FormatError, match="isn't what its manifest states"):
        downloader.get(RemoteFile(str(tmp_path / "source"), 3, sha256="0" * 64), target.with_name("other"))
    assert [path.name for path in target.parent.iterdir()] == [target.name]


# ---- answers that are errors
@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (403, PopsicleError), (400, PopsicleError)])
def test_what_will_not_get_better_is_an_error_at_once(portal, put, content, target, status, error):
    portal.fail(status)
    with Downloader(2) as downloader, pytest.raises(error, match=str(status)):
        downloader.get(put(content), target)
    assert len(portal.requests()) == 1
    assert not target.exists()
    assert not part_of(target).exists()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(portal, put, content, target, status):
    fault = portal.fail(status, times=3)
    bring(put(content), target)
    assert fault.fired == 3
    assert target.read_bytes() == content


def test_the_pause_that_a_server_asks_for_is_kept_but_has_an_end(portal, put, content, target):
    portal.fail(503, retry_after=100, times=1)
    begin = time.monotonic()
    bring(put(content), target)
    assert 0.3 <= time.monotonic() - begin < 3


def test_a_server_that_never_recovers_is_given_up(portal, put, content, target):
    fault = portal.fail(503)
    with Downloader(2) as downloader, pytest.raises(PopsicleError, match="503") as error:
        downloader.get(put(content), target)
    assert fault.fired == part.ATTEMPTS
    assert "again" in error.value.hint
    assert not target.exists()


# ---- bodies
def test_a_truncated_body_goes_on_where_it_ended(portal, put, content, target):
    portal.truncate(600_000, times=1)
    bring(put(content), target)
    assert target.read_bytes() == content
    assert ranges(portal) == [None, "bytes=600000-"]
    assert sum(request.sent for request in portal.requests()) == SIZE


def test_a_server_that_truncates_always_still_gives_it_all(portal, put, content, target):
    portal.truncate(60_000)
    bring(put(content), target)
    assert target.read_bytes() == content
    assert len(portal.requests()) == 17  # many more than the attempts that may fail without progress


def test_a_server_that_truncates_to_nothing_is_given_up(portal, put, content, target):
    fault = portal.truncate(0)
    with Downloader(2) as downloader, pytest.raises(PopsicleError):
        downloader.get(put(content), target)
    assert fault.fired <= part.ATTEMPTS + 1
    assert not target.exists()


def test_a_truncated_body_without_size_and_etag(portal, put, content, target):
    portal.truncate(600_000, times=1)
    bring(put(content, size=False, etag=False), target)
    assert target.read_bytes() == content


def test_a_length_other_than_stated_is_an_error(portal, put, content, target):
    fault = portal.short(5)
    with Downloader(2) as downloader, pytest.raises(PopsicleError, match=f"{SIZE - 5} bytes, {SIZE} were expected"):
        downloader.get(put(content), target)
    assert fault.fired == part.SIZE_ATTEMPTS
    assert not target.exists()


def test_a_length_other_than_stated_once_is_tried_again(portal, put, content, target):
    portal.short(5, times=1)
    bring(put(content), target)
    assert target.read_bytes() == content


def test_a_longer_file_than_stated_is_an_error(put, content, target):
    remote = put(content)
    with Downloader(2) as downloader, pytest.raises(PopsicleError, match="were expected"):
        downloader.get(RemoteFile(remote.url, SIZE - 10), target)
    assert not target.exists()


def test_a_server_that_ignores_range_sends_it_all_again(portal, put, content, target):
    portal.truncate(600_000, times=1)
    portal.ignore_range()
    bring(put(content), target)
    assert target.read_bytes() == content
    assert ranges(portal) == [None, "bytes=600000-"]


def test_reset_connections(portal, put, content, target):
    fault = portal.reset(times=3)
    bring(put(content), target)
    assert fault.fired == 3
    assert target.read_bytes() == content


def test_a_slow_body_comes_whole(portal, put, target):
    portal.slow(rate=20_000)
    bring(put(b"x" * 8_000), target)
    assert target.read_bytes() == b"x" * 8_000


def test_a_body_that_hangs_is_asked_for_again(portal, put, content, target, monkeypatch):
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.2)
    fault = portal.slow(pause=5, times=1)
    bring(put(content), target)
    assert fault.fired == 1
    assert target.read_bytes() == content
    assert ranges(portal)[1] is not None


def test_a_body_that_trickles_is_given_another_connection(portal, put, content, target, monkeypatch):
    monkeypatch.setattr(download, "STALL", 0.3)
    portal.slow(rate=2_000, times=1)
    begin = time.monotonic()
    bring(put(content), target)
    assert time.monotonic() - begin < 3
    assert target.read_bytes() == content


def test_a_hash_other_than_stated_is_an_error(portal, put, content, target):
    remote = put(content)
    with Downloader(2) as downloader, pytest.raises(PopsicleError, match="sha256"):
        downloader.get(RemoteFile(remote.url, SIZE, remote.etag, sha256="0" * 64), target)
    assert len(portal.requests()) == part.SIZE_ATTEMPTS
    assert not target.exists()
    assert not part_of(target).exists()


def test_a_file_that_changes_between_two_parts_is_one_of_both(portal, put, content, target):
    remote = put(content, size=False, etag=False)
    other = bytes(reversed(content))
    portal.truncate(600_000, times=1)
    portal.on_request = lambda request: request.range and portal.path("a/file.bin").write_bytes(other)
    bring(remote, target)
    assert target.read_bytes() == other


# ---- what an earlier process left
def left(target, content):
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(content)


def test_a_part_that_was_left_goes_on(portal, put, content, target):
    left(target, content[:700_000])
    bring(put(content), target)
    assert target.read_bytes() == content
    assert ranges(portal) == ["bytes=700000-"]
    assert portal.requests()[0].sent == SIZE - 700_000


def test_a_part_of_another_file_begins_again(portal, put, content, target):
    left(target, b"x" * 700_000)
    remote = put(content)
    bring(RemoteFile(remote.url, SIZE, '"of-another-one"'), target)
    assert target.read_bytes() == content
    assert sum(request.sent for request in portal.requests()) == SIZE


@pytest.mark.parametrize("length", [SIZE, SIZE + 10])
@pytest.mark.parametrize("size", [True, False])
def test_a_part_that_is_too_long_begins_again(put, content, target, length, size):
    left(target, b"x" * length)
    bring(put(content, size=size), target)
    assert target.read_bytes() == content


def test_a_part_of_an_unknown_file_begins_again(put, content, target):
    left(target, b"x" * 700_000)
    bring(put(content, etag=False), target)
    assert target.read_bytes() == content


# ---- many at once
def test_no_more_at_once_than_workers(portal, put, tmp_path):
    portal.delay = 0.02
    remotes = [put(bytes([number]) * 100, f"many/{number}") for number in range(40)]
    with Downloader(5) as downloader:
        done = downloader.many([(r, tmp_path / "many" / r.path) for r in remotes], Moves())
    assert [d.path.read_bytes() for d in done] == [bytes([number]) * 100 for number in range(40)]
    assert 2 <= portal.max_in_flight <= 5


def test_connections_are_used_again(portal, put, tmp_path):
    remotes = [put(b"abc", f"many/{number}") for number in range(40)]
    seen = set()
    portal.on_request = lambda request: seen.add(threading.get_ident())
    with Downloader(2) as downloader:
        downloader.many([(r, tmp_path / r.path) for r in remotes], Moves())
    assert len(seen) <= 4  # a thread of the server for each connection


def test_progress_sums_to_the_size_whatever_happens(portal, put, tmp_path):
    content = np.random.default_rng(1).bytes(50_000)
    remotes = [put(content, f"many/{number}") for number in range(12)]
    portal.fail(503, path="many/1", times=4)
    portal.truncate(path="many/[2345]$", times=9)
    portal.ignore_range(path="many/[45]$")
    portal.reset(path="many/[67]$", times=3)
    portal.short(path="many/8$", times=1)
    moves = Moves()
    with Downloader(4) as downloader:
        for done in downloader.many([(r, tmp_path / r.path) for r in remotes], moves):
            assert done.sha256 == hashlib.sha256(content).hexdigest()
    assert sum(moves) == 12 * 50_000


@pytest.mark.parametrize("fault", ["slow", "hanging", "failing"])
def test_stop_ends_quickly(portal, put, content, target, fault, monkeypatch):
    started = threading.Event()
    portal.on_request = lambda request: started.set()
    if fault == "slow":
        portal.slow(rate=50_000)
    elif fault == "hanging":
        monkeypatch.setattr(connections, "READ_TIMEOUT", 1.0)
        portal.slow(pause=30)
    else:
        monkeypatch.setattr(download, "LONGEST_WAIT", 60.0)
        portal.fail(503, retry_after=60)
    begin = time.monotonic()
    remote = put(content)
    with Downloader(2) as downloader, ThreadPoolExecutor(1) as aside:
        future = aside.submit(downloader.get, remote, target, Moves())
        assert started.wait(5)
        downloader.stop()
        with pytest.raises(Cancelled):
            future.result()
    assert time.monotonic() - begin < 2
    assert not target.exists()


def test_one_that_fails_ends_the_others(portal, put, content, tmp_path):
    portal.slow(rate=100_000, path="many/[1-9]")
    portal.fail(404, path="many/0$")
    remotes = [put(content, f"many/{number}") for number in range(200)]
    begin = time.monotonic()
    with Downloader(2) as downloader, pytest.raises(NotFoundError):
        downloader.many(((r, tmp_path / r.path) for r in remotes), Moves())
    assert time.monotonic() - begin < 3
    assert len(portal.requests()) <= 20


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://", "http://[::1/x"])
def test_an_address_where_nobody_is(url, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(download, "LONGEST_PAUSE", 0.01)
    with Downloader(1) as downloader, pytest.raises(PopsicleError):
        downloader.get(RemoteFile(url, 3), tmp_path / "x")
