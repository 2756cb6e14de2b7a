"""Where fetched data come from: the documents of ``DIR/.popsicle/portal``.

Nothing here tells time, place or machine: the same selection fetched twice gives the same bytes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict


class FetchedFile(Strict):
    """One file of the project."""

    path: str = Field(description="relative to the project, with /")
    size: int = Field(ge=0, description="bytes")
    sha256: str
    url: str | None = Field(None, description="what it was downloaded from; null where it was made of other files")


class FetchedTomogram(Strict):
    """The tomogram of a run."""

    uri: str = Field(description="copick URI in the project, such as wbp-raw@13.48")
    id: int | None = Field(None, description="portal tomogram id")
    name: str | None = None
    deposition_id: int | None = None
    alignment_id: int | None = None
    chosen_by: str = Field(description="the rule that chose it")
    authors: tuple[str, ...] = ()


class FetchedAnnotation(Strict):
    """One annotation file of the portal, and what became of it."""

    uri: str = Field(description="copick URI in the project")
    object: str = Field(description="name in the project")
    id: int | None = Field(None, description="portal annotation id")
    file_id: int | None = Field(None, description="portal annotation file id; the portal may renumber, hence the url")
    url: str
    portal_object_name: str | None = None
    portal_object_id: str | None = None
    deposition_id: int | None = None
    alignment_id: int | None = None
    shape_type: str
    voxel_spacing: float | None = Field(None, description="angstrom, of the annotation file")
    ground_truth_status: bool | None = None
    curator_recommended: bool | None = None
    method_type: str | None = None
    reference: bool = Field(description="whether it is what predictions are scored against")
    points: int | None = Field(None, description="number of points; null for masks")
    sha256: str | None = Field(None, description="of the file as it came; null for masks, which are stores")
    authors: tuple[str, ...] = ()


class RunRecord(Strict):
    """``runs/RUN.json``: written last, when everything of a run is in place."""

    run: str
    portal_run_id: int | None = None
    portal_run_name: str | None = None
    dataset_id: int | None = None
    split: str | None = Field(None, description="as published")
    tomogram: FetchedTomogram | None = None
    annotations: tuple[FetchedAnnotation, ...] = ()
    files: tuple[FetchedFile, ...] = ()
    notes: tuple[str, ...] = ()


class SourceDataset(Strict):
    """A portal dataset."""

    id: int
    title: str = ""
    deposition_id: int | None = None
    organism: str | None = None
    sample_type: str | None = None
    authors: tuple[str, ...] = ()
    publications: str | None = None
    license: str = Field(description="SPDX id")


class SourceDeposition(Strict):
    """A portal deposition."""

    id: int
    title: str = ""
    authors: tuple[str, ...] = ()
    publications: str | None = None


class Source(Strict):
    """``source.json``: what the runs come from."""

    kind: Literal["portal", "croissant"]
    task: str | None = None
    url: str | None = Field(None, description="GraphQL endpoint or manifest")
    datasets: tuple[SourceDataset, ...] = ()
    depositions: tuple[SourceDeposition, ...] = ()
    license: str | None = None
    cite_as: str | None = None
