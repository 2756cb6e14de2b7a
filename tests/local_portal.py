"""A CryoET Data Portal on 127.0.0.1, for tests: what it says of its data, its https files, and its bucket.

* ``POST /graphql`` is executed by graphql-core against the schema in the wheel of ``cryoet_data_portal``; the relations
  between tables are those of the client's own models. The rows are plain dictionaries in ``portal.rows``.
* ``GET|HEAD /files/BUCKET/KEY`` serves ``portal.folder/BUCKET/KEY``, as the portal's https host does.
* ``GET|HEAD /BUCKET[/KEY]`` is the part of S3 that boto3 and s3fs need to read: ListObjectsV2, HeadObject, GetObject.

``portal.delay`` is added to every answer, ``portal.requests()`` tells what was asked, ``portal.fail()`` and its like make
it misbehave. As a process of its own (no shared interpreter lock, can be killed):

    python tests/local_portal.py --scene phantom --runs 3 --delay 0.03 --folder DIR

prints its address as the first line and serves until killed; there ``GET /_log`` tells counts of requests and
``DELETE /_log`` forgets them.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import hashlib
import io
import json
import operator
import os
import re
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "cryoet-data-portal-public"
BLOCK = 1 << 20
Row = dict[str, Any]


# ---- tables: what GraphQL answers from ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Relation:
    """Rows of table ``other`` whose field ``there`` equals this row's field ``here``; ``single``: at most one."""

    other: str
    here: str
    there: str
    single: bool


@functools.cache
def relations() -> dict[str, dict[str, Relation]]:
    """GraphQL type -> field -> relation, as the client's models declare them."""
    from cryoet_data_portal._gql_base import ItemRelationship, Relationship
    from strcase import to_lower_camel

    found = {}
    for model in models():
        found[model._gql_type] = {
            to_lower_camel(name): Relation(
                value.related_class._gql_type,
                to_lower_camel(value.source_field),
                to_lower_camel(value.dest_field),
                isinstance(value, ItemRelationship),
            )
            for name, value in vars(model).items()
            if isinstance(value, Relationship)
        }
    return found


def models() -> list[Any]:
    """The client's model classes."""
    from cryoet_data_portal import _models
    from cryoet_data_portal._gql_base import Model

    kinds = [value for value in vars(_models).values() if isinstance(value, type) and issubclass(value, Model)]
    return [model for model in kinds if model is not Model]


@functools.cache
def graphql_schema() -> Any:
    """The portal's schema with our resolvers; the rows come with each query as its context, a `Tables`."""
    import cryoet_data_portal
    from graphql import build_schema

    text = (Path(cryoet_data_portal.__file__).parent / "data" / "schema.graphql").read_text()
    schema = build_schema(text)
    for model in models():
        add_resolvers(schema.query_type.fields, model._gql_root_field, find_all(model._gql_type), count_all)
        fields = schema.type_map[model._gql_type].fields
        for name, relation in relations()[model._gql_type].items():
            if name in fields:
                add_resolvers(fields, name, follow(relation), follow_count(relation))
    return schema


def add_resolvers(fields: dict[str, Any], name: str, find: Callable, count: Callable) -> None:
    """Resolve a field and, where there is one, the count beside it."""
    fields[name].resolve = find
    if f"{name}Aggregate" in fields:
        fields[f"{name}Aggregate"].resolve = functools.partial(count, find)


def find_all(table: str) -> Callable:
    """Resolver of a root field: all rows of a table that fit."""

    def resolve(_row: Any, info: Any, where: Any = None, orderBy: Any = (), limitOffset: Any = None) -> list[Row]:
        page = limitOffset or {}
        start, limit = page.get("offset") or 0, page.get("limit")
        found = in_order(info.context.find(table, where), orderBy)
        return found[start : None if limit is None else start + limit]

    return resolve


def count_all(find: Callable, row: Any, info: Any, where: Any = None) -> Row:
    """Resolver of a root field's count."""
    return {"aggregate": [{"count": len(find(row, info, where))}]}


def follow(relation: Relation) -> Callable:
    """Resolver of a relation: a row, or a connection to several."""

    def resolve(row: Row, info: Any, where: Any = None, orderBy: Any = (), **_: Any) -> Any:
        found = [
            other for other in info.context.related(row, relation) if info.context.fits(relation.other, other, where)
        ]
        if relation.single:
            return found[0] if found else None
        edges = [{"node": other, "cursor": str(number)} for number, other in enumerate(in_order(found, orderBy))]
        return {"edges": edges, "pageInfo": {"hasNextPage": False, "hasPreviousPage": False}}

    return resolve


