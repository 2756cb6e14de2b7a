"""`popsicle manifest build`: publish what a project holds as a Croissant that can be trusted."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copick_tools.data.croissant import snapshot
from copick_tools.data.groups import read_groups
from copick_tools.data.manifests import export, files, origin, tables, tasks
from copick_tools.data.manifests.document import About, check_base_url, harden, license_url, merge_rai
from copick_tools.data.manifests.places import put, staging, writer
from copick_tools.data.manifests.reading import FOLDER, METADATA, read_document
from copick_tools.data.manifests.retyping import require_readable
from copick_tools.data.project import Project
from copick_tools.data.provenance import read_records, read_source
from copick_tools.data.splits import read_splits
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError
from copick_tools.recipes.data_results import ManifestBuild, ManifestCheck
from copick_tools.recipes.load import load_task, task_names
from copick_tools.recipes.provenance import RunRecord
from copick_tools.recipes.task import Task
from copick_tools.workflows.manifest_check import WORKERS, examine, still


@dataclass(frozen=True)
class Wanted:
    """What to build. out: folder of the manifest, None: PROJECT/Croissant. Texts that are None are found or left out.

    rai: by property, the texts that replace ours. date: YYYY-MM-DD.
    """

    out: Path | None = None
    base_url: str | None = None
    name: str | None = None
    description: str | None = None
    license: str | None = None
    cite_as: str | None = None
    date: str | None = None
    rai: Mapping[str, list[str]] = field(default_factory=dict)
    picks: tuple[PicksUri, ...] = ()
    tomograms: tuple[TomogramUri, ...] = ()
    segmentations: tuple[SegmentationUri, ...] = ()


def build(
    project: Project,
    runs: Sequence[str],
    wanted: Wanted,
    *,
    overwrite: bool = False,
    workers: int = WORKERS,
    progress: files.Progress = still,
) -> ManifestBuild:
    """Build the manifest of these runs. It comes into place whole, and only if it passes its own check.

    Raises UsageError (data elsewhere), NotFoundError (a URI that matches nothing, splits of runs that
    aren't there), PopsicleError (another manifest is there, a file isn't what was fetched, the check fails).
    """
    data = export.data_folder(project)
    folder = (wanted.out or data / FOLDER).expanduser().absolute()
    if folder == data:
        raise UsageError(f"--out {folder} is the project's own folder", "a manifest has a folder of its own")
    records = {run: record for run, record in read_records(project).items() if run in set(runs)}
    about = _about(project, records, runs, wanted, folder)
    chosen = export.Selection(tuple(runs), wanted.picks, wanted.tomograms, wanted.segmentations)
    with staging(folder) as place:
        document = export.export(project.root, runs, _splits(project, runs), place / "copick")
        found = export.select(export.read_tables(place / "copick"), chosen)
        export.add_portal_ids(found, records)
        require_readable(found)  # before everything is read
        export.hash_files(found, data, records, workers, progress)
        groups, source = read_groups(project), read_source(project.folder)
        if groups is not None:
            found[tables.GROUPS] = [{"run": run, "group": groups.groups[run]} for run in runs if run in groups.groups]
        found |= origin.portal_tables(source, records)
        found |= origin.fetched_tables(source, records, export.listed_uris(found))
        return _place(folder, place, harden(document, found, about), data, overwrite)


def build_task(task: Task, wanted: Wanted, *, overwrite: bool = False) -> ManifestBuild:
    """Build the manifest of a portal task: what is public of it, without data. Raises UsageError, PopsicleError."""
    if wanted.out is None:
        raise UsageError("where to?", "give --out FOLDER")
    folder = wanted.out.expanduser().absolute()
    known = tasks.about_task(task, _date(wanted, folder))
    about = About(
        **{
            **{name: getattr(known, name) for name in ("date", "data", "task")},
            "name": wanted.name or known.name,
            "description": wanted.description or known.description,
            "license": license_url(wanted.license) if wanted.license else known.license,
            "cite_as": wanted.cite_as or known.cite_as,
            "rai": merge_rai(known.rai, wanted.rai),
        }
    )
    with staging(folder) as place:
        root = tasks.empty_root(task, place / "project")
        document = export.export(root, sorted(tasks.public_runs(task)), tasks.public_splits(task), place / "copick")
        found = export.read_tables(place / "copick") | tasks.task_tables(task)
        require_readable(found)
        return _place(folder, place, harden(document, found, about), None, overwrite)


def _about(
    project: Project, records: Mapping[str, RunRecord], runs: Sequence[str], wanted: Wanted, folder: Path
) -> About:
    """What is known of the project, and what was said on top."""
    source, simulation = read_source(project.folder), origin.read_simulation(project.sidecar)
    config = project.root.config
    license = license_url(wanted.license) if wanted.license else origin.source_license(source)
    rai: dict[str, list[str]] = {}
    if source is not None:
        task = load_task(source.task) if source.task in task_names() else None
        rai = origin.fetched_rai(source, records, task)
    elif simulation is not None:
        rai = origin.simulated_rai(simulation)
    groups = read_groups(project)
    filtered = wanted.picks or wanted.tomograms or wanted.segmentations
    return About(
        name=wanted.name or config.name or project.folder.name,
        description=wanted.description or config.description or f"copick project {project.folder.name}",
        license=license,
        cite_as=wanted.cite_as or origin.source_citation(source),
        creators=origin.source_creators(source, records),
        date=_date(wanted, folder),
        data="beside" if folder.parent == export.data_folder(project) else "elsewhere",
        rai=merge_rai(rai, wanted.rai),
        base_url=check_base_url(wanted.base_url) if wanted.base_url else None,
        part=bool(filtered) or set(runs) != set(project.run_names),
        grouped_by=groups.by if groups else (),
        source_task=source.task if source else None,
    )


def _date(wanted: Wanted, folder: Path) -> str:
    """The date asked for, else that of the manifest that is there, else today."""
    if wanted.date is not None:
        try:
            return datetime.date.fromisoformat(wanted.date).isoformat()
        except ValueError as problem:
            raise UsageError(f"'{wanted.date}' is no date", "expected YYYY-MM-DD") from problem
    if (folder / METADATA).is_file():
        with contextlib.suppress(ValueError, FormatError):
            return datetime.date.fromisoformat(str(read_document(folder / METADATA).get("datePublished"))).isoformat()
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _splits(project: Project, runs: Sequence[str]) -> dict[str, list[str]]:
    """The splits of these runs. Raises NotFoundError, FormatError."""
    splits = read_splits(project)
    missing = sorted({run for members in splits.values() for run in members} - set(project.run_names))
    if missing:
        raise NotFoundError(
            f"the splits name runs that {project.config} lacks: {', '.join(missing[:5])}", "see .popsicle/splits.json"
        )
    return {name: [run for run in members if run in set(runs)] for name, members in splits.items()}


def _place(folder: Path, place: Path, made: Mapping[str, bytes], data: Path | None, overwrite: bool) -> ManifestBuild:
    """Check the finished files as if they were in place, then bring them there."""
    staged = place / FOLDER
    staged.mkdir()
    for name, content in made.items():
        (staged / name).write_bytes(content)
    with snapshot(staged / METADATA) as copy:  # an examination may rewrite addresses
        checked = examine(folder / METADATA, copy, data, None)
    wrong = [finding for finding in checked.findings if finding.level == "error"]
    if wrong:
        told = "; ".join(f"{finding.where}: {finding.message}" for finding in wrong[:5])
        more = f" … ({len(wrong)} in all)" if len(wrong) > 5 else ""
        raise PopsicleError(f"the manifest would not pass its own check: {told}{more}", "nothing was put in place")
    with writer(folder):
        status, stale = _compare(folder, made, overwrite)
        if status != "unchanged":
            put(folder, staged, stale)
    return _summary(folder, status, made, checked)


def _compare(folder: Path, made: Mapping[str, bytes], overwrite: bool) -> tuple[str, set[str]]:
    """Whether the manifest is new, unchanged or to be replaced, and which of its files nothing will list any more."""
    if not (folder / METADATA).is_file():
        return "built", set()
    other = sorted(
        name
        for name, content in made.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != content
    )
    if not other:
        return "unchanged", set()
    if not overwrite:
        raise PopsicleError(
            f"{folder} holds a manifest of another state; {', '.join(other)} would change", "--overwrite replaces it"
        )
    return "replaced", {tables.csv_name(name) for name in tables.known()}


def _summary(folder: Path, status: Any, made: Mapping[str, bytes], checked: ManifestCheck) -> ManifestBuild:
    document = json.loads(made[METADATA])
    rows = {
        name: tables.from_bytes(made[tables.csv_name(name)], name)[1]
        for name in (tables.RUNS, tables.FILES, tables.STORES)
        if tables.csv_name(name) in made
    }
    splits: dict[str, int] = {}
    for row in rows[tables.RUNS]:
        if row["split"]:
            splits[row["split"]] = splits.get(row["split"], 0) + 1
    listed = rows.get(tables.FILES, [])
    return ManifestBuild(
        manifest=str(folder / METADATA),
        status=status,
        data=document[tables.MARK]["data"],
        runs=len(rows[tables.RUNS]),
        splits=splits,
        files=len(listed),
        bytes=sum(int(row["size"]) for row in listed),
        stores=len(rows.get(tables.STORES, [])),
        license=document.get("license"),
        warnings=[f.message for f in checked.findings if f.level == "warning"],
    )
