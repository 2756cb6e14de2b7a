"""Whether the data are those that a manifest lists."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from copick_tools.data.hashing import Digest
from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.files import Progress, digests, files_of, store_of, tree_hash
from copick_tools.data.manifests.structure import urlsplit_scheme
from copick_tools.data.manifests.subject import Subject, error, note
from copick_tools.recipes.data_results import ManifestFinding

log = logging.getLogger("copick_tools")


@dataclass
class Count:
    """What was read and compared, and what wasn't."""

    files: int = 0
    bytes: int = 0
    unread: int = 0


def is_inside(url: str) -> bool:
    """Whether a relative url stays in the folder that it is relative to."""
    plain = url.replace("\\", "/")
    return bool(url) and not plain.startswith(("/", "~")) and ".." not in plain.split("/") and "\0" not in url


def check_urls(subject: Subject) -> Iterator[ManifestFinding]:
    """Every address in the tables stays inside the project, and has a hash."""
    hashed = {
        t.FILES: {row["path"] for row in subject.rows(t.FILES)},
        t.STORES: {r["url"] for r in subject.rows(t.STORES)},
    }
    for names, record_set in ((t.FILED, t.FILES), (t.STORED, t.STORES)):
        for name in names:
            for row in subject.rows(name):
                yield from _check_url(subject, name, row.get("url", ""), hashed[record_set], record_set)
    for row in subject.rows(t.FILES):
        if urlsplit_scheme(row["path"]) or not is_inside(row["path"]):
            yield error("files", t.csv_name(t.FILES), f"{row['path']!r} leaves the project")


def _check_url(subject: Subject, name: str, url: str, hashed: set[str], record_set: str) -> Iterator[ManifestFinding]:
    where = t.csv_name(name)
    scheme = urlsplit_scheme(url)
    if not url:
        yield error("files", where, "a row has no url")
    elif scheme and scheme not in ("s3", "http", "https"):
        yield error("files", where, f"{url}: nobody else can open {scheme} addresses")
    elif not scheme and not is_inside(url):
        yield error("files", where, f"{url!r} leaves the project")
    elif not scheme and record_set in subject.tables and url not in hashed:
        yield error("files", where, f"{url} has no hash in {t.csv_name(record_set)}")


def check_files(subject: Subject, workers: int, progress: Progress, count: Count) -> Iterator[ManifestFinding]:
    """Every file listed is there and is the same; no other file lies in a store that is listed."""
    wanted = {row["path"]: row for row in subject.rows(t.FILES) if is_inside(row["path"])}
    yield from _check_tables(subject, wanted)
    cells = _cells(subject)
    local = [path for path in {**wanted, **cells} if not urlsplit_scheme(path)]
    remote = sum(1 for name in (*t.FILED, *t.STORED) for row in subject.rows(name) if urlsplit_scheme(row["url"]))
    if remote:
        count.unread += remote
        yield note("files", "metadata.json", f"{remote} addresses not checked (remote)")
    if subject.data is None:
        count.unread += len(local)
        if local:
            yield note(
                "files", "metadata.json", f"the data aren't here: {len(local)} files not checked; give --data DIR"
            )
        return
    found: dict[str, Digest] = {}
    for path, read in digests(subject.data, sorted(local), workers, progress):
        if isinstance(read, OSError):
            gone = isinstance(read, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
            yield error("files", path, "the file isn't there" if gone else f"can't be read: {read.strerror}")
            continue
        found[path] = read
        count.files += 1
        count.bytes += read.size
        yield from _compare(path, read, wanted.get(path), cells.get(path))
    yield from _check_stores(subject, subject.data, wanted, found)


def _cells(subject: Subject) -> dict[str, str]:
    """The hash of each pick set and mesh as its own row states it."""
    rows = [row for name in t.FILED for row in subject.rows(name)]
    return {row["url"]: row["sha256"] for row in rows if row["sha256"] and is_inside(row["url"])}


def _compare(path: str, read: Digest, row: t.Row | None, cell: str | None) -> Iterator[ManifestFinding]:
    if row is not None and str(read.size) != row["size"].strip():
        yield error("files", path, f"it has {read.size} bytes, not {row['size'][:20]}")
        return
    stated = row["sha256"] if row is not None else cell
    if stated is not None and read.sha256 != stated.lower():
        yield error("files", path, "its bytes aren't those that were hashed (sha256 differs)")


def _check_tables(subject: Subject, wanted: dict[str, t.Row]) -> Iterator[ManifestFinding]:
    """What the tables say of one another: rows given twice, tree hashes, hashes of pick sets."""
    for record_set, column in ((t.FILES, "path"), (t.STORES, "url")):
        for value, times in Counter(row[column] for row in subject.rows(record_set)).items():
            if times > 1:
                yield error("tables", t.csv_name(record_set), f"{value} is listed {times} times")
    for path, sha256 in _cells(subject).items():
        if path in wanted and wanted[path]["sha256"] != sha256:
            yield error(
                "tables", t.csv_name(t.FILES), f"{path} has another sha256 than in the table of picks or meshes"
            )
    if t.FILES not in subject.tables:
        return
    stores = {row["url"] for row in subject.rows(t.STORES)}
    members: dict[str, list[tuple[str, str]]] = {}
    for path, row in wanted.items():
        if (store := store_of(path, stores)) is not None:
            members.setdefault(store, []).append((path, row["sha256"]))
    for row in subject.rows(t.STORES):
        inside = members.get(row["url"], [])
        if row["files"] != str(len(inside)) or row["tree_sha256"] != tree_hash(row["url"], inside):
            yield error("tables", t.csv_name(t.STORES), f"{row['url']}: {t.csv_name(t.FILES)} lists other files of it")


def _check_stores(
    subject: Subject, data: Path, wanted: dict[str, t.Row], found: dict[str, Digest]
) -> Iterator[ManifestFinding]:
    """Files in listed stores that nobody listed; without a table of files, that the stores are there."""
    for store in t.urls(subject.tables, t.STORED):
        if urlsplit_scheme(store) or not is_inside(store):
            continue
        there = files_of(data, store)
        if not there and not any(path.startswith(store + "/") for path in wanted):
            yield error("files", store, "the store isn't there")
        if t.FILES in subject.tables:
            for path in there:
                if path not in wanted:
                    yield error("files", path, "it isn't listed, but lies in a store that is")
        elif store in {row["url"] for row in subject.rows(t.STORES)}:
            yield from _check_tree(subject, data, store, there)


def _check_tree(subject: Subject, data: Path, store: str, there: list[str]) -> Iterator[ManifestFinding]:
    """A store whose files aren't listed, but whose tree hash is."""
    read = list(digests(data, there, 1, lambda done, total: None))
    known = [(path, digest.sha256) for path, digest in read if isinstance(digest, Digest)]
    stated = next(row["tree_sha256"] for row in subject.rows(t.STORES) if row["url"] == store)
    if len(known) < len(read) or tree_hash(store, known) != stated:
        yield error("files", store, "its files aren't those that were hashed (tree_sha256 differs)")
