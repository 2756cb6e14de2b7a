"""A file on its way: what of it is here, and whether an answer goes on where it ended."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from copick_tools.data.hashing import hash_begun
from copick_tools.data.remote.listing import RemoteFile
from copick_tools.errors import PopsicleError

ATTEMPTS = 8  # without one byte of progress
SIZE_ATTEMPTS = 3  # where the server states another size than the listing or the portal
INTERRUPTED = ("interrupted", "run the same command again: what is here is kept")
Moved = Callable[[int], None]  # told of bytes as they come; negative where they were in vain


class Cancelled(PopsicleError):
    """The download was given up on purpose."""


class Again(Exception):
    """This attempt failed, the next may not. after: seconds that the server asks for; patience: attempts it is worth."""

    def __init__(self, reason: str, after: float = 0.0, patience: int = ATTEMPTS) -> None:
        super().__init__(reason)
        self.after = after
        self.patience = patience


@dataclass(frozen=True)
class Downloaded:
    """A complete file. url: what it came from."""

    path: Path
    size: int
    sha256: str
    url: str


class Part:
    """A file on its way: ``target.part`` and the hash of what it holds."""

    def __init__(self, target: Path, remote: RemoteFile, moved: Moved, ends: list[threading.Event]) -> None:
        """ends: any of them ends the download."""
        self.target, self.remote, self.moved, self.ends = target, remote, moved, ends
        self.path = target.with_name(target.name + ".part")
        self.etag = remote.etag  # of the file that the part is a part of
        self.total = remote.size
        self.size = 0
        self.hash = hashlib.sha256()

    def resume(self) -> None:
        """Go on with what an earlier attempt left, if it is a part of the same file."""
        left = self.path.stat().st_size if self.path.is_file() else 0
        if left and (self.etag or self.remote.sha256) and (self.total is None or left < self.total):
            self.hash, self.size = hash_begun(self.path), left
            self.moved(left)

    def require_wanted(self) -> None:
        """Raise Cancelled once nobody waits for it any more."""
        if any(end.is_set() for end in self.ends):
            raise Cancelled(*INTERRUPTED)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than anybody waits for it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not any(end.is_set() for end in self.ends):
            time.sleep(min(0.05, seconds))

    def headers(self) -> dict[str, str]:
        """Ask for what is missing."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "copick-tools"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.etag:
                headers["If-Range"] = self.etag
        return headers

    def begin(self, response: urllib3.BaseHTTPResponse) -> None:
        """Check that the answer continues what is here; else begin again."""
        etag, length = response.headers.get("ETag"), response.headers.get("Content-Length")
        if response.status == 206:
            span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if span.partition("-")[0] != str(self.size) or (etag and self.etag and etag != self.etag):
                self.restart()
                raise Again("the server answers with another part, or of another file")
            stated = int(total) if total.isdigit() else None
        else:
            self.restart()
            stated = int(length) if length and length.isdigit() else None
        self.etag = etag or self.etag
        if self.remote.size is not None and stated is not None and stated != self.remote.size:
            raise Again(f"{stated} bytes, {self.remote.size} were expected", patience=SIZE_ATTEMPTS)
        self.total = self.remote.size if self.remote.size is not None else stated

    def restart(self) -> None:
        """Forget what is here."""
        self.moved(-self.size)
        self.size, self.hash = 0, hashlib.sha256()
        self.path.unlink(missing_ok=True)

    def open(self) -> Any:
        """The file, to go on writing."""
        return self.path.open("ab")

    def take(self, file: Any, block: bytes) -> None:
        """The next bytes."""
        file.write(block)
        self.hash.update(block)
        self.size += len(block)
        self.moved(len(block))

    def finish(self) -> Downloaded:
        """Give it its name, if it is whole."""
        if self.total is not None and self.size != self.total:
            short = self.size < self.total
            if not short:
                self.restart()
            raise Again(f"{'only ' if short else ''}{self.size} bytes came, {self.total} were expected")
        if self.remote.sha256 not in (None, self.hash.hexdigest()):
            self.restart()
            raise Again("it hasn't the sha256 that its manifest states", patience=SIZE_ATTEMPTS)
        if self.size == 0:
            self.path.touch()
        os.replace(self.path, self.target)
        return Downloaded(self.target, self.size, self.hash.hexdigest(), self.remote.url)
