"""What the manifest of a fetched project says of its origin, read back: datasets, tomograms, annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.document import license_id
from copick_tools.data.manifests.origin import AND, LINE
from copick_tools.data.manifests.reading import Manifest
from copick_tools.errors import FormatError
from copick_tools.recipes.base import Strict
from copick_tools.recipes.provenance import FetchedAnnotation, FetchedTomogram, SourceDataset, SourceDeposition

Record = TypeVar("Record", bound=Strict)


@dataclass(frozen=True)
class Recorded:
    """By run: rows of where it comes from and of what was fetched, its annotations in order.

    complete: an annotation that isn't here isn't of the fetched ones; else the manifest says nothing of any.
    """

    runs: Mapping[str, t.Row]
    fetched: Mapping[str, t.Row]
    annotations: Mapping[str, list[FetchedAnnotation]]
    complete: bool

    def dataset_id(self, run: str) -> int | None:
        """The portal dataset of a run. Raises FormatError."""
        text = self.runs.get(run, {}).get("portal_dataset_id", "")
        if text and not text.isdecimal():
            raise FormatError(f"{t.csv_name(t.PORTAL_RUNS)}: '{text}' is no id")
        return int(text) if text else None

    def portal_name(self, run: str) -> str | None:
        """What a run is called on the portal, where that is known."""
        return self.runs.get(run, {}).get("portal_run_name") or None

    def tomogram(self, run: str) -> FetchedTomogram | None:
        """The tomogram that was chosen. Raises FormatError."""
        row = self.fetched.get(run, {})
        return _tomogram(row) if row.get("tomogram") else None

    def notes(self, run: str) -> tuple[str, ...]:
        """What was noticed when it was fetched."""
        return _parts(self.fetched.get(run, {}).get("notes"), LINE)


def read_recorded(manifest: Manifest) -> Recorded:
    """What a manifest says of its runs. Raises FormatError."""
    annotations: dict[str, list[FetchedAnnotation]] = defaultdict(list)
    for row in manifest.rows(_stem(t.ANNOTATIONS)):
        annotations[row.get("run", "")].append(_annotation(row))
    return Recorded(
        {row.get("run", ""): row for row in manifest.rows(_stem(t.PORTAL_RUNS))},
        {row.get("run", ""): row for row in manifest.rows(_stem(t.FETCHED_RUNS))},
        annotations,
        _stem(t.ANNOTATIONS) in manifest.tables,
    )


def read_datasets(manifest: Manifest) -> tuple[SourceDataset, ...]:
    """The portal datasets that a manifest names. Raises FormatError."""
    return tuple(
        _made(
            SourceDataset,
            row,
            "a dataset",
            deposition_id=row.get("portal_deposition_id"),
            authors=_parts(row.get("authors"), AND),
            license=license_id(row.get("license", "")),
        )
        for row in manifest.rows(_stem(t.PORTAL_DATASETS))
    )


def read_depositions(manifest: Manifest) -> tuple[SourceDeposition, ...]:
    """The portal depositions that a manifest names. Raises FormatError."""
    return tuple(
        _made(SourceDeposition, row, "a deposition", authors=_parts(row.get("authors"), AND))
        for row in manifest.rows(_stem(t.PORTAL_DEPOSITIONS))
    )


def _tomogram(row: t.Row) -> FetchedTomogram:
    return _made(
        FetchedTomogram,
        row,
        "a tomogram",
        uri=row.get("tomogram"),
        id=row.get("portal_tomogram_id"),
        name=row.get("portal_tomogram_name"),
        deposition_id=row.get("portal_deposition_id"),
        alignment_id=row.get("portal_alignment_id"),
        authors=_parts(row.get("authors"), AND),
    )


def _annotation(row: t.Row) -> FetchedAnnotation:
    return _made(
        FetchedAnnotation,
        row,
        "an annotation",
        url=row.get("url", ""),
        id=row.get("portal_annotation_id"),
        file_id=row.get("portal_annotation_file_id"),
        deposition_id=row.get("portal_deposition_id"),
        alignment_id=row.get("portal_alignment_id"),
        authors=_parts(row.get("authors"), AND),
    )


def _made(model: type[Record], row: t.Row, what: str, **cells: Any) -> Record:
    """The record of a row: its cells of the record's own names, and those that are called otherwise."""
    given = {name: row.get(name) for name in model.model_fields} | cells
    may_be_empty = ("title", "url", "license")
    try:
        return model.model_validate(
            {name: value for name, value in given.items() if value not in (None, "") or name in may_be_empty}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(f"the manifest describes {what} that can't be read: {where}: {first['msg']}") from error


def _parts(text: str | None, mark: str) -> tuple[str, ...]:
    return tuple(part for part in (text or "").split(mark) if part)


def _stem(record_set: str) -> str:
    return t.csv_name(record_set).removesuffix(".csv")
