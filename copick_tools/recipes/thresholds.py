"""thresholds.yaml: what `popsicle calibrate` learned on validation runs, and `localize` uses, fixed, from then on (POPSICLE B.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from copick_tools.errors import NotFoundError
from copick_tools.metrics.calibration import apply_isotonic, apply_temperature
from copick_tools.recipes.base import Strict
from copick_tools.recipes.recipe import Fraction, Pick
from copick_tools.recipes.results import Difference, Interval
from copick_tools.types import Floats

FORMAT: Literal["popsicle-thresholds-1"] = "popsicle-thresholds-1"


class Isotonic(Strict):
    """Steps of isotonic regression, joined by straight lines. scores, probabilities: the knots, both rising."""

    kind: Literal["isotonic"] = "isotonic"
    scores: tuple[Fraction, ...] = Field(min_length=2)
    probabilities: tuple[Fraction, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> Isotonic:
        if len(self.scores) != len(self.probabilities):
            raise ValueError(f"{len(self.scores)} scores, but {len(self.probabilities)} probabilities")
        for values in (self.scores, self.probabilities):
            if any(after < before for before, after in zip(values, values[1:])):
                raise ValueError("the knots have to rise")
        return self

    def apply(self, scores: Floats) -> Floats:
        """Raw scores (N,) to calibrated ones."""
        return apply_isotonic(scores, np.array(self.scores), np.array(self.probabilities))


class Temperature(Strict):
    """Log-odds divided by a temperature, plus a bias."""

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0)
    bias: float

    def apply(self, scores: Floats) -> Floats:
        """Raw scores (N,) to calibrated ones."""
        return apply_temperature(scores, self.temperature, self.bias)


Calibration = Annotated[Isotonic | Temperature, Field(discriminator="kind")]


class ObjectSetting(Pick):
    """How one object is picked. min_score is of the calibrated score."""

    calibration: Calibration | None = Field(None, description="from mean probability to the chance of being true")
    precision: float | None = Field(None, description="of the validation runs, as the rest")
    recall: float | None = None
    fbeta: float | None = None
    references: int = Field(0, ge=0, description="reference points of the validation runs; few of them teach little")


class Selection(Strict):
    """Which tomograms have picks at all (MotorBench), by the score of their best pick."""

    by: Literal["threshold", "quantile", "top-k"]
    value: float = Field(ge=0, description="threshold: least score; quantile: share of tomograms; top-k: how many")

    @model_validator(mode="after")
    def _range(self) -> Selection:
        if self.by != "top-k" and self.value > 1:
            raise ValueError(f"a {self.by} lies in [0, 1], but is {self.value:g}")
        if self.by == "top-k" and self.value != int(self.value):
            raise ValueError(f"top-k counts tomograms, but is {self.value:g}")
        return self

    def choose(self, best: Mapping[str, float], tomograms: int) -> set[str]:
        """Those that have picks. best: the best pick's score of each that has any. tomograms: how many there are in all.

        >>> sorted(Selection(by="quantile", value=0.5).choose({"TS_1": 0.4, "TS_2": 0.9}, 2))
        ['TS_2']
        """
        if self.by == "threshold":
            return {run for run, score in best.items() if score >= self.value}
        count = round(self.value * tomograms) if self.by == "quantile" else int(self.value)
        return set(sorted(best, key=lambda run: (-best[run], run))[:count])


class Setting(Strict):
    """The thresholds for one beta. score: cross-validated, on runs that took no part in choosing; fitted: on the same runs."""

    beta: float = Field(ge=0)
    rule: Literal["one-to-one", "kaggle"]
    score: float | None = Field(description="null: a single run can't be held out of itself")
    ci95: Interval | None = None
    fitted: float | None
    recipe: Difference | None = Field(None, description="gain over what the recipe's own `pick` gives on these runs")
    recipe_score: float | None = None
    calibration_error: float | None = Field(None, description="expected calibration error, cross-validated")
    objects: dict[str, ObjectSetting]
    selections: list[Selection] = Field(
        [], description="which tomograms have a pick, where that is the question: equal on the validation runs"
    )


class Thresholds(Strict):
    """The document. checkpoint: its sha256, for thresholds of another checkpoint mean nothing."""

    format: Literal["popsicle-thresholds-1"] = FORMAT
    task: str
    checkpoint: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the checkpoint's file")
    config: str
    tomogram: str
    reference: list[str]
    split: str | None = None
    runs: list[str]
    folds: int = Field(ge=0, description="of the cross-validation; as many as runs: each is left out once")
    inference: dict[str, float | str] = Field({}, description="overlap and tta that the runs were predicted with")
    asked: list[str] = Field([], description="options of the command")
    settings: list[Setting] = Field(min_length=1)
    warnings: list[str] = []

    def setting(self, beta: float) -> Setting:
        """The thresholds for ``beta``. Raises NotFoundError."""
        for setting in self.settings:
            if abs(setting.beta - beta) < 1e-9:
                return setting
        known = ", ".join(f"{setting.beta:g}" for setting in self.settings)
        raise NotFoundError(
            f"no thresholds for beta {beta:g}", f"there are those for {known}; or popsicle calibrate --beta {beta:g}"
        )
