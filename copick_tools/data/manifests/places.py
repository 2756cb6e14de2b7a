"""Where a manifest is made and how it comes into place: one builder at a time, readers never see half of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from copick_tools.data.locking import Busy, locked
from copick_tools.data.manifests.reading import METADATA

_ALIVE = ".alive"


def lock_path(folder: Path) -> Path:
    """The lock of the manifest in ``folder``: in its project's own .popsicle, else in one of its own that goes afterwards."""
    home = folder.parent if _in_project(folder) else folder
    return home / ".popsicle" / "manifest.lock"


def _in_project(folder: Path) -> bool:
    return (folder.parent / "copick.json").is_file()


@contextmanager
def reader(folder: Path) -> Iterator[None]:
    """No builder changes ``folder`` meanwhile, if one has built there: where there is no lock, none is made."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(locked(lock_path(folder), shared=True, make=False))
        yield


@contextmanager
def writer(folder: Path) -> Iterator[None]:
    """Nobody else reads or changes ``folder`` meanwhile. Outside of a project nothing is left of the lock."""
    path = lock_path(folder)
    with locked(path):
        try:
            yield
        finally:
            if path.parent.parent == folder:
                _tidy(path)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A folder of our own on the file system of ``folder``, gone afterwards; what killed builds left goes as well."""
    parent = _staging_of(lock_path(folder))
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    with writer(folder):
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
        with writer(folder):
            pass
        with suppress(OSError):
            for place in new:  # nothing came into it
                place.rmdir()


def put(folder: Path, staged: Path, stale: set[str]) -> None:
    """Move the staged files of a manifest into ``folder``, metadata.json last; equal ones stay untouched.

    ``stale``: names of files that go, if nothing new has them. Call it as the `writer`.
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


def put_copy(folder: Path, source: Path) -> None:
    """Let ``folder`` hold the manifest that lies in ``source``, wherever that is, and no table besides."""
    with staging(folder) as own:
        staged = Path(shutil.copytree(source, own / "copy"))
        with writer(folder):
            put(folder, staged, {path.name for path in folder.glob("*.csv")})


def _staging_of(lock: Path) -> Path:
    return lock.with_name("manifest")


def _tidy(lock: Path) -> None:
    """Remove a lock that we hold, with its folder, unless somebody stages there. Whoever waits for it makes another."""
    with suppress(OSError):
        if _staging_of(lock).exists():
            _staging_of(lock).rmdir()
        lock.unlink()
        lock.parent.rmdir()


def _abandoned(folder: Path) -> bool:
    """Whether the process that made it has ended: its lock is free."""
    try:
        with locked(folder / _ALIVE, wait=False, make=False):
            return True
    except FileNotFoundError:
        return True  # killed before it had one
    except (Busy, OSError):
        return False
