"""Read a copick Croissant from anywhere: its tables, checked against its hashes, and where its data lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copick_tools.data.manifests.reading import (
    FOLDER,
    METADATA,
    Manifest,
    base_of,
    file_objects,
    find_manifest,
    read_document,
    read_table,
)
from copick_tools.data.remote.address import is_remote, resolve
from copick_tools.data.remote.download import Downloader
from copick_tools.data.remote.listing import Bucket, RemoteFile
from copick_tools.errors import NotFoundError


def read_manifest(address: str, room: Path, downloader: Downloader) -> Manifest:
    """Read a manifest and its tables. room: a folder, empty, for copies of them.

    address: a path (metadata.json, or a folder with it), https://, s3:// or hf://datasets/….
    Raises NotFoundError, FormatError (not a Croissant, a table that isn't what the manifest states), PopsicleError.
    """
    reader = _Reader(_metadata(resolve(address)), room, downloader, Bucket())
    try:
        path = reader.bring(reader.place, METADATA)
    except NotFoundError:
        folder = reader.place.removesuffix(f"/{METADATA}")
        if address.endswith(METADATA) or not is_remote(folder):
            raise
        reader = replace(reader, place=f"{folder}/{FOLDER}/{METADATA}")  # a project was given
        path = reader.bring(reader.place, METADATA)
    document = read_document(path, reader.place)
    entries = file_objects(document, reader.place)
    tables = {name: read_table(reader.table(entry, f"{name}.csv"), name, document) for name, entry in entries.items()}
    return Manifest(reader.place, base_of(document, reader.place), room, document, tables)


@dataclass(frozen=True)
class _Reader:
    """place: of metadata.json."""

    place: str
    room: Path
    downloader: Downloader
    bucket: Bucket

    def bring(self, place: str, name: str, sha256: str | None = None) -> Path:
        """A copy of a file of the manifest."""
        url = self.bucket.url(place) if is_remote(place) else place
        return self.downloader.get(RemoteFile(url, sha256=sha256), self.room / name).path

    def table(self, entry: Mapping[str, Any], name: str) -> Path:
        """The table beside the manifest; else where the manifest says: copick's portal exports name places that aren't."""
        folder, sha256 = self.place.rpartition("/")[0], entry.get("sha256") or None
        try:
            return self.bring(f"{folder}/{name}", name, sha256)
        except (NotFoundError, FileNotFoundError) as error:
            stated = str(entry.get("contentUrl"))
            if is_remote(stated) and is_remote(self.place):
                return self.bring(stated, name, sha256)
            raise NotFoundError(f"{self.place} names a table {name} that isn't beside it") from error


def _metadata(place: str) -> str:
    """The metadata.json that is meant: itself, in the folder; here also in the folder's Croissant."""
    if is_remote(place):
        return place if place.endswith(".json") else f"{place.rstrip('/')}/{METADATA}"
    return str(find_manifest(Path(place)))
