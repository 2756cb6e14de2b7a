"""`popsicle demo`: the whole path on simulated data, through the same workflows as the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from copick_tools.data import splits, uris
from copick_tools.errors import PopsicleError
from copick_tools.recipes.load import load_task
from copick_tools.recipes.results import PointsResult
from copick_tools.types import RunResult
from copick_tools.workflows.evaluate import Question, evaluate
from copick_tools.workflows.localize import Localizing, localize
from copick_tools.workflows.report import report
from copick_tools.workflows.simulate import TASK, PhantomProject, simulate
from copick_tools.workflows.train import plan_training, train

RECIPE = "phantom-sim/unet-small"
OUTPUT = ":unet-small/1"


class Show(Protocol):
    """How a front end shows what goes on."""

    def runs(self, label: str, results: Iterable[RunResult], total: int) -> list[RunResult]:
        """Walk through results of runs."""

    def steps(self, label: str, work: Callable[[Callable[[int, int], None]], tuple[Path, bool]]) -> tuple[Path, bool]:
        """Let ``work`` report its steps; its result."""


def demo(
    out: Path, plan: PhantomProject, show: Show, *, settings: tuple[str, ...] = (), device: str = "auto"
) -> PointsResult:
    """Simulate, train, localize the held-out runs, evaluate, report; what is finished already is not done again.

    Raises PopsicleError when a step fails.
    """
    project, names, made = simulate(out / "project", plan)
    _all_done(show.runs("simulate", made, len(names)))
    training = plan_training(project, RECIPE, settings, out / "experiment")
    best, trained = show.steps("train", lambda move: train(project, training, move, resume=True, device=device))
    held_out = splits.runs(project, "test")
    tomogram, picks = uris.tomogram_uri(training.recipe.input), uris.picks_uri(OUTPUT, output=True)
    task = Localizing(best, project, tomogram, picks, overwrite=trained)
    _all_done(show.runs("localize", localize(task, held_out, (device,)), len(held_out)))
    asked = load_task(TASK)
    question = Question((picks,), (uris.picks_uri(asked.reference),), asked, split="test")
    answer = evaluate(project, held_out, question)
    answer.write(out / "experiment")
    report([out / "experiment"], out / "report.html")
    return answer.result


def _all_done(results: list[RunResult]) -> None:
    failed = [result for result in results if result.status == "failed"]
    if failed:
        raise PopsicleError(f"run {failed[0].run} failed: {failed[0].error}", failed[0].hint)
