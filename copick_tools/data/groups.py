"""Runs that belong together: DIR/.popsicle/groups.json, and what is known of runs that ties them.

Two runs of one grid, or of one specimen, share ice, preparation and often the very same cells: a model that was trained
on one has seen the other.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copick_tools.data.documents import read_document
from copick_tools.data.lists import first_twice, read_rows, shown
from copick_tools.data.project import Project, write_text
from copick_tools.data.provenance import read_records, read_source
from copick_tools.errors import FormatError, NotFoundError, UsageError, nearest
from copick_tools.recipes.base import Strict

log = logging.getLogger("copick_tools")
Known = dict[str, dict[str, str]]
"""key (dataset, species, specimen, grid, …) -> run -> value; a run of which nothing is known isn't there."""

PATTERN = "regex:"
NONE = "none"


class Groups(Strict):
    """groups.json. by: the keys whose values tie runs, none: nothing does. groups: run -> group."""

    by: tuple[str, ...]
    groups: dict[str, str]


def read_groups(project: Project) -> Groups | None:
    """The groups that the splits of a project respect; None where nobody wrote them. Raises FormatError."""
    return read_document(_path(project), Groups, "popsicle split --overwrite")


def write_groups(project: Project, groups: Groups) -> None:
    """Replace the groups of a project."""
    document: dict[str, Any] = {"by": list(groups.by), "groups": dict(sorted(groups.groups.items()))}
    write_text(_path(project), json.dumps(document, indent=2) + "\n")


def publish_groups(project: Project, groups: Groups) -> None:
    """Add what was published of runs that have no group here; none where they were tied by other keys."""
    known = read_groups(project)
    if known is None or known.by == groups.by:
        there = {run: group for run, group in groups.groups.items() if run in project.run_names}
        write_groups(project, Groups(by=groups.by, groups={**there, **(known.groups if known else {})}))


def known_of_runs(project: Project, metadata: Path | None = None) -> Known:
    """What provenance and ``metadata`` (CSV: run, then any columns) say of the runs; the metadata wins.

    Raises NotFoundError, FormatError.
    """
    known = _from_provenance(project)
    if metadata is None:
        return known
    rows = read_rows(metadata, ("run",))
    twice = first_twice(row["run"] for row in rows)
    if twice is not None:
        raise FormatError(f"{metadata} lists run {twice} twice")
    there = set(project.run_names)
    if not there & {row["run"] for row in rows}:
        hint = nearest(rows[0]["run"], there) if rows else None
        raise NotFoundError(f"{metadata} names no run of {project.config}", hint)
    strays = sorted({row["run"] for row in rows} - there)
    if strays:
        log.warning("%s names what the project lacks: %s", metadata, shown(strays))
    for column in rows[0]:
        if column and column != "run":
            told = {row["run"]: row[column] for row in rows if row[column] and row["run"] in there}
            known[column] = {**known.get(column, {}), **told}
    return known


def values_of(key: str, runs: Sequence[str], known: Known) -> dict[str, str]:
    """run -> its value of a key, for every run. key: of ``known``, or ``regex:PATTERN``, whose first group the value is.

    Raises NotFoundError (no such key, a run without value), UsageError (no pattern).
    """
    if key.startswith(PATTERN):
        return _by_pattern(key.removeprefix(PATTERN), runs)
    if key not in known:
        hint = nearest(key, known) if known else "nothing is known of the runs: give --metadata, or regex:PATTERN"
        raise NotFoundError(f"no '{key}' is known of the runs", hint)
    unknown = [run for run in runs if run not in known[key]]
    if unknown:
        raise NotFoundError(f"no {key} is known of {shown(unknown)}", "fill it in by --metadata, or leave that key out")
    return {run: known[key][run] for run in runs}


def tie(values: Mapping[str, Mapping[str, str]], runs: Sequence[str]) -> Groups:
    """Runs that share a value of any key are one group, and so on along the chain. values: key -> run -> value.

    A group is named by the first key's value (the smallest of them), or by its run where there is no key.

    >>> tie({"grid": {"a": "1", "b": "1", "c": "2"}, "day": {"a": "x", "b": "y", "c": "y"}}, ["a", "b", "c"]).groups
    {'a': '1', 'b': '1', 'c': '1'}
    """
    parent = {run: run for run in runs}

    def root(run: str) -> str:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for of_run in values.values():
        first: dict[str, str] = {}
        for run in runs:
            parent[root(run)] = root(first.setdefault(of_run[run], run))
    names: dict[str, str] = {}
    leading = next(iter(values.values()), {run: run for run in runs})
    for run in runs:
        names[root(run)] = min(names.get(root(run), leading[run]), leading[run])
    return Groups(by=tuple(values), groups={run: names[root(run)] for run in sorted(runs)})


def torn(split_of: Mapping[str, str], groups: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Group -> split -> runs, of the groups that lie in several splits. Both from run; a run of no group is its own.

    >>> torn({"a": "train", "b": "test", "c": "test"}, {"a": "g", "b": "g"})
    {'g': {'train': ['a'], 'test': ['b']}}
    """
    where: dict[str, dict[str, list[str]]] = {}
    for run, split in split_of.items():
        where.setdefault(groups.get(run, run), {}).setdefault(split, []).append(run)
    return {group: found for group, found in where.items() if len(found) > 1}


def _by_pattern(pattern: str, runs: Sequence[str]) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-by regex:{pattern}: {error}", "for example regex:^(grid\\d+)_") from error
    if not compiled.groups:
        raise UsageError(f"--group-by regex:{pattern} has no (group)", "for example regex:^(grid\\d+)_")
    found = {run: compiled.search(run) for run in runs}
    strays = [run for run, match in found.items() if match is None or match.group(1) is None]
    if strays:
        raise NotFoundError(f"regex:{pattern} doesn't match {shown(strays)}", "every run needs a group")
    return {run: match.group(1) for run, match in found.items() if match is not None}


def _from_provenance(project: Project) -> Known:
    """Dataset and species of fetched runs."""
    there = set(project.run_names)
    dataset = {
        run: str(record.dataset_id)
        for run, record in read_records(project).items()
        if run in there and record.dataset_id is not None
    }
    source = read_source(project.folder) if dataset else None
    organisms = {str(entry.id): entry.organism for entry in source.datasets if entry.organism} if source else {}
    species = {run: organisms[value] for run, value in dataset.items() if value in organisms}
    return {key: values for key, values in (("dataset", dataset), ("species", species)) if values}


def _path(project: Project) -> Path:
    return project.sidecar / "groups.json"
