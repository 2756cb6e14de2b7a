"""One process at a time. The lock goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

ATTEMPTS = 100  # at a lock file that others remove each time


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True, make: bool = True) -> Iterator[None]:
    """Hold the lock file ``path`` (made if it isn't there, and left there).

    shared: together with others that share. Raises Busy if it is held and ``wait`` is false, OSError if it isn't there
    and ``make`` is false. Whoever holds the lock alone may remove the file: those who wait notice.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    for _ in range(ATTEMPTS):
        file = _opened(path, make)
        if file is None:
            continue
        with file:
            try:
                fcntl.flock(file, kind)
            except BlockingIOError as error:
                raise Busy(str(path)) from error
            if _is_at(file, path):
                yield
                return
    raise Busy(str(path))


def _opened(path: Path, make: bool) -> IO[bytes] | None:
    """The lock file; None where its folder went away meanwhile."""
    if not make:
        return path.open("rb")
    with suppress(FileNotFoundError):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    return None


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether the file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
