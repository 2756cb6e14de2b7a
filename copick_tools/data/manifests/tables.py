"""The CSV tables of a manifest: copick's ten, and ours beside them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
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
TASK_SPLITS, TASK_OBJECTS = "popsicle/task_splits", "popsicle/task_objects"

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
        {"id": INTEGER, "title": TEXT, "url": URL, "portal_deposition_id": INTEGER, "license": TEXT},
    ),
    PORTAL_DEPOSITIONS: (
        "Depositions of the CryoET Data Portal.",
        {"id": INTEGER, "title": TEXT, "url": URL},
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


def columns(record_set: str) -> list[str]:
    """The header of the record set's file."""
    if record_set in OURS:
        return list(OURS[record_set][1])
    from copick.impl.mlcroissant import CSV_SCHEMA

    return list(CSV_SCHEMA[record_set]["columns"])


def known() -> list[str]:
    """Every record set with a file that copick or we know, in order."""
    from copick.impl.mlcroissant import RECORDSET_ORDER

    return [*RECORDSET_ORDER, *OURS]


def to_bytes(record_set: str, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The file of a record set. Absent values are empty cells."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns(record_set), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue().encode("utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def from_bytes(content: bytes, where: str) -> tuple[list[str], list[Row]]:
    """Header and rows. Raises FormatError."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{where} is no CSV: {error}") from error
    if not rows:
        raise FormatError(f"{where} is empty", "a header is expected")
    header = rows[0]
    if len(set(header)) != len(header):
        raise FormatError(f"{where} has two columns of one name")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise FormatError(f"{where} line {number} has {len(row)} cells, not {len(header)}")
    return header, [dict(zip(header, row)) for row in rows[1:]]


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


def record_set(name: str) -> dict[str, Any]:
    """The `cr:RecordSet` of one of our files."""
    description, types = OURS[name]
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
                "source": {"fileObject": {"@id": _file_id(name)}, "extract": {"column": column}},
            }
            for column, kind in types.items()
        ],
    }


def _file_id(record_set: str) -> str:
    return csv_name(record_set).removesuffix(".csv").replace("_", "-") + "-csv"


def urls(tables: Mapping[str, Sequence[Row]], record_sets: Iterable[str]) -> list[str]:
    """The distinct urls of these record sets, sorted."""
    return sorted({row["url"] for name in record_sets for row in tables.get(name, ()) if row.get("url")})
