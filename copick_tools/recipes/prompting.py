"""How a promptable model makes instances: automatic mask generation and automatic prompt generation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from copick_tools.recipes.base import Strict

Fraction = Annotated[float, Field(ge=0, le=1)]


class Amg(Strict):
    """Automatic mask generation (Kirillov et al. 2023): a grid of points, each a prompt. Defaults are Segment Anything's."""

    points_per_side: int = Field(32, ge=1, le=256, description="of the grid, in each tile")
    pred_iou: float = Field(0.88, ge=0, description="least IoU that the model expects of a mask")
    stability: Fraction = Field(0.95, description="least IoU of the mask above and below the threshold")
    stability_offset: float = Field(1.0, gt=0, description="how far above and below, in logits")
    box_nms: Fraction = Field(0.7, description="of two masks whose boxes have a larger IoU the better one stays")
    min_size: int = Field(
        25,
        ge=0,
        description="pixels, or voxels in a volume; smaller masks go, and holes in slices (0 in Segment Anything)",
    )


class Apg(Strict):
    """Automatic prompt generation (Archit & Pape, MIDL 2026). Its thresholds of maps are `instances.foreground, center, boundary`."""

    prompts: Literal["components", "maxima"] = Field(
        "components", description="the deepest place of each component of the seeds, or maxima of the boundary distance"
    )
    score: Literal["iou", "iou*stability"] = Field(
        "iou", description="what masks are ranked by: the IoU that the model expects; micro-SAM codes the product"
    )
    stability_offset: float = Field(1.0, gt=0, description="logits; see amg")
    min_size: int = Field(25, ge=0, description="pixels, or voxels in a volume; a mask has to be larger")
    nms: Fraction = Field(0.9, description="of two masks with a larger IoU the better one stays")


class Prompting(Strict):
    """How a promptable model makes instances."""

    mode: Literal["amg", "apg"] | None = Field(
        None, description="amg: a grid of prompts; apg: prompts from maps; null: instances are made from the maps alone"
    )
    space: Literal["slices", "volume"] = Field(
        "volume",
        description="slices: as published, put together by instances.stitch; volume: objects are followed in 3D",
    )
    follow: Literal["projection", "memory"] = Field(
        "projection",
        description="volume: from slice to slice by prompts made of the last mask, or by the model's memory",
    )
    projected: tuple[Literal["box", "mask", "points"], ...] = Field(
        ("box", "mask"), min_length=1, description="projection: prompts for the next slice"
    )
    stop: Fraction = Field(
        0.5,
        description="volume: least IoU of an object's masks in neighboring slices, or it ends, unless it only gets smaller",
    )
    waist: Fraction = Field(
        0.5,
        description="volume, projection: an object ends where its mask is below this share of its largest one, if it grows "
        "again by as much; 0: never",
    )
    patience: int = Field(
        1,
        ge=0,
        description="projection: slices in a row whose mask may not fit, before the object ends where it last did",
    )
    covered: Fraction = Field(
        0.5,
        description="volume: a mask goes if better ones have a larger share of its voxels, for it is one of theirs again",
    )
    tile: int | None = Field(
        None, ge=16, description="pixels of a side that are encoded together; null: the whole slice"
    )
    halo: int = Field(0, ge=0, description="pixels around a tile that it sees besides")
    batch_size: int = Field(64, ge=1, description="prompts at a time")
    amg: Amg = Amg()
    apg: Apg = Apg()

    @model_validator(mode="after")
    def _fits(self) -> Prompting:
        if self.halo and self.tile is None:
            raise ValueError("halo needs a tile")
        return self
