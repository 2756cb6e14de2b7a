"""Folders of this process among the temporary files. What killed processes left goes with the next one that makes one."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copick_tools.data.replace import HOST, is_alive

NAME = f"popsicle-{HOST}-"  # then the process, and something random


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder as long as the block lasts."""
    folder = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lasting_folder() -> Path:
    """A folder as long as this process lasts."""
    folder = _made()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _made() -> Path:
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{NAME}*"):
        process = left.name.removeprefix(NAME).partition("-")[0]
        if process.isdecimal() and not is_alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{NAME}{os.getpid()}-", dir=root))
