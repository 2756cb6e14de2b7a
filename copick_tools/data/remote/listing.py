"""What lies in a folder of S3, or behind one address."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from copick_tools.errors import FormatError, NotFoundError, PopsicleError

PART = re.compile(r"[A-Za-z0-9._@+=-]+")  # one step of a path inside a zarr store; dots alone are none


@dataclass(frozen=True)
class RemoteFile:
    """A file elsewhere, or at a path here. size: bytes, None where nobody says; sha256: likewise.

    path: relative to what was listed, with /.
    """

    url: str
    size: int | None = None
    etag: str | None = None
    path: str = ""
    sha256: str | None = None


class Bucket:
    """Public S3, read without credentials; AWS_ENDPOINT_URL_S3 names another server (as everywhere in boto3)."""

    def __init__(self, connections: int = 8) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._made: Any = None

    def url(self, address: str) -> str:
        """The https address of ``s3://bucket/key``; an https address is its own. Raises FormatError, PopsicleError."""
        if address.startswith(("http://", "https://")):
            return address
        bucket, key = split_address(address)
        with _as_ours(address):
            plain: str = self._s3().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "_"})
        return plain.partition("?")[0].removesuffix("_") + quote(key)

    def folder(self, address: str) -> Iterator[RemoteFile]:
        """All files under ``s3://bucket/prefix/``, siblings that only share the beginning of a name left out.

        Raises NotFoundError (nothing there), FormatError (a key that could leave the folder), PopsicleError.
        """
        bucket, key = split_address(address)
        prefix, count = key.rstrip("/") + "/", 0
        base = self.url(f"s3://{bucket}/{prefix}")
        with _as_ours(address):
            for page in self._s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents") or ():
                    path = str(entry["Key"]).removeprefix(prefix)
                    if path == "" or (path.endswith("/") and not entry["Size"]):
                        continue  # a folder that somebody made by hand
                    yield RemoteFile(base + quote(path), int(entry["Size"]), entry.get("ETag"), inside(path, address))
                    count += 1
        if not count:
            raise NotFoundError(f"there is nothing under {address}")

    def _s3(self) -> Any:
        """boto3's client, made once."""
        with self._lock:
            if self._made is None:
                self._made = _client(self._connections)
            return self._made


def _client(connections: int) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        signature_version=UNSIGNED,
        max_pool_connections=connections,
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": 8, "mode": "standard"},
    )
    s3 = boto3.client("s3", config=config)
    host = urlsplit(s3.meta.endpoint_url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return s3
    return boto3.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))  # few have a host a bucket


@contextmanager
def _as_ours(address: str) -> Iterator[None]:
    """What boto3 raises, as an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ParamValidationError as error:
        raise FormatError(f"'{address}' is no address in S3") from error
    except (BotoCoreError, ClientError, ValueError) as error:
        raise PopsicleError(
            f"can't read {address}: {error}", "is there a network? are the AWS settings right?"
        ) from error


def split_address(address: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``. Raises FormatError."""
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise FormatError(f"'{address}' is no address in S3", "expected s3://bucket/key")
    return parts.netloc, address[len(f"s3://{parts.netloc}/") :]


def inside(path: str, of: str) -> str:
    """The path if it stays in its folder on any machine. Raises FormatError."""
    steps = path.split("/")
    if not all(PART.fullmatch(step) and step.strip(".") for step in steps) or len(path) > 512:
        raise FormatError(f"{of} has a file of the name {path!r}", "such a name isn't let into the project")
    return path