def follow_count(relation: Relation) -> Callable:
    """Resolver of the count beside a relation."""

    def resolve(_find: Callable, row: Row, info: Any, where: Any = None) -> Row:
        found = [
            other for other in info.context.related(row, relation) if info.context.fits(relation.other, other, where)
        ]
        return {"aggregate": [{"count": len(found)}]}

    return resolve


def in_order(rows: list[Row], clauses: Any) -> list[Row]:
    """Rows by the scalars of `clauses`, the first counts most; nulls first."""
    for clause in reversed(clauses or []):
        for name, direction in clause.items():
            rows = sorted(
                rows,
                key=lambda row, name=name: (row.get(name) is not None, row.get(name) or 0),
                reverse="desc" in str(direction),
            )
    return rows


@functools.cache
def defaults() -> dict[str, Row]:
    """GraphQL type -> its columns that may not be null, with values for rows that don't say."""
    from graphql import GraphQLEnumType, GraphQLNonNull, GraphQLScalarType

    empty = {"String": "", "Int": 0, "Float": 0.0, "Boolean": False, "DateTime": "2024-01-01T00:00:00", "ID": "0"}
    found: dict[str, Row] = defaultdict(dict)
    for table in relations():
        for name, column in graphql_schema().type_map[table].fields.items():
            inner = column.type.of_type if isinstance(column.type, GraphQLNonNull) else None
            if isinstance(inner, GraphQLScalarType):
                found[table][name] = empty[inner.name]
            elif isinstance(inner, GraphQLEnumType):
                found[table][name] = next(iter(inner.values))
    return found


class Tables:
    """The rows as one query sees them: with an index for each relation it follows."""

    def __init__(self, rows: dict[str, list[Row]]) -> None:
        self.rows = rows
        self.index: dict[tuple[str, str], dict[Any, list[Row]]] = {}

    def related(self, row: Row, relation: Relation) -> list[Row]:
        """The rows at the other end."""
        key = (relation.other, relation.there)
        if key not in self.index:
            self.index[key] = defaultdict(list)
            for other in self.rows.get(relation.other, []):
                self.index[key][other.get(relation.there)].append(other)
        value = row.get(relation.here)
        return [] if value is None else self.index[key].get(value, [])

    def find(self, table: str, where: Any) -> list[Row]:
        """The rows of a table that fit a filter."""
        return [row for row in self.rows.get(table, []) if self.fits(table, row, where)]

    def fits(self, table: str, row: Row, where: Any) -> bool:
        """Whether a row fits; a filter on a relation asks for at least one row at its other end."""
        for name, wanted in (where or {}).items():
            relation = relations()[table].get(name)
            if wanted is None:
                continue
            if relation:
                if not any(self.fits(relation.other, other, wanted) for other in self.related(row, relation)):
                    return False
            elif not all(compare(row.get(name), how, value) for how, value in wanted.items() if value is not None):
                return False
        return True


def pattern(like: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern:
    """SQL's LIKE as a regular expression."""
    return re.compile(re.escape(like).replace("%", ".*").replace("_", "."), flags | re.DOTALL)


COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "_eq": operator.eq,
    "_neq": operator.ne,
    "_gt": operator.gt,
    "_gte": operator.ge,
    "_lt": operator.lt,
    "_lte": operator.le,
    "_in": lambda value, wanted: value in wanted,
    "_nin": lambda value, wanted: value not in wanted,
    "_like": lambda value, wanted: pattern(wanted).fullmatch(value),
    "_nlike": lambda value, wanted: not pattern(wanted).fullmatch(value),
    "_ilike": lambda value, wanted: pattern(wanted, re.IGNORECASE).fullmatch(value),
    "_nilike": lambda value, wanted: not pattern(wanted, re.IGNORECASE).fullmatch(value),
    "_regex": lambda value, wanted: re.search(wanted, value),
    "_iregex": lambda value, wanted: re.search(wanted, value, re.IGNORECASE),
}


def compare(value: Any, how: str, wanted: Any) -> bool:
    """One condition; as in SQL, null fits nothing but `_is_null`."""
    if how == "_is_null":
        return (value is None) is wanted
    test = COMPARE[how]
    return value is not None and bool(test(value, wanted))


