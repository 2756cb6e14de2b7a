"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copick_tools.errors import UsageError

HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]
TEMPORARY = re.compile(r"\..+~([A-Za-z0-9]+)-(\d+)-[0-9a-f]{8}(\.[^.]*)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``: it takes the place of ``path`` when the block ends well, and goes when it fails.

    The folder is made if it isn't there, a link is followed. The suffix is kept, for libraries choose the format by it.
    Raises UsageError where ``path`` is a folder, a device, or no name.
    """
    path = path.resolve() if path.is_symlink() else path
    if not path.name or (path.exists() and not path.is_file()):
        raise UsageError(f"'{path}' is no file that can be replaced", "give the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}~{HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        persist(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def persist(path: Path) -> None:
    """See to it that a file's bytes survive a power cut, before anything says that it is there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = TEMPORARY.fullmatch(path.name)
        if found and found[1] == HOST and not is_alive(int(found[2])):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
