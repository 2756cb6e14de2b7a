"""Published lists of which run belongs to which split, for the runs of a project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from copick_tools.data.lists import Listed, read_json, read_rows, read_splits_file, shown
from copick_tools.data.manifests.reading import read_runs
from copick_tools.data.project import Project
from copick_tools.data.provenance import read_records
from copick_tools.errors import FormatError, NotFoundError, nearest


def read_split_list(path: Path) -> list[Listed]:
    """A published list: JSON as splits.json, CSV or TSV with columns run and split, or a Croissant's metadata.json.

    A run whose cell of split is empty is in none. Raises NotFoundError, FormatError (a run listed twice, an empty list).
    """
    if path.suffix.lower() != ".json":
        rows = [Listed(row["run"], None, row["split"]) for row in read_rows(path, ("run", "split"))]
    elif _is_croissant(path):
        rows = list(read_runs(path))
    else:
        rows = [Listed(run, None, split) for split, runs in read_splits_file(path).items() for run in runs]
    rows = [row for row in rows if row.split]
    seen: dict[str, str | None] = {}
    for row in rows:
        if row.name in seen:
            raise FormatError(f"{path} lists run {row.name} twice, in {seen[row.name]} and {row.split}")
        seen[row.name] = row.split
    if not rows:
        raise FormatError(f"{path} puts no run into any split")
    return rows


def published_splits(path: Path, project: Project, *, partial: bool = False) -> dict[str, list[str]]:
    """The splits of a published list for the runs of a project, found by name, or else by portal run id.

    partial: runs that only the list or only the project has are left out. Raises NotFoundError where they aren't,
    FormatError.
    """
    rows = read_split_list(path)
    there = set(project.run_names)
    by_id = _runs_by_portal_id(project) if any(row.portal_run_id is not None for row in rows) else {}
    splits: dict[str, list[str]] = {str(row.split): [] for row in rows}
    unknown = []
    for row in rows:
        run = row.name if row.name in there else by_id.get(row.portal_run_id)
        if run is None:
            unknown.append(row.name)
        else:
            splits[str(row.split)].append(run)
    listed = {run for runs in splits.values() for run in runs}
    if unknown and not (partial and listed):
        also = f" and {len(unknown) - 1} others" if len(unknown) > 1 else ""
        hint = nearest(unknown[0], there - listed or there)
        hint += "; --partial leaves out what the project lacks" if listed else ""
        raise NotFoundError(f"{path} lists run {unknown[0]}{also}, which {project.config} lacks", hint)
    missing = sorted(there - listed)
    if missing and not partial:
        raise NotFoundError(
            f"{path} lacks {shown(missing)} of {project.config}", "--partial leaves them out of all splits"
        )
    return {split: sorted(splits[split]) for split in sorted(splits, key=_usual_order)}


def _usual_order(split: str) -> tuple[int, int, str]:
    usual = ("train", "val", "test")
    return usual.index(split) if split in usual else len(usual), len(split), split


def _runs_by_portal_id(project: Project) -> Mapping[int | None, str]:
    there = set(project.run_names)
    records = {run: record for run, record in read_records(project).items() if run in there}
    return {record.portal_run_id: run for run, record in records.items() if record.portal_run_id is not None}


def _is_croissant(path: Path) -> bool:
    document = read_json(path)
    return isinstance(document, dict) and "@context" in document
