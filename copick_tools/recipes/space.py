"""Search spaces: which keys of a recipe `popsicle search` varies, and over which values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from copick_tools.errors import FormatError, nearest
from copick_tools.recipes.base import Strict
from copick_tools.recipes.load import flat, parse, read_yaml
from copick_tools.recipes.recipe import Recipe

Values = Mapping[str, Any]
NEVER = ("task", "reference", "validation_split", "model.family")  # trials that differ in them can't be compared


class Number(Strict):
    """Numbers from low to high, whole ones where all are written without a point."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="drawn evenly over orders of magnitude")
    step: int | float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _range(self) -> Number:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs numbers above 0 and no step")
        return self

    def __str__(self) -> str:
        how = " by orders of magnitude" if self.log else f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{how}"

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def holds(self, value: Any) -> bool:
        """Whether a value may come out of it."""
        if not isinstance(value, int | float) or (self.whole and not isinstance(value, int)):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return bool(self.low <= value <= self.high and abs(steps - round(steps)) < 1e-6)

    @property
    def examples(self) -> tuple[Any, ...]:
        """The ends, and what lies between where not only whole numbers do."""
        return (self.low, self.high, *([] if self.whole else [self.low + (self.high - self.low) / math.pi]))


class Choice(Strict):
    """One of several values, of any kind that YAML has."""

    choices: tuple[Any, ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _plain(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        for choice in choices:
            try:
                json.dumps(choice, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{choice!r} is no value of a recipe") from error
        return choices

    def __str__(self) -> str:
        return ", ".join(map(str, self.choices))

    @property
    def words(self) -> tuple[str, ...]:
        """The choices as text, each once."""
        return tuple(dict.fromkeys(map(word, self.choices)))

    def holds(self, value: Any) -> bool:
        """Whether a value may come out of it."""
        return word(value) in self.words

    @property
    def examples(self) -> tuple[Any, ...]:
        """All of them."""
        return self.choices


Parameter = Number | Choice
Parameters = Mapping[str, Parameter]


@dataclass(frozen=True)
class FamilySpace:
    """What an engine declares as ``SPACE``. Names are keys of a recipe, or the family's own words.

    settings: values of those words -> keys of a recipe. words: the other way; empty where a recipe can't be said in them.
    """

    parameters: Parameters
    settings: Callable[[Values], Values] = dict
    words: Callable[[Recipe], Values] = lambda recipe: {}

    @property
    def own(self) -> list[str]:
        """The family's own words."""
        return [name for name in self.parameters if "." not in name]

    def expanded(self, values: Values, recipe: Recipe) -> dict[str, Any]:
        """Values by keys of a recipe. recipe: says the family's words that aren't among them. Raises FormatError."""
        own = {name: value for name, value in values.items() if name in self.own}
        rest = {name: value for name, value in values.items() if name not in own}
        if not own:
            return rest
        known = {**self.words(recipe), **own}
        if lacking := [name for name in self.own if name not in known]:
            raise FormatError(
                f"the space names {', '.join(own)} without {', '.join(lacking)}, which the recipe doesn't tell",
                f"name all of {', '.join(self.own)}, or keys of the recipe",
            )
        try:
            return {**rest, **self.settings(known)}
        except (TypeError, ValueError, ArithmeticError) as error:
            raise FormatError(f"no settings of the family come from {known}: {error}") from error


NONE = FamilySpace({})


def word(value: Any) -> str:
    """A value as text, for a library that takes only simple ones."""
    return json.dumps(value, sort_keys=True)


def common(recipe: Recipe) -> dict[str, Parameter]:
    """What is searched in any family: Octopi's space (POPSICLE B.3; octopi 1.7), laid around the recipe.

    Around the paper's recipe (AdamW 5e-4, 48 patches of 96^3) it is Octopi's own: learning rates of 1e-4 to 1e-3, patches of
    64 to 160 voxels, 4 to 48 of them.
    """
    lr, batch, patch = recipe.optimizer.lr, recipe.train.batch_size, recipe.train.patch
    step = max(1, batch // 12)
    found: dict[str, Parameter] = {
        "optimizer.lr": Number(low=float(f"{lr / 5:.3g}"), high=float(f"{lr * 2:.3g}"), log=True),
        "optimizer.weight_decay": Number(low=1e-4, high=1e-2, log=True),
        "loss.name": Choice(choices=(recipe.loss.name, "focal", "focal-tversky", "tversky-focal")),
        "loss.alpha": Number(low=0.1, high=0.5),
        "loss.gamma": Number(low=0.1, high=2.0),
        "loss.weight": Number(low=0.1, high=0.9),
    }
    if batch > 1:
        found["train.batch_size"] = Number(low=step, high=step * (batch // step), step=step)
    if patch is not None:
        scaled = [[max(16, round(side * part / 48) * 16) for side in patch] for part in (2, 3, 4, 5)]
        found["train.patch"] = Choice(choices=(list(patch), *scaled))
    return found


def read_space(path: Path) -> dict[str, Parameter]:
    """A space from YAML: ``KEY: {low, high, log, step}`` or ``KEY: {choices: [...]}``. Raises NotFoundError, FormatError."""
    found: dict[str, Parameter] = {}
    for name, content in read_yaml(path).items():
        if not isinstance(content, dict):
            raise FormatError(f"{path}: {name}: expected {{low, high}} or {{choices}} (got {content!r})")
        kind: type[Choice] | type[Number] = Choice if "choices" in content else Number
        found[str(name)] = parse(kind, content, where=f"{path}: {name}")
    if not found:
        raise FormatError(f"{path} names nothing to search")
    return found


def require_known(names: Mapping[str, Any], recipe: Recipe, family: FamilySpace) -> None:
    """Raise FormatError for a name that is no key of the recipe and no word of its family."""
    known = [*flat(recipe.model_dump(mode="json")), *family.own]
    for name in names:
        if name not in known:
            raise FormatError(f"the space names '{name}', which the recipe doesn't have", nearest(name, known))
        if name in NEVER:
            raise FormatError(f"the space names '{name}': trials that differ in it can't be compared", "search each")


def require_valid(parameters: Parameters, recipe: Recipe, family: FamilySpace) -> None:
    """Raise FormatError for values that the recipe can't have. What a family alone knows fails when it is tried."""
    for name, parameter in parameters.items():
        for value in parameter.examples:
            if name not in family.own:
                varied(recipe, {name: value})
    family.expanded({name: parameter.examples[0] for name, parameter in parameters.items()}, recipe)


def varied(recipe: Recipe, values: Values) -> Recipe:
    """The recipe with other values. values: by key. Raises FormatError."""
    document = recipe.model_dump(mode="json")
    for key, value in values.items():
        *parents, last = key.split(".")
        inner = document
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return parse(Recipe, document, where="the search")
