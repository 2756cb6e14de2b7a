"""Open Croissant manifests: find them, read them whole, and give copick a copy of its own.

copick's reader writes a file of a fixed name beside the manifest, so two processes disturb each other and a folder that
may not be written to can't be read. It gets a private copy instead.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copick_tools.data.manifests.places import METADATA, reader
from copick_tools.errors import FormatError, NotFoundError

FOLDER = "Croissant"


def find_manifest(path: Path) -> Path:
    """The metadata.json that is meant by itself, by its folder, by a project's folder or config. Raises NotFoundError."""
    path = path.expanduser().absolute()
    if path.is_file() and path.name != "copick.json":
        return path
    folder = path.parent if path.is_file() else path
    for found in (folder / METADATA, folder / FOLDER / METADATA):
        if found.is_file():
            return found
    raise NotFoundError(f"no manifest at {path}", "give a metadata.json, its folder, or a project that has one")


@contextmanager
def snapshot(manifest: Path) -> Iterator[Path]:
    """A private copy of a manifest: the folder of its metadata.json and tables, all of one state."""
    with tempfile.TemporaryDirectory(prefix="popsicle-") as temporary:
        folder = Path(temporary).resolve() / FOLDER
        folder.mkdir()
        with reader(manifest.parent):
            for path in manifest.parent.glob("*.csv"):
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)
            shutil.copyfile(manifest, folder / METADATA)
        yield folder


def base_of(document: Mapping[str, Any], manifest: Path) -> str:
    """What the urls of a manifest are relative to: as it says, else the folder that holds its folder."""
    base = document.get("copick:baseUrl")
    return base if isinstance(base, str) and base else str(manifest.parent.parent)


def open_croissant(path: Path, config: Mapping[str, Any] | None = None) -> Any:
    """A copick root of a manifest on this machine; any number of processes may open and build it at once.

    config: a copick config of type mlcroissant whose overlay, objects and addresses count.
    Raises NotFoundError, FormatError.
    """
    manifest = find_manifest(path)
    document = read_document(manifest)
    given = dict(config or {})
    base = given.get("croissant_base_url") or base_of(document, manifest)
    with snapshot(manifest) as folder:
        root = load_copy(folder, {**given, "croissant_base_url": base})
    index = root.index  # from here on it is the manifest's own, should copick write
    index.croissant_dir, index._metadata_path = str(manifest.parent), str(manifest)
    index._writable = os.access(manifest.parent, os.W_OK)
    return root


def load_copy(folder: Path, config: Mapping[str, Any]) -> Any:
    """Let copick load the manifest of a private copy. Raises FormatError."""
    from copick.impl.mlcroissant import CopickConfigMLCroissant, CopickRootMLC

    document = {"pickable_objects": [], **config, "croissant_url": str(folder / METADATA)}
    with calm():
        try:
            return CopickRootMLC(CopickConfigMLCroissant(**document))
        except _failures() as error:
            raise FormatError(f"copick can't open the manifest: {reason(error, folder)}") from error


def read_document(manifest: Path) -> dict[str, Any]:
    """The JSON object of a manifest. Raises FormatError."""
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{manifest} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{manifest} holds no JSON object")
    return document


def open_dataset(folder: Path) -> Any:
    """The manifest of a private copy as mlcroissant reads it. Raises FormatError."""
    import mlcroissant

    with calm():
        try:
            return mlcroissant.Dataset(str(folder / METADATA))
        except _failures() as error:
            raise FormatError(f"mlcroissant can't open it: {reason(error, folder)}") from error


def read_records(dataset: Any, record_set: str, folder: Path) -> int:
    """Iterate over all records of a record set as any reader would; their number. Raises FormatError."""
    with calm():
        try:
            return sum(1 for _ in dataset.records(record_set))
        except _failures() as error:
            raise FormatError(f"mlcroissant can't read {record_set}: {reason(error, folder)}") from error


@contextmanager
def calm() -> Iterator[None]:
    """Keep what mlcroissant and its libraries say of themselves from the user; what matters is raised."""
    from absl import logging as absl_logging

    level = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.FATAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="ConjunctiveGraph is deprecated", category=DeprecationWarning)
        try:
            yield
        finally:
            absl_logging.set_verbosity(level)


def _failures() -> tuple[type[Exception], ...]:
    """What mlcroissant, rdflib, networkx, pandas and copick raise on manifests that are wrong somewhere."""
    from mlcroissant._src.core.issues import GenerationError, ValidationError
    from networkx import NetworkXException

    return (
        GenerationError,
        ValidationError,
        NetworkXException,
        ArithmeticError,
        AssertionError,
        AttributeError,
        ImportError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    )


def reason(error: BaseException, folder: Path) -> str:
    """One line that says what went wrong, without the name of our private copy."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    text = " ".join(str(deepest).split()) or type(deepest).__name__
    text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    return text if len(text) <= 300 else text[:297] + "..."
