"""A benchmark task: splits, objects, and how it is scored (POPSICLE, Appendix A and B.7)."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from copick_tools.recipes.base import Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")]
Channel = Annotated[int, Field(ge=0, le=255)]


class TaskObject(Strict):
    """An entry of copick's ``pickable_objects``, and what scoring needs of it."""

    name: Name = Field(description="kebab-case; `_` is copick's field separator")
    label: int = Field(ge=1, le=254, description="integer in a segmentation; 0 is background, 255 is ignored")
    color: tuple[Channel, Channel, Channel, Channel] = Field(description="RGBA")
    radius: float | None = Field(None, gt=0, description="angstrom; particles only")
    weight: float = Field(1.0, ge=0, description="in the aggregate score")
    is_particle: bool = True
    shape: Literal["region", "membrane", "filament", "network"] = Field(
        "region",
        description="which score it gets beside Dice: a membrane surface Dice, a filament or network centerline Dice; "
        "among instances a network gets VOI, adapted Rand error and centerline Dice",
    )
    target: bool = Field(True, description="trained, predicted and scored; false: only annotated")
    portal_object_name: str | None = None
    portal_object_id: str | None = Field(None, description="ontology id on the CryoET Data Portal")

    @model_validator(mode="after")
    def _particle_has_radius(self) -> TaskObject:
        if self.is_particle and self.radius is None:
            raise ValueError(f"particle {self.name} needs a radius (angstrom)")
        return self


class Split(Strict):
    """Where the runs of one split come from."""

    portal_dataset_ids: tuple[int, ...] = ()
    portal_deposition_ids: tuple[int, ...] = Field((), description="runs with annotations of these depositions")
    runs: int | None = Field(None, ge=0, description="number of runs the paper or the portal states")
    role: str = Field(description="what this split may be used for")


class Metric(Strict):
    """How predictions are scored."""

    name: Literal["fbeta", "dice", "instances"] = Field(
        description="of picks, of segmentations, of instances: their mean segmentation accuracy"
    )
    beta: float = Field(1.0, gt=0)
    rule: Literal["one-to-one", "kaggle"] = Field("one-to-one", description="kaggle: the challenge's official code")
    official: Literal["czii", "byu"] | None = Field(None, description="which official code `kaggle` names")
    distance_multiplier: float | None = Field(None, gt=0, description="matching distance as a fraction of the radius")
    distance: float | None = Field(None, gt=0, description="matching distance in angstrom, the same for all objects")

    @model_validator(mode="after")
    def _complete(self) -> Metric:
        if self.name == "fbeta" and (self.distance is None) == (self.distance_multiplier is None):
            raise ValueError("an fbeta metric needs either `distance` or `distance_multiplier`")
        if self.rule == "kaggle" and self.official is None:
            raise ValueError("rule kaggle needs `official`: czii or byu")
        return self


class Task(Strict):
    """One YAML of configs/tasks."""

    name: Name
    title: str
    kind: Literal["localization", "segmentation", "instances"]
    description: str
    source: str = Field(description="paper section, publication or program that the numbers come from")
    simulated: bool = False
    voxel_spacing: float | None = Field(gt=0, description="angstrom; null where it differs from run to run")
    tomo_types: tuple[str, ...] = Field(min_length=1, description="in order of preference")
    reference: str = Field(description="copick URI of the reference")
    portal_dataset_ids: tuple[int, ...] = ()
    portal_deposition_ids: tuple[int, ...] = ()
    portal_runs: dict[int, tuple[str, ...]] = Field(
        {}, description="portal run names by portal dataset id, where a part counts"
    )
    croissant: str | None = Field(
        None, description="the suite's own manifest, where it can be had: its runs and splits are those published"
    )
    splits: dict[Name, Split] = Field(min_length=1)
    objects: tuple[TaskObject, ...] = Field(min_length=1)
    metric: Metric
    notes: tuple[str, ...] = Field((), description="where the sources disagree or are silent")
    _file: str | None = PrivateAttr(None)

    @property
    def file(self) -> str | None:
        """The YAML that it was read from; None for a shipped one."""
        return self._file

    def read_from(self, file: str) -> Task:
        """The same, knowing its file."""
        self._file = file
        return self

    @field_validator("objects")
    @classmethod
    def _distinct(cls, objects: tuple[TaskObject, ...]) -> tuple[TaskObject, ...]:
        for what, values in (("name", [o.name for o in objects]), ("label", [o.label for o in objects])):
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice:
                raise ValueError(f"two objects share the {what} {twice[0]}")
        return objects

    @property
    def targets(self) -> tuple[TaskObject, ...]:
        """The objects that are trained, predicted and scored, by label."""
        return tuple(sorted((o for o in self.objects if o.target), key=lambda o: o.label))

    def distance(self, name: str) -> float:
        """Matching distance of an object, in angstrom."""
        if self.metric.distance is not None:
            return self.metric.distance
        radius = next(o.radius for o in self.objects if o.name == name)
        if radius is None or self.metric.distance_multiplier is None:
            raise ValueError(f"{name} has no matching distance")
        return self.metric.distance_multiplier * radius
