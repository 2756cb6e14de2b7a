"""The documents of `popsicle search` and `popsicle bench`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from copick_tools.recipes.base import Strict
from copick_tools.recipes.results import Interval

TrialState = Literal["running", "complete", "pruned", "failed"]


class SearchRecord(Strict):
    """search.json: what a search is; the same on every restart. seed: of the sampler. train, validation: runs."""

    recipe: dict[str, Any]
    space: dict[str, Any]
    project: str
    metric: str
    seed: int
    train: list[str] = []
    validation: list[str] = []


class TrialResult(Strict):
    """One training of a search. score: the best on the validation runs; of a pruned one the last.

    seconds: at work, all starts together; None while it runs.
    """

    number: int
    state: TrialState
    score: float | None = None
    seconds: float | None = None
    values: dict[str, Any] = Field(description="by name in the search space")
    error: str | None = None


class SearchResult(Strict):
    """result.json: where a search stands. importances: of the names of the space; sum 1, null for too few trials.

    command: what was typed after ``popsicle search``, without the number of trials.
    """

    kind: Literal["search"] = "search"
    task: str
    family: str
    metric: str
    simulated: bool = False
    trials: list[TrialResult]
    best: int | None = Field(description="number of the best complete trial")
    score: float | None
    recipe: str | None = Field(description="path of the best recipe")
    checkpoint: str | None
    importances: dict[str, float] | None = None
    command: list[str] = []


class Usage(Strict):
    """What a step took. seconds: at work, all starts together. memory: peak of the process, gpu_memory: of its GPU, in bytes.

    energy: joules of the GPU, where its driver counts them.
    """

    seconds: float = 0.0
    memory: int | None = None
    gpu_memory: int | None = None
    energy: float | None = None
    device: str | None = None
    starts: int = 0


class JobRecord(Strict):
    """steps.json: what is finished of a recipe and a seed. Each key says what the step was made of.

    predicted: seconds of each run, by name. parameters: of the network.
    """

    calibrate: str | None = None
    predict: str | None = None
    predicted: dict[str, float] = {}
    evaluate: str | None = None
    parameters: int | None = None


class StepOutcome(Strict):
    """What became of a step of a benchmark run."""

    name: str
    seed: int
    step: str
    status: Literal["done", "skipped", "failed"]
    error: str | None = None


class BenchPlan(Strict):
    """What `bench --dry-run --json` prints. commands: of the steps that are left. failures: what can't be trained."""

    kind: Literal["bench-plan"] = "bench-plan"
    commands: list[list[str]]
    failures: list[StepOutcome] = []


class Spread(Strict):
    """A number over seeds. values: by seed, sd: None for one."""

    mean: float | None
    sd: float | None = None
    values: list[float | None] = []


class BenchRow(Strict):
    """One recipe. seeds: finished ones. score: over seeds; ci95: bootstrap over runs of the mean over seeds.

    rank: 1 and as many more as there are rows that are better in every seed than this one in any; null where seeds don't
    suffice. budget: what a training sees, in words. parameters: of the network. train: of one training, on average. seconds_per_run: of localize or segment.
    """

    name: str
    family: str
    seeds: list[int]
    score: Spread
    ci95: Interval | None = None
    rank: int | None = None
    objects: dict[str, Spread]
    parameters: int | None = None
    train: Usage | None = None
    seconds_per_run: float | None = None
    budget: str | None = None
    errors: list[str] = []


class BenchResult(Strict):
    """bench.json: the table of a benchmark run. paper: rows of the paper's table, by name: aggregate and values."""

    kind: Literal["bench"] = "bench"
    task: str
    metric: str
    split: str
    runs: int | None
    simulated: bool
    rows: list[BenchRow]
    paper: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    steps: list[StepOutcome] = Field([], description="of the last start")
    versions: dict[str, str] = {}
