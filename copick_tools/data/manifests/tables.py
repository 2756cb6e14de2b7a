"""The CSV tables of a manifest: copick's ten, and ours beside them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from copick_tools.errors import FormatError

Row = dict[str, str]
Tables = dict[str, list[Row]]
"""By record set."""

RUNS, SPLITS, PICKS, MESHES = "copick/runs", "copick/splits", "copick/picks", "copick/meshes"
SPACINGS, TOMOGRAMS, FEATURES, DENSITIES = (
    "copick/voxel_spacings",
    "copick/tomograms",
    "copick/features",
    "copick/objects",
)
SEGMENTATIONS = {
    "copick/segmentations": "binary",
    "copick/instance_segmentations": "instance",
    "copick/panoptic_segmentations": "panoptic",
}
STORED = (TOMOGRAMS, FEATURES, *SEGMENTATIONS, DENSITIES)
"""The record sets whose urls are zarr stores."""
FILED = (PICKS, MESHES)
"""The record sets whose urls are single files."""
FILES, STORES, GROUPS = "popsicle/files", "popsicle/stores", "popsicle/groups"
PORTAL_RUNS, PORTAL_DATASETS, PORTAL_DEPOSITIONS = (
    "popsicle/portal_runs",
    "popsicle/portal_datasets",
    "popsicle/portal_depositions",
)
FETCHED_RUNS, ANNOTATIONS = "popsicle/fetched_runs", "popsicle/annotations"
TASK_SPLITS, TASK_OBJECTS = "popsicle/task_splits", "popsicle/task_objects"
MARK = "popsicle:manifest"
GUARD, GUARDED = "'", "(?s)'(.*)"
"""What stands before each cell of a column whose cells readers would take for numbers, and what takes it away."""

TEXT, INTEGER, FLOAT, BOOLEAN, URL = "sc:Text", "sc:Integer", "sc:Float", "sc:Boolean", "sc:URL"
OURS: dict[str, tuple[str, dict[str, str]]] = {
    FILES: (
        "Every file of the data listed, each chunk of a zarr store included; paths are relative to the project.",
        {"path": TEXT, "size": INTEGER, "sha256": TEXT},
    ),
    STORES: (
        "Every zarr store of the data listed. tree_sha256: SHA-256 over the lines `sha256  path` of its files, with "
        "paths relative to the store, sorted by path.",
        {"url": TEXT, "tree_sha256": TEXT, "files": INTEGER, "bytes": INTEGER},
    ),
    GROUPS: ("Runs that belong together, and so into one split.", {"run": TEXT, "group": TEXT}),
    PORTAL_RUNS: (
        "Where runs come from on the CryoET Data Portal.",
        {"run": TEXT, "portal_dataset_id": INTEGER, "portal_run_id": INTEGER, "portal_run_name": TEXT},
    ),
    PORTAL_DATASETS: (
        "Datasets of the CryoET Data Portal.",
        {
            "id": INTEGER,
            "title": TEXT,
            "url": URL,
            "portal_deposition_id": INTEGER,
            "license": TEXT,
            "organism": TEXT,
            "sample_type": TEXT,
            "authors": TEXT,
            "publications": TEXT,
        },
    ),
    PORTAL_DEPOSITIONS: (
        "Depositions of the CryoET Data Portal.",
        {"id": INTEGER, "title": TEXT, "url": URL, "authors": TEXT, "publications": TEXT},
    ),
    FETCHED_RUNS: (
        "What was fetched for each run: its tomogram, the rule that chose it, and what was noticed, a line for each.",
        {
            "run": TEXT,
            "tomogram": TEXT,
            "portal_tomogram_id": INTEGER,
            "portal_tomogram_name": TEXT,
            "portal_deposition_id": INTEGER,
            "portal_alignment_id": INTEGER,
            "chosen_by": TEXT,
            "authors": TEXT,
            "notes": TEXT,
        },
    ),
    ANNOTATIONS: (
        "Where the picks and segmentations of fetched runs come from; several became one where a uri stands twice. "
        "reference: whether predictions are scored against it. voxel_spacing: angstrom, of the file it was made of.",
        {
            "run": TEXT,
            "uri": TEXT,
            "object": TEXT,
            "reference": BOOLEAN,
            "points": INTEGER,
            "portal_annotation_id": INTEGER,
            "portal_annotation_file_id": INTEGER,
            "portal_deposition_id": INTEGER,
            "portal_alignment_id": INTEGER,
            "portal_object_name": TEXT,
            "portal_object_id": TEXT,
            "shape_type": TEXT,
            "voxel_spacing": FLOAT,
            "ground_truth_status": BOOLEAN,
            "curator_recommended": BOOLEAN,
            "method_type": TEXT,
            "url": URL,
            "authors": TEXT,
        },
    ),
    TASK_SPLITS: (
        "The splits of the task. runs: the number that the paper or the portal states; which runs they are stands in "
        "copick/runs as far as it is public.",
        {
            "split": TEXT,
            "role": TEXT,
            "runs": INTEGER,
            "portal_dataset_ids": TEXT,
            "portal_deposition_ids": TEXT,
            "url": TEXT,
        },
    ),
    TASK_OBJECTS: (
        "The objects of the task. radius: angstrom. weight: in the aggregate score.",
        {
            "name": TEXT,
            "label": INTEGER,
            "color": TEXT,
            "radius": FLOAT,
            "weight": FLOAT,
            "is_particle": BOOLEAN,
            "target": BOOLEAN,
            "shape": TEXT,
            "portal_object_name": TEXT,
            "portal_object_id": TEXT,
        },
    ),
}


def csv_name(record_set: str) -> str:
    """The file of a record set: copick/runs lies in runs.csv, popsicle/files in files.csv."""
    return record_set.partition("/")[2] + ".csv"


def types(record_set: str) -> dict[str, str]:
    """Column -> data type."""
    if record_set in OURS:
        return OURS[record_set][1]
    from copick.impl.mlcroissant import CSV_SCHEMA

    return {column: str(CSV_SCHEMA[record_set]["types"][column]) for column in CSV_SCHEMA[record_set]["columns"]}


def columns(record_set: str) -> list[str]:
    """The header of the record set's file."""
    return list(types(record_set))


