"""The base of every shipped family's `model:` settings: unknown keys fail, and a preset stands for several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator

from copick_tools.errors import nearest
from copick_tools.recipes.base import Strict

PAPER = "paper"  # the preset that every family has: the sizes of the benchmark's paper


class Settings(Strict):
    """Settings of a family; its fields' defaults are those of the paper.

    presets: by name, what ``preset: NAME`` sets; keys given beside it win. It stands in no resolved recipe.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "preset" not in values:
            return values
        known = {PAPER: {}, **cls.presets}
        name, given = values["preset"], {key: value for key, value in values.items() if key != "preset"}
        if name not in known:
            raise ValueError(f"no preset '{name}'; {nearest(str(name), known)}")
        return {**known[name], **given}
