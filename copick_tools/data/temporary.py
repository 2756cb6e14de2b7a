"""Folders of this process among the temporary files. What killed processes left goes with the next one that makes one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from copick_tools.data.locking import Busy, locked
from copick_tools.data.replace import HOST

NAME = f"popsicle-{HOST}-"  # of this machine: locks of others aren't seen on every file system
LOCK = "lock"  # held as long as the folder is used


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder as long as the block lasts."""
    root = Path(tempfile.gettempdir())
    _clear(root)
    room = Path(tempfile.mkdtemp(prefix=NAME, dir=root))
    with locked(room / LOCK):
        try:
            folder = room / "files"
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(room, ignore_errors=True)


def lasting_folder() -> Path:
    """A folder as long as this process lasts."""
    held = ExitStack()
    atexit.register(held.close)
    return held.enter_context(temporary_folder())


def _clear(root: Path) -> None:
    """Remove the folders that nobody uses."""
    for left in root.glob(f"{NAME}*"):
        with suppress(Busy, OSError), locked(left / LOCK, wait=False, make=False):
            shutil.rmtree(left, ignore_errors=True)
