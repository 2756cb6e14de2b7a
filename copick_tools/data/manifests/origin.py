"""What the records of a project say of its origin: licence, citation, authors, how it was collected and annotated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from copick_tools.data.manifests import tables as t
from copick_tools.data.manifests.document import Rai, license_url
from copick_tools.data.uris import plain_uri, tomogram_uri
from copick_tools.errors import FormatError, UsageError
from copick_tools.recipes.provenance import FetchedAnnotation, RunRecord, Source, SourceDataset, SourceDeposition
from copick_tools.recipes.task import Task

AND, LINE = "; ", "\n"
"""What stands between names, and between notes, in a cell."""
PORTAL = "https://cryoetdataportal.czscience.com"
SUITE = "POPSICLE: Benchmark Datasets for Segmentation and Localization in CryoET. arXiv:2606.10255"
TOMOGRAPHY = (
    "the range of tilts leaves a wedge of missing information: features are elongated along the beam, and surfaces "
    "perpendicular to it are faint"
)
USES = "training and evaluation of models that localize particles or segment compartments in cryo-electron tomograms"


def portal_tables(source: Source | None, records: Mapping[str, RunRecord]) -> t.Tables:
    """The tables of portal ids of a fetched project; none of one that wasn't."""
    known = any(r.dataset_id is not None or r.portal_run_id is not None for r in records.values())
    if source is None or not (source.datasets or source.depositions or known):
        return {}
    runs = [
        {
            "run": record.run,
            "portal_dataset_id": record.dataset_id,
            "portal_run_id": record.portal_run_id,
            "portal_run_name": record.portal_run_name,
        }
        for record in records.values()
    ]
    return {
        t.PORTAL_RUNS: [_text(row) for row in runs],
        t.PORTAL_DATASETS: [dataset_row(dataset) for dataset in source.datasets],
        t.PORTAL_DEPOSITIONS: [deposition_row(deposition) for deposition in source.depositions],
    }


def dataset_row(dataset: SourceDataset) -> t.Row:
    """A portal dataset."""
    return _text(
        {
            "id": dataset.id,
            "title": dataset.title,
            "url": f"{PORTAL}/datasets/{dataset.id}",
            "portal_deposition_id": dataset.deposition_id,
            "license": _license(dataset.license) or dataset.license,
            "organism": dataset.organism,
            "sample_type": dataset.sample_type,
            "authors": AND.join(dataset.authors),
            "publications": dataset.publications,
        }
    )


def deposition_row(deposition: SourceDeposition) -> t.Row:
    """A portal deposition."""
    return _text(
        {
            "id": deposition.id,
            "title": deposition.title,
            "url": f"{PORTAL}/depositions/{deposition.id}",
            "authors": AND.join(deposition.authors),
            "publications": deposition.publications,
        }
    )


def fetched_tables(source: Source | None, records: Mapping[str, RunRecord], listed: Set[tuple[str, str]]) -> t.Tables:
    """The tables of what was fetched for each run; none for a project that wasn't.

    listed: (run, uri) of the picks and segmentations that the manifest lists. What nothing is known of is left out.
    """
    if source is None:
        return {}
    annotations = [
        _text(_annotation(record.run, annotation))
        for record in records.values()
        for annotation in record.annotations
        if (record.run, plain_uri(annotation.uri)) in listed and (annotation.reference or annotation.id is not None)
    ]
    return {t.FETCHED_RUNS: [_text(_fetched(record)) for record in records.values()], t.ANNOTATIONS: annotations}


def _fetched(record: RunRecord) -> dict[str, Any]:
    tomogram = record.tomogram
    chosen = {
        "tomogram": str(tomogram_uri(tomogram.uri)),
        "portal_tomogram_id": tomogram.id,
        "portal_tomogram_name": tomogram.name,
        "portal_deposition_id": tomogram.deposition_id,
        "portal_alignment_id": tomogram.alignment_id,
        "chosen_by": tomogram.chosen_by,
        "authors": AND.join(tomogram.authors),
    } if tomogram else {}  # fmt: skip
    return {"run": record.run, **chosen, "notes": LINE.join(record.notes)}


def _annotation(run: str, annotation: FetchedAnnotation) -> dict[str, Any]:
    known = annotation.model_dump(exclude={"id", "file_id", "deposition_id", "alignment_id", "authors", "sha256"})
    return {
        "run": run,
        **known,
        "uri": plain_uri(annotation.uri),
        "portal_annotation_id": annotation.id,
        "portal_annotation_file_id": annotation.file_id,
        "portal_deposition_id": annotation.deposition_id,
        "portal_alignment_id": annotation.alignment_id,
        "authors": AND.join(annotation.authors),
    }


def _text(row: Mapping[str, Any]) -> t.Row:
    return {name: t.cell(value) for name, value in row.items()}


def source_license(source: Source | None) -> str | None:
    """The licence of fetched data, as URL; None where the source states none by id or URL, or its datasets several."""
    if source is None:
        return None
    stated = [source.license] if source.license else sorted({dataset.license for dataset in source.datasets})
    return _license(stated[0]) if len(stated) == 1 else None


def _license(stated: str) -> str | None:
    try:
        return license_url(stated)
    except UsageError:  # in words
        return None


