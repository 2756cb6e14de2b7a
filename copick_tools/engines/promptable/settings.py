"""Settings that the families of promptable models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from copick_tools.engines.family import Settings

Part = Literal["image-encoder", "prompt-encoder", "mask-decoder"]


class Model(Settings):
    """The `model:` mapping of a recipe, less its family.

    types: of transformers' configurations that a family takes. usual: the one where ``config`` doesn't say.
    """

    types: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[str] = ""
    weights: str | None = Field(
        None,
        description="to start from: a folder of transformers; sam also takes segment_anything's sam_vit_*.pth, and micro-SAM's; "
        "null: random weights. A checkpoint holds its own",
    )
    config: dict[str, Any] = Field(
        {},
        description="transformers' configuration, as far as it differs from its defaults; empty: that of the weights",
    )
    frozen: tuple[Part, ...] = Field(
        (), description="parts that don't learn: image-encoder, prompt-encoder, mask-decoder"
    )
    lora: int | None = Field(
        None,
        ge=1,
        description="rank of adapters, which learn instead of the image encoder's attention (peft); null: none",
    )
    objects_per_image: int = Field(25, ge=1, description="at most so many objects of a slice are asked for in a step")
    iterations: int = Field(8, ge=1, description="rounds of prompts in a step, the first included")
    box_probability: float = Field(
        0.5, ge=0, le=1, description="how often the first prompt is a box; else it is a point"
    )
    smallest: int = Field(25, ge=1, description="voxels of a slice; smaller pieces of objects aren't asked for")

    @model_validator(mode="after")
    def _fits(self) -> Model:
        kind = self.config.get("model_type", self.usual)
        if kind not in self.types:
            raise ValueError(f"config.model_type is {kind}; this family takes {', '.join(self.types)}")
        if self.lora and "image-encoder" in self.frozen:
            raise ValueError("lora freezes the image encoder by itself and learns beside it: leave image-encoder out")
        return self

    @property
    def path(self) -> Path | None:
        """Of the weights."""
        return None if self.weights is None else Path(self.weights).expanduser()

    @property
    def full(self) -> Mapping[str, Any]:
        """The configuration with its type."""
        return {"model_type": self.usual, **self.config}