def known() -> list[str]:
    """Every record set with a file that copick or we know, in order."""
    from copick.impl.mlcroissant import RECORDSET_ORDER

    return [*RECORDSET_ORDER, *OURS]


def to_bytes(record_set: str, rows: Iterable[Mapping[str, Any]], guard: Collection[str] = ()) -> bytes:
    """The file of a record set. Absent values are empty cells. guard: columns whose cells get a guard."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns(record_set), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {name: cell(value) for name, value in row.items()}
        writer.writerow({name: GUARD + text if text and name in guard else text for name, text in cells.items()})
    return buffer.getvalue().encode("utf-8")


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def mark_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `manifest build` said of a manifest; empty for other manifests."""
    mark = document.get(MARK)
    return mark if isinstance(mark, dict) else {}


def guarded_columns(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """File of a table -> the columns whose cells have a guard, as the document's fields say."""
    found: dict[str, set[str]] = {}
    record_sets = document.get("recordSet")
    for entry in record_sets if isinstance(record_sets, list) else []:
        fields = entry.get("field") if isinstance(entry, dict) and entry.get("@id") in OURS else None
        for field in fields if isinstance(fields, list) else []:
            source = field.get("source") if isinstance(field, dict) else None
            if isinstance(source, dict) and source.get("transform") == {"regex": GUARDED}:
                found.setdefault(csv_name(entry["@id"]), set()).add(str(field.get("@id")).rpartition("/")[2])
    return found


def unguarded(rows: list[Row], guard: Collection[str]) -> list[Row]:
    """The rows without their guards."""
    if not guard:
        return rows
    return [{name: text.removeprefix(GUARD) if name in guard else text for name, text in row.items()} for row in rows]


def from_bytes(content: bytes, where: str) -> tuple[list[str], list[Row]]:
    """Header and rows, empty lines left out. Raises FormatError."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{where} is no CSV: {error}") from error
    if not rows:
        raise FormatError(f"{where} is empty", "a header is expected")
    header = rows[0]
    if len(set(header)) != len(header):
        raise FormatError(f"{where} has two columns of one name")
    for number, row in enumerate(rows[1:], 2):
        if row and len(row) != len(header):
            raise FormatError(f"{where} line {number} has {len(row)} cells, not {len(header)}")
    return header, [dict(zip(header, row)) for row in rows[1:] if row]


def file_object(record_set: str, content: bytes, url: str) -> dict[str, Any]:
    """The `cr:FileObject` of one of our files."""
    name = _file_id(record_set)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": url,
        "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def record_set(name: str, guard: Collection[str] = ()) -> dict[str, Any]:
    """The `cr:RecordSet` of one of our files. guard: the columns whose cells have a guard."""
    description, kinds = OURS[name]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name.partition("/")[2],
        "description": description,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "dataType": kind,
                "source": {
                    "fileObject": {"@id": _file_id(name)},
                    "extract": {"column": column},
                    **({"transform": {"regex": GUARDED}} if column in guard else {}),
                },
            }
            for column, kind in kinds.items()
        ],
    }


def _file_id(record_set: str) -> str:
    return csv_name(record_set).removesuffix(".csv").replace("_", "-") + "-csv"


def urls(tables: Mapping[str, Sequence[Row]], record_sets: Iterable[str]) -> list[str]:
    """The distinct urls of these record sets, sorted."""
    return sorted({row["url"] for name in record_sets for row in tables.get(name, ()) if row.get("url")})
