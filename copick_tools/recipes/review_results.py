"""The JSON documents of `popsicle instances --dry-run` and `popsicle review`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict
from copick_tools.recipes.instancing import Methods
from copick_tools.recipes.results import RunOutcome


class InstancesPlan(Strict):
    """`instances --dry-run`. runs: what would become of each. hint: on an error."""

    kind: Literal["instances-plan"] = "instances-plan"
    input: str
    output: str
    voxel_spacing: float | None = Field(description="angstrom; null: the segmentation's own")
    methods: Methods
    objects: dict[str, int] = Field(description="name -> label, of those that are converted")
    runs: list[PlannedConversion]


class PlannedConversion(Strict):
    """What would become of a run."""

    run: str
    status: Literal["planned", "finished", "impossible"]
    error: str | None = None
    hint: str | None = None


class Spread(Strict):
    """Of a number over the instances of an object."""

    min: float
    q25: float
    median: float
    q75: float
    max: float


class SizeBin(Strict):
    """Instances of a size, of the multi-organelle benchmark (figures 3 and 4): voxels from, and to below; null: no end."""

    at_least: int
    below: int | None
    instances: int


class ReviewedObject(Strict):
    """All instances of one object in these runs; null where there are none."""

    instances: int
    runs: int = Field(description="that have any")
    at_border: int = Field(description="instances that a face of the volume cuts")
    compared_with: int = Field(description="instances that say what is usual: the whole ones, or all")
    bins: list[SizeBin]
    voxels: Spread | None
    volume_nm3: Spread | None
    sphericity: Spread | None
    compactness: Spread | None


class Suspect(Strict):
    """An instance. Centers in angstrom, extents along x, y, z and surfaces in nanometers."""

    run: str
    object: str
    id: int
    suspicion: float = Field(ge=0, le=1)
    reason: Literal["large", "small", "shape", "none"]
    voxels: int
    volume_nm3: float
    surface_nm2: float
    sphericity: float
    compactness: float
    at_border: bool
    x: float
    y: float
    z: float
    extent_nm: tuple[float, float, float]


class ReviewResult(Strict):
    """`review --json`. queue: what goes into the picks, the most suspicious first; sets that were there already stay.

    counts of a run: the picks that were written, by object.
    """

    kind: Literal["review"] = "review"
    config: str
    input: str
    output: str
    objects: dict[str, ReviewedObject]
    runs: list[RunOutcome]
    queue: list[Suspect]
