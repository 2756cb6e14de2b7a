"""Bring files here whole: many at once, each under a temporary name until it is complete and of the right size."""

from __future__ import annotations

import logging
import math
import os
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import TypeVar

import urllib3

from copick_tools.data.hashing import file_hash
from copick_tools.data.remote.connections import Connections
from copick_tools.data.remote.listing import RemoteFile
from copick_tools.data.remote.part import (
    ATTEMPTS,
    INTERRUPTED,
    Again,
    Cancelled,
    Downloaded,
    Moved,
    Part,
)
from copick_tools.data.replace import persist
from copick_tools.errors import FormatError, NotFoundError, PopsicleError

log = logging.getLogger("copick_tools")
BLOCK = 1 << 18  # bytes
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.25, 10.0, 120.0  # seconds; the last: what a server may ask for
STALL, STALLED_BELOW = 60.0, 1 << 14  # seconds, bytes: slower than that, and another connection is tried
LONG = 5.0  # seconds of waiting that are worth a word
WINDOW = 4  # files that wait for each worker
PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504, 509})
Result = TypeVar("Result")


class Downloader:
    """A bounded number of downloads at once. Use it as a context: leaving gives up what hasn't begun."""

    def __init__(self, workers: int, patience: int = ATTEMPTS) -> None:
        """patience: attempts that fail in a row, until a file is given up."""
        self._patience = patience
        self._stop = threading.Event()
        self._waits = False
        self._window = WINDOW * workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
        self._connections = Connections(workers)

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._connections.close()

    def stop(self) -> None:
        """Give up what hasn't begun, and what has at the next block."""
        self._stop.set()

    def all(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Have a few other things done by the same workers."""
        return self._results(self._pool.submit(work) for work in works)

    def many(self, jobs: Iterable[tuple[RemoteFile, Path]], moved: Moved) -> list[Downloaded]:
        """Bring files to their targets; when one fails the others are given up. Raises what `get` raises."""
        given_up = threading.Event()
        try:
            return self._results(self._pool.submit(self.get, remote, to, moved, given_up) for remote, to in jobs)
        finally:
            given_up.set()

    def _results(self, futures: Iterator[Future[Result]]) -> list[Result]:
        """Results in order. No more than a few times the workers are waiting at any moment, however many there are."""
        window: deque[Future[Result]] = deque()
        done = []
        try:
            for future in futures:
                window.append(future)
                if len(window) >= self._window:
                    done.append(window.popleft().result())
            while window:
                done.append(window.popleft().result())
        except CancelledError as error:
            raise Cancelled(*INTERRUPTED) from error
        finally:
            for future in window:
                future.cancel()
        return done

    def get(
        self,
        remote: RemoteFile,
        target: Path,
        moved: Moved = lambda count: None,
        given_up: threading.Event | None = None,
    ) -> Downloaded:
        """Bring a file to ``target``; what is there in the right size is kept, what has begun goes on.

        Raises NotFoundError (404), FormatError (a size other than stated), PopsicleError (it goes on failing).
        """
        part = Part(target, remote, moved, [self._stop, *([given_up] if given_up else [])])
        part.require_wanted()
        if target.is_file() and (remote.size is None or target.stat().st_size == remote.size):
            here = Downloaded(target, target.stat().st_size, file_hash(target), remote.url)
            if remote.sha256 in (None, here.sha256):
                moved(here.size)
                return here
        target.parent.mkdir(parents=True, exist_ok=True)
        if "://" not in remote.url:
            return _copied(remote, target, moved)
        part.resume()
        failures, furthest = 0, -1
        while True:
            part.require_wanted()
            try:
                self._attempt(part)
                return part.finish()
            except Again as error:
                failures = 0 if part.size > furthest >= 0 else failures + 1
                furthest = max(furthest, part.size)
                if failures >= min(error.patience, self._patience):
                    raise PopsicleError(f"{remote.url}: {error}", "run the same command again later") from error
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(0, failures - 1)) * random.uniform(0.5, 1)
                log.debug("%s: %s; again in %.1f s", remote.url, error, max(pause, error.after))
                if error.after >= LONG and not self._waits:
                    self._waits = True
                    log.info("the server asks to wait for %.0f seconds", error.after)
                part.pause(max(pause, error.after))

    def _attempt(self, part: Part) -> None:
        try:
            response = self._connections.to(part.remote.url).request(
                "GET", part.remote.url, headers=part.headers(), preload_content=False
            )
        except (urllib3.exceptions.LocationParseError, ValueError) as error:
            raise FormatError(f"'{part.remote.url}' is no address") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Again(_reason(error)) from error
        try:
            if response.status == 416:  # what is here is longer than what is there
                part.restart()
                raise Again("the server has no such part")
            _require_success(response, part.remote.url)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise PopsicleError(f"{part.remote.url}: the server sends it compressed, though asked not to")
            part.begin(response)
            self._receive(response, part)
        finally:
            if response.length_remaining == 0:
                response.release_conn()
            else:
                response.close()  # a body half read would be the beginning of the next answer

    def _receive(self, response: urllib3.BaseHTTPResponse, part: Part) -> None:
        since, before = time.monotonic(), part.size
        try:
            with part.open() as file:
                while block := response.read1(BLOCK, decode_content=False):  # what has come, not a full block
                    part.take(file, block)
                    part.require_wanted()
                    if time.monotonic() - since > STALL:
                        if part.size - before < STALLED_BELOW:
                            raise Again("the server sends next to nothing")
                        since, before = time.monotonic(), part.size
                file.flush()
                os.fsync(file.fileno())  # a file has its name only once it survives a power cut
        except urllib3.exceptions.HTTPError as error:
            raise Again(_reason(error)) from error


def _copied(remote: RemoteFile, target: Path, moved: Moved) -> Downloaded:
    """A file of this machine, copied. Raises FormatError: other bytes than stated."""
    part = target.with_name(target.name + ".part")
    try:
        shutil.copyfile(remote.url, part)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{remote.url} isn't there, or is no file") from error
    size, digest = part.stat().st_size, file_hash(part)
    if remote.sha256 not in (None, digest) or remote.size not in (None, size):
        part.unlink()
        raise FormatError(f"{remote.url} isn't what its manifest states: {size} bytes, sha256 {digest[:12]}…")
    persist(part)
    os.replace(part, target)
    moved(size)
    return Downloaded(target, size, digest, remote.url)


def _require_success(response: urllib3.BaseHTTPResponse, url: str) -> None:
    status = response.status
    if status in (200, 206):
        return
    if status in PASSING:
        raise Again(f"the server answers {status}", _pause_asked(response.headers.get("Retry-After", "")))
    if status == 404:
        raise NotFoundError(f"{url} isn't there (404)", "the portal's metadata may be newer or older than its files")
    raise PopsicleError(f"{url}: the server answers {status} {response.reason or ''}".rstrip())


def _pause_asked(wanted: str) -> float:
    """Seconds that a server asks for, as a number or a date; 0 where it doesn't say."""
    try:
        seconds = float(wanted)
    except ValueError:
        date = parsedate_tz(wanted)
        seconds = mktime_tz(date) - time.time() if date else 0.0
    return min(LONGEST_WAIT, max(0.0, seconds)) if math.isfinite(seconds) else 0.0


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
