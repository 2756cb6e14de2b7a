"""How semantic segmentations become instances: the settings of `popsicle instances`, alone or per object from a YAML."""

from __future__ import annotations

from math import inf
from typing import Literal, Self

from pydantic import Field, model_validator

from copick_tools.errors import UsageError
from copick_tools.recipes.base import Strict
from copick_tools.volumes.relief import CAP
from copick_tools.volumes.semantic_instances import Way

NANOMETER = 10.0  # angstrom
LONGEST = 1e6  # nanometers, a millimeter: longer than any volume, and its square is still a number
OWN: dict[str, tuple[str, ...]] = {
    "components": (),
    "network": ("join",),
    "watershed": ("neck", "seed_depth", "seed_distance"),
    "bounded": ("boundary", "boundary_object", "threshold", "clearance"),
}


class Method(Strict):
    """How the instances of an object are told apart. Lengths in nanometers, volumes in cubic nanometers."""

    method: Literal["components", "network", "watershed", "bounded"] = Field(
        "components", description="what is one instance"
    )
    connectivity: Literal[6, 18, 26] = Field(26, description="neighbors of a voxel: by faces, edges, corners")
    min_volume: float = Field(0.0, ge=0, description="nm3; smaller instances are left out")
    max_volume: float | None = Field(None, gt=0, description="nm3; larger ones are left out; null: none is")
    neck: float = Field(
        0.7, gt=0, lt=1, description="watershed: parts are two up to this width between them, of the narrower one's"
    )
    seed_depth: float | None = Field(
        None,
        ge=0,
        le=LONGEST,
        description="watershed: nm by which the way between is nearer to the surface; null: a voxel",
    )
    seed_distance: float = Field(
        0.0, ge=0, le=LONGEST, description="watershed: nm; of nearer seeds only the deepest one stays"
    )
    boundary: str | None = Field(
        None, description="bounded: URI of a segmentation, or of a map that is stored as a tomogram"
    )
    boundary_object: str | None = Field(None, description="bounded: the object that counts, in a multilabel boundary")
    threshold: float = Field(0.5, gt=0, description="bounded: from this value on a voxel is of a boundary")
    clearance: float = Field(
        0.0, ge=0, le=LONGEST, description="bounded: nm from boundaries where seeds begin; closes gaps"
    )
    join: float = Field(0.0, ge=0, le=LONGEST, description="network: nm; fragments that near hang together")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for method, keys in OWN.items():
            given = [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]
            if given and method != self.method:
                raise ValueError(f"{given[0]} goes with method {method}, not {self.method}")
        if self.method == "bounded" and not self.boundary:
            raise ValueError("method bounded needs a boundary")
        if self.max_volume is not None and self.max_volume < self.min_volume:
            raise ValueError(f"max_volume {self.max_volume:g} is below min_volume {self.min_volume:g}")
        return self

    def way(self, voxel_spacing: float) -> Way:
        """In voxels. voxel_spacing: angstrom. Raises UsageError for lengths that are too long to be told."""
        nanometers = voxel_spacing / NANOMETER
        if self.clearance >= CAP * nanometers:
            raise UsageError(
                f"a clearance of {self.clearance:g} nm is {self.clearance / nanometers:.0f} voxels of {voxel_spacing:g} A",
                f"distances are told up to {CAP} voxels: align to coarser ones with --voxel-spacing",
            )
        most = inf if self.max_volume is None else voxels_of(self.max_volume, nanometers)
        return Way(
            method=self.method,
            connectivity=self.connectivity,
            limits=(voxels_of(self.min_volume, nanometers), most),
            neck=self.neck,
            depth=1.0 if self.seed_depth is None else self.seed_depth / nanometers,
            distance=self.seed_distance / nanometers,
            threshold=self.threshold,
            clearance=self.clearance / nanometers,
            join=self.join / nanometers,
        )


class Methods(Strict):
    """A method for each object."""

    class_aware: bool = Field(True, description="false: touching objects are one instance, as the text of 3D LPA says")
    objects: dict[str, Method] = Field({}, description="by name")
    others: Method | None = Field(None, description="of objects that aren't named; null: these are left out")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        every = [*self.objects.values(), *([self.others] if self.others else [])]
        if not every:
            raise ValueError("no object has a method")
        if not self.class_aware and any(one != every[0] or one.method != "components" for one in every):
            raise ValueError("class_aware: false goes with method components, in the same way for all objects")
        return self

    def of(self, name: str) -> Method | None:
        """The method of an object; None where it is left out."""
        return self.objects.get(name, self.others)


def voxels_of(volume: float, nanometers: float) -> float:
    """Of a volume in nm3. nanometers: voxel spacing. A little is left to rounding."""
    return round(volume / nanometers**3, 6)
