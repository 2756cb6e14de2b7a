"""A manifest under examination: a private copy of it, parsed as far as it can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.reading import METADATA, read_document
from copick_tools.errors import FormatError
from copick_tools.recipes.data_results import ManifestFinding

Check = Literal["structure", "tables", "records", "files", "splits", "objects", "leaks", "copick"]


def error(check: Check, where: str, message: str) -> ManifestFinding:
    """Something that is wrong."""
    return ManifestFinding(level="error", check=check, where=_plain(where), message=_plain(message))


def warning(check: Check, where: str, message: str) -> ManifestFinding:
    """Something that should be better."""
    return ManifestFinding(level="warning", check=check, where=_plain(where), message=_plain(message))


def note(check: Check, where: str, message: str) -> ManifestFinding:
    """Something to know."""
    return ManifestFinding(level="note", check=check, where=_plain(where), message=_plain(message))


def _plain(text: str) -> str:
    """Something that every terminal and JSON can hold, whatever the manifest holds."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= 600 else text[:597] + "..."


@dataclass
class Subject:
    """manifest: where it really lies. folder: the private copy. data: the folder of its data, None: not here."""

    manifest: Path
    folder: Path
    document: dict[str, Any]
    data: Path | None = None
    tables: t.Tables = field(default_factory=dict)

    @property
    def mark(self) -> Mapping[str, Any]:
        """What `manifest build` said of it; empty for other manifests."""
        return t.mark_of(self.document)

    def entries(self, key: str) -> list[dict[str, Any]]:
        """The objects of a list in the document, those that are objects with an id."""
        found = self.document.get(key)
        items = found if isinstance(found, list) else [found]
        return [item for item in items if isinstance(item, dict) and isinstance(item.get("@id"), str)]

    def beside(self, entry: dict[str, Any]) -> Path | None:
        """The file of a FileObject in the private copy; None where it doesn't lie beside the manifest."""
        url = entry.get("contentUrl")
        if not isinstance(url, str):
            return None
        try:
            name = PurePosixPath(unquote(urlsplit(url).path)).name
        except ValueError:
            return None
        if not name or len(name.encode("utf-8", "replace")) > 255 or "\0" in name:
            return None
        path = self.folder / name
        return path if path.is_file() else None

    @property
    def remote(self) -> set[str]:
        """The names of files that don't lie beside the manifest, but have an address on the web."""
        found = set()
        for entry in self.entries("distribution"):
            url = entry.get("contentUrl")
            if isinstance(url, str) and url.startswith(("https://", "http://")) and self.beside(entry) is None:
                found.add(url.rpartition("/")[2])
        return found

    def rows(self, record_set: str) -> list[t.Row]:
        """The rows of a table; none where it is absent or damaged."""
        return self.tables.get(record_set, [])


def parse(manifest: Path, folder: Path) -> Subject:
    """The document of the private copy. Raises FormatError."""
    return Subject(manifest, folder, read_document(folder / METADATA, "it"))


def read_tables(subject: Subject) -> Iterator[ManifestFinding]:
    """Fill in the tables; what can't be read is found."""
    listed, remote = {entry["@id"] for entry in subject.entries("recordSet")}, subject.remote
    guards = t.guarded_columns(subject.document)
    for name in t.known():
        path = subject.folder / t.csv_name(name)
        if name not in listed or path.name in remote:
            continue
        if not path.is_file():
            yield error("tables", t.csv_name(name), "the file isn't there")
            continue
        try:
            header, rows = t.from_bytes(path.read_bytes(), path.name)
        except FormatError as problem:
            yield error("tables", path.name, problem.message)
            continue
        missing = [column for column in t.columns(name) if column not in header]
        if missing:
            yield error("tables", path.name, f"it lacks the columns {', '.join(missing)}")
        else:
            subject.tables[name] = t.unguarded(rows, guards.get(path.name, ()))
