"""What a project holds, as the tables of a manifest: copick lists it, we fill in what copick leaves out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copick_tools.data.hashing import Digest
from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.files import Progress, digests, files_of, store_of, tree_hash
from copick_tools.data.project import Project, local_path
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri, plain_uri, tomogram_uri
from copick_tools.errors import FormatError, NotFoundError, PopsicleError, UsageError, nearest
from copick_tools.recipes.provenance import RunRecord

BASE = "https://base.invalid"  # copick wants a base URL; it is replaced


@dataclass(frozen=True)
class Selection:
    """What to list. runs: names. No URI of a kind: all of that kind."""

    runs: tuple[str, ...]
    picks: tuple[PicksUri, ...] = ()
    tomograms: tuple[TomogramUri, ...] = ()
    segmentations: tuple[SegmentationUri, ...] = ()


def data_folder(project: Project) -> Path:
    """The folder on this machine that holds a project's data. Raises UsageError where there is none."""
    config = project.root.config
    folder = local_path(str(getattr(config, "overlay_root", "") or "")) if config.config_type == "filesystem" else None
    static = getattr(config, "static_root", None)
    if folder is None or (static and local_path(str(static)) != folder):
        raise UsageError(
            f"{project.config} has its data, or a part of them, elsewhere",
            "manifests are built of a project in one folder on this machine; `popsicle fetch` makes one",
        )
    return folder


def export(root: Any, runs: Sequence[str], splits: Mapping[str, Sequence[str]], folder: Path) -> dict[str, Any]:
    """Let copick write its Croissant of these runs to ``folder``/Croissant; its document. Raises FormatError."""
    from copick.ops.croissant import export_croissant

    base = local_path(str(root.config.overlay_root)) or Path()
    densities = [o.name for o in root.config.pickable_objects if (base / "Objects" / f"{o.name}.zarr").is_dir()]
    with _quiet_copick():
        try:
            path = export_croissant(
                root,
                str(folder),
                base_url=BASE,
                license="none",
                date_published="1970-01-01",
                validate=False,
                compute_file_sha256=False,  # all files are hashed below
                runs=runs,
                objects=densities,
                splits=dict(splits),
            )
        except ValueError as error:
            raise FormatError(f"copick can't list the project: {error}") from error
    document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return document


def read_tables(folder: Path) -> t.Tables:
    """The tables that copick wrote, sorted."""
    found: t.Tables = {}
    for name in t.known():
        path = folder / "Croissant" / t.csv_name(name)
        if path.is_file():
            found[name] = sorted(t.from_bytes(path.read_bytes(), path.name)[1], key=lambda row: tuple(row.values()))
    return found


@contextmanager
def _quiet_copick() -> Iterator[None]:
    """copick says where it wrote, which is a temporary place."""
    log = logging.getLogger("copick.ops.croissant")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def select(found: t.Tables, chosen: Selection) -> t.Tables:
    """The rows that the URIs mean. Raises NotFoundError for a URI that means nothing."""
    kept = dict(found)

    def keep(names: Sequence[str], uris: Sequence[Any], matches: Callable[[Any, str, t.Row], bool]) -> None:
        rows = [(name, row) for name in names for row in found[name]]
        for uri in uris:
            if not any(matches(uri, name, row) for name, row in rows):
                raise NotFoundError(f"'{uri}' matches nothing", nearest(str(uri), {_uri(*item) for item in rows}))
        if uris:
            for name in names:
                kept[name] = [row for row in found[name] if any(matches(uri, name, row) for uri in uris)]

    keep(
        [t.PICKS], chosen.picks, lambda uri, _, row: uri.matches(row["object_name"], row["user_id"], row["session_id"])
    )
    keep([t.TOMOGRAMS], chosen.tomograms, lambda uri, _, row: uri.matches(row["tomo_type"], float(row["voxel_size"])))
    keep(list(t.SEGMENTATIONS), chosen.segmentations, _means)
    of = {(row["run"], row["voxel_size"], row["tomo_type"]) for row in kept[t.TOMOGRAMS]}
    kept[t.FEATURES] = [row for row in found[t.FEATURES] if (row["run"], row["voxel_size"], row["tomo_type"]) in of]
    used = {(row["run"], row["voxel_size"]) for name in (t.TOMOGRAMS, *t.SEGMENTATIONS) for row in kept[name]}
    kept[t.SPACINGS] = [row for row in found[t.SPACINGS] if (row["run"], row["voxel_size"]) in used]
    return kept


def _means(uri: SegmentationUri, name: str, row: t.Row) -> bool:
    return uri.matches(row["name"], row["user_id"], row["session_id"], float(row["voxel_size"]), _kind(name, row))


def _kind(name: str, row: t.Row) -> Any:
    return "multilabel" if row.get("is_multilabel") == "true" else t.SEGMENTATIONS[name]


