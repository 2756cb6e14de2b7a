"""`popsicle manifest check`: everything that is wrong with a manifest and its data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from copick_tools.data.croissant import snapshot
from copick_tools.data.manifests import leaks, tables
from copick_tools.data.manifests.assignments import check_splits
from copick_tools.data.manifests.files import Progress
from copick_tools.data.manifests.hashes import Count, check_files, check_urls
from copick_tools.data.manifests.objects import check_objects
from copick_tools.data.manifests.opening import check_opens
from copick_tools.data.manifests.reading import base_of, find_manifest
from copick_tools.data.manifests.structure import check_distribution, check_records, check_structure
from copick_tools.data.manifests.subject import Subject, error, parse, read_tables
from copick_tools.data.project import local_path
from copick_tools.errors import FormatError, NotFoundError, PopsicleError
from copick_tools.recipes.data_results import ManifestCheck, ManifestFinding

WORKERS = 4


def still(done: int, total: int) -> None:
    """No progress."""


def check(path: Path, data: Path | None = None, *, workers: int = WORKERS, progress: Progress = still) -> ManifestCheck:
    """Everything that is wrong with a manifest and its data. data: where these are, if not where the manifest says.

    Nothing is raised for what a manifest holds: it is found. Raises NotFoundError where ``data`` isn't a folder.
    """
    if data is not None and not data.is_dir():
        raise NotFoundError(f"no folder {data}", "--data is the project's folder")
    try:
        manifest = find_manifest(path)
        with snapshot(manifest) as folder:
            return examine(manifest, folder, data, (workers, progress))
    except (PopsicleError, OSError, RecursionError) as problem:
        message = problem.message if isinstance(problem, PopsicleError) else str(problem)
        return _report(path, None, [error("structure", str(path), message)], Count())


def examine(manifest: Path, folder: Path, data: Path | None, reading: tuple[int, Progress] | None) -> ManifestCheck:
    """Examine a private copy. reading: threads and progress; None: the data were read just now."""
    count = Count()
    try:
        subject = parse(manifest, folder)
    except FormatError as problem:
        return _report(manifest, None, [error("structure", manifest.name, problem.message)], count)
    given = data is not None and subject.mark.get("data") != "none"
    subject.data = data.expanduser().absolute() if data is not None and given else _find_data(subject)
    findings = list(chain(check_structure(subject), check_distribution(subject), read_tables(subject)))
    steps: list[Callable[[Subject], Iterable[ManifestFinding]]] = [
        check_urls,
        check_splits,
        check_objects,
        _check_leaks,
    ]
    for step in steps:
        findings += step(subject)
    if reading is not None:
        findings += check_files(subject, reading[0], reading[1], count)
    for step in (check_records, check_opens):  # these may rewrite the copy's addresses
        findings += step(subject)
    return _report(manifest, subject, findings, count)


def _find_data(subject: Subject) -> Path | None:
    """Where the data of a manifest lie on this machine; None: elsewhere."""
    if subject.mark.get("data") in ("elsewhere", "none"):
        return None
    if subject.mark.get("data") == "beside":
        return subject.manifest.parent.parent
    return local_path(base_of(subject.document, str(subject.manifest)))


def _check_leaks(subject: Subject) -> Iterator[ManifestFinding]:
    secrets = leaks.own_names(subject.manifest.parent.parent)
    for text in leaks.leaks(subject.document, subject.tables, secrets):
        where, _, message = text.partition(": ")
        yield error("leaks", where, message)


def _report(manifest: Path, subject: Subject | None, findings: list[ManifestFinding], count: Count) -> ManifestCheck:
    return ManifestCheck(
        manifest=str(manifest),
        ok=not any(finding.level == "error" for finding in findings),
        record_sets=len(subject.entries("recordSet")) if subject else 0,
        runs=len(subject.rows(tables.RUNS)) if subject else 0,
        files=count.files,
        bytes=count.bytes,
        stores=len(subject.rows(tables.STORES)) if subject else 0,
        unread=count.unread,
        findings=findings,
    )
