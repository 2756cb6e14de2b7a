"""Open Croissant manifests: copy them whole, and let copick and mlcroissant read a copy of their own.

copick's reader writes a file of a fixed name beside the manifest, so two processes disturb each other and a folder that
may not be written to can't be read. It gets a private copy instead.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from copick_tools.data.hashing import file_hash
from copick_tools.data.manifests.places import reader
from copick_tools.data.manifests.reading import (
    FOLDER,
    METADATA,
    base_of,
    file_objects,
    find_manifest,
    read_document,
)
from copick_tools.data.temporary import temporary_folder
from copick_tools.errors import FormatError

TRIES, PAUSE = 6, 0.1  # for tables that are of one state; seconds


@contextmanager
def snapshot(manifest: Path) -> Iterator[Path]:
    """A private copy of a manifest: the folder of its metadata.json and tables, all of one state.

    A builder may begin while we copy, for where nobody has built there is no lock to wait for. So the copy is made again
    until its hashes agree, or until two copies are alike: then it is not the copying.
    """
    with temporary_folder() as temporary:
        folder = temporary.resolve() / FOLDER
        before: dict[str, str] = {}
        for attempt in range(TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            copied = _copy(manifest, folder)
            if copied == before or _agrees(folder, copied):
                break
            before = copied
            time.sleep(PAUSE * attempt)
        yield folder


def _copy(manifest: Path, folder: Path) -> dict[str, str]:
    """Copy a manifest into a new folder: name -> hash of its files."""
    folder.mkdir()
    with reader(manifest.parent):
        for path in manifest.parent.glob("*.csv"):
            with suppress(FileNotFoundError):  # it went meanwhile
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)
        shutil.copyfile(manifest, folder / METADATA)
    return {path.name: file_hash(path) for path in folder.iterdir()}


def _agrees(folder: Path, copied: Mapping[str, str]) -> bool:
    """Whether the tables are those that the copied metadata.json states, as far as it states any."""
    try:
        entries = file_objects(read_document(folder / METADATA), METADATA)
    except FormatError:
        return False
    return all(
        copied.get(f"{name}.csv", sha256) == sha256
        for name, entry in entries.items()
        if (sha256 := entry.get("sha256"))
    )


def open_croissant(path: Path, config: Mapping[str, Any] | None = None) -> Any:
    """A copick root of a manifest on this machine; any number of processes may open and build it at once.

    config: a copick config of type mlcroissant whose overlay, objects and addresses count.
    Raises NotFoundError, FormatError.
    """
    manifest = find_manifest(Path(path))
    document = read_document(manifest)
    given = dict(config or {})
    base = given.get("croissant_base_url") or base_of(document, str(manifest))
    with snapshot(manifest) as folder:
        root = load_copy(folder, {**given, "croissant_base_url": base})
    index = root.index  # from here on it is the manifest's own, should copick write
    index.croissant_dir, index._metadata_path = str(manifest.parent), str(manifest)
    index._writable = os.access(manifest.parent, os.W_OK)
    return root


def load_copy(folder: Path, config: Mapping[str, Any]) -> Any:
    """Let copick load the manifest of a private copy. Raises FormatError."""
    from copick.impl.mlcroissant import CopickConfigMLCroissant, CopickRootMLC
    from mlcroissant import GenerationError

    document = {"pickable_objects": [], **config, "croissant_url": str(folder / METADATA)}
    with calm():
        return _asked(
            lambda: CopickRootMLC(CopickConfigMLCroissant(**document)),
            "copick can't open the manifest",
            folder,
            (GenerationError, AttributeError, TypeError, ValueError),
        )


def open_dataset(folder: Path) -> Any:
    """The manifest of a private copy as mlcroissant reads it. Raises FormatError."""
    import mlcroissant

    path = str(folder / METADATA)
    known = (mlcroissant.ValidationError, AssertionError, KeyError, RecursionError, TypeError, ValueError)
    with calm():
        return _asked(lambda: mlcroissant.Dataset(path), "mlcroissant can't open it", folder, known)


def read_records(dataset: Any, record_set: str, folder: Path, see: Callable[[int, Mapping[str, Any]], None]) -> int:
    """Let ``see`` have each record of a record set, and its number from 0, as any reader would; how many there are.

    Raises FormatError.
    """
    from mlcroissant import GenerationError

    failed, known, count = f"mlcroissant can't read {record_set}", (GenerationError, ValueError), 0
    with calm():
        records = iter(dataset.records(record_set))
        while (record := _asked(lambda: next(records, None), failed, folder, known)) is not None:
            see(count, record)
            count += 1
    return count


@contextmanager
def calm() -> Iterator[None]:
    """Keep what mlcroissant and its libraries say of themselves from the user; what matters is raised."""
    from absl import logging as absl_logging

    level = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.FATAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="ConjunctiveGraph is deprecated", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*have mixed types")  # cells are compared one by one
        try:
            yield
        finally:
            absl_logging.set_verbosity(level)


def _asked(call: Callable[[], Any], failed: str, folder: Path, known: tuple[type[Exception], ...]) -> Any:
    """What one call of a foreign library gives. Raises FormatError: ``failed``, and why.

    known: what the call was seen to raise for manifests whose parts were replaced and removed at random.
    """
    try:
        return call()
    except known as error:
        raise FormatError(f"{failed}: {reason(error, folder)}") from error


def reason(error: BaseException, folder: Path) -> str:
    """One line that says what went wrong, without the name of our private copy."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    text = " ".join(str(deepest).split()) or type(deepest).__name__
    text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    return text if len(text) <= 300 else text[:297] + "..."
