"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copick_tools.errors import UsageError


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
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
