"""What is to be fetched for a run, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from copick_tools.data.uris import (
    Kind,
    PicksUri,
    SegmentationUri,
    TomogramUri,
    names_segmentation,
    picks_uri,
    segmentation_uri,
)
from copick_tools.recipes.provenance import RunRecord


@dataclass(frozen=True)
class Store:
    """A zarr store elsewhere, copied byte by byte. address: s3://, https:// or a folder; size: bytes as stated.

    key: what it is called while it is on its way; path: where it goes in the project; label: in a merged volume.
    """

    address: str
    size: int | None
    key: str
    path: str | None = None
    label: int | None = None
    files: tuple[tuple[str, int, str | None], ...] | None = None  # path, size, sha256 where a manifest lists them


@dataclass(frozen=True)
class PointsFile:
    """Points elsewhere. spacing: angstrom for one unit of its coordinates; None: it is copick's JSON, in angstrom.

    oriented: whether it has rotations; None: as it turns out. annotation: the url of its annotation in the record.
    stated: how many points the portal says it has.
    """

    address: str
    size: int | None
    key: str
    uri: PicksUri
    spacing: float | None
    oriented: bool | None
    annotation: str
    stated: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Merge:
    """Masks of several objects that become one multilabel volume."""

    uri: SegmentationUri
    masks: tuple[Store, ...]


@dataclass(frozen=True)
class RunPlan:
    """A run: what it will consist of, and where that lies. record: as it will be, but for the files.

    extent: x, y, z of the tomogram in angstrom, where it is known.
    """

    record: RunRecord
    stores: tuple[Store, ...] = ()
    points: tuple[PointsFile, ...] = ()
    merge: Merge | None = None
    extent: tuple[float, ...] | None = None

    @property
    def run(self) -> str:
        """Name in the project."""
        return self.record.run

    def all_stores(self) -> Iterator[Store]:
        """Also those that are merged."""
        yield from self.stores
        if self.merge is not None:
            yield from self.merge.masks

    @property
    def is_stated(self) -> bool:
        """Whether all sizes are stated."""
        return all(item.size is not None for item in (*self.all_stores(), *self.points))

    @property
    def size(self) -> int:
        """Bytes to fetch, as far as stated."""
        return sum(item.size or 0 for item in (*self.all_stores(), *self.points))


def tomogram_path(run: str, uri: TomogramUri) -> str:
    """Where copick keeps a tomogram, relative to the project."""
    return f"ExperimentRuns/{run}/VoxelSpacing{uri.voxel_spacing:.3f}/{uri.tomo_type}.zarr"


def segmentation_path(run: str, uri: SegmentationUri) -> str:
    """Where copick keeps a segmentation, relative to the project."""
    from copick.util.segmentation import segmentation_store_name

    kind: Kind = uri.kind or "binary"
    folder = {"instance": "InstanceSegmentations", "panoptic": "PanopticSegmentations"}.get(kind, "Segmentations")
    store = segmentation_store_name(
        round(float(uri.voxel_spacing or 0), 3),
        uri.user,
        uri.session,
        uri.name,
        is_multilabel=kind == "multilabel",
        is_instance=kind == "instance",
        is_panoptic=kind == "panoptic",
    )
    return f"ExperimentRuns/{run}/{folder}/{store}"


def picks_path(run: str, uri: PicksUri) -> str:
    """Where copick keeps picks, relative to the project."""
    return f"ExperimentRuns/{run}/Picks/{uri.user}_{uri.session}_{uri.object}.json"


def annotation_path(run: str, uri: str) -> str:
    """Where copick keeps what a URI of a record names, relative to the project."""
    if not names_segmentation(uri):
        return picks_path(run, picks_uri(uri))
    return segmentation_path(run, segmentation_uri(uri))
