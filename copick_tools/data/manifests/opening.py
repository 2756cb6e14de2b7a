"""Whether copick opens a manifest, and sees in it what its tables list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from copick_tools.data.croissant import load_copy
from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.subject import Subject, error, note
from copick_tools.errors import FormatError
from copick_tools.recipes.data_results import ManifestFinding

COLUMNS = {
    t.PICKS: ("object_name", "user_id", "session_id"),
    t.TOMOGRAMS: ("tomo_type",),
    "copick/segmentations": ("name", "user_id", "session_id"),
}


def check_opens(subject: Subject) -> Iterator[ManifestFinding]:
    """Runs, picks, tomograms and segmentations, by name."""
    if subject.remote:
        yield note("copick", "metadata.json", "not opened: its tables aren't here")
        return
    try:  # with a base on this machine, so that nothing is asked of the network
        index = load_copy(subject.folder, {"croissant_base_url": str(subject.data or subject.folder.parent)}).index
    except FormatError as problem:
        yield error("copick", "metadata.json", problem.message)
        return
    if t.RUNS not in subject.tables:
        return
    yield from _compare(
        t.RUNS, Counter({row["name"] for row in subject.rows(t.RUNS)}), Counter(list(index.runs_by_name))
    )
    for name, columns in COLUMNS.items():
        if name not in subject.tables:
            continue
        read = getattr(index, name.partition("/")[2])
        keys = ("run", *columns)
        listed = Counter("/".join(row[key] for key in keys) for row in subject.rows(name))
        yield from _compare(name, listed, Counter("/".join(str(row[key]) for key in keys) for row in read))


def _compare(name: str, listed: Counter[str], read: Counter[Any]) -> Iterator[ManifestFinding]:
    missing = sorted((listed - read).elements())
    strange = sorted(str(key) for key in (read - listed).elements())
    if missing or strange:
        example = f"{missing[0] if missing else 'nothing'}, but copick reads {strange[0] if strange else 'nothing'}"
        hint = "; names that look like numbers or like NA are read as such" if missing and strange else ""
        yield error("copick", t.csv_name(name), f"{len(missing)} rows aren't read as they stand: {example}{hint}")
