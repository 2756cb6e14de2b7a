"""The files of a project and of its zarr stores, and their hashes."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from copick_tools.data.hashing import Digest, digest

Progress = Callable[[int, int], None]
_BATCH = 512  # files that wait for a thread


def digests(
    root: Path, paths: Sequence[str], workers: int, progress: Progress
) -> Iterator[tuple[str, Digest | OSError]]:
    """Each path (relative to ``root``) with its digest, or with why it can't be read, in order. Memory stays flat."""
    total = len(paths)
    with ThreadPoolExecutor(workers) as pool:
        remaining = iter(paths)
        done = 0
        while batch := list(itertools.islice(remaining, _BATCH)):
            for path, found in zip(batch, pool.map(lambda path: _try(root / path), batch)):
                yield path, found
                done += 1
                progress(done, total)


def _try(path: Path) -> Digest | OSError:
    try:
        return digest(path)
    except OSError as error:
        return error


def files_of(root: Path, url: str) -> list[str]:
    """The files of a store, or the file itself, relative to ``root`` with /, sorted; none where nothing is there."""
    top = root / url
    if os.path.isfile(top):  # False for whatever can't be a path
        return [url]
    return sorted(
        (Path(folder) / name).relative_to(root).as_posix() for folder, _, names in os.walk(top) for name in names
    )


def tree_hash(store: str, files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of a store from its files' (path relative to the project, sha256).

    Over the lines ``sha256  path`` with paths relative to the store, sorted by path; what
    ``cd STORE && find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`` prints.
    """
    state = hashlib.sha256()
    lines = ((path.removeprefix(store.rstrip("/") + "/"), sha256) for path, sha256 in files)
    for path, sha256 in sorted(lines, key=lambda line: os.fsencode(line[0])):
        state.update(os.fsencode(f"{sha256}  {path}\n"))
    return state.hexdigest()


def store_of(path: str, stores: set[str]) -> str | None:
    """The store that a file (relative to the project) lies in."""
    parts = path.split("/")
    ancestors = ("/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((ancestor for ancestor in ancestors if ancestor in stores), None)
