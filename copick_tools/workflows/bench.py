"""`popsicle bench`: recipes, each with several seeds, from training to one table; no step is done twice."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from copick_tools.data import splits
from copick_tools.data.project import Project, write_text
from copick_tools.errors import PopsicleError, UsageError
from copick_tools.recipes.load import load_recipe, load_task
from copick_tools.recipes.recipe import Recipe
from copick_tools.recipes.study_results import BenchPlan, BenchResult, StepOutcome
from copick_tools.recipes.task import Task
from copick_tools.reports.study import bench_csv, bench_html, bench_markdown
from copick_tools.workflows.bench_job import Job
from copick_tools.workflows.bench_runner import work
from copick_tools.workflows.bench_table import table
from copick_tools.workflows.children import require_devices
from copick_tools.workflows.train import plan_training

log = logging.getLogger("copick_tools")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """recipes: names or paths. families: each recipe with each of these; empty: its own. seeds: how many, from 0."""

    recipes: tuple[str, ...]
    families: tuple[str, ...] = ()
    seeds: int = 1
    settings: tuple[str, ...] = ()
    split: str = "test"
    out: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A benchmark run. failures: recipes that can't be planned, which stop none of the others."""

    task: Task
    split: str
    folder: Path
    jobs: tuple[Job, ...]
    failures: tuple[StepOutcome, ...]


def plan_bench(project: Project, asked: Asked) -> Plan:
    """Find tasks, runs and folders.

    Raises NotFoundError (a recipe, a split), FormatError; UsageError for recipes of several tasks, or twice the same.
    """
    if any(setting.partition("=")[0] == "train.seed" for setting in asked.settings):
        raise UsageError("train.seed is what --seeds counts, from 0", "leave -s train.seed away")
    variants = _variants(asked)
    names = [recipe.task for _, recipe, _ in variants]
    task = load_task(names[0])
    if other := next((name for name in names if name != names[0] and load_task(name) != task), None):
        raise UsageError(
            f"recipes of the tasks {names[0]} and {other} don't fit into one table", "start popsicle bench for each"
        )
    runs = tuple(sorted(splits.runs(project, asked.split)))
    folder = asked.out or Path("bench") / task.name
    jobs: list[Job] = []
    failures: list[StepOutcome] = []
    for name, _, given in variants:
        recipe, settings = given
        for seed in range(asked.seeds):
            more = (*settings, f"train.seed={seed}")
            try:
                training = plan_training(project, recipe, more, folder / name / f"seed-{seed}")
            except PopsicleError as error:
                text = error.message + (f" ({error.hint})" if error.hint else "")
                failures.append(StepOutcome(name=name, seed=seed, step="train", status="failed", error=text))
                continue
            typed = (recipe, *(part for setting in more for part in ("-s", setting)))
            jobs.append(Job(name, seed, training, project, task, asked.split, runs, typed))
    if seen := sorted({run for job in jobs for run in job.seen}):
        log.warning("split %s holds runs that are trained or validated on, such as %s", asked.split, seen[0])
    return Plan(task, asked.split, folder, tuple(jobs), tuple(failures))


def _variants(asked: Asked) -> list[tuple[str, Recipe, tuple[str, tuple[str, ...]]]]:
    """Name, recipe, and how to read it again, of every recipe and family. Raises UsageError for two of one name."""
    found: dict[str, tuple[Recipe, tuple[str, tuple[str, ...]]]] = {}
    for text in asked.recipes:
        for family in asked.families or (None,):
            settings = (*asked.settings, *([f"model.family={family}"] if family else []))
            recipe = load_recipe(text, settings)
            stem = Path(text).stem
            name = recipe.family if stem in (recipe.family, "") else f"{recipe.family}-{stem}"
            if name in found:
                raise UsageError(
                    f"{text} and {found[name][1][0]} would both be called {name}", "give one of the files another name"
                )
            found[name] = (recipe, (text, settings))
    return [(name, recipe, given) for name, (recipe, given) in found.items()]


def left(plan: Plan, device: str) -> BenchPlan:
    """What would be done."""
    commands = []
    for job in plan.jobs:
        finished = list(itertools.takewhile(job.finished, job.steps))
        if finished:
            log.info("%s, seed %d: %s finished already", job.name, job.seed, ", ".join(finished))
        commands += [["popsicle", *job.typed(step, device)] for step in job.steps[len(finished) :]]
    return BenchPlan(commands=commands, failures=list(plan.failures))


def bench(plan: Plan, progress: Progress, devices: Sequence[str] = ("auto",)) -> BenchResult:
    """Do what isn't done, one job at a time on each of the devices, and write the table of what is.

    A job that fails stops none of the others; started again, it is tried again. Raises UsageError for a device that isn't
    here.
    """
    require_devices(devices)
    for failure in plan.failures:
        log.error("%s, seed %d: %s", failure.name, failure.seed, failure.error)

    def made(outcomes: Sequence[StepOutcome]) -> BenchResult:
        result = table(plan.task, plan.split, plan.jobs, [*plan.failures, *outcomes])
        write(result, plan.folder)
        return result

    return work(plan.jobs, made, progress, devices)


def write(result: BenchResult, folder: Path) -> None:
    """bench.json, and the table as Markdown, CSV and HTML."""
    write_text(folder / "bench.json", result.model_dump_json(indent=2) + "\n")
    write_text(folder / "table.md", bench_markdown(result))
    write_text(folder / "table.csv", bench_csv(result))
    write_text(folder / "table.html", bench_html(result))
