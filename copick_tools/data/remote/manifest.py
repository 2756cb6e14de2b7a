"""Read a copick Croissant from anywhere: its tables, checked against its hashes, and where its data lie."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data.portal.runs import Listed
from copick_tools.data.remote.address import is_remote, resolve
from copick_tools.data.remote.download import Downloader
from copick_tools.data.remote.listing import Bucket, RemoteFile
from copick_tools.errors import FormatError, NotFoundError, PopsicleError

LARGEST = 1 << 30  # bytes of a table; csv's own limit on a cell stays
Row = Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """address: of metadata.json; base: the folder that ``url`` cells are relative to; folder: where its files are now."""

    address: str
    base: str
    folder: Path
    document: Mapping[str, Any]
    tables: Mapping[str, list[Row]]

    def rows(self, name: str) -> list[Row]:
        """The rows of NAME.csv, none where there is no such table."""
        return self.tables.get(name, [])

    @property
    def objects(self) -> list[Mapping[str, Any]]:
        """copick's pickable objects."""
        config = self.document.get("copick:config")
        found = config.get("pickable_objects") if isinstance(config, dict) else None
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def listed(self) -> tuple[Listed, ...]:
        """The runs and their splits. Raises FormatError: no runs, or a run in two splits."""
        splits: dict[str, Listed] = {}
        for row in self.rows("runs"):
            name, number = row.get("name") or "", row.get("portal_run_id") or ""
            entry = Listed(name, int(number) if number.isdecimal() else None, row.get("split") or None)
            if not name or splits.setdefault(name, entry) != entry:
                raise FormatError(f"{self.address}: run '{name}' is listed twice, or has no name")
        if not splits:
            raise FormatError(f"{self.address} lists no runs", "is it a copick Croissant?")
        return tuple(splits.values())


def read_manifest(address: str, room: Path, downloader: Downloader) -> Manifest:
    """Read a manifest and its tables. room: a folder for copies of those that are elsewhere.

    address: a path (metadata.json, or a folder with it), https://, s3:// or hf://datasets/….
    Raises NotFoundError, FormatError (not a Croissant, a table that isn't what the manifest states), PopsicleError.
    """
    reader = _Reader(_metadata(resolve(address)), room, downloader, Bucket())
    document = _json(reader.bring(reader.place, "metadata.json"), reader.place)
    tables = {}
    for entry in _file_objects(document, reader.place):
        name = str(entry.get("contentUrl", "")).rpartition("/")[2]
        if name.endswith(".csv"):
            tables[name.removesuffix(".csv")] = _table(reader.table(entry, name))
    return Manifest(reader.place, _base(document, reader.place), room, document, tables)


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
    """The metadata.json that is meant: itself, in the folder, in the folder's Croissant."""
    if is_remote(place):
        return place if place.endswith(".json") else place.rstrip("/") + "/metadata.json"
    path = Path(place)
    for candidate in (path, path / "metadata.json", path / "Croissant" / "metadata.json"):
        if candidate.is_file():
            return str(candidate)
    raise NotFoundError(f"there is no metadata.json in {place}")


def _json(path: Path, place: str) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{place} is no JSON: {error}") from error
    if not isinstance(document, dict) or "distribution" not in document:
        raise FormatError(f"{place} is no Croissant", "it has no `distribution`")
    return document


def _file_objects(document: Mapping[str, Any], place: str) -> list[Mapping[str, Any]]:
    entries = document["distribution"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FormatError(f"{place} is no Croissant", "its `distribution` is no list of files")
    return [entry for entry in entries if entry.get("@type") in ("cr:FileObject", "sc:FileObject")]


def _table(path: Path) -> list[Row]:
    if path.stat().st_size > LARGEST:
        raise FormatError(f"{path.name} has {path.stat().st_size} bytes, more than any table of runs")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file, strict=True)
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path.name} is no CSV: {error}") from error


def _base(document: Mapping[str, Any], place: str) -> str:
    """As stated, if that can be; else the folder that the Croissant folder is in."""
    parent = place.rpartition("/")[0].rpartition("/")[0]
    stated = document.get("copick:baseUrl")
    if not isinstance(stated, str) or not stated:
        return parent
    if is_remote(stated):
        return stated
    try:
        return parent if is_remote(place) else resolve(stated)
    except PopsicleError:
        return parent  # it was moved
