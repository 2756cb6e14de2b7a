"""Where a manifest is made and how it comes into place: one builder at a time, readers never see half of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copick_tools.data.locking import Busy, locked

METADATA = "metadata.json"
_ALIVE = ".alive"


def lock_path(folder: Path) -> Path:
    """The lock of the manifest in ``folder``: beside it, in the project's own .popsicle."""
    return folder.parent / ".popsicle" / "manifest.lock"


@contextmanager
def reader(folder: Path) -> Iterator[None]:
    """Nobody changes ``folder`` meanwhile. Where nobody has built there is no lock, and nothing is written for it."""
    try:
        file = lock_path(folder).open("rb")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A folder of our own on the file system of ``folder``, gone afterwards; what killed builds left goes as well."""
    parent = lock_path(folder).parent / "manifest"
    with locked(lock_path(folder)):
        parent.mkdir(exist_ok=True)
        for left in parent.iterdir():
            if _abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        own = Path(tempfile.mkdtemp(dir=parent))
        alive = (own / _ALIVE).open("a")
        fcntl.flock(alive, fcntl.LOCK_EX)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        alive.close()


def put(folder: Path, staged: Path, stale: set[str]) -> None:
    """Move the staged files of a manifest into ``folder``, metadata.json last; equal ones stay untouched.

    ``stale``: names of files that go, if nothing new has them. Call it under the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(staged.iterdir(), key=lambda path: (path.name == METADATA, path.name))
    names = {made.name for made in files}
    for made in files:
        path = folder / made.name
        if not path.is_file() or path.read_bytes() != made.read_bytes():
            os.replace(made, path)
    for name in stale - names:
        (folder / name).unlink(missing_ok=True)


def _abandoned(folder: Path) -> bool:
    """Whether the process that made it has ended: its lock is free."""
    try:
        with locked(folder / _ALIVE, wait=False):
            return True
    except (Busy, OSError):
        return False
