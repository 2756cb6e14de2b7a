"""Read and write what is known of a fetched project's origin: DIR/.popsicle/portal."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from copick_tools.data.documents import read_document
from copick_tools.data.project import Project, write_text
from copick_tools.errors import FormatError
from copick_tools.recipes.provenance import RunRecord, Source

log = logging.getLogger("copick_tools")
AGAIN = "fetch it again with --overwrite"


def record_path(folder: Path, run: str) -> Path:
    """Where the record of a run lies in the project ``folder``."""
    return folder / ".popsicle" / "portal" / "runs" / f"{run}.json"


def read_record(folder: Path, run: str) -> RunRecord | None:
    """The record of a run; None where it wasn't fetched, or not to its end. Raises FormatError."""
    return read_document(record_path(folder, run), RunRecord, AGAIN)


def read_as_record(path: Path) -> RunRecord | None:
    """A record that lies elsewhere; None where there is none. Raises FormatError."""
    return read_document(path, RunRecord, AGAIN)


def read_records(project: Project) -> dict[str, RunRecord]:
    """The records of all fetched runs, by run, sorted; empty for a project that wasn't fetched. Raises FormatError."""
    folder = record_path(project.folder, "_").parent
    names = sorted(path.stem for path in folder.glob("[!.]*.json")) if folder.is_dir() else []
    return {name: record for name in names if (record := read_record(project.folder, name)) is not None}


def known_runs(folder: Path) -> dict[int, str]:
    """Portal run id -> name in the project ``folder``, of the runs that were fetched; one record at a time in memory."""
    names = {}
    for path in sorted(record_path(folder, "_").parent.glob("[!.]*.json")):
        try:
            number = json.loads(path.read_bytes()).get("portal_run_id")
        except (ValueError, AttributeError):
            continue  # it is fetched again, and says so then
        if isinstance(number, int):
            names[number] = path.stem
    return names


def read_source(folder: Path) -> Source | None:
    """What the project ``folder`` was fetched from; None for a project that wasn't. Raises FormatError."""
    return read_document(folder / ".popsicle" / "portal" / "source.json", Source, AGAIN)


def write_record(folder: Path, record: RunRecord) -> None:
    """State that a run is complete."""
    write_text(record_path(folder, record.run), record.model_dump_json(indent=1) + "\n")


def add_source(folder: Path, source: Source) -> None:
    """State what a project comes from, beside what it came from already."""
    try:
        earlier = read_source(folder)
    except FormatError as error:
        log.warning("%s: written anew, without what an earlier fetch said", error.message)
        earlier = None
    if earlier is not None:
        datasets = {entry.id: entry for entry in (*earlier.datasets, *source.datasets)}
        depositions = {entry.id: entry for entry in (*earlier.depositions, *source.depositions)}
        changes = {
            "task": source.task or earlier.task,
            "datasets": tuple(datasets[key] for key in sorted(datasets)),
            "depositions": tuple(depositions[key] for key in sorted(depositions)),
        }
        source = source.model_copy(update=changes)
    write_text(folder / ".popsicle" / "portal" / "source.json", source.model_dump_json(indent=1) + "\n")
