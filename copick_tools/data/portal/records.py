"""What the portal knows of runs, in eight queries for fifty runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cryoet_data_portal as cdp

from copick_tools.data.portal.client import Portal
from copick_tools.recipes.provenance import SourceDataset, SourceDeposition

LICENSE = "CC0-1.0"  # of everything on the portal: https://cryoetdataportal.czscience.com
POINTS = {"Point": "ndjson", "OrientedPoint": "ndjson", "InstanceSegmentation": "ndjson"}
MASKS = {"SegmentationMask": "zarr", "InstanceSegmentationMask": "zarr"}
FORMATS = {**POINTS, **MASKS}  # shape type -> the file format that is read


@dataclass(frozen=True)
class AnnotationFile:
    """A file of points or a mask, with its annotation. voxel_spacing: angstrom, of the file itself."""

    file: Any
    annotation: Any
    shape_type: str
    voxel_spacing: float | None
    authors: tuple[str, ...] = ()

    @property
    def is_points(self) -> bool:
        """Points; else a mask."""
        return self.shape_type in POINTS


@dataclass(frozen=True)
class RunRows:
    """A portal run with its tomograms and annotation files."""

    run: Any
    tomograms: tuple[Any, ...] = ()
    annotations: tuple[AnnotationFile, ...] = ()
    tomogram_authors: dict[int, tuple[str, ...]] = field(default_factory=dict)


def describe_runs(portal: Portal, runs: Sequence[Any]) -> list[RunRows]:
    """Tomograms and annotations of portal runs, in the order of the runs."""
    ids = [run.id for run in runs]
    spacings, tomograms, files, shapes, annotations, authors, tomogram_authors = portal.find_all(
        ids,
        [
            (cdp.TomogramVoxelSpacing, lambda batch: [cdp.TomogramVoxelSpacing.run_id._in(batch)]),
            (cdp.Tomogram, lambda batch: [cdp.Tomogram.run_id._in(batch)]),
            (
                cdp.AnnotationFile,
                lambda batch: [
                    cdp.AnnotationFile.annotation_shape.annotation.run_id._in(batch),
                    cdp.AnnotationFile.format._in(sorted(set(FORMATS.values()))),
                ],
            ),
            (cdp.AnnotationShape, lambda batch: [cdp.AnnotationShape.annotation.run_id._in(batch)]),
            (cdp.Annotation, lambda batch: [cdp.Annotation.run_id._in(batch)]),
            (cdp.AnnotationAuthor, lambda batch: [cdp.AnnotationAuthor.annotation.run_id._in(batch)]),
            (cdp.TomogramAuthor, lambda batch: [cdp.TomogramAuthor.tomogram.run_id._in(batch)]),
        ],
    )
    by_run = _annotation_files(files, shapes, annotations, {s.id: s.voxel_spacing for s in spacings}, authors)
    names = _authors(tomogram_authors, "tomogram_id")
    of_run: dict[int, list[Any]] = defaultdict(list)
    for tomogram in sorted(tomograms, key=lambda t: t.id):
        of_run[tomogram.run_id].append(tomogram)
    return [RunRows(run, tuple(of_run[run.id]), tuple(by_run[run.id]), names) for run in runs]


def _annotation_files(
    files: list[Any], shapes: list[Any], annotations: list[Any], spacings: dict[int, float], authors: list[Any]
) -> dict[int, list[AnnotationFile]]:
    """Annotation files of known kinds, by run id."""
    shape_of = {shape.id: shape for shape in shapes}
    annotation_of = {annotation.id: annotation for annotation in annotations}
    names = _authors(authors, "annotation_id")
    found: dict[int, list[AnnotationFile]] = defaultdict(list)
    for file in sorted(files, key=lambda f: f.id):
        shape = shape_of.get(file.annotation_shape_id)
        annotation = annotation_of.get(shape.annotation_id) if shape is not None else None
        if shape is None or annotation is None or file.format != FORMATS.get(shape.shape_type):
            continue
        spacing = spacings.get(file.tomogram_voxel_spacing_id)
        found[annotation.run_id].append(
            AnnotationFile(file, annotation, shape.shape_type, spacing, names.get(annotation.id, ()))
        )
    return found


def describe_sources(
    portal: Portal, dataset_ids: Iterable[int], deposition_ids: Iterable[int]
) -> tuple[tuple[SourceDataset, ...], tuple[SourceDeposition, ...]]:
    """Titles, authors and organisms of datasets; titles and authors of depositions."""
    wanted = sorted(set(dataset_ids))
    datasets, dataset_authors = portal.find_all(
        wanted,
        [
            (cdp.Dataset, lambda batch: [cdp.Dataset.id._in(batch)]),
            (cdp.DatasetAuthor, lambda batch: [cdp.DatasetAuthor.dataset_id._in(batch)]),
        ],
    )
    deposited = {d.deposition_id for d in datasets if d.deposition_id is not None}
    depositions, deposition_authors = portal.find_all(
        sorted({*deposition_ids, *deposited}),
        [
            (cdp.Deposition, lambda batch: [cdp.Deposition.id._in(batch)]),
            (cdp.DepositionAuthor, lambda batch: [cdp.DepositionAuthor.deposition_id._in(batch)]),
        ],
    )
    of_dataset = _authors(dataset_authors, "dataset_id")
    of_deposition = _authors(deposition_authors, "deposition_id")
    return (
        tuple(_dataset(row, of_dataset.get(row.id, ())) for row in sorted(datasets, key=lambda d: d.id)),
        tuple(
            SourceDeposition(
                id=row.id,
                title=row.title or "",
                authors=of_deposition.get(row.id, ()),
                publications=row.deposition_publications or None,
            )
            for row in sorted(depositions, key=lambda d: d.id)
        ),
    )


def _dataset(row: Any, authors: tuple[str, ...]) -> SourceDataset:
    return SourceDataset(
        id=row.id,
        title=row.title or "",
        deposition_id=row.deposition_id,
        organism=row.organism_name or None,
        sample_type=row.sample_type or None,
        authors=authors,
        publications=row.dataset_publications or None,
        license=LICENSE,
    )


def _authors(rows: Iterable[Any], key: str) -> dict[int, tuple[str, ...]]:
    """Names by what they are the authors of, in the order of the list of authors."""
    found: dict[int, list[Any]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r.author_list_order or 0, r.id)):
        found[getattr(row, key)].append(row.name)
    return {of: tuple(dict.fromkeys(names)) for of, names in found.items()}
