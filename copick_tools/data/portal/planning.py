"""From what the portal says of a run to what is fetched for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from copick_tools.data.plan import Merge, PointsFile, RunPlan, Store, segmentation_path, tomogram_path
from copick_tools.data.portal.choose import Chosen, Wanted, choose_annotations, choose_tomogram
from copick_tools.data.portal.naming import tomo_type
from copick_tools.data.portal.records import RunRows
from copick_tools.data.uris import PicksUri, SegmentationUri, TomogramUri
from copick_tools.errors import FormatError
from copick_tools.recipes.provenance import FetchedAnnotation, FetchedTomogram, RunRecord

USER, SESSION = "data-portal", "0"  # whose references are, as in copick's own portal projects


@dataclass(frozen=True)
class Target:
    """How a project is laid out. merged: name of the multilabel reference, None: each mask by itself.

    labels: of the objects that are merged.
    """

    wanted: Wanted
    user: str = USER
    session: str = SESSION
    merged: str | None = None
    labels: Mapping[str, int] | None = None


_Placed = tuple[Chosen, PicksUri | SegmentationUri]  # an annotation file, and where it goes


def plan_run(rows: RunRows, name: str, split: str | None, target: Target, deposition: int | None) -> RunPlan:
    """The plan of one run. deposition: of its dataset. Raises NotFoundError, PopsicleError: no tomogram, or several."""
    wanted = target.wanted
    depositions = wanted.depositions or ((deposition,) if deposition is not None else ())
    tomogram, rule = choose_tomogram(rows, wanted, depositions)
    if not (tomogram.voxel_spacing or 0) > 0:
        raise FormatError(f"tomogram {tomogram.id} has a voxel spacing of {tomogram.voxel_spacing}")
    chosen, notes = choose_annotations(rows, tomogram, wanted, depositions)
    uri = TomogramUri(tomo_type(tomogram), round(tomogram.voxel_spacing, 3))
    placed, more = _places(chosen, target, uri)
    record = RunRecord(
        run=name,
        portal_run_id=rows.run.id,
        portal_run_name=rows.run.name,
        dataset_id=rows.run.dataset_id,
        split=split,
        tomogram=FetchedTomogram(
            uri=str(uri),
            id=tomogram.id,
            name=tomogram.name,
            deposition_id=tomogram.deposition_id,
            alignment_id=tomogram.alignment_id,
            chosen_by=rule,
            authors=rows.tomogram_authors.get(tomogram.id, ()),
        ),
        annotations=tuple(_annotation(entry, place) for entry, place in placed),
        notes=(*notes, *more),
    )
    sizes = (tomogram.size_x, tomogram.size_y, tomogram.size_z)
    extent = tuple(size * tomogram.voxel_spacing for size in sizes) if all(sizes) else None
    points = tuple(_points(entry, place) for entry, place in placed if isinstance(place, PicksUri))
    stores, merge = _stores(placed, name, target)
    return RunPlan(record, (_tomogram(tomogram, tomogram_path(name, uri)), *stores), points, merge, extent)


def _places(chosen: list[Chosen], target: Target, tomogram: TomogramUri) -> tuple[list[_Placed], list[str]]:
    """Where each annotation goes. A second mask of an object, of another state, has no place beside the first."""
    placed: list[_Placed] = []
    notes = []
    for entry in chosen:
        place = _destination(entry, target, tomogram)
        taken = place in [other for _, other in placed]
        if taken and isinstance(place, SegmentationUri) and place.kind != "multilabel":
            notes.append(f"{entry.object}: annotation {entry.source.annotation.id} kept under its own user id")
            entry = replace(entry, reference=False)
            place = _destination(entry, target, tomogram)
        placed.append((entry, place))
    return placed, notes


def _stores(placed: list[_Placed], name: str, target: Target) -> tuple[list[Store], Merge | None]:
    """Masks that are copied as they are, and those that become one volume."""
    stores, merged = [], []
    uri: SegmentationUri | None = None
    for entry, place in placed:
        if isinstance(place, SegmentationUri) and place.kind == "multilabel":
            merged.append(_mask(entry, None, (target.labels or {})[entry.object]))
            uri = place
        elif isinstance(place, SegmentationUri):
            stores.append(_mask(entry, segmentation_path(name, place), None))
    masks = tuple(sorted(merged, key=lambda mask: mask.label or 0))
    return stores, Merge(uri, masks) if uri is not None else None


def _tomogram(tomogram: Any, path: str) -> Store:
    address, size = _elsewhere(tomogram.s3_omezarr_dir), _bytes(tomogram.file_size_omezarr)
    return Store(address, size, f"tomogram-{tomogram.id}", path)


def _destination(entry: Chosen, target: Target, tomogram: TomogramUri) -> PicksUri | SegmentationUri:
    """References go to the reference's user and session, everything else to that of its deposition and file."""
    source = entry.source
    user, session = target.user, target.session
    if not entry.reference:
        user, session = f"portal-{source.annotation.deposition_id or 'unknown'}", str(source.file.id)
    if source.is_points:
        return PicksUri(entry.object, user, session)
    if source.shape_type == "InstanceSegmentationMask":
        return SegmentationUri(entry.object, user, session, tomogram.voxel_spacing, "instance")
    if entry.reference and target.merged is not None:
        return _merged(target, tomogram)
    return SegmentationUri(entry.object, user, session, tomogram.voxel_spacing, "binary")


def _merged(target: Target, tomogram: TomogramUri) -> SegmentationUri:
    return SegmentationUri(str(target.merged), target.user, target.session, tomogram.voxel_spacing, "multilabel")


def _points(entry: Chosen, uri: PicksUri) -> PointsFile:
    file = entry.source.file
    return PointsFile(
        address=_elsewhere(file.https_path or file.s3_path),
        size=_bytes(file.file_size),
        key=f"{file.id}.ndjson",
        uri=uri,
        spacing=entry.source.voxel_spacing,
        oriented=entry.source.shape_type == "OrientedPoint",
        annotation=file.https_path or file.s3_path,
        stated=entry.source.annotation.object_count,
    )


def _mask(entry: Chosen, path: str | None, label: int | None) -> Store:
    file = entry.source.file
    return Store(_elsewhere(file.s3_path), _bytes(file.file_size), f"{file.id}.zarr", path, label)


def _annotation(entry: Chosen, uri: PicksUri | SegmentationUri) -> FetchedAnnotation:
    source, annotation = entry.source, entry.source.annotation
    return FetchedAnnotation(
        uri=str(uri),
        object=entry.object,
        id=annotation.id,
        file_id=source.file.id,
        url=source.file.https_path or source.file.s3_path,
        portal_object_name=annotation.object_name,
        portal_object_id=annotation.object_id,
        deposition_id=annotation.deposition_id,
        alignment_id=source.file.alignment_id,
        shape_type=source.shape_type,
        voxel_spacing=source.voxel_spacing,
        ground_truth_status=annotation.ground_truth_status,
        curator_recommended=annotation.is_curator_recommended,
        method_type=annotation.method_type,
        reference=entry.reference,
        authors=source.authors,
    )


def _elsewhere(address: str | None) -> str:
    """An address that the portal states, if it is one of a server, and not of this machine's own files."""
    if not address or not address.startswith(("s3://", "https://", "http://")):
        raise FormatError(f"the portal states the address '{address}', which is no server's")
    if address.startswith("s3://"):
        return address
    return address.replace("?", "%3F").replace("#", "%23")  # of a name: these addresses have no queries


def _bytes(size: Any) -> int | None:
    """The portal's file size; it says nothing, or 0, where it doesn't know."""
    return int(size) if size else None
