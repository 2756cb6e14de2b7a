"""Where picks may lie: in the sample, away from the faces of the tomogram, and not near what is excluded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from copick_tools.data import read
from copick_tools.data.project import Project
from copick_tools.data.uris import PicksUri, SegmentationUri
from copick_tools.errors import NotFoundError, UsageError
from copick_tools.recipes.picking import Grid
from copick_tools.volumes.exclude import near_border, near_mask
from copick_tools.volumes.extraction import Found
from copick_tools.volumes.sample import Sample, between, box, from_mask

if TYPE_CHECKING:
    from copick_tools.inference.extract import MakeSample


@dataclass(frozen=True)
class Where:
    """border, exclude_distance, sample_margin: angstrom.

    exclude: a segmentation, no picks in it or within the distance. sample: picks on the sample's top and bottom surface, as
    one set or two, or a segmentation of the sample; empty: it is anywhere. box: degrees by which the reconstruction's own
    box, which is then the sample, is turned about z; None: there is no such box.
    """

    border: float = 0.0
    exclude: SegmentationUri | None = None
    exclude_distance: float = 0.0
    sample: tuple[PicksUri | SegmentationUri, ...] = ()
    sample_margin: float = 0.0
    box: float | None = None

    def check(self) -> None:
        """Raises UsageError."""
        if not 0 <= self.border < float("inf"):
            raise UsageError(f"--border is {self.border:g}, but has to be at least 0 angstrom")
        if not 0 <= self.exclude_distance < float("inf"):
            raise UsageError(f"--exclude-distance is {self.exclude_distance:g}, but has to be at least 0 angstrom")
        if self.exclude_distance and self.exclude is None:
            raise UsageError("--exclude-distance goes with --exclude", "name the segmentation to stay away from")
        if not math.isfinite(self.sample_margin):
            raise UsageError(f"--sample-margin is {self.sample_margin}, but has to be a number of angstrom")
        if self.sample_margin and not self.sample and self.box is None:
            raise UsageError("--sample-margin goes with --sample", "say where the sample is")
        if self.box is not None and (self.sample or not math.isfinite(self.box)):
            raise UsageError("--sample box=DEGREES stands alone and takes a number of degrees")
        if self.box is not None and self.sample_margin > 0:
            raise UsageError("--sample-margin with a box takes off: give a negative number of angstrom")
        if len(self.sample) > 2 or (len(self.sample) == 2 and any(isinstance(u, SegmentationUri) for u in self.sample)):
            raise UsageError("--sample takes one segmentation, one set of picks, or two: top and bottom")

    @property
    def needs_project(self) -> bool:
        """Whether it names something that is stored in a project."""
        return self.exclude is not None or bool(self.sample) or self.box is not None


def find_sample(project: Project, run: str, where: Where) -> MakeSample | None:
    """Where the sample of a run is, on any grid; None for anywhere.

    Raises NotFoundError (no clicks, no segmentation); calling it raises ValueError for clicks that make no sample.
    """
    if where.box is not None:
        return partial(_boxed, where)
    if not where.sample:
        return None
    first = where.sample[0]
    if isinstance(first, SegmentationUri):
        stored = read.read_segmentation(project, run, first)

        def from_stored(shape: tuple[int, int, int], voxel_spacing: float, origin: float) -> Sample:
            return from_mask(stored, stored.voxel_spacing / voxel_spacing, shape, where.sample_margin / voxel_spacing)

        return from_stored
    clicks = []
    for uri in where.sample:
        sets = read.read_picks(project, run, [uri]) if isinstance(uri, PicksUri) else {}
        if len(sets) != 1:
            what = "no picks" if not sets else f"{len(sets)} sets of picks"
            raise NotFoundError(f"run {run} has {what} {uri} on the sample's surfaces", "--sample OBJECT:USER/SESSION")
        clicks += [points.positions for points in sets.values()]
        if not len(clicks[-1]):
            raise NotFoundError(f"run {run}: the picks {uri} on the sample's surfaces are none at all", "click some")

    def from_clicks(shape: tuple[int, int, int], voxel_spacing: float, origin: float) -> Sample:
        return between(clicks, shape, voxel_spacing, origin, where.sample_margin)

    return from_clicks


def find_excluded(project: Project, run: str, where: Where) -> read.StoredVolume | None:
    """The segmentation to keep away from; None for none. Raises NotFoundError."""
    return None if where.exclude is None else read.read_segmentation(project, run, where.exclude)


def _boxed(where: Where, shape: tuple[int, int, int], voxel_spacing: float, origin: float) -> Sample:
    """The reconstruction's own box; a negative margin is taken off on all sides."""
    off = max(0.0, -where.sample_margin) / voxel_spacing
    return box(shape, (off, off, off), where.box or 0.0)


def allowed(
    project: Project | None, run: str, where: Where, found: Mapping[str, Found], grid: Grid, sample: Sample | None
) -> dict[str, Found]:
    """The candidates that lie where picks may lie. project: None for plain files."""
    mask = None if project is None else find_excluded(project, run, where)
    kept = {}
    for name, candidates in found.items():
        good = ~near_border(candidates.centers, grid.shape, where.border / grid.voxel_spacing)
        if sample is not None:
            good &= sample.inside(candidates.centers)
        if mask is not None:
            distance, factor = where.exclude_distance / grid.voxel_spacing, mask.voxel_spacing / grid.voxel_spacing
            good &= ~near_mask(candidates.centers, mask, None, distance, factor)
        kept[name] = candidates.take(good)
    return kept