def _uri(name: str, row: t.Row) -> str:
    if name == t.PICKS:
        return str(PicksUri(row["object_name"], row["user_id"], row["session_id"]))
    if name == t.TOMOGRAMS:
        return str(TomogramUri(row["tomo_type"], float(row["voxel_size"])))
    kind = _kind(name, row)
    return str(SegmentationUri(row["name"], row["user_id"], row["session_id"], float(row["voxel_size"]), kind))


def add_portal_ids(found: t.Tables, records: Mapping[str, RunRecord]) -> None:
    """Fill copick's columns of portal ids, in place; where several annotations became one, their ids are joined by `;`."""
    for row in found[t.RUNS]:
        record = records.get(row["name"])
        if record and record.portal_run_id is not None:
            row["portal_run_id"] = str(record.portal_run_id)
    for row in found[t.TOMOGRAMS]:
        record = records.get(row["run"])
        if record and record.tomogram and record.tomogram.id is not None and _uri(t.TOMOGRAMS, row) == _same(record):
            row["portal_tomogram_id"] = str(record.tomogram.id)
    for name in (t.PICKS, *t.SEGMENTATIONS):
        for row in found[name]:
            record = records.get(row["run"])
            _add_annotation_ids(name, row, record)


def listed_uris(found: t.Tables) -> set[tuple[str, str]]:
    """(run, uri) of all picks and segmentations."""
    return {(row["run"], _uri(name, row)) for name in (t.PICKS, *t.SEGMENTATIONS) for row in found[name]}


def _same(record: RunRecord) -> str:
    return str(tomogram_uri(record.tomogram.uri)) if record.tomogram else ""


def _add_annotation_ids(name: str, row: t.Row, record: RunRecord | None) -> None:
    if record is None:
        return
    mine = [a for a in record.annotations if plain_uri(a.uri) == _uri(name, row)]
    row["portal_object_name"] = _joined(a.portal_object_name for a in mine)
    row["portal_annotation_id"] = _joined(a.id for a in mine)
    row["portal_annotation_file_id"] = _joined(a.file_id for a in mine)


def _joined(values: Any) -> str:
    return ";".join(str(value) for value in values if value is not None)


def hash_files(found: t.Tables, root: Path, records: Mapping[str, RunRecord], workers: int, progress: Progress) -> None:
    """Add the tables of files and stores, and the hashes of picks and meshes, in place.

    Raises PopsicleError where a file is missing, can't be read, or isn't what was fetched.
    """
    stores = set(t.urls(found, t.STORED))
    paths: list[str] = []
    for url in [*t.urls(found, t.FILED), *stores]:
        inside = files_of(root, url)
        if not inside:
            raise PopsicleError(f"{root / url} isn't there, or is empty", "was it deleted meanwhile? build again")
        paths += inside
        for path in inside:
            if not path.isprintable():
                raise PopsicleError(f"the name of a file in {url} isn't plain text: {path!a}", "rename or remove it")
    known: dict[str, Digest] = {}
    for path, read in digests(root, sorted(set(paths)), workers, progress):
        if isinstance(read, OSError):
            raise PopsicleError(f"can't read {root / path}: {read.strerror}", "may you read it?")
        known[path] = read
    _check_fetched(known, root, {name: records[name] for name in (r["name"] for r in found[t.RUNS]) if name in records})
    members: dict[str, list[str]] = {store: [] for store in sorted(stores)}
    for path in known:
        store = store_of(path, stores)
        if store is not None:
            members[store].append(path)
    found[t.FILES] = [{"path": path, "size": str(d.size), "sha256": d.sha256} for path, d in known.items()]
    found[t.STORES] = [
        {
            "url": store,
            "tree_sha256": tree_hash(store, [(path, known[path].sha256) for path in inside]),
            "files": str(len(inside)),
            "bytes": str(sum(known[path].size for path in inside)),
        }
        for store, inside in members.items()
    ]
    for name in t.FILED:
        for row in found[name]:
            row["sha256"] = known[row["url"]].sha256


def _check_fetched(known: Mapping[str, Digest], root: Path, records: Mapping[str, RunRecord]) -> None:
    wrong = []
    for record in records.values():
        for file in record.files:
            if file.path in known and known[file.path].sha256 != file.sha256:
                wrong.append(f"{file.path} isn't what was fetched")
            elif file.path not in known and not (root / file.path).is_file():
                wrong.append(f"{file.path} was fetched and is gone")
    if wrong:
        more = f" … ({len(wrong)} in all)" if len(wrong) > 5 else ""
        raise PopsicleError(
            "; ".join(wrong[:5]) + more,
            "fetch the run again with --overwrite; changes of your own belong under a user id of your own",
        )