# ---- requests and faults --------------------------------------------------------------------------------------------
@dataclass
class Request:
    """One request as it was logged.

    kind: graphql, list (of a bucket), s3 (one object) or file (https). path: BUCKET/KEY, BUCKET/PREFIX of a list, or the
    root field of a query. range: its header as sent. sent: bytes of the body that were answered.
    """

    method: str
    kind: str
    path: str
    range: str | None = None
    query: str = ""
    status: int = 0
    sent: int = 0


@dataclass
class Fault:
    """What goes wrong (`does`) with requests that match, `times` times (None: always) after `skip` that go well."""

    does: dict[str, Any]
    kind: str | None = None
    path: str | None = None
    method: str | None = None
    times: int | None = None
    skip: int = 0
    fired: int = 0

    def fires(self, request: Request) -> bool:
        """Whether it's this request's turn; counts it."""
        if self.kind not in (None, request.kind) or self.method not in (None, request.method):
            return False
        if self.path is not None and not re.search(self.path, request.path):
            return False
        if request.method == "HEAD" and self.method is None and not self.does.keys() & {"status", "reset"}:
            return False  # there's no body to spoil
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        self.fired += 1
        return True


class Faults:
    """The ways in which a portal can be told to misbehave.

    All take `kind`, `path` (a regular expression found in the request's path), `method`, `times` and `skip`; several that
    match the same request add up. Each returns its `Fault`, which counts how often it `fired`.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.lock = threading.Lock()

    def fault(self, does: dict[str, Any], **match: Any) -> Fault:
        """Add any fault."""
        fault = Fault(does, **match)
        with self.lock:
            self.faults.append(fault)
        return fault

    def fail(self, status: int = 503, retry_after: float | None = None, **match: Any) -> Fault:
        """Answer with an error."""
        return self.fault({"status": status, "retry_after": retry_after}, **match)

    def truncate(self, after: int | None = None, **match: Any) -> Fault:
        """Promise the whole body, send `after` bytes (None: half), close the connection."""
        return self.fault({"truncate": True, "after": after}, **match)

    def short(self, missing: int = 1, **match: Any) -> Fault:
        """Promise and send `missing` bytes too few."""
        return self.fault({"short": missing}, **match)

    def slow(self, rate: float | None = None, pause: float = 0.0, **match: Any) -> Fault:
        """Send `rate` bytes a second, or half, then nothing for `pause` seconds, then the rest."""
        return self.fault({"rate": rate, "pause": pause}, **match)

    def reset(self, **match: Any) -> Fault:
        """Reset the connection instead of an answer."""
        return self.fault({"reset": True}, **match)

    def ignore_range(self, **match: Any) -> Fault:
        """Answer 200 with everything to a request for a range."""
        return self.fault({"ignore_range": True}, **match)

    def graphql_error(self, message: str = "internal error", **match: Any) -> Fault:
        """Answer a query with status 200 and errors."""
        return self.fault({"errors": [{"message": message}]}, **{"kind": "graphql", **match})

    def heal(self) -> None:
        """Forget all faults."""
        with self.lock:
            self.faults.clear()

    def due(self, request: Request) -> dict[str, Any]:
        """What goes wrong with a request."""
        with self.lock:
            firing = [fault for fault in self.faults if fault.fires(request)]
        return {name: value for fault in firing for name, value in fault.does.items()}


# ---- the bucket on disk ---------------------------------------------------------------------------------------------
def walk(folder: Path, prefix: str, delimiter: str, marker: str) -> Iterator[tuple[str, os.DirEntry | None]]:
    """Keys after `marker` in their order, each with its file; with a delimiter, folders as (prefix, None)."""
    above, slash, start = prefix.rpartition("/")
    top = folder / above
    if not top.is_dir():
        return
    with os.scandir(top) as entries:
        named = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in entries if entry.name.startswith(start))
    for name, entry in named:
        key = above + slash + name
        if not entry.is_dir():
            if key > marker:
                yield key, entry
        elif marker >= key and not marker.startswith(key):
            continue
        elif not delimiter:
            yield from walk(folder, key, delimiter, marker)
        elif marker != key:
            yield key, None


@functools.lru_cache(maxsize=100_000)
def md5(path: str, _size: int, _changed: int) -> str:
    """MD5 of a file, once for each state of it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and number of bytes that a Range header asks for; None without one that we understand."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        count = min(int(last), size)
        return size - count, count
    return int(first), min(int(last or size), size - 1) - int(first) + 1


