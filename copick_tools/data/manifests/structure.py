"""What a manifest has to say, and whether its own files are what it says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from copick_tools.data.hashing import file_hash
from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.retyping import SHOWN
from copick_tools.data.manifests.subject import Subject, error, note, warning
from copick_tools.errors import FormatError
from copick_tools.recipes.data_results import ManifestFinding

REQUIRED = ("@context", "@type", "name", "description", "conformsTo", "distribution", "recordSet")
WANTED = {
    "license": "no licence is stated",
    "citeAs": "no citation is stated",
    "datePublished": "no date of publication is stated",
    "version": "no version is stated",
}


def check_structure(subject: Subject) -> Iterator[ManifestFinding]:
    """Fields, addresses and hashes of the tables."""
    document = subject.document
    for key in REQUIRED:
        if not document.get(key):
            yield error("structure", "metadata.json", f"{key} is missing")
    for key, message in WANTED.items():
        if not document.get(key):
            yield warning("structure", "metadata.json", message)
    if not any(key.startswith("rai:") for key in document):
        yield warning("structure", "metadata.json", "no RAI fields say how the data were collected and annotated")
    for key in ("distribution", "recordSet"):
        found = document.get(key)
        if found and (not isinstance(found, list) or len(subject.entries(key)) != len(found)):
            yield error("structure", "metadata.json", f"{key} isn't a list of objects that have an @id")
    if remote := remote_context(document):
        yield error("structure", "metadata.json", f"its @context refers to {remote}, which may change")
    for name, what in ((t.FILES, "files aren't"), (t.STORES, "zarr stores aren't")):
        if subject.mark.get("data") != "none" and name not in {e["@id"] for e in subject.entries("recordSet")}:
            yield warning("structure", "metadata.json", f"{what} hashed: there is no record set {name}")


def check_distribution(subject: Subject) -> Iterator[ManifestFinding]:
    """Every FileObject: an address that others can use, and the bytes that were hashed."""
    for entry in subject.entries("distribution"):
        if entry.get("@type") not in ("cr:FileObject", "FileObject", "sc:FileObject"):
            continue
        where = str(entry.get("contentUrl") or entry["@id"])
        yield from _check_address(where, entry.get("contentUrl"))
        path = subject.beside(entry)
        if path is None:
            if where.rpartition("/")[2] in subject.remote:
                yield note("tables", where, "not checked (remote)")
            else:
                yield error("tables", where, "the file isn't there")
            continue
        stated = entry.get("sha256")
        if not isinstance(stated, str) or not stated:
            yield error("tables", path.name, "it has no sha256")
        elif file_hash(path) != stated.lower():
            yield error("tables", path.name, "its bytes aren't those that were hashed (sha256 differs)")


def _check_address(where: str, address: Any) -> Iterator[ManifestFinding]:
    if not isinstance(address, str) or not address:
        yield error("structure", where, "contentUrl is missing")
        return
    scheme = urlsplit_scheme(address)
    if scheme in ("https", "http"):
        return
    if scheme:
        yield error("structure", where, f"readers can't open {scheme} addresses: use a relative name or https")
    elif address.startswith("/") or ".." in address.split("/"):
        yield error("structure", where, "the address leaves the manifest's folder: use a relative name or https")


def urlsplit_scheme(address: str) -> str:
    """The scheme of an address; `?` where it has none that makes sense."""
    try:
        return urlsplit(address).scheme
    except ValueError:
        return "?"


def remote_context(value: Any, outer: bool = True) -> str | None:
    """The address that a reader would have to fetch to understand the document; None where there is none."""
    if isinstance(value, list):
        return next((found for item in value if (found := remote_context(item, outer=False))), None)
    if not isinstance(value, dict):
        return None
    for context in value["@context"] if isinstance(value.get("@context"), list) else [value.get("@context")]:
        if isinstance(context, str):
            return context
        if isinstance(context, dict) and "@import" in context:
            return str(context["@import"])
    return next((found for key, item in value.items() if (found := remote_context(item, outer=False))), None)


def check_records(subject: Subject) -> Iterator[ManifestFinding]:
    """Every record set, read by plain mlcroissant; tables that lie beside the manifest are read there, whatever their address."""
    from copick_tools.data.croissant import open_dataset, read_records

    if remote_context(subject.document):
        yield note("records", "metadata.json", "not read: its @context is elsewhere")
        return
    local = _point_beside(subject)
    try:
        dataset = open_dataset(subject.folder)
    except FormatError as problem:
        yield error("records", "metadata.json", problem.message)
        return
    for text in sorted(dataset.metadata.ctx.issues.warnings):
        if "is recommended, but does not exist" not in text:  # check_structure said so
            yield warning("records", "metadata.json", text)
    for entry in subject.entries("recordSet"):
        name = entry["@id"]
        if not _sources(entry, subject) <= local:
            yield note("records", name, "not read (its file isn't here)")
            continue
        comparison = _Comparison(entry, subject.tables.get(name, []))
        try:
            count = read_records(dataset, name, subject.folder, comparison.see)
        except FormatError as problem:
            yield error("records", name, problem.message)
            continue
        if name in subject.tables and count != len(subject.tables[name]):
            yield error("records", name, f"mlcroissant reads {count} records of {len(subject.tables[name])}")
        else:
            yield from comparison.findings(name)


class _Comparison:
    """Compares records with the cells that they were read from."""

    def __init__(self, entry: dict[str, Any], rows: list[t.Row]) -> None:
        self.rows, self.different = rows, 0
        self.first: list[str] = []
        self.columns = [(str(field.get("@id")), column) for field in _fields(entry) if (column := _plain_column(field))]

    def see(self, number: int, record: Mapping[str, Any]) -> None:
        """The record of a row."""
        row = self.rows[number] if number < len(self.rows) else {}
        for field, column in self.columns:
            if column in row and field in record and not _is_same(record[field], row[column]):
                self.different += 1
                if len(self.first) < SHOWN:
                    read = record[field]
                    text = read.decode("utf-8", "replace") if isinstance(read, bytes) else read
                    self.first.append(f"line {number + 2}, {column}: '{row[column]}' is read as {text!r}")

    def findings(self, name: str) -> Iterator[ManifestFinding]:
        """The first cells that are read as something else, and how many others."""
        for told in self.first:
            yield error("records", t.csv_name(name), f"{told} by mlcroissant, which takes such text for something else")
        if self.different > len(self.first):
            yield error("records", t.csv_name(name), f"so are {self.different - len(self.first)} other cells")


def _plain_column(field: dict[str, Any]) -> str | None:
    """The column that a field takes its values from as they stand, guards apart; None for another field."""
    source = field.get("source")
    if not isinstance(source, dict) or source.get("transform") not in (None, {"regex": t.GUARDED}):
        return None
    extract = source.get("extract")
    column = extract.get("column") if isinstance(extract, dict) else None
    return column if isinstance(column, str) and not field.get("repeated") else None


def _is_same(read: Any, cell: str) -> bool:
    """Whether a value is what stands in the cell; numbers that aren't integers are left to the reader."""
    if read is None:
        return cell == ""
    if isinstance(read, bytes):
        return read == cell.encode("utf-8")
    if isinstance(read, str):
        return read == cell
    if isinstance(read, bool):
        return cell.strip().casefold() == str(read).casefold()
    if isinstance(read, int):
        return not cell.isdecimal() or int(cell) == read
    return cell != ""


