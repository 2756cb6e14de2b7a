"""Find manifests, and read what they say: the document, its tables, runs, objects, and where the data are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data.hashing import file_hash
from copick_tools.data.lists import Listed
from copick_tools.data.manifests import tables as t
from copick_tools.data.project import local_path
from copick_tools.data.remote.address import is_remote
from copick_tools.errors import FormatError, NotFoundError

METADATA, FOLDER = "metadata.json", "Croissant"
LARGEST = 1 << 30  # bytes of a table; csv's own limit on a cell stays


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


def read_document(path: Path, called: str | None = None) -> dict[str, Any]:
    """The JSON object of a manifest. called: what to call it in a message. Raises FormatError."""
    called = called or str(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{called} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{called} holds no JSON object")
    return document


def file_objects(document: Mapping[str, Any], called: str) -> dict[str, Mapping[str, Any]]:
    """The `cr:FileObject` of each table, by the table's name: runs, picks, … Raises FormatError: it is no Croissant."""
    if "distribution" not in document:
        raise FormatError(f"{called} is no Croissant", "it has no `distribution`")
    entries = document["distribution"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FormatError(f"{called} is no Croissant", "its `distribution` is no list of files")
    files = [entry for entry in entries if entry.get("@type") in ("cr:FileObject", "sc:FileObject")]
    named = ((str(entry.get("contentUrl", "")).rpartition("/")[2], entry) for entry in files)
    return {name.removesuffix(".csv"): entry for name, entry in named if name.endswith(".csv")}


def read_table(path: Path, name: str, document: Mapping[str, Any]) -> list[t.Row]:
    """The rows of a table of a manifest. Raises FormatError."""
    if path.stat().st_size > LARGEST:
        raise FormatError(f"{path.name} has {path.stat().st_size} bytes, more than any table of runs")
    rows = t.from_bytes(path.read_bytes(), path.name)[1]
    return t.unguarded(rows, t.guarded_columns(document).get(f"{name}.csv", ()))


def base_of(document: Mapping[str, Any], place: str) -> str:
    """What the urls of the manifest at ``place`` are relative to: as it says, else the folder that holds its folder."""
    stated = document.get("copick:baseUrl")
    if isinstance(stated, str) and stated:
        told = local_path(stated)
        if told is None:
            return stated
        if told.is_dir() and not is_remote(place):
            return str(told)
    return place.rpartition("/")[0].rpartition("/")[0]  # also where it was moved since


@dataclass(frozen=True)
class Manifest:
    """address: of metadata.json; base: the folder that ``url`` cells are relative to; folder: where its files are now."""

    address: str
    base: str
    folder: Path
    document: Mapping[str, Any]
    tables: Mapping[str, list[t.Row]]

    def rows(self, name: str) -> list[t.Row]:
        """The rows of NAME.csv, none where there is no such table."""
        return self.tables.get(name, [])

    @property
    def mark(self) -> Mapping[str, Any]:
        """What `manifest build` said of it; empty for other manifests."""
        return t.mark_of(self.document)

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


def read_runs(path: Path) -> tuple[Listed, ...]:
    """The runs and splits of a manifest on this machine. Raises NotFoundError, FormatError."""
    document = read_document(path)
    entry = file_objects(document, str(path)).get("runs")
    table = path.parent / t.csv_name(t.RUNS)
    if entry is None or not table.is_file():
        raise NotFoundError(f"{path} has no table {table.name} beside it", "is it a copick Croissant, and whole?")
    if entry.get("sha256") and file_hash(table) != entry["sha256"]:
        raise FormatError(f"{table} isn't what {path.name} states: its sha256 differs", "popsicle manifest check")
    return Manifest(str(path), "", path.parent, document, {"runs": read_table(table, "runs", document)}).listed()