def source_citation(source: Source | None) -> str | None:
    """How to cite fetched data."""
    if source is None:
        return None
    if source.cite_as:
        return source.cite_as
    parts = [f"CryoET Data Portal deposition CZCDP-{d.id}" + _titled(d) for d in source.depositions]
    parts = parts or [f"CryoET Data Portal dataset DS-{d.id}" + _titled(d) for d in source.datasets]
    return "; ".join(parts) or None


def _titled(entry: SourceDataset | SourceDeposition) -> str:
    authors = f" by {entry.authors[0]}{' et al.' if len(entry.authors) > 1 else ''}" if entry.authors else ""
    published = f", {entry.publications}" if entry.publications else ""
    return (f" ({entry.title})" if entry.title else "") + authors + published


def source_creators(source: Source | None, records: Mapping[str, RunRecord]) -> tuple[str, ...]:
    """Everybody named by datasets, depositions, tomograms and annotations, once, in that order."""
    named = [entry.authors for entry in (source.datasets if source else ())]
    named += [entry.authors for entry in (source.depositions if source else ())]
    named += [record.tomogram.authors for record in records.values() if record.tomogram]
    named += [annotation.authors for record in records.values() for annotation in record.annotations]
    return tuple(dict.fromkeys(author for authors in named for author in authors))


def fetched_rai(source: Source, records: Mapping[str, RunRecord], task: Task | None) -> Rai:
    """RAI texts of a fetched project, from its records."""
    datasets = "; ".join(
        f"{d.id} {d.title}" + "".join(f", {part}" for part in (d.organism, d.sample_type) if part)
        for d in source.datasets
    )
    chosen = Counter(r.tomogram.chosen_by for r in records.values() if r.tomogram)
    tomograms = [f"{count} tomograms chosen by: {rule}" for rule, count in sorted(chosen.items())]
    annotations = [a for record in records.values() for a in record.annotations]
    notes = sorted({note for record in records.values() for note in record.notes})
    return {
        "dataCollection": [f"Cryo-electron tomograms of the CryoET Data Portal, datasets {datasets}"]
        if datasets
        else [],
        "dataCollectionType": ["cryo-electron tomography"],
        "dataPreprocessingProtocol": tomograms,
        "dataAnnotationProtocol": _protocols(annotations),
        "dataLimitations": [TOMOGRAPHY, *(task.notes if task else ()), *notes],
        "dataBiases": _biases(annotations, len(records)),
        "dataUseCases": [USES],
    }


def _protocols(annotations: Iterable[FetchedAnnotation]) -> list[str]:
    """One line for each object and way of annotating."""
    truth = {True: "ground truth", False: "not ground truth", None: "ground truth status not stated"}
    curators = {True: ("recommended by curators",), False: ("not recommended by curators",), None: ()}
    ways = Counter(
        (
            a.object,
            a.shape_type,
            *((a.method_type,) if a.method_type else ()),
            truth[a.ground_truth_status],
            *curators[a.curator_recommended],
            *((f"deposition {a.deposition_id}",) if a.deposition_id is not None else ()),
        )
        for a in annotations
    )
    return [f"{', '.join(way)}: {count} files" for way, count in sorted(ways.items())]


def _biases(annotations: Iterable[FetchedAnnotation], runs: int) -> list[str]:
    points: Counter[str] = Counter()
    for a in annotations:
        if a.reference and a.points is not None:
            points[a.object] += a.points
    if not points:
        return []
    counts = ", ".join(f"{name} {count}" for name, count in sorted(points.items()))
    return [f"objects are unequally frequent in the {runs} runs: {counts} points"]


def read_simulation(sidecar: Path) -> dict[str, Any] | None:
    """The settings of a project that `simulate` made; None for another. Raises FormatError."""
    path = sidecar / "simulation.json"
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("no object")
        return document
    except ValueError as error:
        raise FormatError(f"{path} can't be read: {error}") from error


SIMULATED = {
    "phantom": "six complexes, membranes and decoys in ice; no crowded cell",
    "organelles": "five kinds of compartments in ice; fewer kinds, and simpler shapes, than in a cell",
}


def simulated_rai(simulation: Mapping[str, Any]) -> Rai:
    """RAI texts of a simulated project."""
    shape = " x ".join(str(length) for length in simulation.get("shape", ()))
    kind = simulation.get("simulation", "phantom")
    return {
        "dataCollection": [
            f"Simulated by `popsicle simulate {kind}`: preset {simulation.get('preset')}, seed {simulation.get('seed')}, "
            f"{shape} voxels (z y x) of {simulation.get('voxel_spacing')} angstrom. No specimen, no microscope."
        ],
        "dataCollectionType": ["simulation"],
        "dataAnnotationProtocol": ["positions, orientations and voxel labels are those that the simulation placed"],
        "dataLimitations": ["simulated data: scores don't carry over to real tomograms", TOMOGRAPHY],
        "dataBiases": [SIMULATED.get(kind, "what the simulation places, and nothing else")],
        "dataUseCases": ["learning the tools, tests, and comparison of methods under known truth"],
        "personalSensitiveInformation": ["none"],
    }
