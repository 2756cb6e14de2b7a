"""instance-thresholds.yaml: how instances are made, learned by `popsicle calibrate` on validation runs; `segment` uses it from then on.

As micro-SAM does (Archit et al. 2025, "Inference and evaluation"): the best setting found on a validation set is applied to the
test set.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict
from copick_tools.recipes.prompting import Prompting
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.results import Difference, Interval

FORMAT: Literal["popsicle-instance-thresholds-1"] = "popsicle-instance-thresholds-1"
Value = float | None
Setting = dict[str, Value]  # keys as `-s` takes them

FOREGROUND, CENTER, BOUNDARY = "instances.foreground", "instances.center", "instances.boundary"
SMOOTHING, NMS = "instances.smoothing", "prompting.apg.nms"
GRID: dict[str, tuple[Value, ...]] = {
    FOREGROUND: (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    CENTER: (0.3, 0.4, 0.5, 0.6, 0.7),
    BOUNDARY: (0.3, 0.4, 0.5, 0.6, 0.7),
    "instances.flow_error": (0.2, 0.4, 0.8, None),
    "instances.sink_distance": (2.0, 3.0, 5.0),
    SMOOTHING: (0.0, 0.5, 1.0, 2.0),
    "prompting.amg.pred_iou": (0.5, 0.6, 0.7, 0.8, 0.88, 0.92),
    "prompting.amg.stability": (0.6, 0.7, 0.8, 0.9, 0.95),
    NMS: (0.3, 0.5, 0.7, 0.9),
}
DECIDE: dict[str, tuple[str, ...]] = {  # which keys decide, by how instances are made, in the order of the search
    "distances": (FOREGROUND, CENTER, BOUNDARY, SMOOTHING),
    "flows": (FOREGROUND, "instances.flow_error", "instances.sink_distance", SMOOTHING),
    "boundary": (FOREGROUND, BOUNDARY),
    "masks": (FOREGROUND,),
    "amg": ("prompting.amg.pred_iou", "prompting.amg.stability"),
    "apg": (CENTER, BOUNDARY, NMS),
}


def deciding(recipe: Recipe) -> tuple[str, ...]:
    """The keys that decide what becomes an instance. recipe: with the mode of prompting that is used."""
    if recipe.prompting.mode is None:
        return DECIDE["masks" if recipe.target.kind == "instances" else recipe.target.kind]
    found = DECIDE[recipe.prompting.mode]
    peaks = recipe.prompting.mode == "apg" and recipe.prompting.apg.prompts == "maxima"
    return tuple(key for key in found if not (peaks and key == CENTER))


def value_of(recipe: Recipe, key: str) -> Value:
    """What a recipe says.

    >>> value_of(Recipe(task="t", input="wbp", model={"family": "octopi"}), "prompting.apg.nms")
    0.9
    """
    found: object = recipe
    for part in key.split("."):
        found = getattr(found, part)
    assert found is None or isinstance(found, (int, float))
    return None if found is None else float(found)


def typed(setting: Setting) -> tuple[str, ...]:
    """As ``-s`` takes it.

    >>> typed({"instances.foreground": 0.4, "instances.flow_error": None})
    ('instances.foreground=0.4', 'instances.flow_error=null')
    """
    return tuple(f"{key}={'null' if value is None else repr(value)}" for key, value in setting.items())


def mode_of(prompting: Prompting, promptable: object) -> Literal["amg", "apg"] | None:
    """How prompts make instances; a model that is given to answer them is asked where maps say. None: not by prompts."""
    return "apg" if prompting.mode is None and promptable is not None else prompting.mode


class Tried(Strict):
    """One setting and its score on the runs that were learned from."""

    settings: Setting
    score: float | None


class ObjectAccuracy(Strict):
    """Mean segmentation accuracy of one object, means over the runs that have it. score: cross-validated."""

    score: float | None
    fitted: float | None
    recipe: float | None


class InstanceThresholds(Strict):
    """The document. checkpoint: its sha256, for thresholds of another checkpoint mean nothing.

    score: mean over objects of mean segmentation accuracy, cross-validated, on runs that took no part in choosing; fitted: on the
    same runs.
    """

    format: Literal["popsicle-instance-thresholds-1"] = FORMAT
    kind: Literal["instance-thresholds"] = "instance-thresholds"
    task: str
    checkpoint: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the checkpoint's file")
    promptable: str | None = Field(
        None, description="what answers prompts: sha256 of its weights, or oracle:URI; null: the checkpoint"
    )
    mode: Literal["amg", "apg"] | None = Field(None, description="of prompting; null: no prompts")
    config: str
    tomogram: str
    reference: str
    split: str | None = None
    runs: list[str]
    folds: int = Field(ge=0, description="of the cross-validation; as many as runs: each is left out once")
    inference: dict[str, float | str] = Field({}, description="overlap and tta that the runs were predicted with")
    fixed: list[str] = Field([], description="-s of the command: used together with what was learned")
    settings: Setting = Field(description="what was learned")
    recipe_settings: Setting
    score: float | None = Field(description="null: a single run can't be held out of itself")
    ci95: Interval | None = None
    fitted: float | None
    recipe: Difference | None = Field(None, description="gain of what is cross-validated over the recipe's settings")
    recipe_score: float | None
    objects: dict[str, ObjectAccuracy]
    tried: list[Tried] = Field(description="in the order in which it was tried")
    warnings: list[str] = []

    @property
    def told(self) -> tuple[str, ...]:
        """All that belongs together, as ``-s`` takes it."""
        return *self.fixed, *typed(self.settings)
