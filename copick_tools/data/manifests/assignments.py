"""Whether the splits of a manifest can be trusted: disjoint, complete, no group in two of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from copick_tools.data.groups import torn
from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.subject import Subject, error
from copick_tools.recipes.data_results import ManifestFinding

_SHOWN = 5


def check_splits(subject: Subject) -> Iterator[ManifestFinding]:
    """Runs, splits and groups of the manifest, and the splits of the project that it lies in."""
    if t.RUNS not in subject.tables:
        return
    rows = subject.rows(t.RUNS)
    runs = t.csv_name(t.RUNS)
    for name, times in Counter(row["name"] for row in rows).items():
        if times > 1:
            splits = sorted({row["split"] for row in rows if row["name"] == name})
            apart = f", in the splits {', '.join(splits)}" if len(splits) > 1 else ""
            yield error("splits", runs, f"run {name} is listed {times} times{apart}")
        if not name:
            yield error("splits", runs, "a run has no name")
    split_of = {row["name"]: row["split"] for row in rows}
    without = sorted(name for name, split in split_of.items() if not split)
    if without and len(without) < len(split_of):
        yield error("splits", runs, f"incomplete: no split for {_some(without)}")
    yield from _check_names(subject, set(split_of.values()) - {""})
    yield from _check_groups(subject, split_of)
    yield from _check_references(subject, set(split_of))
    if subject.data is not None:
        yield from _check_project(subject, subject.data / ".popsicle" / "splits.json", split_of)


def _check_names(subject: Subject, used: set[str]) -> Iterator[ManifestFinding]:
    entry = next((e for e in subject.entries("recordSet") if e["@id"] == t.SPLITS), None)
    data = entry.get("data") if entry else None
    declared = {
        str(row.get(f"{t.SPLITS}/name")) for row in (data if isinstance(data, list) else []) if isinstance(row, dict)
    }
    for name in sorted(used - declared):
        yield error("splits", "metadata.json", f"split '{name}' isn't declared in {t.SPLITS}")
    for name in sorted(declared - used):
        yield error("splits", "metadata.json", f"split '{name}' is declared in {t.SPLITS} but no run is in it")


def _check_groups(subject: Subject, split_of: dict[str, str]) -> Iterator[ManifestFinding]:
    """No group has runs in two splits."""
    groups = {row["run"]: row["group"] for row in subject.rows(t.GROUPS)}
    for run, times in Counter(row["run"] for row in subject.rows(t.GROUPS)).items():
        if times > 1:
            yield error("splits", t.csv_name(t.GROUPS), f"run {run} is listed {times} times")
    for run in sorted(groups.keys() - split_of.keys()):
        yield error("splits", t.csv_name(t.GROUPS), f"run {run} isn't in {t.csv_name(t.RUNS)}")
    assigned = {run: split for run, split in split_of.items() if split and run in groups}
    for group, splits in torn(assigned, groups).items():
        told = "; ".join(f"{split}: {_some(names)}" for split, names in sorted(splits.items()))
        yield error("splits", t.csv_name(t.GROUPS), f"group '{group}' leaks from one split into another ({told})")


def _check_references(subject: Subject, runs: set[str]) -> Iterator[ManifestFinding]:
    """Every table speaks of runs that are listed."""
    for name, rows in subject.tables.items():
        if name in (t.RUNS, t.GROUPS) or "run" not in t.columns(name):
            continue
        strays = sorted({row["run"] for row in rows} - runs)
        if strays:
            yield error("tables", t.csv_name(name), f"it speaks of {_some(strays)}, not in {t.csv_name(t.RUNS)}")


def _check_project(subject: Subject, path: Path, split_of: dict[str, str]) -> Iterator[ManifestFinding]:
    """The project's own splits are the same; of a manifest of a part of it, as far as it goes."""
    if not path.is_file():
        return
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        theirs = {str(run): str(split) for split, runs in splits.items() for run in runs}
    except (ValueError, AttributeError, TypeError, RecursionError) as problem:
        yield error("splits", str(path.name), f"the project's splits can't be read: {problem}")
        return
    part = subject.mark.get("part") is not False
    names = split_of.keys() if part else split_of.keys() | theirs.keys()
    other = sorted(name for name in names if split_of.get(name, "") != theirs.get(name, ""))
    if other:
        yield error("splits", t.csv_name(t.RUNS), f"other splits than in the project's splits.json: {_some(other)}")


def _some(names: list[str]) -> str:
    more = f" … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return f"run{'s' if len(names) > 1 else ''} {', '.join(names[:_SHOWN])}{more}"
