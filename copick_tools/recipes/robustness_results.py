"""The JSON document of `popsicle robustness`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from copick_tools.recipes.base import Strict
from copick_tools.recipes.results import Difference, Interval


class RobustnessLevel(Strict):
    """What a model scores on tomograms that were made worse. difference: from the undegraded, paired over runs.

    kind: ``identity`` for the undegraded ones. objects: F-beta, Dice or mean segmentation accuracy of each.
    """

    kind: str
    level: float | None = Field(None, description="what `meaning` says; null where there is none")
    score: float | None
    ci95: Interval | None
    difference: Difference | None = None
    objects: dict[str, float | None]
    output: str = Field(description="where the predictions are")


class RobustnessResult(Strict):
    """`robustness --json`, and robustness.json."""

    kind: Literal["robustness"] = "robustness"
    task: str
    metric: str
    simulated: bool
    split: str | None
    runs: int
    run_names: list[str]
    config: str
    checkpoint: str
    input: str
    reference: str
    seed: int
    command: list[str] = Field([], description="what was typed, less where it writes")
    identity: RobustnessLevel
    levels: list[RobustnessLevel]
    meaning: dict[str, str] = Field({}, description="of the levels, by kind")
    failures: dict[str, str] = Field({}, description="levels that have no score, and why")
    versions: dict[str, str] = {}
    warnings: list[str] = []
