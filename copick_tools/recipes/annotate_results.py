"""The JSON document of `popsicle annotate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict


class AnnotateResult(Strict):
    """`annotate --json`."""

    kind: Literal["annotate"] = "annotate"
    run: str
    input: str
    output: str
    written: bool = Field(
        description="whether the segmentation is in the project; nothing is written where nothing is there"
    )
    objects: int
    added: int = Field(description="ids that weren't there at the start")
    removed: int = Field(description="ids that were")
    changed: int = Field(description="ids with other voxels than at the start")