# ---- the server -----------------------------------------------------------------------------------------------------
class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    server: Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def setup(self) -> None:
        """Join the open connections, which end with the portal."""
        super().setup()
        self.portal = self.server.portal
        self.portal.connections.add(self.connection)

    def handle_one_request(self) -> None:
        """Begin each request of a connection without what the last one left."""
        self.request_seen, self.faults = Request("", "", ""), {}
        super().handle_one_request()

    def finish(self) -> None:
        """Leave them."""
        self.portal.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        """A query."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path != "/graphql":
            self.send(405)
            return
        asked = json.loads(body)
        field_name = re.search(r"\{\s*(?:\w+\s*:\s*)?(\w+)", asked["query"])
        self.serve(Request("POST", "graphql", field_name[1] if field_name else "", query=asked["query"]), asked)

    def do_GET(self) -> None:
        """A file, an object or a list of objects."""
        url = urlsplit(self.path)
        path, query = unquote(url.path).lstrip("/"), dict(parse_qsl(url.query, keep_blank_values=True))
        if path == "_log":
            self.send(200, json.dumps(self.portal.counts()).encode(), {"Content-Type": "application/json"})
            return
        kind = "file" if path.startswith("files/") else "s3"
        path = path.removeprefix("files/").lstrip("/")
        bucket, _, key = path.partition("/")
        if kind == "s3" and not key:
            kind, path = "list", f"{bucket}/{query.get('prefix', '')}"
        self.serve(Request(self.command, kind, path, self.headers.get("Range"), url.query), query)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        """Forget the log."""
        self.portal.forget()
        self.send(204)

    def serve(self, request: Request, asked: dict[str, Any]) -> None:
        """Log a request, wait, then answer or misbehave."""
        self.request_seen = request
        with self.portal.logged(request):
            self.faults = self.portal.due(request)
            self.portal.wait(self.portal.delay)
            if self.faults.get("reset"):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            elif "status" in self.faults:
                wait = self.faults["retry_after"]
                self.send(self.faults["status"], b"injected", {"Retry-After": f"{wait:g}"} if wait is not None else {})
            else:
                {"graphql": self.answer_query, "list": self.answer_list}.get(request.kind, self.answer_file)(asked)

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Answer from memory."""
        self.stream(status, io.BytesIO(body), len(body), headers or {})

    def stream(self, status: int, file: BinaryIO, count: int, headers: dict[str, str]) -> None:
        """Answer with `count` bytes of a file from where it stands, and with the faults of bodies."""
        faults = self.faults
        count = max(0, count - faults.get("short", 0))
        self.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **headers}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(count))
        self.end_headers()
        self.request_seen.status = status
        if self.command == "HEAD":
            return
        if faults.get("truncate"):
            after = faults["after"]
            count = min(count, count // 2 if after is None else after)
            self.close_connection = True
        for part, pause in pieces(count, faults.get("rate"), faults.get("pause", 0.0)):
            self.portal.wait(pause)
            self.request_seen.sent += part  # before the write, for then the client may already look
            self.wfile.write(file.read(part))

    def answer_query(self, asked: dict[str, Any]) -> None:
        """Execute a GraphQL query."""
        from graphql import graphql_sync

        if "errors" in self.faults:
            found: Any = {"errors": self.faults["errors"]}
        else:
            tables = Tables(self.portal.rows)
            variables = asked.get("variables")
            schema = graphql_schema()
            found = graphql_sync(schema, asked["query"], context_value=tables, variable_values=variables).formatted
        self.send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def answer_file(self, _: dict[str, Any]) -> None:
        """Serve a file or an object, or a range of it."""
        path = self.portal.folder / self.request_seen.path
        if ".." in path.parts or not path.is_file():
            self.error(404, "NoSuchKey")
            return
        size, tag = path.stat().st_size, f'"{self.portal.etag(path)}"'
        headers = {
            "ETag": tag,
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
        }
        if self.headers.get("If-Match", tag) != tag:
            self.error(412, "PreconditionFailed")
            return
        usable = self.headers.get("If-Range", tag) == tag and not self.faults.get("ignore_range")
        asked = byte_range(self.headers.get("Range"), size) if usable else None
        if asked and (asked[0] >= size or asked[1] <= 0):
            self.error(416, "InvalidRange", {"Content-Range": f"bytes */{size}"})
            return
        first, count = asked or (0, size)
        if asked:
            headers["Content-Range"] = f"bytes {first}-{first + count - 1}/{size}"
        with path.open("rb") as file:
            file.seek(first)
            self.stream(206 if asked else 200, file, count, headers)

    def answer_list(self, asked: dict[str, str]) -> None:
        """ListObjectsV2."""
        bucket = self.portal.folder / self.request_seen.path.partition("/")[0]
        if not bucket.is_dir():
            self.error(404, "NoSuchBucket")
        elif asked.get("delimiter", "/") not in ("", "/") or ("list-type" not in asked and self.command == "GET"):
            self.error(501, "NotImplemented")
        else:
            page = self.portal.page(bucket, asked).encode()
            self.send(200, page, {"Content-Type": "application/xml"})

    def error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        """An error as S3 says it."""
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        self.send(status, text.encode(), {"Content-Type": "application/xml", **(headers or {})})


def pieces(count: int, rate: float | None, pause: float) -> Iterator[tuple[int, float]]:
    """Cut a body: bytes of each write and the seconds before it."""
    step = max(1, int(rate * 0.05)) if rate else (max(1, -(-count // 2)) if pause else BLOCK)
    for start in range(0, count, step):
        part = min(step, count - start)
        yield part, part / rate if rate else (pause if start else 0.0)


class Server(ThreadingHTTPServer):
    """The socket and its threads."""

    daemon_threads = True
    request_queue_size = 256
    portal: LocalPortal

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up; anything else is a mistake in here, and said."""
        if not isinstance(sys.exception(), ConnectionError):
            self.portal.errors.append(str(sys.exception()))
            super().handle_error(request, client_address)


def environment(url: str) -> dict[str, str]:
    """Variables with which popsicle, boto3 and s3fs come to a portal at `url`."""
    return {
        "POPSICLE_PORTAL_URL": f"{url}/graphql",
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-west-2",
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
    }


class LocalPortal(Faults):
    """The portal. Fill it with `add` and `path` (or with `portal_scenes`), then ask it.

    folder: where BUCKET/KEY lie. rows: GraphQL type -> its rows, which may be changed at any time. delay: seconds added
    to each answer. etags: BUCKET/KEY -> an ETag other than the MD5. on_request: called with each request before its
    answer, in the thread of its connection.
    """

    def __init__(self, folder: Path | str, delay: float = 0.0, port: int = 0) -> None:
        super().__init__()
        self.folder = Path(folder)
        (self.folder / BUCKET).mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.delay = delay
        self.etags: dict[str, str] = {}
        self.on_request: Callable[[Request], None] | None = None
        self.errors: list[str] = []
        self.connections: set[socket.socket] = set()
        self.stopping = threading.Event()
        self.log: list[Request] = []
        self.in_flight = self.max_in_flight = 0
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.portal = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> LocalPortal:
        defaults()  # reads the schema now, not within the first request
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Serve no more and cut what is still open."""
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()

    def wait(self, seconds: float) -> None:
        """Sleep, unless the portal stops."""
        if seconds > 0 and self.stopping.wait(seconds):
            raise ConnectionAbortedError("the portal stops")

    # what it holds
    def add(self, table: str, **columns: Any) -> Row:
        """Add a row (camelCase columns) to a GraphQL type."""
        unknown = set(columns) - set(graphql_schema().type_map[table].fields)
        if unknown:
            raise KeyError(f"{table} has no {sorted(unknown)}")
        self.rows[table].append({**defaults()[table], **columns})
        return self.rows[table][-1]

    def path(self, key: str) -> Path:
        """The file of a key; its folder is made."""
        path = self.folder / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def s3(self, key: str) -> str:
        """The key's s3 address."""
        return f"s3://{BUCKET}/{key}"

    def https(self, key: str) -> str:
        """The key's https address."""
        return f"{self.url}/files/{BUCKET}/{key}"

    def etag(self, path: Path) -> str:
        """MD5 as hex, as real S3 says of objects that came in one part."""
        state = path.stat()
        special = self.etags.get(path.relative_to(self.folder).as_posix())
        return special or md5(str(path), state.st_size, state.st_mtime_ns)

    def page(self, bucket: Path, asked: dict[str, str]) -> str:
        """One page of ListObjectsV2."""
        encode = quote if asked.get("encoding-type") == "url" else escape
        prefix, token = asked.get("prefix", ""), asked.get("continuation-token", "")
        marker = base64.b64decode(token).decode() if token else asked.get("start-after", "")
        limit = min(int(asked.get("max-keys", 1000)), 1000)
        lines, last, more = [], "", False
        for key, entry in walk(bucket, prefix, asked.get("delimiter", ""), marker):
            more = len(lines) == limit
            if more:
                break
            last = key
            lines.append(self.listed(encode(key), entry))
        head = f"<Name>{bucket.name}</Name><Prefix>{encode(prefix)}</Prefix><KeyCount>{len(lines)}</KeyCount>"
        head += f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more and limit > 0).lower()}</IsTruncated>"
        if encode is quote:
            head += "<EncodingType>url</EncodingType>"
        if more and limit:
            head += f"<NextContinuationToken>{base64.b64encode(last.encode()).decode()}</NextContinuationToken>"
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        start = f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{space}">'
        return f"{start}{head}{''.join(lines)}</ListBucketResult>"

    def listed(self, key: str, entry: os.DirEntry | None) -> str:
        """One key, or one common prefix, of a list."""
        if entry is None:
            return f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"
        state = entry.stat()
        changed = datetime.fromtimestamp(state.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return (
            f"<Contents><Key>{key}</Key><LastModified>{changed}</LastModified><ETag>&quot;{self.etag(Path(entry.path))}"
            f"&quot;</ETag><Size>{state.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    # what was asked of it
    @contextlib.contextmanager
    def logged(self, request: Request) -> Iterator[None]:
        """Log a request and count it among those in flight until it's answered."""
        with self.lock:
            self.log.append(request)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.on_request:
                self.on_request(request)
            yield
        finally:
            with self.lock:
                self.in_flight -= 1

    def requests(self, kind: str | None = None, path: str = "", method: str | None = None) -> list[Request]:
        """Logged requests of a kind whose path holds the regular expression `path`, in the order of their arrival."""
        with self.lock:
            log = list(self.log)
        fits = [r for r in log if kind in (None, r.kind) and method in (None, r.method)]
        return [request for request in fits if re.search(path, request.path)]

    def counts(self) -> dict[str, Any]:
        """Numbers of requests by kind and method, largest number at a time, bytes of bodies."""
        log = self.requests()
        by_kind = Counter(f"{request.kind} {request.method}" for request in log)
        sent = sum(request.sent for request in log)
        return {"requests": dict(by_kind), "total": len(log), "max_in_flight": self.max_in_flight, "sent": sent}

    def forget(self) -> None:
        """Begin the log anew."""
        with self.lock:
            self.log.clear()
            self.max_in_flight = self.in_flight

    # how to reach it
    def environment(self) -> dict[str, str]:
        """Variables with which popsicle, boto3 and s3fs, in any process, come here."""
        return environment(self.url)

    @contextlib.contextmanager
    def portal_client(self) -> Iterator[LocalPortal]:
        """Within it, ``cryoet_data_portal.Client()`` and copick's portal backend in this process come here."""
        import s3fs

        variables = {**self.environment(), "COPICK_PORTAL_CACHE": "0"}
        url = variables["POPSICLE_PORTAL_URL"]
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            with patch.dict(os.environ, variables), patch("cryoet_data_portal._client.DEFAULT_URL", url):
                yield self
        finally:
            s3fs.S3FileSystem.clear_instance_cache()


def main() -> None:
    """Serve a scene until killed."""
    import portal_scenes

    parser = argparse.ArgumentParser(description="A CryoET Data Portal on 127.0.0.1")
    parser.add_argument("--scene", choices=sorted(portal_scenes.SCENES), default="phantom")
    parser.add_argument("--runs", help="runs (of each data set, with commas), for scenes that take it")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds added to each answer")
    parser.add_argument("--folder", help="where its files are made, by default a temporary folder")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that a temporary folder goes
    with contextlib.ExitStack() as stack:
        folder = asked.folder or stack.enter_context(tempfile.TemporaryDirectory())
        portal = LocalPortal(folder, asked.delay, asked.port)
        runs = tuple(int(number) for number in asked.runs.split(",")) if asked.runs else None
        portal_scenes.SCENES[asked.scene](portal, **({"runs": runs} if runs else {}))
        with portal:
            sys.stdout.write(f"{portal.url}\n")
            sys.stdout.flush()
            threading.Event().wait()


if __name__ == "__main__":
    main()