def _point_beside(subject: Subject) -> set[str]:
    """Let the private copy name the files beside it; the ids of those."""
    document, local = copy.deepcopy(subject.document), set()
    changed = False
    for entry in Subject(subject.manifest, subject.folder, document).entries("distribution"):
        path = subject.beside(entry)
        if path is not None and "containedIn" not in entry:
            local.add(entry["@id"])
            changed |= entry["contentUrl"] != path.name
            entry["contentUrl"] = path.name
    if changed:
        (subject.folder / "metadata.json").write_text(json.dumps(document), encoding="utf-8")
    return local


def _sources(record_set: dict[str, Any], subject: Subject) -> set[str]:
    """The ids of all files that a record set is read from, those of record sets that it refers to included."""
    by_field = {
        field["@id"]: entry
        for entry in subject.entries("recordSet")
        for field in _fields(entry)
        if isinstance(field.get("@id"), str)
    }
    found: set[str] = set()
    waiting, seen = [record_set], [record_set]
    while waiting:
        for field in _fields(waiting.pop()):
            for link in (field.get("source"), field.get("references")):
                for key, target in link.items() if isinstance(link, dict) else ():
                    name = target.get("@id") if isinstance(target, dict) else None
                    if key in ("fileObject", "fileSet") and isinstance(name, str):
                        found.add(name)
                    elif isinstance(name, str) and name in by_field and by_field[name] not in seen:
                        seen.append(by_field[name])
                        waiting.append(by_field[name])
    return found


def _fields(record_set: dict[str, Any]) -> list[dict[str, Any]]:
    fields = record_set.get("field")
    return [field for field in (fields if isinstance(fields, list) else [fields]) if isinstance(field, dict)]
